"""Local pooling for channel attention (TLC): means of windows instead of the whole image's.

Chu, Chen, Chen, Lu: "Improving Image Restoration by Revisiting Global Information Aggregation",
ECCV 2022.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LocalMean(nn.Module):
    """The means of all windows of `height` x `width` pixels that lie inside the features.

    B x C x H x W becomes B x C x H' x W' with H' = max(H - height, 0) + 1: a window larger than
    the features is cut to them, so that small features give their global mean, 1 x 1.
    """

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width

    def forward(self, features: Tensor) -> Tensor:
        # Sums of many pixels: float32 at least. One axis after the other keeps the running sums
        # short, which an integral image over both axes does not.
        precise = features if features.dtype == torch.float64 else features.float()
        height, width = features.shape[-2:]
        if not torch.compiler.is_compiling() and height <= self.height and width <= self.width:
            # Training patches always end here. An exported graph keeps the form for any size.
            return precise.mean((2, 3), keepdim=True).to(features.dtype)
        means = _running_mean(_running_mean(precise, 2, self.height), 3, self.width)
        return means.to(features.dtype)

    def extra_repr(self) -> str:
        return f"height={self.height}, width={self.width}"


def _running_mean(features: Tensor, dim: int, window: int) -> Tensor:
    """Means of all `window` neighbours along `dim`; of all values where there are fewer."""
    size: int = features.shape[dim]
    results = cast(int, torch.sym_max(size - window, 0)) + 1
    length = size + 1 - results
    padding = (0, 0, 1, 0) if dim == 2 else (1, 0)
    sums = F.pad(features.cumsum(dim), padding)
    return (sums.narrow(dim, length, results) - sums.narrow(dim, 0, results)) / length


def spread(values: Tensor, like: Tensor) -> Tensor:
    """Bring one value per window to one per pixel: the border repeats the outermost windows."""
    for dim in (2, 3):
        missing = like.shape[dim] - values.shape[dim]
        index = torch.arange(like.shape[dim], device=values.device) - missing // 2
        values = values.index_select(dim, index.clamp(min=0).clamp(max=values.shape[dim] - 1))
    return values


def local_means(image: Tensor, height: int, width: int) -> Tensor:
    """`LocalMean` of one H x W x C image, H' x W' x C: a running sum over its rows.

    Nothing larger than the result and a few rows is held. Sums are float64: rounding does not add
    up along the image.
    """
    height, width = min(height, image.shape[0]), min(width, image.shape[1])
    rows, columns = image.shape[0] - height + 1, image.shape[1] - width + 1
    means = image.new_empty(rows, columns, image.shape[2])
    sums = image[:height].sum(0, dtype=torch.float64)
    for row in range(rows):
        if row:
            sums += image[row + height - 1]
            sums -= image[row - 1]
        running = sums.cumsum(0)
        means[row, 0] = running[width - 1]
        means[row, 1:] = running[width:] - running[:-width]
    return means.div_(height * width)


def spread_rows(values: Tensor, like: Tensor, first: int, end: int) -> Tensor:
    """`spread` for rows `first` to `end` of one image: H' x W' x C for `like`, H x W x C."""
    for dim, start, stop in ((0, first, end), (1, 0, like.shape[1])):
        if values.shape[dim] > 1:
            missing = like.shape[dim] - values.shape[dim]
            index = torch.arange(start, stop, device=values.device) - missing // 2
            values = values.index_select(dim, index.clamp_(0, values.shape[dim] - 1))
    return values
