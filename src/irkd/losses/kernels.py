"""Distances between feature maps, and the kernels that turn them into losses."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from irkd.losses.precision import full_precision

Kernel = Literal["gaussian", "euclidean", "cosine"]
Normalization = Literal["cosine", "standardize", "none"]

NORM_FLOOR = 1e-4


def unit(vectors: Tensor, dim: int = 1) -> Tensor:
    """`vectors` divided by their length along `dim`.

    The length is sqrt(sum of squares + 1e-8): a zero vector stays zero, and gradients are never
    amplified by more than 1e4 (a network without biases answers a black patch with exact zeros).
    """
    length = torch.linalg.vector_norm(vectors, dim=dim, keepdim=True)
    return vectors * torch.rsqrt(length * length + NORM_FLOOR**2)


@full_precision
def squared_distance(
    student: Tensor, teacher: Tensor, normalize: Normalization = "cosine"
) -> Tensor:
    """Squared distances of feature maps B x C x H x W or B x C x N.

    cosine: of the unit feature vectors at every position, in [0, 4]; B x N. Blind to magnitude.
    standardize: the mean over channels of squared differences, in units of the teacher's variance
    of that channel over batch and positions; B x N.
    none: the sum over all channels and positions as SKD prints it; B. Millions for ordinary
    features, where the Gaussian kernel is 1 and its gradient exactly 0.
    """
    student, teacher = student.flatten(2), teacher.flatten(2)
    if normalize == "none":
        return (student - teacher).square().sum((1, 2))
    if normalize == "cosine":
        difference = unit(student) - unit(teacher)
        return (difference * difference).sum(1)
    variance = teacher.var((0, 2), correction=0, keepdim=True)
    return ((student - teacher).square() / (variance + NORM_FLOOR**2)).mean(1)


def _squared_chord(first: Tensor, second: Tensor) -> Tensor:
    """`squared_distance` cosine, to about 1e-7, from three sums over channels.

    Expanded, since the unit vectors and their difference would be copies of whole feature maps,
    each kept for the backward pass.
    """
    first, second = first.flatten(2), second.flatten(2)
    floor = NORM_FLOOR**2
    first_squared, second_squared = first.square().sum(1), second.square().sum(1)
    product = (first * second).sum(1)
    scale = torch.rsqrt((first_squared + floor) * (second_squared + floor))
    lengths = first_squared / (first_squared + floor) + second_squared / (second_squared + floor)
    return (lengths - 2 * product * scale).clamp_min(0)


@full_precision
def kernel_loss(
    student: Tensor,
    teacher: Tensor,
    kernel: Kernel = "gaussian",
    *,
    normalize: Normalization = "cosine",
    sigma: float = 1.0,
) -> Tensor:
    """The mean kernel distance of two feature maps of one shape; 0 where they agree.

    gaussian: 1 - exp(-d^2 / (2 sigma^2)), SKD (arXiv 2501.09321) equation 2, with d^2 of
    `squared_distance`: per position, where the paper sums over the whole map.
    euclidean: d, with a rounded tip at 0.
    cosine: 1 - cos of the feature vectors, at every position (`normalize` none: of the whole maps).
    """
    if kernel == "cosine":
        if normalize == "none":
            student, teacher = student.flatten(1)[..., None], teacher.flatten(1)[..., None]
        return _squared_chord(student, teacher).mean() / 2
    if kernel == "gaussian" and normalize == "cosine":
        distance = _squared_chord(student, teacher)
    else:
        distance = squared_distance(student, teacher, normalize)
    if kernel == "gaussian":
        return -torch.expm1(-distance / (2 * sigma**2)).mean()
    return (torch.sqrt(distance + NORM_FLOOR**2) - NORM_FLOOR).mean()
