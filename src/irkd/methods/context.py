"""Running student and teacher once for all that the methods of a step ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

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
    pairs = needs.tap_pairs
    with TapRecorder(student, dict.fromkeys(pair.student for pair in pairs)) as recorded:
        restored = student(degraded)
    context = Context(
        degraded=degraded.float(),
        reference=reference.float(),
        restored=restored.float(),
        student_features=_float(recorded),
        step=step,
    )
    taps = tuple(dict.fromkeys([*(pair.teacher for pair in pairs), *needs.teacher_taps]))
    if not (needs.teacher or taps or needs.teacher_clean or needs.teacher_encoder):
        return context
    if teacher is None:
        raise IrkdError("the methods learn from a teacher, but none is given.")
    freeze(teacher)
    student_range: tuple[float, float] = student.spec.value_range  # type: ignore[union-attr, assignment]
    teacher_range: tuple[float, float] = teacher.spec.value_range  # type: ignore[union-attr, assignment]
    into, back = _conversion(student_range, teacher_range)

    def run(images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        with TapRecorder(teacher, taps) as features:
            output = teacher(into(images))
        return back(output.float()), _float(features)

    def encode_images(images: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        return _float(encode(teacher, into(images), names))

    with torch.no_grad():
        if needs.teacher:
            context.teacher_restored, context.teacher_features = run(context.degraded)
        elif taps:
            context.teacher_features = encode_images(context.degraded, taps)
        if needs.teacher_clean:
            context.clean_restored, context.clean_features = run(context.reference)
    if needs.teacher_encoder:
        context.encode = encode_images
    return context


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
