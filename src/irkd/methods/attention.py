"""Attention transfer (Zagoruyko and Komodakis, ICLR 2017)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from irkd.losses.attention_transfer import attention_transfer_loss
from irkd.losses.pixel import pixel_loss
from irkd.methods.base import Context, Method, MethodEntry, MethodParameters, Needs, Setting
from irkd.methods.projector import feature_pairs
from irkd.models.taps import TapPair


class AttentionParameters(MethodParameters):
    """L = w_rec L1(S, y) + beta sum over taps of || A_S / ||A_S|| - A_T / ||A_T|| ||^2.

    A (H x W) is the sum over channels of squared features, so that no projector is needed; the mean
    over images is taken. A method of image classification: the paper's task loss is replaced by L1.
    """

    needs_reconstruction: ClassVar[str | None] = "it sees features alone, not the output"

    name: Literal["attention"] = "attention"
    reconstruction: float = Field(1.0, ge=0, description="weight of L1 to the reference")
    attention: float = Field(
        0.1,
        ge=0,
        description='weight of the attention maps, summed over taps; "about 0.1" in the paper, '
        "whose code says 1000 for a mean over positions",
    )
    taps: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="the student's taps to compare; all but refinement when not given",
    )

    @model_validator(mode="after")
    def _something_is_learned(self) -> AttentionParameters:
        if not self.weights():
            raise ValueError("all weights are 0: nothing would be learned")
        return self

    def weights(self) -> dict[str, float]:
        """The weight of every term that is on."""
        weights = {"reconstruction": self.reconstruction, "attention": self.attention}
        return {term: weight for term, weight in weights.items() if weight > 0}


class AttentionTransfer(Method):
    def __init__(self, parameters: AttentionParameters, setting: Setting) -> None:
        super().__init__(parameters)
        self.term_weights = parameters.weights()
        # Quadratic in the features, and normalised: no straight way to the teacher's maps.
        self.not_monotone = frozenset({"attention"} & set(self.term_weights))
        pairs: tuple[TapPair, ...] = ()
        if "attention" in self.term_weights:
            pairs = feature_pairs("attention", setting, parameters.taps)
        self.needs = Needs(tap_pairs=pairs)

    def forward(self, context: Context) -> dict[str, Tensor]:
        terms = {}
        if "reconstruction" in self.term_weights:
            terms["reconstruction"] = pixel_loss(context.restored, context.reference, "l1")
        if "attention" in self.term_weights:
            terms["attention"] = torch.stack(
                [
                    attention_transfer_loss(
                        context.student_features[pair.student],
                        context.teacher_features[pair.teacher],
                    )
                    for pair in self.needs.tap_pairs
                ]
            ).sum()
        return terms


METHODS = (
    MethodEntry(
        "attention",
        "Attention transfer: where features are strong",
        AttentionParameters,
        AttentionTransfer,
    ),
)
