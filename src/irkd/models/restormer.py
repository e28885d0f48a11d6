"""Restormer.

Zamir, Arora, Khan, Hayat, Khan, Yang: "Restormer: Efficient Transformer for High-Resolution Image
Restoration", CVPR 2022.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from irkd.models.taps import Tap


class RestormerSpec(FourLevelSpec):
    arch: Literal["restormer"] = "restormer"
    num_refinement_blocks: int = Field(4, ge=0, le=64)
    dual_pixel_task: bool = Field(
        False, description="left and right view in, one image out: no residual to the input"
    )

    @model_validator(mode="after")
    def _residual_fits(self) -> RestormerSpec:
        if not self.dual_pixel_task and self.inp_channels != self.out_channels:
            raise ValueError(
                f"inp_channels {self.inp_channels} and out_channels {self.out_channels} must be "
                "equal, since the input is added to the output (but for dual_pixel_task)"
            )
        return self


class TransposedAttention(ChannelAttention):
    """Multi-Dconv head transposed attention (eq. 1): attention between channels, not pixels."""

    def attention(self, scores: Tensor) -> Tensor:
        return scores.softmax(-1)

    def _by_definition(self, qkv: Tensor) -> Tensor:
        height, width = qkv.shape[-2:]
        heads = qkv.flatten(2).unflatten(1, (3, self.heads, -1))
        query, key, value = heads.unbind(1)
        query, key = F.normalize(query, dim=-1), F.normalize(key, dim=-1)
        attention = (query @ key.mT * self.temperature).softmax(-1)
        return self.project_out((attention @ value).flatten(1, 2).unflatten(2, (height, width)))


class GatedFeedForward(nn.Module):
    """Gated-Dconv feed-forward network (eq. 2): B x C x H x W to the same."""

    def __init__(self, channels: int, expansion: float, bias: bool) -> None:
        super().__init__()
        hidden = int(channels * expansion)
        self.project_in = nn.Conv2d(channels, 2 * hidden, 1, bias=bias)
        self.dwconv = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=bias)
        self.project_out = nn.Conv2d(hidden, channels, 1, bias=bias)

    def forward(self, features: Tensor) -> Tensor:
        gate, x = self.dwconv(self.project_in(features)).chunk(2, dim=1)
        return self.project_out(F.gelu(gate) * x)

    def add_in_strips(self, image: Tensor, norm: ChannelLayerNorm) -> None:
        """Add the network's output for norm(image) to the H x W x C image in place."""
        project, filters, project_out = self.project_in, self.dwconv, self.project_out
        # The gate and what it is multiplied with are each filled up.
        weight = strips.pad_first(project.weight.flatten(1), 2)
        bias = None if project.bias is None else strips.pad_first(project.bias, 2)
        filter_weight = strips.pad_first(filters.weight, 2)
        filter_bias = None if filters.bias is None else strips.pad_first(filters.bias, 2)
        matrix = strips.pad_first(project_out.weight.flatten(1).T)

        def rows(first: int, end: int, out: Tensor) -> None:
            strips.pointwise(norm.pixels(image[first:end]), weight, bias, out)

        window = strips.Window(image, len(weight), 1, rows)
        for first, end in strips.strips(image, len(weight)):
            hidden = strips.depthwise(window.around(first, end), filter_weight, filter_bias)
            gate, x = hidden.flatten(0, 1).chunk(2, dim=-1)
            # The window is a row ahead: what is changed here has been read.
            pixels = image[first:end].flatten(0, 1)
            pixels.addmm_(F.gelu(gate).mul_(x), matrix)
            if project_out.bias is not None:
                pixels += project_out.bias


class TransformerBlock(nn.Module):
    """B x C x H x W to the same: attention and feed-forward, each normalised first and added."""

    def __init__(self, channels: int, heads: int, spec: RestormerSpec) -> None:
        super().__init__()
        with_bias = spec.LayerNorm_type == "WithBias"
        self.norm1 = ChannelLayerNorm(channels, with_bias=with_bias)
        self.attn = TransposedAttention(channels, heads, spec.bias)
        self.norm2 = ChannelLayerNorm(channels, with_bias=with_bias)
        self.ffn = GatedFeedForward(channels, spec.ffn_expansion_factor, spec.bias)

    def forward(self, features: Tensor) -> Tensor:
        if strips.in_strips(features):
            return strips.each_image(features, self._in_strips)
        features = features + self.attn(self.norm1(features))
        return features + self.ffn(self.norm2(features))

    def _in_strips(self, image: Tensor, out: Tensor) -> None:
        self.attn.add_in_strips(image, self.norm1, out)
        self.ffn.add_in_strips(out, self.norm2)


class Restormer(nn.Module):
    """B x inp_channels x H x W in the spec's value range to B x out_channels x H x W, not clamped.

    Height and width must be multiples of 8.
    """

    size_multiple = 2 ** (LEVELS - 1)

    def __init__(self, spec: RestormerSpec) -> None:
        super().__init__()
        self.spec = spec
        self.in_channels, self.out_channels = spec.inp_channels, spec.out_channels
        dim = spec.dim

        def stage(channels: int, level: int, blocks: int) -> nn.Sequential:
            heads = spec.heads[level - 1]
            return nn.Sequential(*(TransformerBlock(channels, heads, spec) for _ in range(blocks)))

        depth1, depth2, depth3, depth_latent = spec.num_blocks
        self.patch_embed = PatchEmbedding(spec.inp_channels, dim)
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
        self.refinement = stage(2 * dim, 1, spec.num_refinement_blocks)
        if spec.dual_pixel_task:
            self.skip_conv = nn.Conv2d(dim, 2 * dim, 1, bias=spec.bias)
        self.output = nn.Conv2d(2 * dim, spec.out_channels, 3, padding=1, bias=spec.bias)

    def forward(self, images: Tensor) -> Tensor:
        images = channels_last(images)
        x = self.patch_embed(images)
        embedded = x if self.spec.dual_pixel_task else None
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
        x = self.refinement(x)
        if embedded is not None:
            return self.output(x + self.skip_conv(embedded))
        return self.output(x) + images

    def taps(self) -> dict[str, Tap]:
        dim = self.spec.dim
        return {
            "encoder_level1": Tap("encoder_level1", "encoder", dim, 1),
            "encoder_level2": Tap("encoder_level2", "encoder", 2 * dim, 2),
            "encoder_level3": Tap("encoder_level3", "encoder", 4 * dim, 4),
            "middle": Tap("latent", "middle", 8 * dim, 8),
            "decoder_level3": Tap("decoder_level3", "decoder", 4 * dim, 4),
            "decoder_level2": Tap("decoder_level2", "decoder", 2 * dim, 2),
            "decoder_level1": Tap("decoder_level1", "decoder", 2 * dim, 1),
            "refinement": Tap("refinement", "decoder", 2 * dim, 1),
        }


def read_restormer_spec(state_dict: Mapping[str, Tensor]) -> dict[str, object] | None:
    """The options that Restormer weights imply; None for weights of another family."""
    # DRSformer has the same skeleton, but another feed-forward network.
    options = read_four_levels(state_dict, "ffn.dwconv.weight")
    if options is None or children_of(state_dict, "encoder_level0."):
        return None
    return {
        **options,
        "num_refinement_blocks": len(children_of(state_dict, "refinement.")),
        "dual_pixel_task": "skip_conv.weight" in state_dict,
    }


FAMILIES = (Family("restormer", "Restormer", RestormerSpec, Restormer, read_restormer_spec),)
