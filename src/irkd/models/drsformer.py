"""DRSformer.

Chen, Li, Li, Pan: "Learning A Sparse Transformer Network for Effective Image Deraining", CVPR 2023.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from irkd.models import strips
from irkd.models.base import Family
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
from irkd.models.mixed_scale import MixedScaleFeedForward
from irkd.models.mixture_of_experts import MixtureOfExperts
from irkd.models.taps import Tap


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
        if strips.in_strips(features):
            return strips.each_image(features, self._in_strips)
        features = features + self.attn(self.norm1(features))
        return features + self.ffn(self.norm2(features))

    def _in_strips(self, image: Tensor, out: Tensor) -> None:
        self.attn.add_in_strips(image, self.norm1, out)
        self.ffn.add_in_strips(out, self.norm2)


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
        x = torch.cat([self.up2_1(x), encoded1], 1)
        # The largest features: without gradients, their memory is free for what follows.
        del encoded1
        x = self.decoder_level1(x)
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
