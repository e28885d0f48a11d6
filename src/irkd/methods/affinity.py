"""FAKD: feature-affinity knowledge distillation (He et al., ICIP 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from irkd.errors import IrkdError
from irkd.losses.affinity import affinity_loss
from irkd.losses.pixel import pixel_loss
from irkd.methods.base import Context, Method, MethodEntry, MethodParameters, Needs, Setting
from irkd.methods.projector import feature_pairs
from irkd.models.taps import Tap, TapPair


class AffinityParameters(MethodParameters):
    """L = (1 - a) L1(S, y) + a L1(S, T) + 10 sum over taps of mean |A_S - A_T|, a = 0.5.

    A holds the cosines between all positions of a feature map, so that the networks' channels need
    not agree and no projector is trained. Weights as in the authors' code, for super-resolution.
    Differs from the paper in that features are averaged over a grid first, see `grid`.
    """

    needs_reconstruction: ClassVar[str | None] = "it sees features alone, not the output"

    name: Literal["affinity"] = "affinity"
    reconstruction: float = Field(
        0.5, ge=0, description="weight of L1 to the reference; 1 - a in the paper"
    )
    distillation: float = Field(
        0.5, ge=0, description="weight of L1 to the teacher's output; a in the paper"
    )
    affinity: float = Field(
        10.0,
        ge=0,
        description="weight of the affinity maps, summed over taps; as published. It leads at "
        "first: `irkd distill --audit` shows how far",
    )
    taps: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="the student's taps to compare; when not given, the middle and its neighbours "
        "on both sides, for the paper's three groups at middle depth",
    )
    grid: int = Field(
        32,
        ge=2,
        le=128,
        description="features are averaged over at most grid x grid cells before positions are "
        "compared, since time grows with the fourth power of it. The paper takes every position",
    )

    @property
    def reconstructs(self) -> bool:
        return self.reconstruction > 0 or self.distillation > 0

    @model_validator(mode="after")
    def _something_is_learned(self) -> AffinityParameters:
        if not self.weights():
            raise ValueError("all weights are 0: nothing would be learned")
        return self

    def weights(self) -> dict[str, float]:
        """The weight of every term that is on."""
        weights = {
            "reconstruction": self.reconstruction,
            "distillation": self.distillation,
            "affinity": self.affinity,
        }
        return {term: weight for term, weight in weights.items() if weight > 0}


class AffinityDistillation(Method):
    def __init__(self, parameters: AffinityParameters, setting: Setting) -> None:
        super().__init__(parameters)
        self.parameters_spec: AffinityParameters = parameters
        self.term_weights = parameters.weights()
        # Cosines are not linear in the features: half-way to the teacher, likenesses can differ
        # more from its own than at the start.
        self.not_monotone = frozenset({"affinity"} & set(self.term_weights))
        pairs: tuple[TapPair, ...] = ()
        if "affinity" in self.term_weights:
            pairs = feature_pairs(
                "affinity", setting, parameters.taps or central_taps(setting.student_taps)
            )
        if "distillation" in self.term_weights and setting.teacher_taps is None:
            raise IrkdError("affinity learns from a teacher, but the preset names none.")
        self.needs = Needs(teacher="distillation" in self.term_weights, tap_pairs=pairs)

    def forward(self, context: Context) -> dict[str, Tensor]:
        terms = {}
        if "reconstruction" in self.term_weights:
            terms["reconstruction"] = pixel_loss(context.restored, context.reference, "l1")
        if "distillation" in self.term_weights:
            assert context.teacher_restored is not None
            terms["distillation"] = pixel_loss(context.restored, context.teacher_restored, "l1")
        if "affinity" in self.term_weights:
            terms["affinity"] = torch.stack(
                [
                    affinity_loss(
                        context.student_features[pair.student],
                        context.teacher_features[pair.teacher],
                        self.parameters_spec.grid,
                    )
                    for pair in self.needs.tap_pairs
                ]
            ).sum()
        return terms


def central_taps(taps: Mapping[str, Tap]) -> list[str]:
    """The middle tap with the one before and the one after it."""
    names = list(taps)
    middle = next(index for index, name in enumerate(names) if taps[name].role == "middle")
    return names[max(0, middle - 1) : middle + 2]


METHODS = (
    MethodEntry(
        "affinity",
        "FAKD: likeness between positions of the features",
        AffinityParameters,
        AffinityDistillation,
    ),
)
