"""Bringing student features to the teacher's width and size, in one place for all methods."""

from __future__ import annotations

from collections.abc import Iterable

import torch.nn.functional as F
from torch import Tensor, nn

from irkd.methods.base import Context, Setting
from irkd.models.taps import TapPair


class Projector(nn.Conv2d):
    """A trainable 1x1 convolution from the student's channels to the teacher's.

    With bias and without activation: restoration features are signed. Only the student is
    projected; were the teacher's side trainable too, both could agree on a constant and nothing
    would be learned. The weight starts orthogonal, so that it neither drops nor scales a direction.
    """

    def __init__(self, student_channels: int, teacher_channels: int) -> None:
        super().__init__(student_channels, teacher_channels, 1)

    def reset_parameters(self) -> None:
        nn.init.orthogonal_(self.weight)
        assert self.bias is not None
        # Not 0: black patches can have all-zero features, which have no direction to compare.
        nn.init.normal_(self.bias, std=0.01)


class Projectors(nn.ModuleList):
    """One projector for each pair of taps. Its parameters are task state, never the student's."""

    def __init__(self, pairs: Iterable[TapPair], setting: Setting) -> None:
        assert setting.teacher_taps is not None
        self.pairs = tuple(pairs)
        super().__init__(
            Projector(
                setting.student_taps[pair.student].channels,
                setting.teacher_taps[pair.teacher].channels,
            )
            for pair in self.pairs
        )

    def forward(self, context: Context) -> list[tuple[Tensor, Tensor]]:
        """For each pair, the student's projected features and the teacher's, of one shape.

        Where the resolutions differ, the finer of the two maps is averaged down; the teacher's is
        never enlarged.
        """
        matched = []
        for projector, pair in zip(self, self.pairs, strict=True):
            student = projector(context.student_features[pair.student])
            teacher = context.teacher_features[pair.teacher]
            matched.append(_to_common_size(student, teacher))
        return matched


def _to_common_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    if student.shape[-2:] == teacher.shape[-2:]:
        return student, teacher
    size = tuple(min(pair) for pair in zip(student.shape[-2:], teacher.shape[-2:], strict=True))
    return _shrink(student, size), _shrink(teacher, size)


def _shrink(features: Tensor, size: tuple[int, ...]) -> Tensor:
    if features.shape[-2:] == size:
        return features
    return F.interpolate(features, size=size, mode="bilinear", align_corners=False, antialias=True)
