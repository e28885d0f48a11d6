"""Blocks computed strip by strip of rows, so that their wide hidden features never exist whole.

A feed-forward network holds several times its input's channels. Computed for a few rows at a time,
these stay in the processor's cache: faster, and the memory is that of the block's input and output.
The result is the same but for float rounding: at the upper and lower end of a strip convolutions
see the neighbouring rows, beyond the image zeros, as padding gives.

Strips are H x W x C: a pixel's channels side by side, so that a 1 x 1 convolution is one matrix
product and oneDNN has fast kernels for depthwise convolution.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from irkd.models.base import on_reference_path

# Kernels are several times slower for channels that do not fill vectors: 16 floats in AVX-512.
LANES = 16
# `compute(first, end, out)` writes rows `first` to before `end` of the image into `out`. It is
# called strip after strip: each row once, in order.
Compute = Callable[[int, int, Tensor], None]

# Of one hidden strip for each thread. What fits the second-level cache or twice that was fastest;
# with strips eight times as large, nothing is gained over whole features.
_STRIP_BYTES = 2**21
_LEAST_ROWS = 4
_shortest = False


def in_strips(features: Tensor) -> bool:
    """Whether a block may work in strips: on a CPU, without gradients, autocast or a compiler.

    For float16 and bfloat16 torch's own kernels for whole features are the faster ones.
    """
    return (
        features.device.type == "cpu"
        and features.dtype in (torch.float32, torch.float64)
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and not on_reference_path()
    )


def each_image(features: Tensor, run: Callable[..., None], *others: Tensor) -> Tensor:
    """Let `run(image, out, *others)` compute the H x W x C `out` of every image of B x C x H x W.

    `out` arrives uninitialised; `image` must not be written to, since others may hold it.
    `others` are one of each image too.
    """
    images = features.permute(0, 2, 3, 1).contiguous()
    results = torch.empty_like(images)
    for image, out, *own in zip(images, results, *others, strict=True):
        run(image, out, *own)
    return results.permute(0, 3, 1, 2)


def strips(rows: Tensor, channels: int) -> Iterator[tuple[int, int]]:
    """(first, end) of strips of the rows of H x W x C, sized for `channels` hidden channels."""
    height, width = rows.shape[:2]
    row_bytes = width * channels * rows.element_size()
    most = max(_STRIP_BYTES * torch.get_num_threads() // row_bytes, _LEAST_ROWS)
    # Strips of about one size.
    size = _LEAST_ROWS if _shortest else -(-height // -(-height // most))
    for first in range(0, height, size):
        yield first, min(first + size, height)


@contextlib.contextmanager
def shortest_strips() -> Iterator[None]:
    """Make strips so short that a small image's memory shows what grows with the image."""
    global _shortest
    before, _shortest = _shortest, True
    try:
        yield
    finally:
        _shortest = before


def rows_around(image: Tensor, first: int, end: int, halo: int) -> Tensor:
    """Rows first - halo to end + halo of H x W x C, zeros beyond: a view where none are."""
    above, below = max(halo - first, 0), max(end + halo - len(image), 0)
    rows = image[max(first - halo, 0) : end + halo]
    return F.pad(rows, (0, 0, 0, 0, above, below)) if above or below else rows


class Window:
    """The hidden rows around one strip after another, each computed once.

    `like` is H x W x any channels.
    """

    def __init__(
        self,
        like: Tensor,
        channels: int,
        halo: int,
        compute: Compute,
    ) -> None:
        self._height, self._width = like.shape[:2]
        self._channels, self._halo, self._compute = channels, halo, compute
        self._buffer = like.new_empty(0)
        # Of the last window: the end of its strip in the image, its rows in the buffer.
        self._end = self._size = 0

    def around(self, first: int, end: int) -> Tensor:
        """Rows first - halo to end + halo, zeros beyond the image. Good until the next call.

        The first strip must begin at row 0, the others where the last one ended.
        """
        assert first == self._end
        halo, size = self._halo, end - first + 2 * self._halo
        held = self._buffer[self._size - 2 * halo : self._size]
        if len(self._buffer) < size:
            self._buffer = self._buffer.new_empty(size, self._width, self._channels)
        rows = self._buffer[:size]
        if first == 0:
            known, begin = halo, 0
            rows[:halo].zero_()
        else:
            known, begin = 2 * halo, first + halo
            # Rows of a short strip would be written over before they are read.
            rows[:known] = held.clone() if self._size < 2 * known else held
        computed = max(min(end + halo, self._height) - begin, 0)
        if computed:
            self._compute(begin, begin + computed, rows[known : known + computed])
        rows[known + computed :].zero_()
        self._end, self._size = end, size
        return rows


def pointwise(rows: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> None:
    """1 x 1 convolution of H x W x C by a matrix C' x C into the contiguous H x W x C' `out`."""
    pixels, result = rows.flatten(0, 1), out.flatten(0, 1)
    if bias is None:
        torch.mm(pixels, weight.T, out=result)
    else:
        torch.addmm(bias, pixels, weight.T, out=result)


def depthwise(rows: Tensor, weight: Tensor, bias: Tensor | None, dilation: int = 1) -> Tensor:
    """Depthwise convolution by C x 1 x k x k, zero-padded at the sides only: k // 2 rows fewer each
    above and below (times the dilation)."""
    padding = (0, dilation * (weight.shape[-1] // 2))
    # A batch of one in this order: from other strides of the batch torch takes it for C x H x W.
    images = rows[None].permute(0, 3, 1, 2)
    result = F.conv2d(images, weight, bias, 1, padding, dilation, len(weight))
    return result[0].permute(1, 2, 0)


def padded(channels: int) -> int:
    """The next multiple of the channels that kernels take at once."""
    return -(-channels // LANES) * LANES


def fill(parameter: Tensor, size: int) -> Tensor:
    """Fill up the first axis with zeros to `size`."""
    if len(parameter) == size:
        return parameter
    filled = parameter.new_zeros(size, *parameter.shape[1:])
    filled[: len(parameter)] = parameter
    return filled


def pad_first(parameter: Tensor, parts: int = 1) -> Tensor:
    """Fill up each of `parts` equal parts of the first axis with zeros to a multiple of `LANES`."""
    size = padded(len(parameter) // parts)
    if size * parts == len(parameter):
        return parameter
    return torch.cat([fill(part, size) for part in parameter.chunk(parts)])
