"""Distortion and activity of image blocks as differentiable features: what PIQE measures.

Venkatanath et al.: Blind image quality evaluation using perception based features, NCC 2015. PIQE
decides by thresholds, which have no gradient; here each decision is a logistic function of the
distance to its threshold, 0.5 at the threshold itself.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from irkd.losses.natural_scene import cut
from irkd.losses.precision import full_precision

BLOCK = 16
SEGMENT = 6
ACTIVE_VARIANCE = 0.1
IMPAIRED_DEVIATION = 0.1
ACTIVITY_SOFTNESS = 0.05
IMPAIRED_SOFTNESS = 0.02
MINIMUM_SOFTNESS = 0.005
NOISE_SOFTNESS = 0.1
EPS = 1e-6


class BlockDecisions(NamedTuple):
    """Between 0 (no) and 1 (yes), one of each for every block.

    active: worth looking at. impaired: some stretch of its edge is nearly flat. noisy: its centre
    deviates from the rest as white noise does.
    """

    active: Tensor
    impaired: Tensor
    noisy: Tensor


class BlockFeatures(NamedTuple):
    """edge: ... x n x 45, the distortion and the 44 deviations. texture: ... x n, the variance."""

    edge: Tensor
    texture: Tensor


def _deviation(values: Tensor, axes: int | tuple[int, ...]) -> Tensor:
    return torch.sqrt(values.var(axes) + EPS)


def _edge_deviations(blocks: Tensor) -> Tensor:
    """The deviation within each of 4 x 11 stretches of 6 along a block's edges; ... x 44."""
    sides = [blocks[..., 0, :], blocks[..., -1, :], blocks[..., 0], blocks[..., -1]]
    stretches = torch.stack(sides, -2).unfold(-1, SEGMENT, 1)
    return _deviation(stretches, -1).flatten(-2)


def _decide(blocks: Tensor, variance: Tensor, edges: Tensor) -> BlockDecisions:
    active = torch.sigmoid((variance - ACTIVE_VARIANCE) / ACTIVITY_SOFTNESS)
    flattest = -MINIMUM_SOFTNESS * torch.logsumexp(-edges / MINIMUM_SOFTNESS, -1)
    impaired = torch.sigmoid((IMPAIRED_DEVIATION - flattest) / IMPAIRED_SOFTNESS)
    middle = blocks.shape[-1] // 2
    centre = blocks[..., middle - 1 : middle + 1]
    surround = torch.cat([blocks[..., : middle - 1], blocks[..., middle + 1 :]], -1)
    ratio = _deviation(centre, (-2, -1)) / _deviation(surround, (-2, -1))
    sigma = torch.sqrt(variance + EPS)
    beta = (sigma - ratio).abs() / torch.maximum(sigma, ratio)
    return BlockDecisions(active, impaired, torch.sigmoid((sigma - 2 * beta) / NOISE_SOFTNESS))


@full_precision
def block_decisions(maps: Tensor) -> BlockDecisions:
    """PIQE's three decisions on blocks of 16 x 16 positions of `mscn` maps; each ... x n.

    v is a block's variance, s the deviation in each stretch of 6 positions of its edges.
    active: logistic((v - 0.1) / 0.05).
    impaired: logistic((0.1 - m) / 0.02), m = -0.005 log sum exp(-s / 0.005): a smooth minimum, low
    by 0.019 at most. (With 0.02 and a mean for the sum, it is high, and decides otherwise than PIQE
    on up to half of a photograph's blocks.)
    noisy: logistic((sqrt(v) - 2 beta) / 0.1), beta = |sqrt(v) - q| / max(sqrt(v), q), q the
    deviation of the two middle columns over that of the others. (Common code keeps one of the two
    among the others, by an index that has moved.)
    """
    blocks = cut(maps, BLOCK)
    return _decide(blocks, blocks.var((-2, -1)), _edge_deviations(blocks))


@full_precision
def block_features(maps: Tensor) -> BlockFeatures:
    """Edge and texture features of blocks of 16 x 16 positions of `mscn` maps ... x H x W.

    Edge: the distortion `active (impaired (1 - v) + noisy v)`, then the 44 deviations along the
    block's edges. Texture: v, the block's variance. n blocks, row by row.
    """
    blocks = cut(maps, BLOCK)
    variance, edges = blocks.var((-2, -1)), _edge_deviations(blocks)
    active, impaired, noisy = _decide(blocks, variance, edges)
    distortion = active * (impaired * (1 - variance) + noisy * variance)
    return BlockFeatures(torch.cat([distortion[..., None], edges], -1), variance)


def edge_texture_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean absolute difference of the blocks' edge features, plus that of their texture.

    student, teacher: `mscn` maps ... x H x W, H and W multiples of 16.
    """
    with torch.no_grad():
        target = block_features(teacher)
    found = block_features(student)
    return (found.edge - target.edge).abs().mean() + (found.texture - target.texture).abs().mean()
