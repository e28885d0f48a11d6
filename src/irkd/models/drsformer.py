"""DRSformer.

Chen, Li, Li, Pan: "Learning A Sparse Transformer Network for Effective Image Deraining", CVPR 2023.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, cast

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from irkd.models.base import Family, on_reference_path
from irkd.models.channel_attention import ChannelAttention
from irkd.models.four_levels import LEVELS, FourLevelSpec, read_four_levels
from irkd.models.layers import (
    ChannelLayerNorm,
    Downsample,
    PatchEmbedding,
    Upsample,
    channels_last,
    children_of,
)
from irkd.models.taps import Tap

EXPERTS = 8


class DRSformerSpec(FourLevelSpec):
    """The releases for Rain200L and SPA-Data have no MEFC (mixture of experts), the others do."""

    arch: Literal["drsformer"] = "drsformer"
    mefc: bool = Field(True, description="mixtures of experts before level 1 and before the output")
    mefc_layers: int = Field(1, ge=1, le=16, description="layers of each mixture (`layer_num`)")
    mefc_steps: int = Field(4, ge=1, le=64, description="steps of each layer (`steps`)")

    @model_validator(mode="after")
    def _attention_and_residual_fit(self) -> DRSformerSpec:
        for level, heads in enumerate(self.heads):
            if self.dim * 2**level == heads:
                raise ValueError(
                    f"{heads} heads leave 1 channel each at level {level + 1}; top-k attention "
                    "keeps half of a head's channels, so it needs 2 or more"
                )
        if self.inp_channels != self.out_channels:
            raise ValueError(
                f"inp_channels {self.inp_channels} and out_channels {self.out_channels} must be "
                "equal, since the input is added to the output"
            )
        return self


class TopKSparseAttention(ChannelAttention):
    """Top-k sparse attention (TKSA): attention between channels that keeps the best scores.

    Four attention maps keep the largest 1/2, 2/3, 3/4 and 4/5 of each row of scores, rounded down,
    and are mixed by the learned `attn1` to `attn4`. Which of equal scores are kept is not defined,
    and so may differ from the original's choice.
    """

    def __init__(self, channels: int, heads: int, bias: bool) -> None:
        super().__init__(channels, heads, bias)
        row = channels // heads
        self.kept = (row // 2, row * 2 // 3, row * 3 // 4, row * 4 // 5)
        self.attn1 = nn.Parameter(torch.tensor([0.2]))
        self.attn2 = nn.Parameter(torch.tensor([0.2]))
        self.attn3 = nn.Parameter(torch.tensor([0.2]))
        self.attn4 = nn.Parameter(torch.tensor([0.2]))

    def _by_definition(self, qkv: Tensor) -> Tensor:
        height, width = qkv.shape[-2:]
        heads = qkv.flatten(2).unflatten(1, (3, self.heads, -1))
        query, key, value = heads.unbind(1)
        query, key = F.normalize(query, dim=-1), F.normalize(key, dim=-1)
        scores = query @ key.mT * self.temperature
        x = torch.zeros_like(value)
        for kept, share in self._selections():
            dropped = torch.ones_like(scores, dtype=torch.bool)
            dropped = dropped.scatter(-1, scores.topk(kept).indices, False)
            x = x + share * (scores.masked_fill(dropped, float("-inf")).softmax(-1) @ value)
        return self.project_out(x.flatten(1, 2).unflatten(2, (height, width)))

    def scores(self, query: Tensor, key: Tensor) -> Tensor:
        # Rounded to half precision, other scores would be among the largest.
        precision = torch.promote_types(query.dtype, torch.float32)
        with _without_autocast(query.device.type):
            return super().scores(query.to(precision), key.to(precision))

    def attention(self, scores: Tensor) -> Tensor:
        # One sort serves all four maps: each keeps the beginning of the sorted row.
        ordered, places = scores.sort(dim=-1, descending=True)
        mixed = torch.zeros_like(scores)
        for kept, share in self._selections():
            weights = share * ordered[..., :kept].softmax(-1)
            mixed = mixed + F.pad(weights, (0, ordered.shape[-1] - kept))
        return torch.zeros_like(scores).scatter(-1, places, mixed)

    def _selections(self) -> Iterator[tuple[int, Tensor]]:
        yield from zip(self.kept, (self.attn1, self.attn2, self.attn3, self.attn4), strict=True)


def _without_autocast(device: str) -> AbstractContextManager[object]:
    # Entered only where it is on: an exported graph cannot hold it.
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()


class MixedScaleFeedForward(nn.Module):
    """Mixed-scale feed-forward network (MSFN): B x C x H x W to the same.

    As in the original, the second pair of convolutions combines two neighbouring channels each,
    which are of the same scale but for the middle pair of an odd number of hidden channels: the
    scales meet in `project_out` only.
    """

    def __init__(self, channels: int, expansion: float, bias: bool) -> None:
        super().__init__()
        hidden = int(channels * expansion)

        def convolution(inputs: int, outputs: int, size: int, groups: int) -> nn.Conv2d:
            return nn.Conv2d(inputs, outputs, size, padding=size // 2, groups=groups, bias=bias)

        self.project_in = convolution(channels, 2 * hidden, 1, 1)
        self.dwconv3x3 = convolution(2 * hidden, 2 * hidden, 3, 2 * hidden)
        self.dwconv5x5 = convolution(2 * hidden, 2 * hidden, 5, 2 * hidden)
        self.dwconv3x3_1 = convolution(2 * hidden, hidden, 3, hidden)
        self.dwconv5x5_1 = convolution(2 * hidden, hidden, 5, hidden)
        self.project_out = convolution(2 * hidden, channels, 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        if on_reference_path():
            return self._by_definition(features)
        # What becomes the input of the second 3 x 3 and of the second 5 x 5 convolution are two
        # networks that share nothing: one after the other needs half the memory.
        return self._branch(features, 0, self.dwconv3x3_1) + self._branch(
            features, 1, self.dwconv5x5_1
        )

    def _by_definition(self, features: Tensor) -> Tensor:
        x = self.project_in(features)
        first3, second3 = F.relu(self.dwconv3x3(x)).chunk(2, dim=1)
        first5, second5 = F.relu(self.dwconv5x5(x)).chunk(2, dim=1)
        x3 = F.relu(self.dwconv3x3_1(torch.cat([first3, first5], 1)))
        x5 = F.relu(self.dwconv5x5_1(torch.cat([second3, second5], 1)))
        return self.project_out(torch.cat([x3, x5], 1))

    def _branch(self, features: Tensor, half: int, combine: nn.Conv2d) -> Tensor:
        """What `combine` adds to the output: the first or second half of the hidden channels."""

        def own(parameter: Tensor | None) -> Tensor | None:
            return None if parameter is None else parameter.chunk(2)[half]

        project, *scales = self.project_in, self.dwconv3x3, self.dwconv5x5
        x = F.conv2d(features, project.weight.chunk(2)[half], own(project.bias))
        x = torch.cat(
            [_depthwise(x, scale.weight.chunk(2)[half], own(scale.bias)) for scale in scales], 1
        ).relu_()
        # Groups of two inputs have no fast kernels on a CPU, depthwise convolution has: weigh each
        # channel by itself, then add up the pairs.
        x = _depthwise(x, combine.weight.flatten(0, 1)[:, None])
        x = x[:, 0::2] + x[:, 1::2]
        if combine.bias is not None:
            x = x + combine.bias.view(-1, 1, 1)
        weight = self.project_out.weight.chunk(2, dim=1)[half]
        return F.conv2d(x.relu_(), weight, self.project_out.bias if half else None)


def _depthwise(features: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.conv2d(features, weight, bias, padding=weight.shape[-1] // 2, groups=len(weight))


class SparseTransformerBlock(nn.Module):
    """B x C x H x W to the same: attention and feed-forward, each normalised first and added."""

    def __init__(self, channels: int, heads: int, spec: DRSformerSpec) -> None:
        super().__init__()
        with_bias = spec.LayerNorm_type == "WithBias"
        self.norm1 = ChannelLayerNorm(channels, with_bias=with_bias)
        self.attn = TopKSparseAttention(channels, heads, spec.bias)
        self.norm2 = ChannelLayerNorm(channels, with_bias=with_bias)
        self.ffn = MixedScaleFeedForward(channels, spec.ffn_expansion_factor, spec.bias)

    def forward(self, features: Tensor) -> Tensor:
        features = features + self.attn(self.norm1(features))
        return features + self.ffn(self.norm2(features))


class Expert(nn.Module):
    """One expert of a mixture: B x C x H x W to the same."""

    def __init__(self, op: nn.Sequential) -> None:
        super().__init__()
        self.op = op

    def forward(self, features: Tensor) -> Tensor:
        return self.op(features)

    def split(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        """(features before the last 1 x 1 convolution, its C x C matrix or None without one)."""
        *layers, last = self.op
        for layer in layers:
            features = layer(features)
        return features, last.get_parameter("weight").flatten(1)


class PointwiseExpert(Expert):
    """The separable convolution of 1 x 1 pixels, whose depthwise layers only scale channels."""

    def split(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        first, mix, second, last = (self.op[i].get_parameter("weight") for i in (0, 1, 3, 4))
        features = F.conv2d(features, mix * first.transpose(0, 1)).relu_()
        return features, last.flatten(1) * second.flatten()


class PoolingExpert(Expert):
    """The expert without weights: the mean of 3 x 3 pixels, at the border of those there are."""

    def __init__(self) -> None:
        pool = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
        super().__init__(nn.Sequential(pool))

    def split(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.op(features), None


def _experts(channels: int) -> Iterator[Expert]:
    def depthwise(size: int, dilation: int = 1) -> nn.Conv2d:
        padding = dilation * (size // 2)
        return nn.Conv2d(
            channels,
            channels,
            size,
            padding=padding,
            dilation=dilation,
            groups=channels,
            bias=False,
        )

    def pointwise() -> nn.Conv2d:
        return nn.Conv2d(channels, channels, 1, bias=False)

    for size in (1, 3, 5, 7):
        relu = nn.ReLU(inplace=True)
        expert = PointwiseExpert if size == 1 else Expert
        yield expert(
            nn.Sequential(depthwise(size), pointwise(), relu, depthwise(size), pointwise())
        )
    for size in (3, 5, 7):
        yield Expert(nn.Sequential(depthwise(size, dilation=2), pointwise()))
    yield PoolingExpert()


class MixtureStep(nn.Module):
    """All experts on B x C x H x W, weighted per image by B x 8, joined and added to the input.

    The input must not be negative, as after a ReLU; the output is not negative either.
    """

    # As much as several transformer blocks: see `irkd.models.taps.encode`.
    recomputed = True

    def __init__(self, channels: int) -> None:
        super().__init__()
        self._ops = nn.ModuleList(_experts(channels))
        self._out = nn.Sequential(
            nn.Conv2d(EXPERTS * channels, channels, 1, bias=False), nn.ReLU(inplace=True)
        )

    def forward(self, features: Tensor, weights: Tensor) -> Tensor:
        if on_reference_path():
            weighted = [
                expert(features) * weight.view(-1, 1, 1, 1)
                for expert, weight in zip(self._ops, weights.unbind(1), strict=True)
            ]
            return F.relu(self._out(torch.cat(weighted, 1)) + features)
        # An expert's last convolution, its weight and its part of the joining convolution are one
        # C x C matrix per image; adding up what it gives needs no 8 C channels.
        parts = self._out[0].get_parameter("weight").flatten(1).chunk(EXPERTS, dim=1)
        total = None
        for expert, part, weight in zip(self._ops, parts, weights.unbind(1), strict=True):
            x, projection = cast(Expert, expert).split(features)
            matrix = part if projection is None else part @ projection
            matrix = (weight.view(-1, 1, 1) * matrix.T).to(x.dtype)
            pixels = x.permute(0, 2, 3, 1).flatten(1, 2)
            total = pixels @ matrix if total is None else torch.baddbmm(total, pixels, matrix)
        assert total is not None
        joined = total.relu_().unflatten(1, features.shape[-2:]).permute(0, 3, 1, 2)
        # Neither term is negative: the original's last ReLU changes nothing.
        return features + joined


class MixtureWeights(nn.Module):
    """The experts' weights in every step, B x steps x 8, from the mean of B x C x H x W."""

    def __init__(self, channels: int, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.ca_fc = nn.Sequential(
            nn.Linear(channels, 2 * EXPERTS * steps),
            nn.ReLU(),
            nn.Linear(2 * EXPERTS * steps, EXPERTS * steps),
        )

    def forward(self, features: Tensor) -> Tensor:
        scores = self.ca_fc(features.mean((2, 3)))
        return scores.unflatten(1, (self.steps, EXPERTS)).softmax(-1)


class MixtureLayer(nn.Module):
    """B x C x H x W to the same, in steps; `weights` as `MixtureWeights` gives them."""

    def __init__(self, channels: int, steps: int) -> None:
        super().__init__()
        self.preprocess = Expert(
            nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.ReLU(inplace=True))
        )
        self._ops = nn.ModuleList(MixtureStep(channels) for _ in range(steps))

    def forward(self, features: Tensor, weights: Tensor) -> Tensor:
        features = self.preprocess(features)
        for step, step_weights in zip(self._ops, weights.unbind(1), strict=True):
            features = step(features, step_weights)
        return features


class MixtureOfExperts(nn.Module):
    """Mixture of experts feature compensator (MEFC): B x C x H x W to the same."""

    def __init__(self, channels: int, layers: int, steps: int) -> None:
        super().__init__()
        # Weights and layers take turns, as the official names have it.
        self.layers = nn.ModuleList()
        for _ in range(layers):
            self.layers.append(MixtureWeights(channels, steps))
            self.layers.append(MixtureLayer(channels, steps))

    def forward(self, features: Tensor) -> Tensor:
        for weigh, layer in zip(self.layers[0::2], self.layers[1::2], strict=True):
            features = layer(features, weigh(features))
        return features


class DRSformer(nn.Module):
    """B x inp_channels x H x W in the spec's value range to the same, not clamped.

    Height and width must be multiples of 8. Restormer's skeleton, without refinement blocks.
    """

    size_multiple = 2 ** (LEVELS - 1)

    def __init__(self, spec: DRSformerSpec) -> None:
        super().__init__()
        self.spec = spec
        self.in_channels, self.out_channels = spec.inp_channels, spec.out_channels
        dim = spec.dim

        def stage(channels: int, level: int, blocks: int) -> nn.Sequential:
            heads = spec.heads[level - 1]
            return nn.Sequential(
                *(SparseTransformerBlock(channels, heads, spec) for _ in range(blocks))
            )

        def mixture(channels: int) -> MixtureOfExperts:
            return MixtureOfExperts(channels, spec.mefc_layers, spec.mefc_steps)

        depth1, depth2, depth3, depth_latent = spec.num_blocks
        self.patch_embed = PatchEmbedding(spec.inp_channels, dim)
        if spec.mefc:
            self.encoder_level0 = mixture(dim)
        self.encoder_level1 = stage(dim, 1, depth1)
        self.down1_2 = Downsample(dim)
        self.encoder_level2 = stage(2 * dim, 2, depth2)
        self.down2_3 = Downsample(2 * dim)
        self.encoder_level3 = stage(4 * dim, 3, depth3)
        self.down3_4 = Downsample(4 * dim)
        self.latent = stage(8 * dim, 4, depth_latent)

        self.up4_3 = Upsample(8 * dim)
        self.reduce_chan_level3 = nn.Conv2d(8 * dim, 4 * dim, 1, bias=spec.bias)
        self.decoder_level3 = stage(4 * dim, 3, depth3)
        self.up3_2 = Upsample(4 * dim)
        self.reduce_chan_level2 = nn.Conv2d(4 * dim, 2 * dim, 1, bias=spec.bias)
        self.decoder_level2 = stage(2 * dim, 2, depth2)
        self.up2_1 = Upsample(2 * dim)
        # Level 1 is not reduced after concatenation: 2 dim channels with the heads of level 1.
        self.decoder_level1 = stage(2 * dim, 1, depth1)
        if spec.mefc:
            self.refinement = mixture(2 * dim)
        self.output = nn.Conv2d(2 * dim, spec.out_channels, 3, padding=1, bias=spec.bias)

    def forward(self, images: Tensor) -> Tensor:
        images = channels_last(images)
        x = self.patch_embed(images)
        if self.spec.mefc:
            x = self.encoder_level0(x)
        encoded1 = self.encoder_level1(x)
        encoded2 = self.encoder_level2(self.down1_2(encoded1))
        encoded3 = self.encoder_level3(self.down2_3(encoded2))
        x = self.latent(self.down3_4(encoded3))

        x = self.decoder_level3(self.reduce_chan_level3(torch.cat([self.up4_3(x), encoded3], 1)))
        x = self.decoder_level2(self.reduce_chan_level2(torch.cat([self.up3_2(x), encoded2], 1)))
        x = self.decoder_level1(torch.cat([self.up2_1(x), encoded1], 1))
        if self.spec.mefc:
            x = self.refinement(x)
        return self.output(x) + images

    def taps(self) -> dict[str, Tap]:
        dim = self.spec.dim
        taps = {
            "encoder_level1": Tap("encoder_level1", "encoder", dim, 1),
            "encoder_level2": Tap("encoder_level2", "encoder", 2 * dim, 2),
            "encoder_level3": Tap("encoder_level3", "encoder", 4 * dim, 4),
            "middle": Tap("latent", "middle", 8 * dim, 8),
            "decoder_level3": Tap("decoder_level3", "decoder", 4 * dim, 4),
            "decoder_level2": Tap("decoder_level2", "decoder", 2 * dim, 2),
            "decoder_level1": Tap("decoder_level1", "decoder", 2 * dim, 1),
        }
        if self.spec.mefc:
            taps["refinement"] = Tap("refinement", "decoder", 2 * dim, 1)
        return taps


def read_drsformer_spec(state_dict: Mapping[str, Tensor]) -> dict[str, object] | None:
    """The options that DRSformer weights imply; None for weights of another family."""
    options = read_four_levels(state_dict, "ffn.dwconv3x3.weight")
    mixture = children_of(state_dict, "encoder_level0.layers.")
    blocks = any(key.endswith("ffn.dwconv3x3.weight") for key in state_dict)
    # Without either, nothing tells these weights from Restormer's.
    if options is None or not (blocks or mixture):
        return None
    if not mixture:
        return {**options, "mefc": False}
    return {
        **options,
        "mefc": True,
        "mefc_layers": len(mixture) // 2,
        "mefc_steps": len(children_of(state_dict, "encoder_level0.layers.1._ops.")),
    }


FAMILIES = (Family("drsformer", "DRSformer", DRSformerSpec, DRSformer, read_drsformer_spec),)
