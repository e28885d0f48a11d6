"""Running student and teacher once for all that the methods of a step ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from irkd.errors import IrkdError
from irkd.methods.base import Context, Needs
from irkd.models.apply import from_range, to_range
from irkd.models.taps import TapRecorder, encode


def union(needs: Iterable[Needs]) -> Needs:
    """What several methods need together, each tap once, in the order first asked for."""
    needs = tuple(needs)
    return Needs(
        teacher=any(one.teacher for one in needs),
        tap_pairs=tuple(dict.fromkeys(pair for one in needs for pair in one.tap_pairs)),
        teacher_taps=tuple(dict.fromkeys(name for one in needs for name in one.teacher_taps)),
        teacher_clean=any(one.teacher_clean for one in needs),
        teacher_encoder=any(one.teacher_encoder for one in needs),
    )


def freeze(teacher: nn.Module) -> None:
    """Put the teacher in eval mode and take its parameters out of autograd."""
    if teacher.training:
        teacher.eval()
    for parameter in teacher.parameters():
        if parameter.requires_grad:
            parameter.requires_grad_(False)


def build_context(
    student: nn.Module,
    teacher: nn.Module | None,
    needs: Needs,
    degraded: Tensor,
    reference: Tensor,
    *,
    step: int = 0,
) -> Context:
    """Run the student once, and the frozen teacher as far as `needs` asks.

    degraded, reference: B x 3 x H x W in the student's value range, H and W multiples of both
    networks' `size_multiple`. The teacher is fed, and its output returned, through its own value
    range; it is frozen (eval mode, no gradient of its parameters) whatever state it arrives in, and
    runs without gradient but in `Context.encode`. The teacher stops at the last tap asked for when
    its output is not needed. Under autocast both networks run in the lower precision, and
    everything in the context is float32.

    Raises IrkdError when the methods need a teacher and there is none.
    """
    degraded, reference = degraded.float(), reference.float()
    taught: dict[str, Any] = {}
    if needs.uses_teacher:
        if teacher is None:
            raise IrkdError("the methods learn from a teacher, but none is given.")
        # First, while the student's activations do not yet fill the memory.
        taught = _run_teacher(teacher, needs, degraded, reference, student.spec.value_range)  # type: ignore[union-attr, arg-type]
    taps = dict.fromkeys(pair.student for pair in needs.tap_pairs)
    with TapRecorder(student, taps) as recorded:
        restored = student(degraded).float()
    return Context(
        degraded, reference, restored, student_features=_float(recorded), step=step, **taught
    )


def _run_teacher(
    teacher: nn.Module,
    needs: Needs,
    degraded: Tensor,
    reference: Tensor,
    student_range: tuple[float, float],
) -> dict[str, Any]:
    """The fields of a Context that the teacher fills."""
    freeze(teacher)
    taps = tuple(dict.fromkeys([*(p.teacher for p in needs.tap_pairs), *needs.teacher_taps]))
    teacher_range: tuple[float, float] = teacher.spec.value_range  # type: ignore[union-attr, assignment]
    into, back = _conversion(student_range, teacher_range)

    def run(images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        with TapRecorder(teacher, taps) as features:
            output = teacher(into(images))
        return back(output.float()), _float(features)

    def encode_images(images: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        return _float(encode(teacher, into(images), names))

    taught: dict[str, Any] = {}
    with torch.no_grad():
        if needs.teacher:
            taught["teacher_restored"], taught["teacher_features"] = run(degraded)
        elif taps:
            taught["teacher_features"] = encode_images(degraded, taps)
        if needs.teacher_clean:
            taught["clean_restored"], taught["clean_features"] = run(reference)
    if needs.teacher_encoder:
        taught["encode"] = encode_images
    return taught


Conversion = Callable[[Tensor], Tensor]


def _conversion(
    student_range: tuple[float, float], teacher_range: tuple[float, float]
) -> tuple[Conversion, Conversion]:
    """Functions from the student's value range to the teacher's and back."""
    if student_range == teacher_range:
        return _same, _same
    return (
        lambda images: to_range(from_range(images, student_range), teacher_range),
        lambda images: to_range(from_range(images, teacher_range), student_range),
    )


def _same(images: Tensor) -> Tensor:
    return images


def _float(features: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: feature.float() for name, feature in features.items()}
