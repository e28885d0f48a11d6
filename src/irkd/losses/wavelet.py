"""The Haar wavelet transform of images, and the loss on its detail bands."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from irkd.errors import IrkdError
from irkd.losses.precision import full_precision


def haar_step(images: Tensor) -> tuple[Tensor, Tensor]:
    """One level of the orthonormal two-dimensional Haar transform.

    images: B x C x H x W, H and W even. Returns the low band, B x C x H/2 x W/2, and the detail
    bands, B x C x 3 x H/2 x W/2: differences of columns, of rows, and of both. For a block of
    pixels a b over c d they are (a+b+c+d)/2 and (a-b+c-d)/2, (a+b-c-d)/2, (a-b-c+d)/2.
    """
    top, bottom = images[..., 0::2, :], images[..., 1::2, :]
    (sums_left, sums_right), (left, right) = (
        (rows[..., 0::2], rows[..., 1::2]) for rows in ((top + bottom) / 2, (top - bottom) / 2)
    )
    details = torch.stack([sums_left - sums_right, left + right, left - right], 2)
    return sums_left + sums_right, details


@full_precision
def haar_transform(images: Tensor, levels: int) -> tuple[Tensor, list[Tensor]]:
    """`levels` levels of the Haar transform: the low band of the last, the details of each.

    images: B x C x H x W. Where H or W is no multiple of 2^levels, the images are continued by
    reflection to the right and below; zeros there would be taken for an edge. Level l has detail
    bands B x C x 3 x H/2^l x W/2^l, level 1 first.

    The transform is orthonormal: it keeps the sum of squares, so that the low band's values, and
    with them the details of coarse structure, double from level to level.

    Raises IrkdError when H or W is below 2^levels.
    """
    block = 2**levels
    height, width = images.shape[-2:]
    if min(height, width) < block:
        raise IrkdError(
            f"{levels} wavelet levels need images of at least {block} x {block} pixels, not"
            f" {height} x {width}: lower `levels`, or train on larger patches."
        )
    if height % block or width % block:
        images = F.pad(images, (0, -width % block, 0, -height % block), mode="reflect")
    low, details = images, []
    for _ in range(levels):
        low, detail = haar_step(low)
        details.append(detail)
    return low, details


@full_precision
def wavelet_loss(
    restored: Tensor, taught: Tensor, levels: int = 4, level_weights: Sequence[float] | None = None
) -> Tensor:
    """sum over levels of w_l mean |Psi_H^l(restored) - Psi_H^l(taught)|, details alone.

    Wavelet knowledge distillation (Zhang et al., CVPR 2022). restored, taught: B x 3 x H x W;
    level_weights: one for each level, all 1 when not given. Blind to brightness: a constant added
    to one of the images costs nothing.
    """
    # Of the difference, since the transform is linear: half the work.
    _, details = haar_transform(restored - taught, levels)
    weights = [1.0] * levels if level_weights is None else level_weights
    terms = [weight * detail.abs().mean() for weight, detail in zip(weights, details, strict=True)]
    return torch.stack(terms).sum()
