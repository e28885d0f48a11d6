"""Attention between channels, as Restormer introduced it and DRSformer makes it sparse."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from irkd.models import strips
from irkd.models.base import on_reference_path
from irkd.models.layers import ChannelLayerNorm


class ChannelAttention(nn.Module):
    """B x C x H x W to the same; the attention map of a head is (C / heads) x (C / heads).

    Families differ in `attention`, what becomes of the scores, and in `_by_definition`.
    """

    def __init__(self, channels: int, heads: int, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=bias)
        self.qkv_dwconv = nn.Conv2d(
            3 * channels, 3 * channels, 3, padding=1, groups=3 * channels, bias=bias
        )
        self.project_out = nn.Conv2d(channels, channels, 1, bias=bias)

    def attention(self, scores: Tensor) -> Tensor:
        """... x heads x c x c attention maps of the scores, temperature included."""
        raise NotImplementedError

    def scores(self, query: Tensor, key: Tensor) -> Tensor:
        """B x heads x c x c of B x pixels x C queries and keys, in float32 or more."""
        return cosine_scores(query, key, self.heads) * self.temperature

    def _by_definition(self, qkv: Tensor) -> Tensor:
        """As the paper writes it, from B x 3C x H x W."""
        raise NotImplementedError

    def forward(self, features: Tensor) -> Tensor:
        qkv = self.qkv_dwconv(self.qkv(features))
        if on_reference_path():
            return self._by_definition(qkv)
        height, width = qkv.shape[-2:]
        # B x pixels x channels: a view of channels-last features.
        query, key, value = qkv.permute(0, 2, 3, 1).flatten(1, 2).chunk(3, dim=-1)
        attention = self.attention(self.scores(query, key)).to(value.dtype)
        x = value @ self._matrix(attention)
        if self.project_out.bias is not None:
            x = x + self.project_out.bias
        return x.unflatten(1, (height, width)).permute(0, 3, 1, 2)

    def _matrix(self, attention: Tensor) -> Tensor:
        """B x C x C: attention and projection both map a pixel's channels linearly, so one does."""
        projection = self.project_out.weight.flatten(1).unflatten(1, (self.heads, -1))
        return torch.einsum("ohc,bhcd->bhdo", projection, attention).flatten(1, 2)

    def add_in_strips(self, image: Tensor, norm: ChannelLayerNorm, out: Tensor) -> None:
        """Write image + attention(norm(image)) to `out`; both are H x W x C.

        Queries and keys are never whole, since only the sums of their products are needed.
        """
        weight, bias = strips.pad_first(self.qkv.weight.flatten(1)), self.qkv.bias
        filters, filter_bias = strips.pad_first(self.qkv_dwconv.weight), self.qkv_dwconv.bias
        if bias is not None and filter_bias is not None:
            bias, filter_bias = strips.pad_first(bias), strips.pad_first(filter_bias)
        hidden, channels = len(weight), image.shape[-1]

        def project(first: int, end: int, rows: Tensor) -> None:
            strips.pointwise(norm.pixels(image[first:end]), weight, bias, rows)

        window = strips.Window(image, hidden, 1, project)
        size = channels // self.heads
        products = image.new_zeros(self.heads, size, size)
        squares = image.new_zeros(2 * channels)
        for first, end in strips.strips(image, hidden):
            qkv = strips.depthwise(window.around(first, end), filters, filter_bias).flatten(0, 1)
            query, key, value = qkv[:, : 3 * channels].chunk(3, dim=-1)
            products.baddbmm_(
                query.unflatten(-1, (self.heads, size)).permute(1, 2, 0),
                key.unflatten(-1, (self.heads, size)).transpose(0, 1),
            )
            squares += qkv[:, : 2 * channels].square().sum(0)
            # What follows needs the values once more: `out` keeps them so long.
            out[first:end].flatten(0, 1).copy_(value)
        query_norm, key_norm = squares.sqrt().clamp(min=1e-12).unflatten(0, (2, self.heads, size))
        scores = products / (query_norm[:, :, None] * key_norm[:, None]) * self.temperature
        matrix = self._matrix(self.attention(scores)[None])[0]
        for first, end in strips.strips(image, channels):
            values = out[first:end].flatten(0, 1)
            x = torch.addmm(image[first:end].flatten(0, 1), values, matrix)
            if self.project_out.bias is not None:
                x += self.project_out.bias
            values.copy_(x)


def cosine_scores(query: Tensor, key: Tensor, heads: int) -> Tensor:
    """Cosines between channels: B x heads x c x c of B x pixels x C queries and keys, C = heads c.

    Normalising the c x c products instead of query and key spares two copies of the features.
    The result is float32 or more.
    """
    query_norm = _norm_over_pixels(query)
    key_norm = _norm_over_pixels(key)
    half = query.dtype in (torch.float16, torch.bfloat16)
    if half:
        # Sums over many pixels leave float16's range; of unit vectors they do not.
        query = (query / query_norm).to(query.dtype)
        key = (key / key_norm).to(key.dtype)
    query = query.unflatten(-1, (heads, -1)).permute(0, 2, 3, 1)
    key = key.unflatten(-1, (heads, -1)).transpose(1, 2)
    scores = query @ key
    if half:
        return scores.float()
    query_norm = query_norm.unflatten(-1, (heads, -1)).permute(0, 2, 3, 1)
    key_norm = key_norm.unflatten(-1, (heads, -1)).transpose(1, 2)
    return scores / (query_norm * key_norm)


def _norm_over_pixels(features: Tensor) -> Tensor:
    """B x 1 x C lengths of B x HW x C, at least 1e-12 so that all-zero channels stay zero."""
    precision = torch.promote_types(features.dtype, torch.float32)
    norm = torch.linalg.vector_norm(features, dim=1, keepdim=True, dtype=precision)
    return norm.clamp(min=1e-12)
