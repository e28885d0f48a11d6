"""No distillation: the student learns from the references alone. The baseline to compare with."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from irkd.losses.pixel import PixelLoss, pixel_floor, pixel_loss
from irkd.methods.base import Context, Method, MethodEntry, MethodParameters, Needs, Setting


class NoneParameters(MethodParameters):
    name: Literal["none"] = "none"
    reconstruction_loss: PixelLoss = Field(
        "l1", description="restored against reference; charbonnier is a smooth l1"
    )
    eps: float = Field(1e-3, gt=0, description="charbonnier is sqrt(d^2 + eps^2)")


class NoDistillation(Method):
    """The student against the reference. No teacher is asked for."""

    def __init__(self, parameters: NoneParameters, setting: Setting) -> None:
        super().__init__(parameters)
        self.parameters_spec: NoneParameters = parameters
        self.needs = Needs()
        self.term_weights = {"reconstruction": 1.0}
        self.floors = {
            "reconstruction": pixel_floor(parameters.reconstruction_loss, parameters.eps)
        }

    def forward(self, context: Context) -> dict[str, Tensor]:
        spec = self.parameters_spec
        loss = pixel_loss(context.restored, context.reference, spec.reconstruction_loss, spec.eps)
        return {"reconstruction": loss}


METHODS = (MethodEntry("none", "Student alone, without a teacher", NoneParameters, NoDistillation),)
