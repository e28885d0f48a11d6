"""SKD: soft knowledge distillation with multi-dimensional cross-net attention.

arXiv 2501.09321 (ICASSP 2025); journal version in Computers 2025, 14(11), 459. No code is public,
and the printed equations cannot be trained as they stand; each option below says what it repairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from irkd.errors import IrkdError
from irkd.losses.attention import (
    AttentionScale,
    SpatialAttention,
    channel_attention,
    reduce_positions,
    spatial_attention,
)
from irkd.losses.contrast import contrast_ratio, contrast_share, infonce, literal_contrast
from irkd.losses.kernels import Kernel, Normalization, kernel_loss
from irkd.losses.perceptual import VGG19Features
from irkd.losses.pixel import pixel_loss
from irkd.losses.precision import outside_autocast
from irkd.methods.base import Context, Method, MethodEntry, MethodParameters, Needs, Setting
from irkd.methods.projector import Projectors
from irkd.models.apply import from_range
from irkd.models.taps import Tap, TapPair, pair_taps

PAPER_FORM: dict[str, Any] = {
    "normalize": "none",
    "attn_scale": "sqrt_d",
    "spatial_attention": "exact",
    "mca_target": "raw",
    "contrast": "literal",
    "tau": 1e-6,
    "phi": "vgg19",
}
TAU_FLOOR = 0.02


class SKDParameters(MethodParameters):
    """L = L1(S, y) + alpha2 mean over taps of [GK + alpha1 (GK channel + GK spatial)] + alpha3 CL.

    Equations (1) to (6). The paper sums nothing over taps and states no reduction; irkd takes means
    throughout. A term whose weight is 0 is not computed.
    """

    name: Literal["skd"] = "skd"
    form: Literal["irkd", "paper"] = Field(
        "irkd",
        description="irkd: the repaired equations. paper: every option not given below takes the "
        "printed form, normalize none, attn_scale sqrt_d, spatial_attention exact, mca_target raw, "
        "contrast literal, tau 1e-6, phi vgg19. As printed it does not train: see each option",
    )
    taps: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="the student's taps to compare; all but refinement when not given, as in the "
        "paper",
    )
    reconstruction: float = Field(
        1.0, ge=0, description="weight of L1 between restored and reference (5)"
    )
    alpha1: float = Field(
        0.5, ge=0, description="weight of the attention terms beside the kernel term (3)"
    )
    alpha2: float = Field(0.2, ge=0, description="weight of all feature terms (6)")
    alpha3: float = Field(0.2, ge=0, description="weight of the contrast term (6)")
    kernel_term: bool = Field(
        True, description="compare the features themselves, first term of (3)"
    )
    channel_attention: bool = Field(True, description="attention over channels (1a)")
    spatial_attention: SpatialAttention | Literal["off"] = Field(
        "auto",
        description="attention over positions (1b). exact: all positions, memory linear but time "
        "quadratic in them. pool: means over a grid of pooled_side squared cells. window: "
        "windows of at most 8 x 8. auto: exact where there are no more positions than that, else "
        "pool. off: none",
    )
    pooled_side: int = Field(
        16, ge=1, description="cells a side to which spatial_attention pool and auto average maps"
    )
    kernel: Kernel = Field(
        "gaussian",
        description="how features are compared: gaussian (2), or the journal version's alternatives"
        " euclidean and cosine, which it reports 0.32 and 0.26 dB lower",
    )
    sigma: float = Field(
        1.0, gt=0, description="width of the Gaussian kernel (2); the paper gives none"
    )
    normalize: Normalization = Field(
        "cosine",
        description="what is compared. cosine: unit feature vectors at every position. standardize:"
        " differences in units of the teacher's spread per channel, so that magnitude counts; "
        "saturates when the student is far off. none: the whole map at once as printed (2), where "
        "the Gaussian kernel is 1 and its gradient exactly 0 for any real features",
    )
    attn_scale: AttentionScale = Field(
        "cosine",
        description="logits of the attention. cosine: cosines over attn_temperature. sqrt_d: dot "
        "products over the root of the contracted dimension, as printed (1), which grow with the "
        "features: the softmax picks a single entry and passes no gradient",
    )
    attn_temperature: float = Field(
        0.1, ge=0.01, description="divides the cosines of attn_scale cosine"
    )
    mca_target: Literal["attended", "raw"] = Field(
        "attended",
        description="what attended student features are compared with. attended: the teacher's "
        "features attended by themselves, 0 where both agree. raw: the teacher's features as "
        "printed (3), which is not 0 at the teacher, since attention smooths, and over-sharpens",
    )
    contrast: Literal["share", "ratio", "infonce", "literal", "off"] = Field(
        "share",
        description="share: distance to the teacher's output as a share of the distances to it and "
        "to the degraded image, whose minimum, 0, is at the teacher. ratio: the one distance over "
        "the other, as AECR-Net has it; without bound at the degraded image, where students that "
        "begin as the identity start. infonce: cross-entropy of the teacher's output among the "
        "batch's degraded images, nearest to what is printed (4); without a minimum at the "
        "teacher, it outweighs the other terms and costs SSIM (docs/method-comparison.md). "
        "literal: (4) as printed; minimising it drives the student to the degraded image. "
        "off: none",
    )
    centre: bool = Field(
        True,
        description="infonce: take the batch's mean off the features, which otherwise are nearly "
        "parallel, so that both similarities fall together",
    )
    tau: float = Field(
        0.1,
        gt=0,
        description="temperature of infonce (0.02 or more) and literal. The printed 1e-6 overflows "
        "in every floating-point format; it may have been meant to guard a division",
    )
    phi: Literal["teacher", "vgg19", "pixel"] = Field(
        "teacher",
        description="features that are contrasted: the teacher's own at the encoder tap of stride "
        "nearest to 4, VGG-19's as printed (layers not given: relu1_1 to relu5_1), or the pixels",
    )
    phi_shrink: int = Field(
        2,
        ge=1,
        description="phi teacher sees images averaged over cells of so many pixels a side: the "
        "teacher's encoder with its gradient would otherwise cost more than all the rest of a step",
    )
    vgg19: str | None = Field(
        None, description="file with torchvision's vgg19 weights, for phi vgg19; none is downloaded"
    )

    @model_validator(mode="before")
    @classmethod
    def _paper_form(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("form") == "paper":
            return PAPER_FORM | given
        return given

    @model_validator(mode="after")
    def _can_be_trained(self) -> SKDParameters:
        if self.contrasts and self.contrast == "infonce" and self.tau < TAU_FLOOR:
            raise ValueError(
                f"tau must be {TAU_FLOOR} or more, not {self.tau:g}: below it the term is either "
                "huge or without gradient (contrast: literal takes the printed 1e-6)"
            )
        if self.contrasts and self.phi == "vgg19" and self.vgg19 is None:
            raise ValueError(
                "phi vgg19 needs vgg19: the file with torchvision's vgg19 weights "
                "(phi: teacher needs none)"
            )
        if not self.weights():
            raise ValueError("all terms are off or weigh 0: nothing would be learned")
        return self

    @property
    def contrasts(self) -> bool:
        return self.contrast != "off" and self.alpha3 > 0

    def weights(self) -> dict[str, float]:
        """The weight of every term that is on."""
        attention = self.alpha1 * self.alpha2
        weights = {
            "reconstruction": self.reconstruction,
            "kernel": self.alpha2 if self.kernel_term else 0.0,
            "channel_attention": attention if self.channel_attention else 0.0,
            "spatial_attention": attention if self.spatial_attention != "off" else 0.0,
            "contrast": self.alpha3 if self.contrast != "off" else 0.0,
        }
        return {term: weight for term, weight in weights.items() if weight > 0}


class SoftKnowledgeDistillation(Method):
    """The terms of SKD. Trainable: one projector for each pair of taps, on the student's side."""

    def __init__(self, parameters: SKDParameters, setting: Setting) -> None:
        super().__init__(parameters)
        self.parameters_spec: SKDParameters = parameters
        self.value_range = setting.value_range
        self.term_weights = parameters.weights()
        self._declare_exceptions(parameters)

        compares_features = bool(
            {"kernel", "channel_attention", "spatial_attention"} & set(self.term_weights)
        )
        if (compares_features or parameters.contrasts) and setting.teacher_taps is None:
            raise IrkdError("skd learns from a teacher, but the preset names none.")
        pairs: tuple[TapPair, ...] = ()
        if compares_features:
            assert setting.teacher_taps is not None
            pairs = pair_taps(setting.student_taps, setting.teacher_taps, parameters.taps)
            self.projectors = Projectors(pairs, setting)

        self.phi_tap: str | None = None
        self.phi: Callable[[Tensor], list[Tensor]] | None = None
        if parameters.contrasts and parameters.phi == "teacher":
            assert setting.teacher_taps is not None
            self.phi_tap = contrast_tap(setting.teacher_taps)
        elif parameters.contrasts:
            self.phi = self._image_features(parameters)
        self.needs = Needs(
            teacher=parameters.contrasts,
            tap_pairs=pairs,
            teacher_encoder=self.phi_tap is not None,
        )

    def _declare_exceptions(self, parameters: SKDParameters) -> None:
        exceptional = set()
        if parameters.mca_target == "raw":
            exceptional |= {"channel_attention", "spatial_attention"}
        if parameters.contrast in ("infonce", "literal"):
            exceptional.add("contrast")
            self.batch_dependent = frozenset({"contrast"} & set(self.term_weights))
        if parameters.contrasts and parameters.phi == "teacher":
            # The borders of phi's convolutions weigh more in a small image.
            self.size_dependent = frozenset({"contrast"})
        self.floors = dict.fromkeys(exceptional & set(self.term_weights), math.nan)
        if parameters.contrast in ("share", "ratio"):
            exceptional.add("contrast")
        self.not_monotone = frozenset(exceptional & set(self.term_weights))

    def _image_features(self, parameters: SKDParameters) -> Callable[[Tensor], list[Tensor]]:
        if parameters.phi == "pixel":
            return lambda images: [images]
        assert parameters.vgg19 is not None
        vgg19 = VGG19Features(parameters.vgg19)
        return lambda images: vgg19(from_range(images, self.value_range))

    def forward(self, context: Context) -> dict[str, Tensor]:
        terms = {}
        if "reconstruction" in self.term_weights:
            terms["reconstruction"] = pixel_loss(context.restored, context.reference, "l1")
        if self.needs.tap_pairs:
            terms |= self._feature_terms(context)
        if "contrast" in self.term_weights:
            terms["contrast"] = self._contrast(context)
        return terms

    def _feature_terms(self, context: Context) -> dict[str, Tensor]:
        """The feature terms that are on, each the mean over all pairs of taps."""
        values: dict[str, list[Tensor]] = {}
        terms = {
            "kernel": self._compare,
            "channel_attention": self._channel_term,
            "spatial_attention": self._spatial_term,
        }
        with outside_autocast(context.restored.device.type):
            for student, teacher in self.projectors(context):
                for term, function in terms.items():
                    if term in self.term_weights:
                        values.setdefault(term, []).append(function(student, teacher))
        return {term: torch.stack(each).mean() for term, each in values.items()}

    def _channel_term(self, student: Tensor, teacher: Tensor) -> Tensor:
        return self._compare_attended(channel_attention, student.flatten(2), teacher.flatten(2))

    def _spatial_term(self, student: Tensor, teacher: Tensor) -> Tensor:
        reduction = self.parameters_spec.spatial_attention
        assert reduction != "off"
        side = self.parameters_spec.pooled_side
        reduced = (reduce_positions(each, reduction, side) for each in (student, teacher))
        return self._compare_attended(spatial_attention, *reduced)

    def _compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        spec = self.parameters_spec
        return kernel_loss(
            student, teacher, spec.kernel, normalize=spec.normalize, sigma=spec.sigma
        )

    def _compare_attended(
        self, attention: Callable[..., Tensor], student: Tensor, teacher: Tensor
    ) -> Tensor:
        spec = self.parameters_spec
        attend = partial(attention, scale=spec.attn_scale, temperature=spec.attn_temperature)
        target = teacher
        if spec.mca_target == "attended":
            with torch.no_grad():
                target = attend(teacher, teacher)
        return self._compare(attend(student, teacher), target)

    def _contrast(self, context: Context) -> Tensor:
        spec = self.parameters_spec
        restored, taught, degraded = self._contrasted_features(context)
        if spec.contrast == "share":
            return contrast_share(restored, taught, degraded)
        if spec.contrast == "ratio":
            return contrast_ratio(restored, taught, degraded)
        if spec.contrast == "infonce":
            loss = partial(infonce, tau=spec.tau, centre=spec.centre)
        else:
            loss = partial(literal_contrast, tau=spec.tau)
        layers = zip(restored, taught, degraded, strict=True)
        return torch.stack([loss(*features) for features in layers]).mean()

    def _contrasted_features(
        self, context: Context
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """phi of the restored, the teacher's and the degraded images, a list of layers each."""
        assert context.teacher_restored is not None
        if self.phi_tap is None:
            assert self.phi is not None
            with torch.no_grad():
                taught, degraded = self.phi(context.teacher_restored), self.phi(context.degraded)
            return self.phi(context.restored), taught, degraded
        with torch.no_grad():
            positive = self._encoded(context.teacher_restored, context)
            negative = self._encoded(context.degraded, context)
        return [self._encoded(context.restored, context)], [positive], [negative]

    def _encoded(self, images: Tensor, context: Context) -> Tensor:
        assert context.encode is not None
        assert self.phi_tap is not None
        shrunk = F.avg_pool2d(images, self.parameters_spec.phi_shrink, ceil_mode=True)
        return context.encode(shrunk, [self.phi_tap])[self.phi_tap]


def contrast_tap(taps: Mapping[str, Tap]) -> str:
    """The encoder tap whose stride is nearest to 4."""
    encoding = {name: tap for name, tap in taps.items() if tap.role == "encoder"}
    return min(encoding, key=lambda name: abs(math.log2(encoding[name].stride / 4)))


METHODS = (
    MethodEntry(
        "skd",
        "SKD: kernels, cross-network attention and contrast",
        SKDParameters,
        SoftKnowledgeDistillation,
    ),
)
