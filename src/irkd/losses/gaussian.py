"""Means under a Gaussian window, differentiable."""

from __future__ import annotations

import torch
from torch import Tensor


def gaussian_means(maps: Tensor, window: int, sigma: float, *, replicate: bool = False) -> Tensor:
    """... x H x W maps averaged under window x window Gaussian weights, one axis after the other.

    Only where the window fits, which leaves H - window + 1 rows; with `replicate` everywhere, the
    first and last row and column repeated. The window must be odd, and no larger than the maps
    unless they are replicated.

    As products with banded matrices: convolutions of one channel are slow on a CPU, ten times at 64
    to 256 pixels a side. The work grows with the cube of the side: this is for training crops.
    """
    rows, columns = (
        _band(size, window, sigma, replicate, maps) for size in (maps.shape[-2], maps.shape[-1])
    )
    return rows @ (maps @ columns.mT)


def _band(size: int, window: int, sigma: float, replicate: bool, like: Tensor) -> Tensor:
    """The matrix that takes a column of `size` values to its means."""
    offsets = torch.arange(window, device=like.device, dtype=like.dtype) - window // 2
    weights = torch.exp(-(offsets**2) / (2 * sigma**2))
    weights = weights / weights.sum()
    half = window // 2
    centres = torch.arange(size, device=like.device)
    if not replicate:
        centres = centres[half : size - half]
    reached = centres[:, None] + torch.arange(-half, half + 1, device=like.device)
    band = like.new_zeros(len(centres), size)
    return band.scatter_add_(
        1, reached.clamp(0, size - 1), weights.expand(len(centres), window).contiguous()
    )
