"""Response distillation: the student learns the teacher's output images beside the references."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from torch import Tensor

from irkd.losses.perceptual import VGG19Features, feature_l1
from irkd.losses.pixel import PixelLoss, pixel_floor, pixel_loss, trusted_pixel_loss
from irkd.losses.ssim import ssim
from irkd.methods.base import Context, Method, MethodEntry, MethodParameters, Needs, Setting
from irkd.models.apply import from_range


class ResponseParameters(MethodParameters):
    """w_gt C(S, y) + w_kd D(S, T) + w_perc P(S, T) + w_ssim (1 - SSIM(S, y)).

    The mix of the project that distils Restormer into a small NAFNet-like network; it prints no
    weights, and names MSE in one place and Charbonnier in another. The defaults are irkd's.
    A term whose weight is 0 is not computed; without terms that need it, neither is the teacher.
    """

    name: Literal["response"] = "response"
    reconstruction: float = Field(1.0, ge=0, description="weight of restored against reference")
    reconstruction_loss: PixelLoss = Field("charbonnier", description="its form")
    distillation: float = Field(1.0, ge=0, description="weight of restored against the teacher's")
    distillation_loss: PixelLoss = Field(
        "l1", description="its form; mse all but vanishes at the small differences that remain"
    )
    trust: Literal["all", "where_teacher_better"] = Field(
        "all",
        description="where the teacher is followed: everywhere, or only in values where it is "
        "nearer to the reference than the student is",
    )
    ssim: float = Field(
        0.1, ge=0, description="weight of 1 - SSIM to the reference; patches of 11 pixels or more"
    )
    perceptual: float | None = Field(
        None,
        ge=0,
        description="weight of VGG-19 features of restored against the teacher's; 0.05 when `vgg19`"
        " is given, else 0",
    )
    vgg19: str | None = Field(
        None, description="file with torchvision's vgg19 weights; irkd downloads none"
    )
    eps: float = Field(1e-3, gt=0, description="charbonnier is sqrt(d^2 + eps^2)")

    @property
    def reconstructs(self) -> bool:
        return self.reconstruction > 0 or self.distillation > 0

    @model_validator(mode="after")
    def _perceptual_has_weights(self) -> ResponseParameters:
        if self.perceptual and self.vgg19 is None:
            raise ValueError("perceptual needs vgg19: the file with torchvision's vgg19 weights")
        return self

    @model_validator(mode="after")
    def _something_is_learned(self) -> ResponseParameters:
        if not any(self.weights().values()):
            raise ValueError("all weights are 0: nothing would be learned")
        return self

    def weights(self) -> dict[str, float]:
        """The weight of every term."""
        perceptual = self.perceptual
        if perceptual is None:
            perceptual = 0.0 if self.vgg19 is None else 0.05
        return {
            "reconstruction": self.reconstruction,
            "distillation": self.distillation,
            "ssim": self.ssim,
            "perceptual": perceptual,
        }


class ResponseDistillation(Method):
    def __init__(self, parameters: ResponseParameters, setting: Setting) -> None:
        super().__init__(parameters)
        self.parameters_spec: ResponseParameters = parameters
        self.value_range = setting.value_range
        self.term_weights = {term: w for term, w in parameters.weights().items() if w > 0}
        self.needs = Needs(teacher=bool({"distillation", "perceptual"} & set(self.term_weights)))
        kinds = {
            "reconstruction": parameters.reconstruction_loss,
            "distillation": parameters.distillation_loss,
        }
        self.floors = {
            term: pixel_floor(kind, parameters.eps)
            for term, kind in kinds.items()
            if term in self.term_weights
        }
        if parameters.trust == "where_teacher_better":
            self.floors.pop("distillation", None)  # Nothing is counted where both agree.
        self.vgg19 = None
        if "perceptual" in self.term_weights:
            assert parameters.vgg19 is not None
            self.vgg19 = VGG19Features(parameters.vgg19)

    def forward(self, context: Context) -> dict[str, Tensor]:
        spec = self.parameters_spec
        restored, reference = context.restored, context.reference
        terms = {}
        if "reconstruction" in self.term_weights:
            terms["reconstruction"] = pixel_loss(
                restored, reference, spec.reconstruction_loss, spec.eps
            )
        if "distillation" in self.term_weights:
            terms["distillation"] = self._distillation(context)
        if "ssim" in self.term_weights:
            # In [0, 1] whatever the range: SSIM's comparison of means takes black to be 0.
            images = (from_range(each, self.value_range) for each in (restored, reference))
            terms["ssim"] = 1 - ssim(*images, data_range=1.0)
        if self.vgg19 is not None:
            assert context.teacher_restored is not None
            mine = self.vgg19(from_range(restored, self.value_range))
            taught = self.vgg19(from_range(context.teacher_restored, self.value_range))
            terms["perceptual"] = feature_l1(mine, taught)
        return terms

    def _distillation(self, context: Context) -> Tensor:
        spec = self.parameters_spec
        restored, taught = context.restored, context.teacher_restored
        assert taught is not None
        if spec.trust == "all":
            return pixel_loss(restored, taught, spec.distillation_loss, spec.eps)
        return trusted_pixel_loss(
            restored, taught, context.reference, spec.distillation_loss, spec.eps
        )


METHODS = (
    MethodEntry(
        "response", "Response distillation: output images", ResponseParameters, ResponseDistillation
    ),
)
