"""How alike the positions of a feature map are to each other, compared between two networks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from irkd.losses.kernels import unit
from irkd.losses.precision import full_precision

# Entries of an affinity map of one image that exist at a time.
_ENTRIES = 2**18


@full_precision
def affinity_loss(student: Tensor, teacher: Tensor, grid: int = 32) -> Tensor:
    """mean |A_S - A_T|, A the cosines between all positions of a feature map.

    FAKD (He et al., ICIP 2020), the spatial affinity: A = F'^T F' (N x N) with F' (C x N) the unit
    feature vectors. student: B x C x H x W, teacher: B x C' x H' x W'; the maps need not have the
    same channels, since A has none.

    The paper takes all positions, a 16384 x 16384 map for 128 x 128 features: 1 GiB for an image.
    Here features are first averaged over a common grid of at most `grid` x `grid` cells, and A is
    made a band of rows at a time, in the backward pass again, so that memory is linear in N.
    """
    rows, columns = (
        min(*sizes, grid) for sizes in zip(student.shape[-2:], teacher.shape[-2:], strict=True)
    )
    mine, taught = (
        unit(F.adaptive_avg_pool2d(features, (rows, columns)).flatten(2))
        for features in (student, teacher)
    )
    batch, _, positions = mine.shape
    height = max(1, _ENTRIES // positions)
    bands = [
        checkpoint(
            _band, mine, taught, start, height, use_reentrant=False, preserve_rng_state=False
        )
        for start in range(0, positions, height)
    ]
    return torch.stack(bands).sum() / (batch * positions**2)


def _band(student: Tensor, teacher: Tensor, start: int, height: int) -> Tensor:
    """The sum of |A_S - A_T| over some rows of both maps."""
    mine, taught = (
        features[..., start : start + height].mT @ features for features in (student, teacher)
    )
    return (mine - taught).abs().sum()
