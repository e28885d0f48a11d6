"""Bringing student features to the teacher's width and size, in one place for all methods."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from irkd.errors import IrkdError
from irkd.losses.resolution import to_common_size
from irkd.methods.base import Context, Setting
from irkd.models.taps import TapPair, pair_taps


def feature_pairs(
    method: str, setting: Setting, names: Iterable[str] | None
) -> tuple[TapPair, ...]:
    """The pairs of taps that `method` compares, see `pair_taps`; an error without a teacher."""
    if setting.teacher_taps is None:
        raise IrkdError(f"{method} learns from a teacher, but the preset names none.")
    return pair_taps(setting.student_taps, setting.teacher_taps, names)


class Projector(nn.Conv2d):
    """A trainable 1x1 convolution from the student's channels to the teacher's.

    With bias (unless the loss cannot see one) and without activation: restoration features are
    signed. Only the student is projected; were the teacher's side trainable too, both could agree
    on a constant and nothing would be learned. The weight starts orthogonal, so that it neither
    drops nor scales a direction.
    """

    def __init__(self, student_channels: int, teacher_channels: int, bias: bool = True) -> None:
        super().__init__(student_channels, teacher_channels, 1, bias=bias)

    def reset_parameters(self) -> None:
        nn.init.orthogonal_(self.weight)
        if self.bias is not None:
            # Not 0: black patches can have all-zero features, which have no direction to compare.
            nn.init.normal_(self.bias, std=0.01)


class Projectors(nn.ModuleList):
    """One projector for each pair of taps. Its parameters are task state, never the student's.

    clean: the teacher's side are its features on the reference images (`Needs.clean_tap_pairs`).
    """

    def __init__(
        self,
        pairs: Iterable[TapPair],
        setting: Setting,
        *,
        clean: bool = False,
        bias: bool = True,
    ) -> None:
        assert setting.teacher_taps is not None
        self.clean = clean
        self.pairs = tuple(pairs)
        super().__init__(
            Projector(
                setting.student_taps[pair.student].channels,
                setting.teacher_taps[pair.teacher].channels,
                bias,
            )
            for pair in self.pairs
        )

    def forward(self, context: Context) -> list[tuple[Tensor, Tensor]]:
        """For each pair, the student's projected features and the teacher's, of one shape.

        Where the resolutions differ, the finer of the two maps is averaged down; the teacher's is
        never enlarged.
        """
        matched = []
        targets = self.targets(context)
        for projector, pair in zip(self, self.pairs, strict=True):
            student = projector(context.student_features[pair.student])
            teacher = targets[pair.teacher]
            matched.append(to_common_size(student, teacher))
        return matched

    def targets(self, context: Context) -> dict[str, Tensor]:
        """The teacher's features that the student's are compared with, by the teacher's taps."""
        return context.clean_features if self.clean else context.teacher_features
