"""What a distillation method is told, asks for, and returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from irkd import registry
from irkd.models.base import NetworkSpec
from irkd.models.taps import Tap, TapPair


class MethodParameters(BaseModel):
    """A method as a preset writes it. Methods subclass it with their own parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    #: Why the method leaves the output undetermined unless a reconstruction term stands beside it;
    #: None where it does not.
    needs_reconstruction: ClassVar[str | None] = None

    name: str
    weight: float = Field(1.0, ge=0, description="factor on all terms of the method")
    start: int = Field(0, ge=0, description="first step at which the method counts")
    stop: int | None = Field(None, ge=1, description="first step at which it no longer counts")
    ramp: int = Field(0, ge=0, description="steps over which its weight rises from 0 after start")

    def weight_at(self, step: int) -> float:
        """The method's weight at `step` (counted from 0)."""
        if step < self.start or (self.stop is not None and step >= self.stop):
            return 0.0
        if self.ramp == 0:
            return self.weight
        return self.weight * min(1.0, (step - self.start + 1) / self.ramp)

    @property
    def reconstructs(self) -> bool:
        """Whether a term holds the student's output images to others, value by value."""
        return bool(getattr(self, "reconstruction", 1.0) > 0)


@dataclass(frozen=True)
class Setting:
    """What a method is built for: the two networks' taps and specs, the task, and the value range
    of all images.

    `teacher_taps` and `teacher_spec` are None when the preset names no teacher.
    """

    student_taps: Mapping[str, Tap]
    teacher_taps: Mapping[str, Tap] | None = None
    value_range: tuple[float, float] = (0.0, 1.0)
    student_spec: NetworkSpec | None = None
    teacher_spec: NetworkSpec | None = None
    task: str | None = None


@dataclass(frozen=True)
class Needs:
    """What must be computed for a method in each step; the engine computes the union once.

    teacher: the teacher's output on the degraded images.
    tap_pairs: features of both networks; teacher_taps: further taps of the teacher alone.
    teacher_clean: the teacher's output on the reference images.
    clean_tap_pairs: the student's features on the degraded images, to be compared with the
    teacher's on the reference images.
    teacher_encoder: `Context.encode`.
    tails: `Context.student_tail` and `Context.teacher_tail`.
    networks: `Context.run_student` and `Context.run_teacher`.
    """

    teacher: bool = False
    tap_pairs: tuple[TapPair, ...] = ()
    teacher_taps: tuple[str, ...] = ()
    teacher_clean: bool = False
    clean_tap_pairs: tuple[TapPair, ...] = ()
    teacher_encoder: bool = False
    tails: bool = False
    networks: bool = False

    @property
    def beyond_outputs(self) -> tuple[str, ...]:
        """Names of what is asked for beside the teacher's output on the degraded images."""
        names = (need.name for need in fields(self))
        return tuple(name for name in names if name != "teacher" and getattr(self, name))

    @property
    def uses_teacher(self) -> bool:
        """Whether a teacher is needed at all."""
        return self.teacher or bool(self.beyond_outputs)


Encode = Callable[[Tensor, Sequence[str]], dict[str, Tensor]]
Tail = Callable[[Mapping[str, Tensor]], Tensor]
Run = Callable[[Tensor], Tensor]


@dataclass
class Context:
    """One step as a method sees it. Images are float32 in the student's value range.

    degraded, reference, restored, teacher_restored: B x 3 x H x W; `restored` is the student's.
    student_features, teacher_features: the taps asked for, by tap name, B x C x h x w in float32;
    the teacher's carry no gradient.
    clean_restored, clean_features: the teacher's output (`Needs.teacher_clean`) and taps
    (`Needs.clean_tap_pairs`) on `reference`.

    Functions are there when asked for. Gradients flow through them to their arguments, and to the
    student's parameters, never to the teacher's:
    encode(images, names): the teacher's taps on other images.
    student_tail(features), teacher_tail(features): a network's output for `degraded` when the
    outputs of the named taps are replaced by `features`.
    run_student(images), run_teacher(images): a whole network's output for other images.
    """

    degraded: Tensor
    reference: Tensor
    restored: Tensor
    teacher_restored: Tensor | None = None
    student_features: dict[str, Tensor] = field(default_factory=dict)
    teacher_features: dict[str, Tensor] = field(default_factory=dict)
    clean_restored: Tensor | None = None
    clean_features: dict[str, Tensor] = field(default_factory=dict)
    encode: Encode | None = None
    student_tail: Tail | None = None
    teacher_tail: Tail | None = None
    run_student: Run | None = None
    run_teacher: Run | None = None
    step: int = 0


@dataclass
class Interlude:
    """What a method sees between two steps, in `Method.after_step`.

    degraded, reference: the step's images, float32 in the student's value range. run_student and
    run_teacher map images to images; neither network's parameters take a gradient, gradients to the
    images flow. `student` is the student itself, for a method that keeps a history of it.
    """

    degraded: Tensor
    reference: Tensor
    student: nn.Module
    run_student: Run
    run_teacher: Run | None


class Method(nn.Module):
    """A distillation method: trainable parts (projectors) and its loss terms.

    Subclasses set `needs`, `term_weights` (term to weight inside the method) and, where it is not
    0, `floors` (term to its value when the student equals the teacher; nan where that depends on
    the features). `not_monotone` names the terms that need not fall along the straight path from
    student to teacher, `batch_dependent` those whose value depends on the batch size by design,
    `size_dependent` those whose value depends on the images' size, `own_terms` those that train the
    method's own parts and never the student. `term_taps` names the student's taps that a term looks
    at, where it does not look at all of the method's. `own_teachers` says that the method runs
    further teachers on the step's images, so that a cache of one teacher's outputs is not enough.
    """

    needs: Needs
    term_weights: dict[str, float]
    floors: dict[str, float]
    not_monotone: frozenset[str] = frozenset()
    batch_dependent: frozenset[str] = frozenset()
    size_dependent: frozenset[str] = frozenset()
    own_terms: frozenset[str] = frozenset()
    own_teachers: bool = False
    term_taps: Mapping[str, tuple[str, ...]] = {}

    def __init__(self, parameters: MethodParameters) -> None:
        super().__init__()
        self.parameters_spec = parameters
        self.floors = {}

    def forward(self, context: Context) -> dict[str, Tensor]:
        """The unweighted scalar of every term in `term_weights`."""
        raise TypeError(f"{type(self).__name__} defines no forward")

    # What follows is for methods that do more than compare; most leave it as it is.

    def prepare(self, student: nn.Module) -> None:
        """Called once with the untrained student, before the first step of a new run."""

    def images(self, degraded: Tensor, reference: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """The images of this step, for a method that supplies its own (data-free distillation).

        float32 in the student's value range, B x 3 x H x W.
        """
        return degraded, reference

    def after_step(self, interlude: Interlude, step: int) -> None:
        """Called after the optimizer's step: generators and history models are updated here.

        What it computes must be the same in every process of a parallel run, or be exchanged.
        """

    def own_parameters(self) -> list[nn.Parameter]:
        """Parameters that the method trains itself in `after_step`.

        The main optimizer leaves them out. The state of an optimizer of the method's own goes
        through `get_extra_state` and `set_extra_state`, and so into the checkpoint.
        """
        return []

    def trained_taps(self, step: int) -> tuple[str, ...] | None:
        """None: the whole student learns. Tap names: only what lies before those taps does.

        While a method names taps, its terms alone count (FitNets' first stage).
        """
        return None


@dataclass(frozen=True)
class MethodEntry:
    """A registered method: what `name` in a preset's `methods` stands for."""

    name: str
    title: str
    parameters: type[MethodParameters]
    build: Callable[..., Method]


def methods() -> dict[str, MethodEntry]:
    """All registered methods by name."""
    return registry.collect("irkd.methods", "METHODS")


def build_method(parameters: MethodParameters, setting: Setting) -> Method:
    entry = registry.lookup("irkd.methods", "METHODS", parameters.name, "method")
    method: Method = entry.build(parameters, setting)
    return method
