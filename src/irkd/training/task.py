"""The student, the frozen teacher and the methods as one module with one forward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from irkd.losses.precision import outside_autocast
from irkd.methods.base import Context, Method, Setting, build_method
from irkd.methods.context import build_context, freeze, union
from irkd.models.apply import to_range


@dataclass
class StepResult:
    """`loss` is what is minimised; `terms` holds every unweighted term, detached."""

    loss: Tensor
    terms: dict[str, Tensor]
    weighted: dict[str, Tensor]


class DistillTask(nn.Module):
    """What data parallelism, mixed precision and weight averaging wrap.

    Student and methods (with their projectors) are registered. The teacher is not: it is no part of
    `state_dict()`, of `parameters()`, or of what is wrapped; `to()` moves it along all the same.
    """

    def __init__(self, student: nn.Module, methods: Sequence[Method], teacher: nn.Module | None):
        super().__init__()
        self.student = student
        self.methods = nn.ModuleList(methods)
        # In a tuple, where nn.Module does not look for submodules.
        self._teacher = (teacher,)
        if teacher is not None:
            freeze(teacher)
        self.needs = union(method.needs for method in methods)

    @property
    def teacher(self) -> nn.Module | None:
        return self._teacher[0]

    @property
    def value_range(self) -> tuple[float, float]:
        value_range: tuple[float, float] = self.student.spec.value_range  # type: ignore[union-attr, assignment]
        return value_range

    def _apply(self, fn: Any, recurse: bool = True) -> DistillTask:
        super()._apply(fn, recurse)
        if self.teacher is not None:
            self.teacher._apply(fn)
        return self

    def context(self, degraded: Tensor, reference: Tensor, step: int = 0) -> Context:
        """Run the networks on [0, 1] images B x 3 x H x W, for the methods to compare."""
        return build_context(
            self.student,
            self.teacher,
            self.needs,
            to_range(degraded, self.value_range),
            to_range(reference, self.value_range),
            step=step,
        )

    def losses(self, context: Context, step: int) -> StepResult:
        """Every method's terms, in float32 whatever precision the networks ran in."""
        terms: dict[str, Tensor] = {}
        weighted: dict[str, Tensor] = {}
        with outside_autocast(context.restored.device.type):
            for method in self.methods:
                assert isinstance(method, Method)
                weight = method.parameters_spec.weight_at(step)
                if weight == 0.0:
                    continue
                for term, value in method(context).items():
                    name = (
                        term if len(self.methods) == 1 else f"{method.parameters_spec.name}.{term}"
                    )
                    terms[name] = value.detach()
                    weighted[name] = value * (weight * method.term_weights[term])
            # Projectors of a method outside its steps still take part, with a zero gradient, so
            # that data parallelism waits for no parameter in vain.
            idle = sum(
                (parameter.sum() * 0.0 for parameter in self.methods.parameters()),
                context.restored.sum() * 0.0,
            )
            loss = sum(weighted.values(), idle)
        assert isinstance(loss, Tensor)
        return StepResult(loss, terms, weighted)

    def forward(self, degraded: Tensor, reference: Tensor, step: int = 0) -> StepResult:
        return self.losses(self.context(degraded, reference, step), step)


def build_task(
    student: nn.Module, method_parameters: Sequence[Any], teacher: nn.Module | None
) -> DistillTask:
    """The task of a preset's methods for these two networks."""
    setting = Setting(
        student_taps=student.taps(),  # type: ignore[operator]
        teacher_taps=None if teacher is None else teacher.taps(),  # type: ignore[operator]
        value_range=student.spec.value_range,  # type: ignore[union-attr, arg-type]
    )
    methods = [build_method(parameters, setting) for parameters in method_parameters]
    return DistillTask(student, methods, teacher)
