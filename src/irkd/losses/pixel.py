"""Differences of images, pixel by pixel."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from irkd.losses.precision import full_precision

PixelLoss = Literal["l1", "mse", "charbonnier"]


@full_precision
def pixel_map(a: Tensor, b: Tensor, kind: PixelLoss = "l1", eps: float = 1e-3) -> Tensor:
    """The loss of every element of `a` against `b`, of the shape of both.

    l1 is |a - b|, mse its square, charbonnier sqrt((a - b)^2 + eps^2): a smooth L1 whose value at
    a = b is eps. Common code writes 1e-12 under the root, which leaves a plain L1 with a kink.
    """
    difference = a - b
    if kind == "l1":
        return difference.abs()
    if kind == "mse":
        return difference.square()
    return torch.sqrt(difference.square() + eps**2)


def pixel_loss(a: Tensor, b: Tensor, kind: PixelLoss = "l1", eps: float = 1e-3) -> Tensor:
    """The mean of `pixel_map`."""
    return pixel_map(a, b, kind, eps).mean()


def pixel_floor(kind: PixelLoss, eps: float = 1e-3) -> float:
    """The value of the loss where both images agree."""
    return eps if kind == "charbonnier" else 0.0


@full_precision
def decibel_loss(a: Tensor, b: Tensor, *, data_range: float, best: float) -> Tensor:
    """How many dB below `best` the PSNR of each image is, the mean over B x C x H x W; 0 at a = b.

    10 log10(1 + 10^(best / 10) mse / data_range^2), an image on its own: a clean image that is
    changed a little counts as much as a ruined one that is not mended, where the mean of pixel
    losses sees the latter alone. After the "PSNR loss" of Chen et al., "HINet: Half instance
    normalization network for image restoration", CVPRW 2021; different: bounded at `best`, beyond
    which there is little to gain and an identical image would pull without limit.
    """
    errors = (a - b).square().mean((1, 2, 3)) / data_range**2
    return 10 / math.log(10) * torch.log1p(10 ** (best / 10) * errors).mean()


@full_precision
def trusted_pixel_loss(
    restored: Tensor, taught: Tensor, reference: Tensor, kind: PixelLoss = "l1", eps: float = 1e-3
) -> Tensor:
    """`pixel_loss(restored, taught)` counted only where the teacher is nearer to the reference.

    A value is counted where |taught - reference| < |restored - reference|; the mean runs over all
    values, so that the loss fades out as the student catches up. The mask carries no gradient.
    """
    with torch.no_grad():
        better = (taught - reference).abs() < (restored - reference).abs()
    return (pixel_map(restored, taught, kind, eps) * better).mean()
