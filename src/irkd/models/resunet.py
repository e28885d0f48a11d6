"""A residual U-Net of plain convolutions: what a processor runs and trains fastest.

The structure is DRUNet's (Zhang et al., "Plug-and-Play Image Restoration with Deep Denoiser Prior",
IEEE TPAMI 2021): residual blocks of two 3 x 3 convolutions without normalisation, strided and
transposed 2 x 2 convolutions between the levels, skips that are added. Different: it works on
pixels rearranged into channels, as FFDNet (Zhang et al., IEEE TIP 2018) does, takes no noise level,
has biases, predicts what is to be added to the image, and leaks below zero: with plain ReLUs nine
in ten channels of the lower levels died in training on haze and blur. State dicts are irkd's own.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from irkd.models.base import Family, NetworkSpec
from irkd.models.layers import channels_last, children_of
from irkd.models.taps import Tap

Width = Annotated[int, Field(ge=1, le=1024)]
BlockCount = Annotated[int, Field(ge=0, le=64)]
# Small first changes of the image, so that a fresh network starts near the identity.
_LAST_LAYER_SCALE = 0.1
_LEAK = 0.1


class ResUNetSpec(NetworkSpec):
    arch: Literal["resunet"] = "resunet"
    img_channel: int = Field(3, ge=1, le=64, description="channels of the image, in and out")
    unshuffle: Literal[1, 2, 4] = Field(
        2, description="pixels along a side that become channels before the first level"
    )
    widths: tuple[Width, ...] = Field(
        (32, 48, 64, 96), min_length=1, max_length=8, description="channels of each level"
    )
    blocks: tuple[BlockCount, ...] = Field(
        (2, 2, 2, 2),
        min_length=1,
        max_length=8,
        description="residual blocks of each level, in the encoder and again in the decoder",
    )
    grow: bool = Field(
        False,
        description="`weights` may have fewer blocks: those added at a level's end begin as the "
        "identity, so that the deeper network begins as the other ended (for training)",
    )
    shrink: bool = Field(
        False,
        description="`weights` may have more blocks: those at a level's end are left out (for "
        "training)",
    )

    @model_validator(mode="after")
    def _levels_fit(self) -> ResUNetSpec:
        if len(self.widths) != len(self.blocks):
            raise ValueError(
                f"widths has {len(self.widths)} levels, blocks has {len(self.blocks)}; "
                "they need the same number"
            )
        return self


class ResidualBlock(nn.Module):
    """B x C x H x W to the same: features + convolution(leaky ReLU(convolution(features)))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.conv2(F.leaky_relu(self.conv1(features), _LEAK, inplace=True))


class ResUNet(nn.Module):
    """B x img_channel x H x W in the spec's value range to the same, not clamped.

    Any size is taken: the last row and column are repeated up to `size_multiple`.
    """

    def __init__(self, spec: ResUNetSpec, *, added: int = 0, answers: int = 0) -> None:
        """`added` images' channels stand beside the image's at the head, `answers` at the tail."""
        super().__init__()
        self.spec = spec
        self.in_channels = self.out_channels = spec.img_channel
        *upper, lowest = spec.widths
        self.size_multiple = spec.unshuffle * 2 ** len(upper)
        # What tiles should share: it looks far where haze or rain is dense. A dehazing network of 4
        # levels differed from the whole by 39 of 255 levels at 128 shared pixels, by 3 at 256.
        self.tile_overlap = 16 * self.size_multiple
        pixels = spec.unshuffle**2
        pairs = list(zip(spec.widths, spec.widths[1:], strict=False))

        def stage(width: int, blocks: int) -> nn.Sequential:
            return nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))

        levels = list(zip(upper, spec.blocks, strict=False))
        self.head = nn.Conv2d((spec.img_channel + added) * pixels, spec.widths[0], 3, padding=1)
        self.encoders = nn.ModuleList(stage(*level) for level in levels)
        self.downs = nn.ModuleList(nn.Conv2d(high, low, 2, 2) for high, low in pairs)
        self.middle = stage(lowest, spec.blocks[-1])
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(low, high, 2, 2) for high, low in reversed(pairs)
        )
        self.decoders = nn.ModuleList(stage(*level) for level in reversed(levels))
        self.tail = nn.Conv2d(spec.widths[0], (spec.img_channel + answers) * pixels, 3, padding=1)
        for parameter in self.tail.parameters():
            parameter.data.mul_(_LAST_LAYER_SCALE)

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        padded = self.padded(images)
        return (padded + self.answer(padded))[..., :height, :width]

    def padded(self, images: Tensor, multiple: int = 1) -> Tensor:
        """Sides become multiples of `size_multiple`, and of `multiple`; both are powers of two."""
        height, width = images.shape[-2:]
        multiple = max(multiple, self.size_multiple)
        return F.pad(images, (0, -width % multiple, 0, -height % multiple), mode="replicate")

    def answer(self, images: Tensor) -> Tensor:
        """What is to be added to the image; sides are multiples of `size_multiple`."""
        x = self.head(channels_last(F.pixel_unshuffle(images, self.spec.unshuffle)))
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            x = encoder(x)
            skips.append(x)
            x = down(x)
        x = self.middle(x)
        for up, decoder in zip(self.ups, self.decoders, strict=True):
            x = decoder(up(x) + skips.pop())
        return F.pixel_shuffle(self.tail(x), self.spec.unshuffle)

    def taps(self) -> dict[str, Tap]:
        side, (*upper, lowest) = self.spec.unshuffle, self.spec.widths
        taps = {
            f"encoder_level{i + 1}": Tap(f"encoders.{i}", "encoder", width, side * 2**i)
            for i, width in enumerate(upper)
        }
        taps["middle"] = Tap("middle", "middle", lowest, side * 2 ** len(upper))
        for i in reversed(range(len(upper))):
            module = f"decoders.{len(upper) - 1 - i}"
            taps[f"decoder_level{i + 1}"] = Tap(module, "decoder", upper[i], side * 2**i)
        return taps


def read_resunet_spec(state_dict: Mapping[str, Tensor]) -> dict[str, object] | None:
    """The options that the weights imply; None for weights of another family."""
    head, tail = state_dict.get("head.weight"), state_dict.get("tail.weight")
    if head is None or tail is None or head.ndim != 4 or "tail.bias" not in state_dict:
        return None
    if head.shape[1] != tail.shape[0]:
        return None  # images beside the image
    levels = len(children_of(state_dict, "downs."))
    downs = [state_dict.get(f"downs.{i}.weight") for i in range(levels)]
    stages = [f"encoders.{i}." for i in range(levels)] + ["middle."]
    if any(down is None or down.ndim != 4 for down in downs):
        return None
    if not any(key.endswith(".conv2.weight") for key in state_dict):
        return None
    # Images have one or three channels more often than any other number.
    channels = head.shape[1]
    side = next((s for c in (3, 1) for s in (4, 2, 1) if channels == c * s * s), 1)
    return {
        "img_channel": channels // side**2,
        "unshuffle": side,
        "widths": (head.shape[0], *(down.shape[0] for down in downs if down is not None)),
        "blocks": tuple(len(children_of(state_dict, stage)) for stage in stages),
    }


def read_beside(
    state_dict: Mapping[str, Tensor], counts: Callable[[int], tuple[int, int]]
) -> dict[str, object] | None:
    """As `read_resunet_spec`, of a network that sees further channels beside the image's.

    `counts`: from the image's channels to all that the head takes and the tail gives, a pixel.
    """
    head, tail = state_dict.get("head.weight"), state_dict.get("tail.weight")
    if head is None or tail is None or head.ndim != 4:
        return None
    for channels, side in itertools.product((3, 1), (4, 2, 1)):
        pixels = side * side
        if (head.shape[1], tail.shape[0]) == tuple(count * pixels for count in counts(channels)):
            alone = {**state_dict, "head.weight": head[:, : channels * pixels]}
            alone["tail.weight"] = tail[: channels * pixels]
            found = read_resunet_spec(alone)
            return found and {**found, "img_channel": channels, "unshuffle": side}
    return None


_BLOCK = re.compile(r"((?:encoders\.\d+|middle|decoders\.\d+)\.\d+\.)conv[12]\.(?:weight|bias)")


def grow_resunet(
    state_dict: Mapping[str, Tensor], fresh: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """`state_dict` with the blocks that `fresh` has beyond it, which change nothing.

    Their first convolution is taken from `fresh`, a newly initialised network's state dict; their
    second is 0. The deeper network then computes what the other does (as in Chen et al., "Net2Net",
    ICLR 2016, whose deeper networks begin with identity layers).
    """
    there = {match[1] for key in state_dict if (match := _BLOCK.fullmatch(key))}
    grown = dict(state_dict)
    for key, tensor in fresh.items():
        match = _BLOCK.fullmatch(key)
        if match and match[1] not in there:
            grown[key] = torch.zeros_like(tensor) if ".conv2." in key else tensor.clone()
    return grown


def shrink_resunet(
    state_dict: Mapping[str, Tensor], fresh: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """`state_dict` without the blocks that `fresh`, a network's state dict, does not have.

    Each block adds to its features what it found: without the last ones of a level the rest still
    restores, and needs little training (as in Sanh et al., "DistilBERT", 2019, whose student begins
    with some of its teacher's layers).
    """
    wanted = {match[1] for key in fresh if (match := _BLOCK.fullmatch(key))}
    return {
        key: tensor
        for key, tensor in state_dict.items()
        if not (match := _BLOCK.fullmatch(key)) or match[1] in wanted
    }


def grow_beside(state_dict: Mapping[str, Tensor], fresh: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As `grow_resunet`, also for a network that sees further images beside the image, whose own
    channels come first: of a plain one's weights, they count nothing yet."""
    grown = grow_resunet(state_dict, fresh)
    for key, dim in (("head.weight", 1), ("tail.weight", 0), ("tail.bias", 0)):
        given, wanted = grown.get(key), fresh[key]
        if given is None or given.ndim != wanted.ndim or given.shape[dim] >= wanted.shape[dim]:
            continue
        missing = list(given.shape)
        missing[dim] = wanted.shape[dim] - given.shape[dim]
        grown[key] = torch.cat([given, given.new_zeros(missing)], dim)
    return grown


FAMILIES = (
    Family(
        "resunet",
        "Residual U-Net",
        ResUNetSpec,
        ResUNet,
        read_resunet_spec,
        grow=grow_resunet,
        shrink=shrink_resunet,
    ),
)
