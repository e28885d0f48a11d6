"""The student, the frozen teacher and the methods as one module with one forward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from irkd.losses.precision import outside_autocast
from irkd.methods.base import Context, Method, Setting, build_method
from irkd.methods.context import build_context, build_interlude, freeze, frozen, union
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

    `scales` holds factors by term that `training.balance` sets; they are part of `state_dict()`.
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
        self.scales: dict[str, float] = {}
        self._reached: dict[tuple[str, ...], frozenset[nn.Parameter]] = {}

    def get_extra_state(self) -> dict[str, float]:
        return dict(self.scales)

    def set_extra_state(self, state: dict[str, float]) -> None:
        self.scales = dict(state)

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

    def context(
        self,
        degraded: Tensor,
        reference: Tensor,
        step: int = 0,
        teacher_restored: Tensor | None = None,
    ) -> Context:
        """Run the networks on [0, 1] images B x 3 x H x W, for the methods to compare.

        teacher_restored: the teacher's output for them, [0, 1], where it is known already.
        """
        if teacher_restored is not None:
            teacher_restored = to_range(teacher_restored.float(), self.value_range)
        degraded, reference = self._images(degraded, reference, step)
        return build_context(
            self.student,
            self.teacher,
            union(method.needs for method in self._active(step)),
            degraded,
            reference,
            teacher_restored=teacher_restored,
            step=step,
        )

    def _images(self, degraded: Tensor, reference: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """The step's images in the student's value range, as the methods have them."""
        degraded = to_range(degraded, self.value_range)
        reference = to_range(reference, self.value_range)
        for method in self._active(step):
            degraded, reference = method.images(degraded, reference, step)
        return degraded, reference

    def _active(self, step: int) -> list[Method]:
        """The methods that count at `step`: those that train a stage alone, else all that weigh."""
        weighing = [m for m in self._methods() if m.parameters_spec.weight_at(step) > 0]
        staged = [method for method in weighing if method.trained_taps(step) is not None]
        return staged or weighing

    def losses(self, context: Context, step: int) -> StepResult:
        """Every method's terms, in float32 whatever precision the networks ran in."""
        terms: dict[str, Tensor] = {}
        weighted: dict[str, Tensor] = {}
        with outside_autocast(context.restored.device.type):
            for method in self._active(step):
                weight = method.parameters_spec.weight_at(step)
                for term, value in method(context).items():
                    name = self._named(method, term)
                    terms[name] = value.detach()
                    scale = self.scales.get(name, 1.0)
                    weighted[name] = value * (weight * method.term_weights[term] * scale)
            # Projectors of a method outside its steps still take part, with a zero gradient, so
            # that data parallelism waits for no parameter in vain.
            idle = sum(
                (parameter.sum() * 0.0 for parameter in self.methods.parameters()),
                context.restored.sum() * 0.0,
            )
            loss = sum(weighted.values(), idle)
        assert isinstance(loss, Tensor)
        if torch.is_grad_enabled():
            for method in self._active(step):
                taps = method.trained_taps(step)
                if taps is not None and taps not in self._reached:
                    self._reached[taps] = self._parameters_before(context, taps)
        return StepResult(loss, terms, weighted)

    def forward(
        self,
        degraded: Tensor,
        reference: Tensor,
        step: int = 0,
        teacher_restored: Tensor | None = None,
    ) -> StepResult:
        return self.losses(self.context(degraded, reference, step, teacher_restored), step)

    def own_terms(self) -> set[str]:
        """The terms, named as in `losses`, that train a method's own parts and not the student."""
        return {self._named(m, term) for m in self._methods() for term in m.own_terms}

    def _named(self, method: Method, term: str) -> str:
        return term if len(self.methods) == 1 else f"{method.parameters_spec.name}.{term}"

    def trained_parameters(self) -> list[nn.Parameter]:
        """What the main optimizer trains: all but what methods train by themselves."""
        own = {id(parameter) for method in self._methods() for parameter in method.own_parameters()}
        return [p for p in self.parameters() if p.requires_grad and id(p) not in own]

    def drop_untrained_gradients(self, step: int) -> None:
        """Leave out of the optimizer's step what a stage does not train (`Method.trained_taps`).

        A zero gradient would not do: momentum and weight decay move a parameter all the same.
        """
        stages = [method.trained_taps(step) for method in self._active(step)]
        reached = [self._reached[taps] for taps in stages if taps is not None]
        if reached:
            for parameter in self.student.parameters():
                if not any(parameter in part for part in reached):
                    parameter.grad = None

    def after_step(self, degraded: Tensor, reference: Tensor, step: int) -> None:
        """Let the methods do what they do between steps, on the step's [0, 1] images."""
        active = self._active(step)
        if all(type(method).after_step is Method.after_step for method in active):
            return
        images = [to_range(each, self.value_range) for each in (degraded, reference)]
        interlude = build_interlude(self.student, self.teacher, *images)
        with frozen(self.student):
            for method in active:
                method.after_step(interlude, step)

    def _parameters_before(
        self, context: Context, taps: tuple[str, ...]
    ) -> frozenset[nn.Parameter]:
        """The student's parameters that its features at `taps` depend on."""
        parameters = [p for p in self.student.parameters() if p.requires_grad]
        features = [context.student_features[name].sum() for name in taps]
        gradients = torch.autograd.grad(
            torch.stack(features).sum(), parameters, retain_graph=True, allow_unused=True
        )
        pairs = zip(parameters, gradients, strict=True)
        return frozenset(parameter for parameter, gradient in pairs if gradient is not None)

    def _methods(self) -> list[Method]:
        return list(self.methods)  # type: ignore[arg-type]


def build_task(
    student: nn.Module,
    method_parameters: Sequence[Any],
    teacher: nn.Module | None,
    task: str | None = None,
) -> DistillTask:
    """The task of a preset's methods for these two networks, the student untrained.

    task: what is restored ("derain", ...), for methods that degrade images of their own.
    """
    setting = Setting(
        student_taps=student.taps(),  # type: ignore[operator]
        teacher_taps=None if teacher is None else teacher.taps(),  # type: ignore[operator]
        value_range=student.spec.value_range,  # type: ignore[union-attr, arg-type]
        student_spec=student.spec,  # type: ignore[arg-type]
        teacher_spec=None if teacher is None else teacher.spec,  # type: ignore[arg-type]
        task=task,
    )
    methods = [build_method(parameters, setting) for parameters in method_parameters]
    for method in methods:
        method.prepare(student)
    return DistillTask(student, methods, teacher)
