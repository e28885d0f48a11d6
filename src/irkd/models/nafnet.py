"""NAFNet, with global or local pooling.

Chen, Chu, Zhang, Sun: "Simple Baselines for Image Restoration", ECCV 2022.
Local pooling: Chu, Chen, Chen, Lu: "Improving Image Restoration by Revisiting Global Information
Aggregation", ECCV 2022 (TLC).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from irkd.models.base import Assumption, Family, NetworkSpec
from irkd.models.layers import channel_layer_norm, channels_last, children_of
from irkd.models.local_pooling import LocalMean, local_means, spread, spread_rows
from irkd.models.normalised import Normalisation
from irkd.models.strips import Window, depthwise, each_image, in_strips, pointwise, strips
from irkd.models.taps import Tap

BlockCount = Annotated[int, Field(ge=0, le=64)]
Size = Annotated[int, Field(ge=1, le=65536)]


class _NAFNetOptions(NetworkSpec):
    img_channel: int = Field(3, ge=1, le=64, description="channels of the image, in and out")
    width: int = Field(32, ge=1, le=1024, description="channels at full resolution")
    enc_blk_nums: tuple[BlockCount, ...] = Field(
        (1, 1, 1, 28), min_length=1, max_length=8, description="blocks of each encoder level"
    )
    middle_blk_num: BlockCount = Field(1, description="blocks at the lowest resolution")
    dec_blk_nums: tuple[BlockCount, ...] = Field(
        (1, 1, 1, 1), min_length=1, max_length=8, description="blocks of each decoder level"
    )

    @model_validator(mode="after")
    def _levels_fit(self) -> _NAFNetOptions:
        if len(self.enc_blk_nums) != len(self.dec_blk_nums):
            raise ValueError(
                f"enc_blk_nums has {len(self.enc_blk_nums)} levels, dec_blk_nums has "
                f"{len(self.dec_blk_nums)}; they need the same number"
            )
        return self


class NAFNetSpec(_NAFNetOptions):
    arch: Literal["nafnet"] = "nafnet"


class NAFNetLocalSpec(_NAFNetOptions):
    arch: Literal["nafnet_local"] = "nafnet_local"
    train_size: tuple[Size, Size, Size, Size] = Field(
        (1, 3, 256, 256),
        description="batch, channels, height, width of the training patches; sets the windows",
    )
    fast_imp: Literal[False] = Field(
        False, description="the original's approximate pooling, which irkd does not have"
    )

    @model_validator(mode="after")
    def _train_size_fits(self) -> NAFNetLocalSpec:
        if self.train_size[1] != self.img_channel:
            raise ValueError(
                f"train_size {list(self.train_size)} is (batch, channels, height, width); its "
                f"channels must be img_channel, {self.img_channel}"
            )
        return self


class LayerNorm2d(nn.Module):
    """Layer normalisation over channels, eps 1e-6."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor) -> Tensor:
        return channel_layer_norm(features, self.weight, self.bias, 1e-6)

    def in_strips(self) -> Normalisation:
        return Normalisation(self.weight, self.bias, 1e-6)


class SimpleGate(nn.Module):
    """The product of the two halves of the channels: 2C -> C."""

    def forward(self, features: Tensor) -> Tensor:
        first, second = features.chunk(2, dim=1)
        return first * second


class NAFBlock(nn.Module):
    """B x C x H x W to the same: gated depthwise convolution with channel attention, gated MLP.

    `pool` is the local mean of the channel attention, None for the global mean. `beta` and `gamma`
    start at 0: an untrained block is the identity.
    """

    def __init__(self, channels: int, pool: LocalMean | None = None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 2 * channels, 1)
        self.conv2 = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
        self.conv3 = nn.Conv2d(channels, channels, 1)
        self.sca = nn.Sequential(
            nn.AdaptiveAvgPool2d(1) if pool is None else pool, nn.Conv2d(channels, channels, 1)
        )
        self.sg = SimpleGate()
        self.conv4 = nn.Conv2d(channels, 2 * channels, 1)
        self.conv5 = nn.Conv2d(channels, channels, 1)
        self.norm1 = LayerNorm2d(channels)
        self.norm2 = LayerNorm2d(channels)
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.local = pool is not None

    def forward(self, features: Tensor) -> Tensor:
        if in_strips(features):
            return each_image(features, self._restore_image)
        x = self.sg(self.conv2(self.conv1(self.norm1(features))))
        # The 1 x 1 convolution commutes with repeating windows at the border, and is cheaper first.
        attention = self.sca(x)
        x = x * (spread(attention, x) if self.local else attention)
        features = torch.addcmul(features, self.conv3(x), self.beta)
        x = self.sg(self.conv4(self.norm2(features)))
        return torch.addcmul(features, self.conv5(x), self.gamma)

    def _restore_image(self, image: Tensor, out: Tensor) -> None:
        """One image, H x W x C; `out` holds the gated features until their attention is known."""
        channels = image.shape[2]
        norm1, norm2 = self.norm1.in_strips(), self.norm2.in_strips()
        widen1 = norm1.folded(*_matrix(self.conv1))
        widen2 = norm2.folded(*_matrix(self.conv4))
        narrow1 = _scaled(*_matrix(self.conv3), self.beta)
        narrow2 = _scaled(*_matrix(self.conv5), self.gamma)

        def hidden(first: int, end: int, wide: Tensor) -> None:
            pointwise(norm1(image[first:end]), *widen1, wide)

        window = Window(image, 2 * channels, 1, hidden)
        for first, end in strips(image, 2 * channels):
            wide = depthwise(window.around(first, end), self.conv2.weight, self.conv2.bias)
            _gate(wide, out[first:end])
        attention = self._attention(out)
        for first, end in strips(image, 2 * channels):
            x = out[first:end]
            x *= spread_rows(attention, image, first, end)
            y = torch.empty_like(x)
            pointwise(x, *narrow1, y)
            y += image[first:end]
            wide = x.new_empty(*x.shape[:2], 2 * channels)
            pointwise(norm2(y), *widen2, wide)
            gated = torch.empty_like(y)
            _gate(wide, gated)
            pointwise(gated, *narrow2, x)
            x += y

    def _attention(self, gated: Tensor) -> Tensor:
        """A factor for each window of H x W x C: H' x W' x C, or 1 x 1 x C if global."""
        pool, mix = self.sca
        if isinstance(pool, LocalMean):
            means = local_means(gated, pool.height, pool.width)
        else:
            means = gated.mean((0, 1), keepdim=True)
        attention = torch.empty_like(means)
        pointwise(means, *_matrix(mix), attention)
        return attention


def _gate(wide: Tensor, out: Tensor) -> None:
    """`SimpleGate` over the last axis."""
    first, second = wide.chunk(2, -1)
    torch.mul(first, second, out=out)


def _matrix(convolution: nn.Module) -> tuple[Tensor, Tensor | None]:
    """Weight C' x C and bias of a 1 x 1 convolution."""
    assert isinstance(convolution, nn.Conv2d)
    return convolution.weight.flatten(1), convolution.bias


def _scaled(weight: Tensor, bias: Tensor | None, factor: Tensor) -> tuple[Tensor, Tensor | None]:
    """The linear layer times a factor for each of its outputs."""
    factor = factor.flatten()
    return weight * factor[:, None], None if bias is None else bias * factor


class NAFNet(nn.Module):
    """B x img_channel x H x W in the spec's value range to the same, not clamped.

    Any size is taken: as in the original, zeros fill it up to `size_multiple` at the right and
    bottom.
    """

    def __init__(self, spec: NAFNetSpec | NAFNetLocalSpec) -> None:
        super().__init__()
        self.spec = spec
        self.in_channels = self.out_channels = spec.img_channel
        levels = len(spec.enc_blk_nums)
        self.size_multiple = 2**levels
        widths = [spec.width * 2**level for level in range(levels + 1)]

        def stage(level: int, blocks: int) -> nn.Sequential:
            pool = _window(spec, level, self.size_multiple)
            return nn.Sequential(*(NAFBlock(widths[level], pool) for _ in range(blocks)))

        self.intro = nn.Conv2d(spec.img_channel, spec.width, 3, padding=1)
        self.ending = nn.Conv2d(spec.width, spec.img_channel, 3, padding=1)
        self.encoders = nn.ModuleList(stage(i, n) for i, n in enumerate(spec.enc_blk_nums))
        self.decoders = nn.ModuleList(
            stage(levels - 1 - i, n) for i, n in enumerate(spec.dec_blk_nums)
        )
        self.middle_blks = stage(levels, spec.middle_blk_num)
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, 2 * width, 1, bias=False), nn.PixelShuffle(2))
            for width in reversed(widths[1:])
        )
        self.downs = nn.ModuleList(nn.Conv2d(width, 2 * width, 2, 2) for width in widths[:-1])

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        multiple = self.size_multiple
        padded = channels_last(F.pad(images, (0, -width % multiple, 0, -height % multiple)))
        x = self.intro(padded)
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            x = encoder(x)
            skips.append(x)
            x = down(x)
        x = self.middle_blks(x)
        for up, decoder in zip(self.ups, self.decoders, strict=True):
            # In two steps: the lower level's features are gone before the stage needs memory.
            x = _upsampled(up, x, skips.pop())
            x = decoder(x)
        return (self.ending(x) + padded)[..., :height, :width]

    def taps(self) -> dict[str, Tap]:
        width, levels = self.spec.width, len(self.encoders)
        taps = {
            f"encoder_level{i + 1}": Tap(f"encoders.{i}", "encoder", width * 2**i, 2**i)
            for i in range(levels)
        }
        taps["middle"] = Tap("middle_blks", "middle", width * 2**levels, 2**levels)
        for i in reversed(range(levels)):
            module = f"decoders.{levels - 1 - i}"
            taps[f"decoder_level{i + 1}"] = Tap(module, "decoder", width * 2**i, 2**i)
        return taps


def _upsampled(up: nn.Module, features: Tensor, skip: Tensor) -> Tensor:
    """up(features) + skip for a 1 x 1 convolution and a pixel shuffle by 2."""
    if not in_strips(features):
        return up(features) + skip
    weight, _ = _matrix(up.get_submodule("0"))
    # Outputs for one of the four pixels side by side.
    weight = weight.unflatten(0, (-1, 4)).transpose(0, 1).flatten(0, 1)

    skips = skip.permute(0, 2, 3, 1)
    results = skips.new_empty(skips.shape)
    for low, image, out in zip(features.permute(0, 2, 3, 1), skips, results, strict=True):
        for first, end in strips(low, len(weight)):
            wide = low.new_empty(end - first, low.shape[1], len(weight))
            pointwise(low[first:end], weight, None, wide)
            wide = wide.unflatten(2, (2, 2, -1)).transpose(1, 2).flatten(0, 1).flatten(1, 2)
            rows = slice(2 * first, 2 * end)
            torch.add(image[rows], wide, out=out[rows])
    return results.permute(0, 3, 1, 2)


def _window(spec: NAFNetSpec | NAFNetLocalSpec, level: int, multiple: int) -> LocalMean | None:
    """TLC's window at a level: 1.5 training patches, scaled to the level's resolution."""
    if isinstance(spec, NAFNetSpec):
        return None
    sides = []
    for train in spec.train_size[2:]:
        at_level = (train + -train % multiple) // 2**level
        sides.append(at_level * int(1.5 * train) // train)
    return LocalMean(*sides)


def read_nafnet_spec(state_dict: Mapping[str, Tensor]) -> dict[str, object] | None:
    """The options that NAFNet weights imply; None for weights of another family."""
    intro, ending = state_dict.get("intro.weight"), state_dict.get("ending.weight")
    levels = len(children_of(state_dict, "downs."))
    if intro is None or ending is None or intro.ndim != 4 or not levels:
        return None
    blocks = [key for key in state_dict if key.endswith(".beta")]
    if any(key.removesuffix("beta") + "sca.1.weight" not in state_dict for key in blocks):
        return None

    def depth(stage: str) -> int:
        return len(children_of(state_dict, f"{stage}."))

    return {
        "img_channel": intro.shape[1],
        "width": intro.shape[0],
        "enc_blk_nums": tuple(depth(f"encoders.{i}") for i in range(levels)),
        "middle_blk_num": depth("middle_blks"),
        "dec_blk_nums": tuple(depth(f"decoders.{i}") for i in range(levels)),
    }


# The layout of the releases for GoPro and REDS, which are trained and tested with local pooling.
_DEBLURRING_LAYOUT = {
    "enc_blk_nums": (1, 1, 1, 28),
    "middle_blk_num": 1,
    "dec_blk_nums": (1, 1, 1, 1),
}


def assume_pooling(found: Mapping[str, object], task: str | None) -> tuple[Assumption, ...]:
    """Local or global pooling, which have the same weights."""
    layout = {name: found.get(name) for name in _DEBLURRING_LAYOUT}
    local = task == "deblur" or (task is None and layout == _DEBLURRING_LAYOUT)
    if not local:
        why = (
            "the kind of pooling is not in the weights; over the whole image is taken. The"
            " deblurring releases (GoPro, REDS) pool locally (--set arch=nafnet_local)."
        )
        return (Assumption({"arch": "nafnet"}, why),)
    size = (1, found["img_channel"], 256, 256)
    why = (
        "the kind of pooling is not in the weights; local pooling for training patches of 256"
        " pixels is taken, as the deblurring releases (GoPro, REDS) have it. Others pool over the"
        " whole image (--set arch=nafnet)."
    )
    return (Assumption({"arch": "nafnet_local", "train_size": size}, why),)


FAMILIES = (
    Family("nafnet", "NAFNet", NAFNetSpec, NAFNet, read_nafnet_spec, assume=assume_pooling),
    # The keys do not tell the pooling, so weights alone are read as the plain network's.
    Family("nafnet_local", "NAFNet with local pooling", NAFNetLocalSpec, NAFNet, lambda _: None),
)
