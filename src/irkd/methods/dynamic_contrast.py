"""Dynamic contrastive distillation: near to the teacher, away from what the student was.

Zhou et al., "Dynamic Contrastive Knowledge Distillation for Efficient Image Restoration", AAAI
2025, arXiv 2412.08939, with public code: the authors' "DCKD". The "DCKD" in the tables of the SKD
and SLKD papers is another method, irkd's `dual-cross`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from irkd.errors import IrkdError
from irkd.losses.contrast import RATIO_WEIGHTS, contrast_ratio
from irkd.losses.perceptual import VGG19Features
from irkd.losses.pixel import pixel_loss
from irkd.methods.base import (
    Context,
    Interlude,
    Method,
    MethodEntry,
    MethodParameters,
    Needs,
    Setting,
)
from irkd.methods.draws import draw_seed, step_generator
from irkd.models.apply import from_range

# Whether an image is inverted, upside down, mirrored, transposed.
Turn = tuple[bool, bool, bool, bool]

_NOISE, _TURNS = 0, 1


class DynamicContrastParameters(MethodParameters):
    """L = |S - y| + |S - T| + |S - T'| + 0.1 L_cl

    L_cl = sum_l w_l |phi_l(S) - phi_l(T)| / (sum_n |phi_l(S) - phi_l(H(x_n))| + 1e-7), w = 1/32,
    1/16, 1/8, 1/4, 1. H is the history model, an average of the student's past weights; x_0 is the
    degraded image and x_1 to x_4 are it with more noise. T' is the teacher's output for the image
    inverted, flipped and transposed at random, undone.

    Differs from the paper: phi are the teacher's encoder or VGG-19 instead of a VQGAN's encoder;
    the cross-entropy of VQGAN codes (weight 0.001) is left out; the history follows the student
    itself, not its running average; means throughout, as there.
    """

    name: Literal["dynamic-contrast"] = "dynamic-contrast"
    reconstruction: float = Field(
        1.0, ge=0, description="weight of L1 between restored and reference"
    )
    distillation: float = Field(1.0, ge=0, description="weight of L1 to the teacher's output")
    consistency: float = Field(
        1.0,
        ge=0,
        description="weight of L1 to the teacher's output for inverted, flipped and transposed "
        "images, undone (each with probability 1/2); costs another run of the teacher",
    )
    contrast: float = Field(0.1, ge=0, description="weight of the contrast ratio")
    phi: Literal["teacher", "vgg19"] = Field(
        "teacher",
        description="what images are compared by: the teacher's encoder levels and middle (the "
        "five deepest), or VGG-19 after relu1_1 to relu5_1",
    )
    vgg19: str | None = Field(
        None, description="file with torchvision's vgg19 weights; irkd downloads none"
    )
    noised: int = Field(
        4, ge=1, le=64, description="negatives beside the degraded image's: it with more noise"
    )
    noise_sigma: tuple[float, float] = Field(
        (1.0, 30.0), description="range of that noise's deviation, of 255; grey in half of them"
    )
    history_decay: float = Field(
        0.1, ge=0, lt=1, description="at a refresh, history = decay history + (1 - decay) student"
    )
    refresh: tuple[int, ...] = Field(
        (1000, 2000, 3000),
        min_length=1,
        description="steps between refreshes of the history, one number for each stage of the run",
    )
    stage_steps: int = Field(
        100_000, ge=1, description="steps of a stage; the last stage has no end"
    )

    @model_validator(mode="after")
    def _consistent(self) -> DynamicContrastParameters:
        if not self.weights():
            raise ValueError("all weights are 0: nothing would be learned")
        if self.contrast and self.phi == "vgg19" and self.vgg19 is None:
            raise ValueError(
                "phi vgg19 needs vgg19: the file with torchvision's vgg19 weights "
                "(phi: teacher needs none)"
            )
        low, high = self.noise_sigma
        if not 0 < low <= high:
            raise ValueError(f"noise_sigma must rise from above 0, not {low:g} to {high:g}")
        if min(self.refresh) < 1:
            raise ValueError("refresh: the steps between refreshes are 1 or more")
        return self

    @property
    def reconstructs(self) -> bool:
        return self.reconstruction > 0 or self.distillation > 0 or self.consistency > 0

    def weights(self) -> dict[str, float]:
        """The weight of every term that is on."""
        weights = {
            "reconstruction": self.reconstruction,
            "distillation": self.distillation,
            "consistency": self.consistency,
            "contrast": self.contrast,
        }
        return {term: weight for term, weight in weights.items() if weight > 0}


class DynamicContrastDistillation(Method):
    """The history model is a frozen submodule: part of the run's checkpoints, never trained."""

    def __init__(self, parameters: DynamicContrastParameters, setting: Setting) -> None:
        super().__init__(parameters)
        self.parameters_spec: DynamicContrastParameters = parameters
        self.value_range = setting.value_range
        self.term_weights = parameters.weights()
        if "consistency" in self.term_weights:
            self.floors = {"consistency": float("nan")}
        self.not_monotone = frozenset({"consistency", "contrast"} & set(self.term_weights))
        self.seed = draw_seed()
        self.history: nn.Module | None = None
        self.phi_taps: tuple[str, ...] = ()
        self.vgg19: VGG19Features | None = None
        if "contrast" in self.term_weights and parameters.phi == "vgg19":
            assert parameters.vgg19 is not None
            self.vgg19 = VGG19Features(parameters.vgg19)
        elif "contrast" in self.term_weights:
            if setting.teacher_taps is None:
                raise IrkdError(
                    "dynamic-contrast learns from a teacher, but the preset names none."
                )
            encoding = [name for name, tap in setting.teacher_taps.items() if tap.role != "decoder"]
            self.phi_taps = tuple(encoding[-len(RATIO_WEIGHTS) :])
        self.needs = Needs(
            teacher=bool({"distillation", "contrast"} & set(self.term_weights)),
            teacher_encoder=bool(self.phi_taps),
            networks="consistency" in self.term_weights,
        )

    def get_extra_state(self) -> dict[str, Any]:
        return {"seed": self.seed}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.seed = state["seed"]

    def prepare(self, student: nn.Module) -> None:
        if "contrast" in self.term_weights:
            self.history = copy.deepcopy(student).eval().requires_grad_(False)

    def train(self, mode: bool = True) -> DynamicContrastDistillation:
        super().train(mode)
        if self.history is not None:
            self.history.eval()
        return self

    @torch.no_grad()
    def after_step(self, interlude: Interlude, step: int) -> None:
        spec = self.parameters_spec
        stage = min(step // spec.stage_steps, len(spec.refresh) - 1)
        if self.history is None or (step + 1) % spec.refresh[stage]:
            return
        student = interlude.student.state_dict()
        for name, past in self.history.state_dict().items():
            if past.is_floating_point():
                past.lerp_(student[name], 1 - spec.history_decay)

    def forward(self, context: Context) -> dict[str, Tensor]:
        terms = {}
        if "reconstruction" in self.term_weights:
            terms["reconstruction"] = pixel_loss(context.restored, context.reference, "l1")
        if "distillation" in self.term_weights:
            assert context.teacher_restored is not None
            terms["distillation"] = pixel_loss(context.restored, context.teacher_restored, "l1")
        if "consistency" in self.term_weights:
            terms["consistency"] = pixel_loss(context.restored, self._taught_turned(context), "l1")
        if "contrast" in self.term_weights:
            terms["contrast"] = self._contrast(context)
        return terms

    @torch.no_grad()
    def _taught_turned(self, context: Context) -> Tensor:
        """The teacher's output for turned images, turned back."""
        assert context.run_teacher is not None
        images = context.degraded
        square = images.shape[-2] == images.shape[-1]
        draws = step_generator(self.seed, context.step, _TURNS).random((len(images), 4)) < 0.5
        turns = [(bool(i), bool(v), bool(h), bool(t) and square) for i, v, h, t in draws]

        def each(change: Callable[..., Tensor], batch: Tensor) -> Tensor:
            pairs = zip(batch, turns, strict=True)
            return torch.stack([change(image, drawn, self.value_range) for image, drawn in pairs])

        return each(undo, context.run_teacher(each(turn, images)))

    def _contrast(self, context: Context) -> Tensor:
        assert context.teacher_restored is not None
        assert self.history is not None
        restored = self._features(context, context.restored)
        with torch.no_grad():
            taught = self._features(context, context.teacher_restored)
            # One after the other: a batch of all would take their number times the memory.
            negatives = [
                self._features(context, self.history(images).float())
                for images in [context.degraded, *self._noised(context)]
            ]
        return contrast_ratio(restored, taught, *negatives)

    def _features(self, context: Context, images: Tensor) -> list[Tensor]:
        if self.vgg19 is not None:
            return self.vgg19(from_range(images, self.value_range))
        assert context.encode is not None
        features = context.encode(images, self.phi_taps)
        return [features[name] for name in self.phi_taps]

    def _noised(self, context: Context) -> list[Tensor]:
        """The degraded images with more noise, clipped to the value range."""
        spec, images = self.parameters_spec, context.degraded
        low, high = self.value_range
        generator = step_generator(self.seed, context.step, _NOISE)
        noised = []
        for _ in range(spec.noised):
            sigma = generator.uniform(*spec.noise_sigma, len(images)) / 255 * (high - low)
            noise = generator.standard_normal(images.shape, np.float32)
            grey = generator.random(len(images)) < 0.5
            noise[grey] = noise[grey, :1]
            scaled = noise * sigma.astype(np.float32)[:, None, None, None]
            noised.append((images + torch.from_numpy(scaled).to(images.device)).clamp(low, high))
        return noised


def turn(image: Tensor, drawn: Turn, value_range: tuple[float, float]) -> Tensor:
    """C x H x W with black and white exchanged, flipped, and then transposed, each if drawn."""
    inverted, *flips, transposed = drawn
    image = sum(value_range) - image if inverted else image
    image = image.flip([side for side, flipped in zip((-2, -1), flips, strict=True) if flipped])
    return image.mT if transposed else image


def undo(image: Tensor, drawn: Turn, value_range: tuple[float, float]) -> Tensor:
    """What `turn` did, undone in the reverse order: a flip and a transposition do not commute."""
    inverted, *flips, transposed = drawn
    image = image.mT if transposed else image
    image = image.flip([side for side, flipped in zip((-2, -1), flips, strict=True) if flipped])
    return sum(value_range) - image if inverted else image


METHODS = (
    MethodEntry(
        "dynamic-contrast",
        "Dynamic contrastive distillation: away from what the student was",
        DynamicContrastParameters,
        DynamicContrastDistillation,
    ),
)
