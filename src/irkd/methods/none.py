"""No distillation: the student learns from the references alone. The baseline to compare with."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from irkd.losses.pixel import PixelLoss, decibel_loss, pixel_floor, pixel_loss
from irkd.methods.base import Context, Method, MethodEntry, MethodParameters, Needs, Setting


class NoneParameters(MethodParameters):
    name: Literal["none"] = "none"
    reconstruction_loss: PixelLoss | Literal["psnr"] = Field(
        "l1",
        description="restored against reference; charbonnier is a smooth l1, psnr the mean over "
        "images of how many dB their PSNR is below `best`: easy images count like hard ones",
    )
    best: float = Field(
        36.0,
        gt=0,
        le=80,
        description="of psnr, dB: beyond it an image counts less and less. With a high one, images "
        "that need no change hold a fresh network at the identity, and it learns no others",
    )
    eps: float = Field(1e-3, gt=0, description="charbonnier is sqrt(d^2 + eps^2)")


class NoDistillation(Method):
    """The student against the reference. No teacher is asked for."""

    def __init__(self, parameters: NoneParameters, setting: Setting) -> None:
        super().__init__(parameters)
        self.parameters_spec: NoneParameters = parameters
        self.needs = Needs()
        self.term_weights = {"reconstruction": 1.0}
        low, high = setting.value_range
        self.data_range = high - low
        if parameters.reconstruction_loss != "psnr":
            floor = pixel_floor(parameters.reconstruction_loss, parameters.eps)
            self.floors = {"reconstruction": floor}

    def forward(self, context: Context) -> dict[str, Tensor]:
        spec, images = self.parameters_spec, (context.restored, context.reference)
        if spec.reconstruction_loss == "psnr":
            loss = decibel_loss(*images, data_range=self.data_range, best=spec.best)
            return {"reconstruction": loss}
        return {"reconstruction": pixel_loss(*images, spec.reconstruction_loss, spec.eps)}


METHODS = (MethodEntry("none", "Student alone, without a teacher", NoneParameters, NoDistillation),)
