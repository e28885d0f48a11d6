"""Uformer.

Wang, Cun, Bao, Zhou, Liu, Li: "Uformer: A General U-Shaped Transformer for Image Restoration",
CVPR 2022.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from irkd.models.base import Assumption, Family, NetworkSpec, on_reference_path
from irkd.models.four_levels import expansion_factor
from irkd.models.layers import channels_last, children_of
from irkd.models.strips import each_image, in_strips
from irkd.models.taps import Role, Tap
from irkd.models.uformer_bands import BandAttention, StripFeedForward
from irkd.models.uformer_windows import (
    Reorder,
    WindowAttention,
    boundary_masks,
    shift_mask,
    window_plan,
)

# Four encoder levels, the middle, four decoder levels.
ENCODER = ("encoderlayer_0", "encoderlayer_1", "encoderlayer_2", "encoderlayer_3")
STAGES = (*ENCODER, "conv", "decoderlayer_0", "decoderlayer_1", "decoderlayer_2", "decoderlayer_3")
LEVEL_OF_STAGE = (0, 1, 2, 3, 4, 3, 2, 1, 0)
# Channels over embed_dim. The decoder works on its input and the skip, concatenated.
WIDTH_OF_STAGE = (1, 2, 4, 8, 16, 16, 8, 4, 2)


class UformerSpec(NetworkSpec):
    """Uformer's options; the defaults are those of the released Uformer_B.

    Uformer_S has depths of 2 throughout, Uformer_T besides an embed_dim of 16.

    `img_size` is part of the network, not of the images: where the features of an image of
    `img_size` are no larger than one window, windows shrink to them and are not shifted. With
    windows of 8, 128 leaves the middle unshifted and 256 shifts it: the same weights, another
    network. The weights do not tell. 128 is what the official test programs build, for all
    released weights; the deblurring (GoPro) weights were trained with 256.
    """

    arch: Literal["uformer"] = "uformer"
    img_size: int = Field(
        128, ge=16, le=65536, description="training size; sets the windows of the lower levels"
    )
    in_chans: int = Field(3, ge=1, le=64, description="channels of the restored image")
    dd_in: int = Field(
        3,
        ge=1,
        le=64,
        description="channels of the degraded image; if 3, it is added to the output",
    )
    embed_dim: int = Field(32, ge=1, le=1024, description="channels at full resolution")
    depths: tuple[Annotated[int, Field(ge=1, le=64)], ...] = Field(
        (1, 2, 8, 8, 2, 8, 8, 2, 1),
        min_length=len(STAGES),
        max_length=len(STAGES),
        description="blocks of encoder levels 1 to 4, the middle, decoder levels 4 to 1",
    )
    num_heads: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (1, 2, 4, 8, 16, 16, 8, 4, 2),
        min_length=len(STAGES),
        max_length=len(STAGES),
        description="attention heads, ordered as depths",
    )
    win_size: int = Field(8, ge=1, le=64, description="height and width of a window")
    mlp_ratio: float = Field(
        4.0, gt=0, le=64, allow_inf_nan=False, description="hidden over outer channels"
    )
    qkv_bias: bool = Field(True, description="biases in the query, key and value projections")
    drop_path_rate: float = Field(
        0.1, ge=0, lt=1, description="share of skipped blocks in training, at the middle"
    )
    token_projection: Literal["linear"] = Field(
        "linear", description="irkd does not have the original's convolutional projection"
    )
    token_mlp: Literal["leff", "ffn", "mlp"] = Field(
        "leff", description="feed-forward network: with depthwise convolution, or (both) without"
    )
    shift_flag: bool = Field(True, description="shift the windows of every other block")
    modulator: bool = Field(True, description="learned offsets in the decoder's windows")

    @model_validator(mode="after")
    def _sizes_fit(self) -> UformerSpec:
        for stage, heads, factor in zip(STAGES, self.num_heads, WIDTH_OF_STAGE, strict=True):
            width = self.embed_dim * factor
            if width % heads:
                raise ValueError(
                    f"num_heads must divide the channels of their level: {heads} heads do not "
                    f"divide the {width} channels of {stage}"
                )
        if int(self.embed_dim * self.mlp_ratio) < 1:
            raise ValueError(
                f"mlp_ratio {self.mlp_ratio} leaves no hidden channels at embed_dim "
                f"{self.embed_dim}"
            )
        if self.dd_in == 3 and self.in_chans != 3:
            raise ValueError(
                f"in_chans is {self.in_chans}, but must be 3 for dd_in 3, since the input is "
                "then added to the output"
            )
        return self


def windows_of(img_size: int, win_size: int) -> tuple[int, ...]:
    """Height and width of a window at each of the five levels."""
    return tuple(min(win_size, img_size // 2**level) for level in range(5))


class LocallyEnhancedFeedForward(nn.Module):
    """LeFF: B x H x W x C to the same, with a depthwise convolution between its two layers."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.linear1 = nn.Sequential(nn.Linear(channels, hidden), nn.GELU())
        self.dwconv = nn.Sequential(
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden), nn.GELU()
        )
        self.linear2 = nn.Sequential(nn.Linear(hidden, channels))

    def forward(self, tokens: Tensor) -> Tensor:
        # Channels-last features, without a copy.
        hidden = self.dwconv(self.linear1(tokens).permute(0, 3, 1, 2))
        return self.linear2(hidden.permute(0, 2, 3, 1))

    def layers(self) -> tuple[nn.Linear, nn.Conv2d, nn.Linear]:
        return self.linear1[0], self.dwconv[0], self.linear2[0]  # type: ignore[return-value]


class FeedForward(nn.Module):
    """B x H x W x C to the same, each pixel by itself."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(tokens)))

    def layers(self) -> tuple[nn.Linear, None, nn.Linear]:
        return self.fc1, None, self.fc2


class DropPath(nn.Module):
    """In training, drops the branch of an image at `rate`, and scales the others up for it."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, tokens: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return tokens
        kept = torch.rand(tokens.shape[0], 1, 1, 1, device=tokens.device) >= self.rate
        return tokens * (kept.to(tokens.dtype) / (1 - self.rate))

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


class LeWinBlock(nn.Module):
    """Locally-enhanced window transformer block: B x C x H x W to the same.

    Height and width are multiples of the window's. `shift` pixels lie between this block's windows
    and those of an unshifted one.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        window: int,
        shift: int,
        spec: UformerSpec,
        *,
        modulated: bool,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.modulator = nn.Embedding(window**2, channels) if modulated else None
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, window, heads, spec.qkv_bias)
        self.norm2 = nn.LayerNorm(channels)
        feed_forward = LocallyEnhancedFeedForward if spec.token_mlp == "leff" else FeedForward
        self.mlp = feed_forward(channels, int(channels * spec.mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def forward(self, features: Tensor) -> Tensor:
        if in_strips(features) and not self.training:
            return self._in_strips(features)
        # Contiguous where the features are channels-last.
        tokens = features.permute(0, 2, 3, 1)
        # Graphs for all sizes must hold the shapes' arithmetic, which a plan does not.
        plain = on_reference_path() or torch.compiler.is_compiling()
        attend = self._attend_by_definition if plain else self._attend
        tokens = tokens + self.drop_path(attend(self.norm1(tokens)))
        tokens = tokens + self.drop_path(self.mlp(self.norm2(tokens)))
        return tokens.permute(0, 3, 1, 2)

    def _in_strips(self, features: Tensor) -> Tensor:
        modulator = None if self.modulator is None else self.modulator.weight
        attention = BandAttention(self.norm1, self.attn, modulator, self.window, self.shift)
        feed_forward = StripFeedForward(self.norm2, *self.mlp.layers())

        def run(image: Tensor, out: Tensor) -> None:
            attention(image, out)
            feed_forward(out)

        return each_image(features, run)

    def _attend_by_definition(self, tokens: Tensor) -> Tensor:
        window, shift = self.window, self.shift
        mask = None
        if shift:
            mask = shift_mask(tokens, window, shift)
            tokens = tokens.roll((-shift, -shift), (1, 2))
        # Shuffling pixels keeps the shapes of a graph for all sizes simpler than views do.
        images = F.pixel_unshuffle(tokens.permute(0, 3, 1, 2), window)
        windows = images.unflatten(1, (-1, window**2)).permute(0, 3, 4, 2, 1)
        attended = self.attn(self._modulated(windows), mask).permute(0, 4, 3, 1, 2)
        attended = F.pixel_shuffle(attended.flatten(1, 2), window).permute(0, 2, 3, 1)
        return attended.roll((shift, shift), (1, 2)) if shift else attended

    def _attend(self, tokens: Tensor) -> Tensor:
        batch, height, width, channels = tokens.shape
        window, shift = self.window, self.shift
        plan = window_plan(batch, height, width, window, shift, tokens.device)
        rows = Reorder.apply(tokens.reshape(-1, channels), plan.order, plan.inverse)
        windows = self._modulated(rows.view(-1, window**2, channels))
        bias = self.attn.relative_position_bias_table
        masks = boundary_masks(window, shift, tokens.device, bias.dtype)
        attended = self.attn.by_groups(windows, plan.groups, masks)
        rows = Reorder.apply(attended.view(-1, channels), plan.inverse, plan.order)
        return rows.view(batch, height, width, channels)

    def _modulated(self, windows: Tensor) -> Tensor:
        return windows if self.modulator is None else windows + self.modulator.weight


def _named(name: str, *layers: nn.Module) -> nn.Sequential:
    """A sequence under one more name, as Uformer's weights have it."""
    return nn.Sequential(OrderedDict({name: nn.Sequential(*layers)}))


class Uformer(nn.Module):
    """B x dd_in x H x W in the spec's value range to B x in_chans x H x W, not clamped.

    Height and width, which may differ, must be multiples of `size_multiple`: at all levels, of the
    windows' sides. The original takes squares only.
    """

    def __init__(self, spec: UformerSpec) -> None:
        super().__init__()
        self.spec = spec
        self.in_channels, self.out_channels = spec.dd_in, spec.in_chans
        self.size_multiple = math.lcm(
            16, *(w * 2**i for i, w in enumerate(windows_of(spec.img_size, spec.win_size)))
        )
        dim = spec.embed_dim
        rates = _drop_path_rates(spec)
        self.input_proj = _named("proj", nn.Conv2d(spec.dd_in, dim, 3, padding=1), nn.LeakyReLU())
        self.output_proj = _named("proj", nn.Conv2d(2 * dim, spec.in_chans, 3, padding=1))
        width = dim
        for i, stage in enumerate(ENCODER):
            self.add_module(stage, _stage(spec, i, rates[i]))
            self.add_module(
                f"dowsample_{i}", _named("conv", nn.Conv2d(width, 2 * width, 4, 2, padding=1))
            )
            width *= 2
        self.conv = _stage(spec, 4, rates[4])
        for i, stage in enumerate(STAGES[5:]):
            up = nn.ConvTranspose2d(width, dim * 2 ** (3 - i), 2, 2)
            self.add_module(f"upsample_{i}", _named("deconv", up))
            self.add_module(stage, _stage(spec, 5 + i, rates[5 + i]))
            width = dim * WIDTH_OF_STAGE[5 + i]
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        images = channels_last(images)
        x = self.input_proj(images)
        skips = []
        for i, stage in enumerate(ENCODER):
            x = self.get_submodule(stage)(x)
            skips.append(x)
            x = self.get_submodule(f"dowsample_{i}")(x)
        x = self.conv(x)
        for i, stage in enumerate(STAGES[5:]):
            # In two steps: the lower level's features are gone before the stage needs memory.
            x = torch.cat([self.get_submodule(f"upsample_{i}")(x), skips.pop()], 1)
            x = self.get_submodule(stage)(x)
        x = self.output_proj(x)
        return x + images if self.spec.dd_in == 3 else x

    def taps(self) -> dict[str, Tap]:
        names = [f"encoder_level{i}" for i in (1, 2, 3, 4)]
        names += ["middle", *(f"decoder_level{i}" for i in (4, 3, 2, 1))]
        roles: tuple[Role, ...] = (*("encoder",) * 4, "middle", *("decoder",) * 4)
        dim = self.spec.embed_dim
        return {
            name: Tap(f"{stage}.blocks", role, dim * factor, 2**level)
            for name, stage, role, factor, level in zip(
                names, STAGES, roles, WIDTH_OF_STAGE, LEVEL_OF_STAGE, strict=True
            )
        }


def _stage(spec: UformerSpec, index: int, rates: Sequence[float]) -> nn.Sequential:
    """The blocks of the stage number `index` of STAGES: B x C x H x W to the same."""
    level = LEVEL_OF_STAGE[index]
    window = windows_of(spec.img_size, spec.win_size)[level]
    # A window that is as large as the features has nowhere to go.
    shifts = spec.shift_flag and spec.img_size // 2**level > spec.win_size
    blocks = [
        LeWinBlock(
            spec.embed_dim * WIDTH_OF_STAGE[index],
            spec.num_heads[index],
            window,
            window // 2 if shifts and block % 2 else 0,
            spec,
            modulated=spec.modulator and index > 4,
            drop_path=rate,
        )
        for block, rate in enumerate(rates)
    ]
    return _named("blocks", *blocks)


def _drop_path_rates(spec: UformerSpec) -> list[list[float]]:
    """The rate of each block: rising to the middle, constant in it, falling after it.

    As the original's where the decoder's depths mirror the encoder's; it takes no others.
    """

    def rising(blocks: int) -> list[float]:
        return torch.linspace(0, spec.drop_path_rate, blocks, device="cpu").tolist()

    before, middle, after = spec.depths[:4], spec.depths[4], spec.depths[5:]
    rates = [*rising(sum(before)), *[spec.drop_path_rate] * middle, *reversed(rising(sum(after)))]
    stages = []
    for depth in spec.depths:
        stages.append(rates[:depth])
        rates = rates[depth:]
    return stages


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def read_uformer_spec(state_dict: Mapping[str, Tensor]) -> dict[str, object] | None:
    """The options that Uformer weights imply; None for weights of another family.

    `img_size` shows only where it makes windows smaller at the lower levels. Elsewhere it is 128,
    as in the official test programs, or what the windows need at least; see `UformerSpec`.
    """
    embedding = state_dict.get("input_proj.proj.0.weight")
    output = state_dict.get("output_proj.proj.0.weight")
    if embedding is None or output is None or "dowsample_0.conv.0.weight" not in state_dict:
        return None
    first = [f"{stage}.blocks.0" for stage in STAGES]
    tables = [state_dict[f"{block}.attn.relative_position_bias_table"] for block in first]
    windows = [(math.isqrt(table.shape[0]) + 1) // 2 for table in tables[:5]]
    leff = f"{first[0]}.mlp.linear1.0.weight" in state_dict
    layer = "linear1.0" if leff else "fc1"
    hidden = [state_dict[f"{block}.mlp.{layer}.weight"] for block in first]
    ratio = expansion_factor(((weight.shape[1], weight.shape[0]) for weight in hidden), 4.0)
    linear = f"{first[0]}.attn.qkv.to_q.weight" in state_dict
    return {
        "img_size": _img_size(windows),
        "in_chans": output.shape[0],
        "dd_in": embedding.shape[1],
        "embed_dim": embedding.shape[0],
        "depths": tuple(len(children_of(state_dict, f"{stage}.blocks.")) for stage in STAGES),
        "num_heads": tuple(table.shape[1] for table in tables),
        "win_size": windows[0],
        "mlp_ratio": 4.0 if ratio is None else ratio,
        "qkv_bias": f"{first[0]}.attn.qkv.to_q.bias" in state_dict,
        "token_projection": "linear" if linear else "conv",
        "token_mlp": "leff" if leff else "ffn",
        "modulator": "decoderlayer_0.blocks.0.modulator.weight" in state_dict,
    }


def _img_size(windows: Sequence[int]) -> int:
    """An image size that makes these windows at the five levels."""
    smallest = 16 * windows[-1]
    if windows[-1] == windows[0]:
        return max(128, smallest)
    sizes = (size for size in range(smallest, smallest + 16))
    fitting = (size for size in sizes if windows_of(size, windows[0]) == tuple(windows))
    return next(fitting, smallest)


def assume_image_size(found: Mapping[str, object], task: str | None) -> tuple[Assumption, ...]:
    """`img_size`, which the weights tell only where it makes the lower windows smaller."""
    size, window = found["img_size"], found["win_size"]
    assert isinstance(size, int)
    assert isinstance(window, int)
    if windows_of(size, window) != (window,) * 5:
        return ()
    if task == "deblur" and size < 32 * window:
        # Larger than the windows of the middle need: with it they are shifted.
        trained = 32 * window
        why = (
            f"img_size is not in the weights; {trained} is taken, which the deblurring (GoPro)"
            f" weights were trained with. Their published figures were made with {size}"
            f" (--set img_size={size})."
        )
        return (Assumption({"img_size": trained}, why),)
    why = (
        f"img_size is not in the weights; {size} is taken. Deblurring (GoPro) weights were trained"
        " with 256 (--set img_size=256)."
    )
    return (Assumption({"img_size": size}, why),)


FAMILIES = (
    Family("uformer", "Uformer", UformerSpec, Uformer, read_uformer_spec, assume=assume_image_size),
)
