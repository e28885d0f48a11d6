"""Bringing two maps to one resolution."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from irkd.losses.precision import full_precision


@full_precision
def to_common_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both maps B x C x H x W at the smaller height and the smaller width of the two.

    The finer map is averaged down (antialiased bilinear); nothing is ever enlarged.
    """
    if student.shape[-2:] == teacher.shape[-2:]:
        return student, teacher
    size = tuple(min(pair) for pair in zip(student.shape[-2:], teacher.shape[-2:], strict=True))
    return _shrink(student, size), _shrink(teacher, size)


def _shrink(features: Tensor, size: tuple[int, ...]) -> Tensor:
    if features.shape[-2:] == size:
        return features
    return F.interpolate(features, size=size, mode="bilinear", align_corners=False, antialias=True)
