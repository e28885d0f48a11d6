"""FitNets: hints from the teacher's intermediate features (Romero et al., ICLR 2015)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from irkd.losses.pixel import pixel_loss
from irkd.losses.resolution import to_common_size
from irkd.methods.base import Context, Method, MethodEntry, MethodParameters, Needs, Setting
from irkd.methods.projector import Projectors, feature_pairs
from irkd.methods.statistics import RunningSpread
from irkd.models.taps import TapPair


class HintsParameters(MethodParameters):
    """L = w_rec L1(S, y) + w_hint mean over taps of 1/2 mean ((r(F_S) - F_T) / s_T)^2.

    r is a trained 1x1 convolution from the student's channels to the teacher's; the paper's
    regressor has a larger kernel where resolutions differ (irkd averages the finer map down), and
    common code a ReLU, which features of restoration networks, signed as they are, do not bear.
    s_T is the spread of each of the teacher's channels, 1 in the paper (see `standardize`). The
    paper sums the squares; irkd takes means. Its second stage also follows the teacher's output:
    stack `response` for that.
    """

    needs_reconstruction: ClassVar[str | None] = "it sees features alone, not the output"

    name: Literal["hints"] = "hints"
    reconstruction: float = Field(1.0, ge=0, description="weight of L1 to the reference")
    hint: float = Field(1.0, gt=0, description="weight of the features against the teacher's")
    taps: tuple[str, ...] = Field(
        ("middle",), min_length=1, description="the student's taps that are given a hint"
    )
    schedule: Literal["joint", "staged"] = Field(
        "joint",
        description="joint: both terms in all steps. staged: as published, the hint alone for "
        "hint_steps, in which only the student up to its tap is trained, then the reconstruction "
        "(and any other methods) alone, training everything",
    )
    hint_steps: int | None = Field(
        None, ge=1, description="steps of the first stage, counted from start, for schedule staged"
    )
    reduce: Literal["none", "channel_mean"] = Field(
        "none",
        description="what is compared. none: all channels, through a projector. channel_mean: the "
        "mean over channels, without one (as in SRKD, ACCV 2018)",
    )
    standardize: bool = Field(
        True,
        description="take differences in units of the teacher's running standard deviation of each "
        "channel, so that the weight means the same at every tap. false: as published",
    )

    @model_validator(mode="after")
    def _stages_have_a_length(self) -> HintsParameters:
        if self.schedule == "staged" and self.hint_steps is None:
            raise ValueError("schedule staged needs hint_steps: how long the first stage lasts")
        if self.schedule == "joint" and self.hint_steps is not None:
            raise ValueError("hint_steps belongs to schedule staged, not to joint")
        return self

    def gives_hints(self, step: int) -> bool:
        """Whether `step` belongs to the first stage; always when joint."""
        return self.hint_steps is None or step < self.start + self.hint_steps

    def weights(self) -> dict[str, float]:
        """The weight of every term that is on."""
        weights = {"reconstruction": self.reconstruction, "hint": self.hint}
        return {term: weight for term, weight in weights.items() if weight > 0}


class Hints(Method):
    """Trainable: one projector for each pair of taps, unless channels are averaged."""

    def __init__(self, parameters: HintsParameters, setting: Setting) -> None:
        super().__init__(parameters)
        self.parameters_spec: HintsParameters = parameters
        self.term_weights = parameters.weights()
        pairs: tuple[TapPair, ...] = feature_pairs("hints", setting, parameters.taps)
        self.needs = Needs(tap_pairs=pairs)
        averaged = parameters.reduce == "channel_mean"
        self.projectors = None if averaged else Projectors(pairs, setting)
        assert setting.teacher_taps is not None
        self.spreads = nn.ModuleList(
            RunningSpread(1 if averaged else setting.teacher_taps[pair.teacher].channels)
            for pair in pairs
            if parameters.standardize
        )

    def trained_taps(self, step: int) -> tuple[str, ...] | None:
        spec = self.parameters_spec
        if spec.schedule == "joint" or spec.weight_at(step) == 0 or not spec.gives_hints(step):
            return None
        return spec.taps

    def forward(self, context: Context) -> dict[str, Tensor]:
        """The terms of the stage that `context.step` belongs to."""
        spec = self.parameters_spec
        terms = {}
        gives_hints = spec.gives_hints(context.step)
        reconstructs = spec.schedule == "joint" or not gives_hints
        if "reconstruction" in self.term_weights and reconstructs:
            terms["reconstruction"] = pixel_loss(context.restored, context.reference, "l1")
        if gives_hints:
            hints = [
                self._hint(index, student, teacher)
                for index, (student, teacher) in enumerate(self._compared(context))
            ]
            terms["hint"] = torch.stack(hints).mean()
        return terms

    def _compared(self, context: Context) -> list[tuple[Tensor, Tensor]]:
        if self.projectors is not None:
            compared: list[tuple[Tensor, Tensor]] = self.projectors(context)
            return compared
        return [
            to_common_size(
                context.student_features[pair.student].mean(1, keepdim=True),
                context.teacher_features[pair.teacher].mean(1, keepdim=True),
            )
            for pair in self.needs.tap_pairs
        ]

    def _hint(self, index: int, student: Tensor, teacher: Tensor) -> Tensor:
        if self.parameters_spec.standardize:
            spread = self.spreads[index](teacher)
            student, teacher = student / spread, teacher / spread
        return 0.5 * pixel_loss(student, teacher, "mse")


METHODS = (MethodEntry("hints", "FitNets: hints at the features", HintsParameters, Hints),)
