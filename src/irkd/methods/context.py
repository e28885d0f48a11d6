"""Running student and teacher once for all that the methods of a step ask for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from irkd.errors import IrkdError
from irkd.methods.base import Context, Interlude, Needs
from irkd.models.apply import from_range, pad_to_multiple, to_range
from irkd.models.taps import TapRecorder, encode, tail


def union(needs: Iterable[Needs]) -> Needs:
    """What several methods need together, each tap once, in the order first asked for."""
    needs = tuple(needs)

    def any_of(name: str) -> bool:
        return any(getattr(one, name) for one in needs)

    def all_of(name: str) -> tuple[Any, ...]:
        return tuple(dict.fromkeys(item for one in needs for item in getattr(one, name)))

    return Needs(
        teacher=any_of("teacher"),
        tap_pairs=all_of("tap_pairs"),
        teacher_taps=all_of("teacher_taps"),
        teacher_clean=any_of("teacher_clean"),
        clean_tap_pairs=all_of("clean_tap_pairs"),
        teacher_encoder=any_of("teacher_encoder"),
        tails=any_of("tails"),
        networks=any_of("networks"),
    )


def freeze(teacher: nn.Module) -> None:
    """Put the teacher in eval mode and take its parameters out of autograd."""
    if teacher.training:
        teacher.eval()
    for parameter in teacher.parameters():
        if parameter.requires_grad:
            parameter.requires_grad_(False)


@contextlib.contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """No parameter of `network` takes a gradient within."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def build_context(
    student: nn.Module,
    teacher: nn.Module | None,
    needs: Needs,
    degraded: Tensor,
    reference: Tensor,
    *,
    teacher_restored: Tensor | None = None,
    step: int = 0,
) -> Context:
    """Run the student once, and the frozen teacher as far as `needs` asks.

    degraded, reference: B x 3 x H x W in the student's value range, H and W multiples of both
    networks' `size_multiple`. The teacher is fed, and its output returned, through its own value
    range; it is frozen (eval mode, no gradient of its parameters) whatever state it arrives in, and
    runs without gradient but in the context's functions. The teacher stops at the last tap asked
    for when its output is not needed; where `teacher_restored` gives its output for the degraded
    images already, it does not run for that. Under autocast both networks run in the lower
    precision, and everything in the context is float32.

    Raises IrkdError when the methods need a teacher and there is none.
    """
    degraded, reference = degraded.float(), reference.float()
    taught: dict[str, Any] = {}
    if needs.uses_teacher:
        if teacher is None:
            raise IrkdError("the methods learn from a teacher, but none is given.")
        guide = _Teacher(teacher, student.spec.value_range)  # type: ignore[union-attr, arg-type]
        # First, while the student's activations do not yet fill the memory.
        taught = guide.run(needs, degraded, reference, teacher_restored)
    if needs.tails:
        taught["student_tail"] = lambda features: _tail_by_image(student, degraded, features)
    if needs.networks:
        taught["run_student"] = lambda images: student(images).float()
    taps = dict.fromkeys(pair.student for pair in (*needs.tap_pairs, *needs.clean_tap_pairs))
    with TapRecorder(student, taps) as recorded:
        restored = student(degraded).float()
    return Context(
        degraded, reference, restored, student_features=_float(recorded), step=step, **taught
    )


def build_interlude(
    student: nn.Module, teacher: nn.Module | None, degraded: Tensor, reference: Tensor
) -> Interlude:
    """What methods see between steps; degraded, reference as in `build_context`."""
    guide = None if teacher is None else _Teacher(teacher, student.spec.value_range)  # type: ignore[union-attr, arg-type]
    return Interlude(
        degraded.float(),
        reference.float(),
        student,
        lambda images: student(images).float(),
        None if guide is None else guide.restore,
    )


class _Teacher:
    """The frozen teacher, fed and read in the student's value range."""

    def __init__(self, teacher: nn.Module, student_range: tuple[float, float]) -> None:
        freeze(teacher)
        self.teacher = teacher
        self.into, self.back = _conversion(student_range, teacher.spec.value_range)  # type: ignore[union-attr, arg-type]

    def run(
        self, needs: Needs, degraded: Tensor, reference: Tensor, teacher_restored: Tensor | None
    ) -> dict[str, Any]:
        """The fields of a Context that the teacher fills."""
        taps = dict.fromkeys([*(p.teacher for p in needs.tap_pairs), *needs.teacher_taps])
        clean_taps = dict.fromkeys(pair.teacher for pair in needs.clean_tap_pairs)
        output = needs.teacher and teacher_restored is None
        taught: dict[str, Any] = {}
        with torch.no_grad():
            first = (degraded, output, tuple(taps))
            second = (reference, needs.teacher_clean, tuple(clean_taps))
            (restored, features), (clean, clean_features) = self._both(first, second)
        taught["teacher_restored"] = restored if output else teacher_restored
        taught["teacher_features"] = features
        taught["clean_restored"], taught["clean_features"] = clean, clean_features
        if needs.teacher_encoder:
            taught["encode"] = self.encode
        if needs.tails:
            taught["teacher_tail"] = lambda features: self.tail(degraded, features)
        if needs.networks:
            taught["run_teacher"] = self.restore
        return taught

    def _both(self, *passes: Pass) -> tuple[Seen, ...]:
        """Both passes; in one batch on a GPU, which a small batch leaves idle, if memory allows."""
        images = [one[0] for one in passes]
        if images[0].is_cuda and all(output or taps for _, output, taps in passes):
            taps = tuple(dict.fromkeys(name for one in passes for name in one[2]))
            output = any(one[1] for one in passes)
            try:
                restored, features = self._see(torch.cat(images), output, taps)
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
            else:
                outputs = (None,) * 2 if restored is None else restored.chunk(2)
                halves = {name: feature.chunk(2) for name, feature in features.items()}
                return tuple(
                    (outputs[i], {name: halves[name][i] for name in passes[i][2]}) for i in (0, 1)
                )
        return tuple(self._see(*one) for one in passes)

    def _see(self, images: Tensor, output: bool, taps: Sequence[str]) -> Seen:
        if output:
            with TapRecorder(self.teacher, taps) as features:
                restored = self.restore(images)
            return restored, _float(features)
        return None, self.encode(images, taps) if taps else {}

    def encode(self, images: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """The features of images of any size: they are padded, and their features cropped."""
        multiple: int = self.teacher.size_multiple  # type: ignore[assignment]
        padded = pad_to_multiple(self.into(images), multiple)
        features = _float(encode(self.teacher, padded, names))
        if padded.shape == images.shape:
            return features
        taps = self.teacher.taps()  # type: ignore[operator]
        height, width = images.shape[-2:]
        return {
            name: feature[..., : -(-height // taps[name].stride), : -(-width // taps[name].stride)]
            for name, feature in features.items()
        }

    def tail(self, images: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        return self.back(_tail_by_image(self.teacher, self.into(images), features))

    def restore(self, images: Tensor) -> Tensor:
        return self.back(self.teacher(self.into(images)).float())


def _tail_by_image(network: nn.Module, images: Tensor, features: Mapping[str, Tensor]) -> Tensor:
    """`tail`, whose activations the backward pass computes again, one image at a time.

    Kept for a whole batch, those of a teacher's second half are several times what a student's
    step takes.
    """
    names = list(features)

    def run(image: Tensor, *values: Tensor) -> Tensor:
        return tail(network, image, dict(zip(names, values, strict=True))).float()

    parts = zip(images.split(1), *(features[name].split(1) for name in names), strict=True)
    return torch.cat([checkpoint(run, *part, use_reentrant=False) for part in parts])


# Images, whether the output is wanted, and the taps wanted; then what was seen of them.
Pass = tuple[Tensor, bool, Sequence[str]]
Seen = tuple[Tensor | None, dict[str, Tensor]]

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
