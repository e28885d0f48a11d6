"""Uformer's blocks for inference on a CPU: bands of whole windows, and strips of rows.

Queries, keys, values, scores and hidden channels are many times a block's input. Of a band or strip
they stay in the processor's cache. See `strips`.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irkd.models.normalised import Normalisation
from irkd.models.strips import Window, depthwise, pointwise, strips
from irkd.models.uformer_windows import WindowAttention, boundary_masks


class BandAttention:
    """Normalisation, window attention and the sum with the input, for images H x W x C."""

    def __init__(
        self,
        norm: nn.LayerNorm,
        attention: WindowAttention,
        modulator: Tensor | None,
        window: int,
        shift: int,
    ) -> None:
        self.window, self.shift, self.heads = window, shift, attention.heads
        self.scale, self.proj, self.modulator = attention.scale, attention.proj, modulator
        self.norm = Normalisation(norm.weight, norm.bias, norm.eps)
        layers = [attention.qkv[name] for name in ("to_q", "to_kv")]
        weight = torch.cat([layer.get_parameter("weight") for layer in layers])
        bias = None
        if layers[0].bias is not None:
            bias = torch.cat([layer.get_parameter("bias") for layer in layers])
        if modulator is None:
            weight, bias = self.norm.folded(weight, bias)
        self.weight, self.bias = weight, bias
        masks = boundary_masks(window, shift, weight.device, weight.dtype)
        # For windows inside the image, in its last row, its last column, and in both.
        self.biases = attention.bias()[None] + masks[: 4 if shift else 1, None]

    def __call__(self, image: Tensor, out: Tensor) -> None:
        """Write the image plus its attention to `out`."""
        height, shift = len(image), self.shift
        for first, end in self._bands(image):
            rows = image[first + shift : end + shift]
            if shift:
                # As if the image were rolled: what lies beyond its end is its beginning.
                if end == height:
                    rows = torch.cat([rows, image[:shift]])
                rows = rows.roll(-shift, 1)
            attended = self._attend(rows, last=end == height)
            if shift:
                attended = attended.roll(shift, 1)
            below = min(end + shift, height) - (first + shift)
            part = slice(first + shift, first + shift + below)
            torch.add(image[part], attended[:below], out=out[part])
            if below < len(attended):
                torch.add(image[:shift], attended[below:], out=out[:shift])

    def _bands(self, image: Tensor) -> Iterator[tuple[int, int]]:
        """(first, end) of bands of rows; where windows are shifted, the last windows are one."""
        height, _, channels = image.shape
        _, rows = next(strips(image, 4 * channels))
        size = max(rows // self.window, 1) * self.window
        stop = height - self.window if self.shift else height
        for first in range(0, stop, size):
            yield first, min(first + size, stop)
        if self.shift:
            yield stop, height

    def _attend(self, rows: Tensor, *, last: bool) -> Tensor:
        """Attention in the windows of rows x W x C; `last`: the lowest ones of the image."""
        height, width, channels = rows.shape
        side = self.window
        down, across = height // side, width // side
        # Windows column by column: those that share a mask lie together.
        if self.modulator is None:
            windows = _windows(self.norm(rows), side).reshape(-1, side**2, channels)
        else:
            windows = rows.new_empty(down * across, side**2, channels)
            offsets = self.modulator.view(side, side, channels)
            views = windows.view(across, down, side, side, channels)
            torch.add(_windows(self.norm.whole(rows), side), offsets, out=views)
        # Windows x heads x pixels x channels of a head.
        wide = F.linear(windows, self.weight, self.bias).unflatten(2, (3, self.heads, -1))
        query, key, value = wide.permute(2, 0, 3, 1, 4).unbind()

        def attended(part: slice, mask: Tensor) -> Tensor:
            result = F.scaled_dot_product_attention(
                query[part], key[part], value[part], mask[None], scale=self.scale
            )
            return result.transpose(1, 2).flatten(2)

        if self.shift:
            inside = slice(None, (across - 1) * down)
            beside = slice((across - 1) * down, None)
            inner, outer = self.biases[1::2] if last else self.biases[::2]
            parts = [attended(beside, outer)]
            if across > 1:
                parts.insert(0, attended(inside, inner))
            result = torch.cat(parts)
        else:
            result = attended(slice(None), self.biases[0])
        result = F.linear(result, self.proj.weight, self.proj.bias)
        result = result.view(across, down, side, side, channels)
        return result.permute(1, 2, 0, 3, 4).reshape(height, width, channels)


def _windows(rows: Tensor, side: int) -> Tensor:
    """across x down x side x side x C of the windows' pixels in rows x W x C."""
    return rows.unflatten(1, (-1, side)).unflatten(0, (-1, side)).permute(2, 0, 1, 3, 4)


class StripFeedForward:
    """Normalisation, LeFF (or without `depthwise` a plain feed-forward) and the sum, in place."""

    def __init__(
        self, norm: nn.LayerNorm, first: nn.Linear, between: nn.Conv2d | None, last: nn.Linear
    ) -> None:
        self.norm = Normalisation(norm.weight, norm.bias, norm.eps)
        self.widen = self.norm.folded(first.weight, first.bias)
        self.between, self.last = between, last
        self.hidden = first.out_features

    def __call__(self, image: Tensor) -> None:
        """Add the result to the H x W x C image."""

        def widened(first: int, end: int, out: Tensor) -> None:
            pointwise(self.norm(image[first:end]), *self.widen, out)
            torch.ops.aten.gelu_(out)

        if self.between is None:
            for first, end in strips(image, self.hidden):
                wide = image.new_empty(end - first, image.shape[1], self.hidden)
                widened(first, end, wide)
                self._add(wide, image[first:end])
            return
        # Rows below a strip are widened before the strip is written.
        window = Window(image, self.hidden, 1, widened)
        for first, end in strips(image, self.hidden):
            wide = depthwise(window.around(first, end), self.between.weight, self.between.bias)
            torch.ops.aten.gelu_(wide)
            self._add(wide, image[first:end])

    def _add(self, wide: Tensor, rows: Tensor) -> None:
        rows.flatten(0, 1).addmm_(wide.flatten(0, 1), self.last.weight.T)
        rows += self.last.bias
