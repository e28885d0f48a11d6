"""Cross-network attention of SKD: the student's features seen through its likeness to the teacher.

Feature maps are B x C x N, N positions. SKD (arXiv 2501.09321) equations 1a and 1b.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from irkd.losses.kernels import NORM_FLOOR, unit
from irkd.losses.precision import full_precision

AttentionScale = Literal["cosine", "sqrt_d"]
SpatialAttention = Literal["auto", "exact", "pool", "window"]

POOLED_SIDE = 16
WINDOW_SIDE = 8


@full_precision
def channel_attention_map(
    student: Tensor, teacher: Tensor, scale: AttentionScale = "cosine", temperature: float = 0.1
) -> Tensor:
    """For every channel of the teacher, softmax weights over the student's channels; B x C x C.

    cosine: the logits are cosines over the N positions divided by `temperature`, as in Restormer's
    own attention. sqrt_d: dot products divided by sqrt(N), as printed with d the contracted
    dimension. They grow with N and with the features: the softmax picks one channel, and its
    gradient is 0.
    """
    if scale == "cosine":
        # The products' lengths are taken out afterwards: unit maps would be copies of both.
        logits = teacher @ student.mT * (_inverse_length(teacher) * _inverse_length(student).mT)
        logits = logits / temperature
    else:
        logits = teacher @ student.mT / student.shape[-1] ** 0.5
    return logits.softmax(-1)


def _inverse_length(features: Tensor) -> Tensor:
    """B x C x 1: what `unit` multiplies each channel's positions by."""
    return torch.rsqrt(features.square().sum(-1, keepdim=True) + NORM_FLOOR**2)


@full_precision
def channel_attention(
    student: Tensor, teacher: Tensor, scale: AttentionScale = "cosine", temperature: float = 0.1
) -> Tensor:
    """softmax(T S^T) S, equation 1a: the student's channels, mixed by likeness; B x C x N.

    student, teacher: B x C x N. With the teacher for both, the teacher's own attended features.
    """
    return channel_attention_map(student, teacher, scale, temperature) @ student


@full_precision
def spatial_attention(
    student: Tensor, teacher: Tensor, scale: AttentionScale = "cosine", temperature: float = 0.1
) -> Tensor:
    """S softmax(T^T S), equation 1b: the student's positions, mixed by likeness; B x C x N.

    student, teacher: B x C x N. With the teacher for both, the teacher's own attended features.
    The N x N weights are normalised over the teacher's positions, the axis the product sums over,
    so that a constant map is preserved. That makes it attention with query S, key T and value S,
    and PyTorch's fused kernels compute it without ever holding the weights: memory is linear in N.

    cosine: logits are cosines of feature vectors divided by `temperature`; sqrt_d: dot products
    divided by sqrt(C), see `channel_attention_map`.
    """
    channels = student.shape[1]
    if scale == "cosine":
        query, key, factor = unit(student), unit(teacher), 1 / temperature
    else:
        query, key, factor = student, teacher, channels**-0.5
    attended = F.scaled_dot_product_attention(
        _tokens(query), _tokens(key), _tokens(student), scale=factor
    )
    return attended.squeeze(1).mT[:, :channels]


def _tokens(features: Tensor) -> Tensor:
    """B x C x N as B x 1 x N x C', C' a multiple of 8: without it GPUs fall back to the N x N form.

    Added channels are 0, which changes no dot product.
    """
    padded = F.pad(features, (0, 0, 0, -features.shape[1] % 8))
    return padded.mT.contiguous().unsqueeze(1)


@full_precision
def reduce_positions(
    features: Tensor, mode: SpatialAttention = "auto", pooled_side: int = POOLED_SIDE
) -> Tensor:
    """A feature map B x C x H x W as the B' x C x N maps that spatial attention runs on.

    exact: all positions. pool: means over a grid of at most `pooled_side` squared cells. window:
    windows of at most 8 x 8 positions that divide H and W evenly; B' counts them. auto: exact where
    there are no more positions than in that grid, else pool.
    """
    height, width = features.shape[-2:]
    if mode == "auto":
        mode = "exact" if height * width <= pooled_side**2 else "pool"
    if mode == "pool":
        grid = (min(height, pooled_side), min(width, pooled_side))
        features = F.adaptive_avg_pool2d(features, grid)
    elif mode == "window":
        return _windows(features, _window_side(height), _window_side(width))
    return features.flatten(2)


def _window_side(size: int) -> int:
    return next(side for side in range(min(size, WINDOW_SIDE), 0, -1) if size % side == 0)


def _windows(features: Tensor, rows: int, columns: int) -> Tensor:
    batch, channels, height, width = features.shape
    split = features.reshape(batch, channels, height // rows, rows, width // columns, columns)
    return split.permute(0, 2, 4, 1, 3, 5).reshape(-1, channels, rows * columns)
