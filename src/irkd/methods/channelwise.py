"""CWD: channel-wise knowledge distillation (Shu et al., ICCV 2021)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from irkd.losses.distribution import spatial_softmax_kl
from irkd.losses.pixel import pixel_loss
from irkd.methods.base import Context, Method, MethodEntry, MethodParameters, Needs, Setting
from irkd.methods.projector import Projectors, feature_pairs
from irkd.methods.statistics import RunningSpread
from irkd.models.taps import TapPair


class ChannelwiseParameters(MethodParameters):
    """L = w_rec L1(S, y) + 5 mean over taps of tau^2 KL(softmax(T_c / tau) || softmax(S_c / tau)).

    The softmax runs over positions, the mean over images and channels c. S_c are the student's
    features after a trained 1x1 convolution to the teacher's channels, without a bias, which the
    softmax would not see. A method of semantic segmentation, where it compares
    class scores, or features before them.

    Blind to a constant added to a channel, and so to what a channel says about the image as a
    whole: it teaches where a channel is strong, relative to elsewhere.
    """

    needs_reconstruction: ClassVar[str | None] = "it sees features alone, not the output"

    name: Literal["channelwise"] = "channelwise"
    reconstruction: float = Field(1.0, ge=0, description="weight of L1 to the reference")
    channelwise: float = Field(
        5.0,
        ge=0,
        description="weight of the divergence; 5 as published for segmentation, beside a loss of "
        "about 1. Beside L1 it leads at first: `irkd distill --audit` shows how far",
    )
    tau: float = Field(
        1.0,
        ge=0.1,
        le=100,
        description="temperature; published values are 1 to 4. Larger ones count all positions "
        "alike, small ones the strongest of each channel",
    )
    standardize: bool = Field(
        True,
        description="divide a channel on both sides by the teacher's running standard deviation of "
        "it, so that tau means the same at every tap. false: as published. Features of the models "
        "that ship with irkd have deviations of about 0.1: their softmax is then all but flat, tau "
        "without effect, and the term small beside the reconstruction",
    )
    taps: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="the student's taps to compare; the decoder's when not given",
    )

    @model_validator(mode="after")
    def _something_is_learned(self) -> ChannelwiseParameters:
        if not self.weights():
            raise ValueError("all weights are 0: nothing would be learned")
        return self

    def weights(self) -> dict[str, float]:
        """The weight of every term that is on."""
        weights = {"reconstruction": self.reconstruction, "channelwise": self.channelwise}
        return {term: weight for term, weight in weights.items() if weight > 0}


class ChannelwiseDistillation(Method):
    """Trainable: one projector for each pair of taps, on the student's side."""

    def __init__(self, parameters: ChannelwiseParameters, setting: Setting) -> None:
        super().__init__(parameters)
        self.parameters_spec: ChannelwiseParameters = parameters
        self.term_weights = parameters.weights()
        pairs: tuple[TapPair, ...] = ()
        if "channelwise" in self.term_weights:
            decoder = [
                name
                for name, tap in setting.student_taps.items()
                if tap.role == "decoder" and name != "refinement"
            ]
            pairs = feature_pairs("channelwise", setting, parameters.taps or decoder)
            self.projectors = Projectors(pairs, setting, bias=False)
            assert setting.teacher_taps is not None
            self.spreads = nn.ModuleList(
                RunningSpread(setting.teacher_taps[pair.teacher].channels)
                for pair in pairs
                if parameters.standardize
            )
        self.needs = Needs(tap_pairs=pairs)

    def forward(self, context: Context) -> dict[str, Tensor]:
        terms = {}
        if "reconstruction" in self.term_weights:
            terms["reconstruction"] = pixel_loss(context.restored, context.reference, "l1")
        if "channelwise" in self.term_weights:
            divergences = [
                self._divergence(index, student, teacher)
                for index, (student, teacher) in enumerate(self.projectors(context))
            ]
            terms["channelwise"] = torch.stack(divergences).mean()
        return terms

    def _divergence(self, index: int, student: Tensor, teacher: Tensor) -> Tensor:
        if self.parameters_spec.standardize:
            spread = self.spreads[index](teacher)
            student, teacher = student / spread, teacher / spread
        return spatial_softmax_kl(student, teacher, self.parameters_spec.tau)


METHODS = (
    MethodEntry(
        "channelwise",
        "CWD: channels as distributions over positions",
        ChannelwiseParameters,
        ChannelwiseDistillation,
    ),
)
