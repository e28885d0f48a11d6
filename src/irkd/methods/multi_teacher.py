"""Multi-teacher distillation: the student learns from what several teachers agree on.

Jiang et al., "MTKD: Multi-Teacher Knowledge Distillation for Image Super-Resolution", ECCV 2024,
arXiv 2404.09571, with public code.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field, SerializeAsAny, ValidationError, field_validator
from torch import Tensor, nn

from irkd.errors import IrkdError
from irkd.files import sha256_file
from irkd.losses.pixel import pixel_loss
from irkd.methods.base import Context, Method, MethodEntry, MethodParameters, Needs, Setting
from irkd.methods.context import freeze
from irkd.models.apply import apply_network, from_range, to_range
from irkd.models.base import NetworkSpec, build_network, families
from irkd.models.weights import load_weights, resolve_model
from irkd.presets.messages import Known, describe
from irkd.registry import suggestion


class MultiTeacherParameters(MethodParameters):
    """L = |S - A| + 0.1 |S - y|, and |A - y| for the aggregator A of all teachers' outputs.

    Differs from the paper: there a transformer on wavelet-like bands aggregates, trained first (500
    thousand steps) and then frozen; here the aggregator is small and learns beside the student,
    which sends it no gradient. The paper's wavelet term is irkd's method `wavelet`.
    """

    name: Literal["multi-teacher"] = "multi-teacher"
    teachers: tuple[SerializeAsAny[NetworkSpec], ...] = Field(
        min_length=1,
        description="further teachers beside the preset's own: networks as there, each with its "
        "weights",
    )
    aggregator: Literal["mean", "gate", "conv"] = Field(
        "gate",
        description="mean: of the outputs. gate: weights at every pixel, a learned softmax over "
        "the teachers. conv: the mean and a learned correction by three convolutions. Both learned "
        "ones begin as the mean",
    )
    width: int = Field(16, ge=1, description="channels inside a learned aggregator")
    distillation: float = Field(1.0, ge=0, description="weight of L1 to the aggregate")
    reconstruction: float = Field(
        0.1, ge=0, description="weight of L1 between restored and reference"
    )
    aggregation: float = Field(
        1.0, gt=0, description="weight of L1 between aggregate and reference, for gate and conv"
    )

    @field_validator("teachers", mode="before")
    @classmethod
    def _networks(cls, given: Any) -> Any:
        if not isinstance(given, list | tuple):
            return given
        return tuple(_read_spec(one, position) for position, one in enumerate(given))

    @property
    def reconstructs(self) -> bool:
        return self.reconstruction > 0 or self.distillation > 0

    def weights(self) -> dict[str, float]:
        """The weight of every term that is on."""
        weights = {
            "reconstruction": self.reconstruction,
            "distillation": self.distillation,
            "aggregation": 0.0 if self.aggregator == "mean" else self.aggregation,
        }
        return {term: weight for term, weight in weights.items() if weight > 0}


def _read_spec(given: Any, position: int) -> NetworkSpec:
    if isinstance(given, NetworkSpec):
        return given
    what = f"teacher {position}"
    if not isinstance(given, dict) or not isinstance(given.get("arch"), str):
        raise ValueError(f"{what} must be a network: arch, its options, and weights")
    known = families()
    if given["arch"] not in known:
        hint = suggestion(given["arch"], known)
        raise ValueError(f"{what}: unknown arch {given['arch']!r}.{hint} Known: {', '.join(known)}")
    spec = known[given["arch"]].spec
    try:
        return spec.model_validate(given)
    except ValidationError as error:
        keys: Known = {(): list(spec.model_fields)}
        raise ValueError(describe(error, what, keys).rstrip(".")) from error


class MultiTeacherDistillation(Method):
    """The further teachers run one after the other, frozen; the aggregator is trained.

    Like the preset's teacher they are no part of `state_dict()`, `parameters()` or of what data
    parallelism wraps; the hashes of their weights are, so that a run resumes with no others.
    """

    own_terms = frozenset({"aggregation"})
    own_teachers = True

    def __init__(self, parameters: MultiTeacherParameters, setting: Setting) -> None:
        super().__init__(parameters)
        self.parameters_spec: MultiTeacherParameters = parameters
        if setting.teacher_taps is None:
            raise IrkdError("multi-teacher learns from teachers, but the preset names none.")
        self.value_range = setting.value_range
        self.term_weights = parameters.weights()
        # The aggregate lies beside the preset's own teacher.
        terms = {"distillation", "aggregation"} & set(self.term_weights)
        self.floors = dict.fromkeys(terms, float("nan"))
        self.not_monotone = frozenset(terms)
        self.needs = Needs(teacher=True)
        loaded = [
            _load(spec, position, setting) for position, spec in enumerate(parameters.teachers)
        ]
        # In a tuple, where nn.Module does not look for submodules.
        self._teachers = tuple(teacher for teacher, _ in loaded)
        self._hashes = [sha256 for _, sha256 in loaded]
        count = 1 + len(loaded)
        self.aggregator: nn.Module = {"mean": _Mean, "gate": Gate, "conv": Correction}[
            parameters.aggregator
        ](count, parameters.width)

    def _apply(self, fn: Any, recurse: bool = True) -> MultiTeacherDistillation:
        super()._apply(fn, recurse)
        for teacher in self._teachers:
            teacher._apply(fn)
        return self

    def get_extra_state(self) -> dict[str, Any]:
        return {"teachers_sha256": self._hashes}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        pairs = zip(state["teachers_sha256"], self._hashes, strict=True)
        for position, (before, now) in enumerate(pairs):
            if before != now:
                weights = self.parameters_spec.teachers[position].weights
                raise IrkdError(
                    f"multi-teacher: {weights} of teacher {position} is not the file this run "
                    "began with. Give the same one."
                )

    def forward(self, context: Context) -> dict[str, Tensor]:
        terms = {}
        if "reconstruction" in self.term_weights:
            terms["reconstruction"] = pixel_loss(context.restored, context.reference, "l1")
        aggregate = self.aggregator(context.degraded, self.taught(context))
        if "distillation" in self.term_weights:
            terms["distillation"] = pixel_loss(context.restored, aggregate.detach(), "l1")
        if "aggregation" in self.term_weights:
            terms["aggregation"] = pixel_loss(aggregate, context.reference, "l1")
        return terms

    @torch.no_grad()
    def taught(self, context: Context) -> Tensor:
        """All teachers' outputs for the degraded images, B x teachers x C x H x W."""
        assert context.teacher_restored is not None
        images = from_range(context.degraded, self.value_range)
        outputs = [context.teacher_restored]
        for teacher in self._teachers:
            outputs.append(to_range(apply_network(teacher, images).float(), self.value_range))
        return torch.stack(outputs, 1)


class _Mean(nn.Module):
    """The mean over teachers of B x teachers x C x H x W."""

    def __init__(self, teachers: int, width: int) -> None:
        super().__init__()

    def forward(self, degraded: Tensor, taught: Tensor) -> Tensor:
        return taught.mean(1)


class Gate(nn.Module):
    """A weighted mean over teachers, the weights a softmax at every pixel, equal at the start."""

    def __init__(self, teachers: int, width: int) -> None:
        super().__init__()
        self.logits = _convolutions(3 * (1 + teachers), width, teachers)

    def forward(self, degraded: Tensor, taught: Tensor) -> Tensor:
        seen = torch.cat([degraded, taught.flatten(1, 2)], 1)
        return (self.logits(seen).softmax(1)[:, :, None] * taught).sum(1)


class Correction(nn.Module):
    """The mean over teachers and a correction that starts as 0."""

    def __init__(self, teachers: int, width: int) -> None:
        super().__init__()
        self.correction = _convolutions(3 * (1 + teachers), width, 3)

    def forward(self, degraded: Tensor, taught: Tensor) -> Tensor:
        seen = torch.cat([degraded, taught.flatten(1, 2)], 1)
        corrected: Tensor = taught.mean(1) + self.correction(seen)
        return corrected


def _convolutions(channels: int, width: int, outputs: int) -> nn.Sequential:
    last = nn.Conv2d(width, outputs, 3, padding=1)
    nn.init.zeros_(last.weight)
    assert last.bias is not None
    nn.init.zeros_(last.bias)
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, width, 3, padding=1),
        nn.LeakyReLU(0.2),
        last,
    )


def _load(spec: NetworkSpec, position: int, setting: Setting) -> tuple[nn.Module, str]:
    """The frozen teacher and the hash of its weights."""
    what = f"multi-teacher: teacher {position} ({spec.arch})"
    planned = torch.get_default_device().type == "meta"
    if spec.weights is None and not planned:
        raise IrkdError(
            f"{what} has no weights. Write weights: FILE (a released .pth, a .safetensors, or a run"
            " directory) beside its arch."
        )
    # What comes after it draws the same random numbers as without it.
    with torch.random.fork_rng(devices=[]):
        teacher = build_network(spec)
    sha256 = ""
    if not planned:
        assert spec.weights is not None
        path = resolve_model(spec.weights).path
        load_weights(teacher, path)
        sha256 = sha256_file(path)
    if (teacher.in_channels, teacher.out_channels) != (3, 3):
        raise IrkdError(
            f"{what} maps {teacher.in_channels} channels to {teacher.out_channels}; 3 and 3 are"
            " needed."
        )
    freeze(teacher)
    return teacher, sha256


METHODS = (
    MethodEntry(
        "multi-teacher",
        "Multi-teacher distillation: an aggregate of several teachers",
        MultiTeacherParameters,
        MultiTeacherDistillation,
    ),
)
