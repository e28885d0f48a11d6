"""Data-free distillation: a generator makes the training images on which the student is worst.

Zhang et al., "Data-Free Knowledge Distillation for Image Super-Resolution", CVPR 2021 (DFKD), with
public code. There is no downscaling in restoration, so its consistency term is another one here.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
import torch.distributed
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from irkd.data.differentiable import DIFFERENTIABLE, degrade_images
from irkd.errors import IrkdError
from irkd.losses.pixel import PixelLoss, pixel_floor, pixel_loss
from irkd.losses.precision import outside_autocast
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
from irkd.models.apply import from_range, to_range
from irkd.models.base import NetworkSpec, build_network

_STUDENTS, _GENERATORS = 0, 1


class DataFreeParameters(MethodParameters):
    """Student: D(S(d), T(d)). Generator: -log(1 + D(S(d), T(d))) + w_r C, every few steps.

    c = G(z) is a clean candidate, d = Deg(c) its degradation by the task's own synthetic draws, and
    C = |T(d) - c|. Without such a degradation d = G(z), and C = |T(T(d)) - T(d)|, since a restored
    image needs no restoring, with a smoothness prior. Both are irkd's: the paper's C compares the
    downscaled output of a super-resolution teacher with G(z).

    No image of the data is looked at; they are loaded all the same, so that the procedural set,
    which costs no download, is the one to name. Differs from the paper: means instead of sums, so
    that log(1 + D) has a gradient of ordinary size; 10 student steps for each of the generator's
    where it takes 50; the student's optimizer is the preset's; the student does not grow by stages.
    """

    name: Literal["data-free"] = "data-free"
    distillation_loss: PixelLoss = Field(
        "l1", description="D, between the student's output and the teacher's"
    )
    student_steps: int = Field(
        10, ge=1, description="student steps for each step of the generator; the paper takes 50"
    )
    consistency: float = Field(1.0, ge=0, description="weight w_r of C")
    consistency_form: Literal["auto", "degraded", "idempotence"] = Field(
        "auto",
        description="C. degraded: the teacher undoes the task's synthetic degradation (derain, "
        "deblur, dehaze, denoise, general). idempotence: its output stays under another run. auto: "
        "degraded where the task has it",
    )
    smoothness: float = Field(
        0.01, ge=0, description="weight of the total variation of G(z), with idempotence alone"
    )
    size: int = Field(48, ge=32, multiple_of=4, description="height and width of a generated image")
    latent: int = Field(256, ge=1, description="length of z")
    width: int = Field(128, ge=2, multiple_of=2, description="channels of the generator")
    generator_lr: float = Field(
        1e-5,
        gt=0,
        description="of the generator's Adam, constant. In a short run the images hardly leave the "
        "noise they begin as; at 1e-3 they soon grow alike",
    )


class DataFreeDistillation(Method):
    """z is a function of the run's seed and the step; the generator and its Adam are task state."""

    def __init__(self, parameters: DataFreeParameters, setting: Setting) -> None:
        super().__init__(parameters)
        self.parameters_spec: DataFreeParameters = parameters
        self.value_range = setting.value_range
        self.term_weights = {"distillation": 1.0}
        # charbonnier; its eps is that of `pixel_loss`.
        self.floors = {"distillation": pixel_floor(parameters.distillation_loss)}
        self.needs = Needs(teacher=True)
        self.degradation = _degradation(parameters, setting)
        for role, network in (("student", setting.student_spec), ("teacher", setting.teacher_spec)):
            if network is not None:
                _check_size(parameters.size, role, network)
        self.seed = draw_seed()
        self._part = (-1, 0)
        self.generator = Generator(parameters.latent, parameters.width, parameters.size)
        self._optimizer = torch.optim.Adam(self.generator.parameters(), lr=parameters.generator_lr)

    def get_extra_state(self) -> dict[str, Any]:
        return {"seed": self.seed, "optimizer": self._optimizer.state_dict()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.seed = state["seed"]
        self._optimizer.load_state_dict(state["optimizer"])

    def own_parameters(self) -> list[nn.Parameter]:
        return list(self.generator.parameters())

    def images(self, degraded: Tensor, reference: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """As many generated images as were given, each with its clean candidate."""
        # The parts of an accumulated batch come one after the other, and are different images.
        self._part = (step, self._part[1] + 1 if self._part[0] == step else 0)
        with torch.no_grad(), outside_autocast(degraded.device.type):
            made, clean = self.generate(len(degraded), step, _STUDENTS, self._part[1])
        return made, clean

    def forward(self, context: Context) -> dict[str, Tensor]:
        assert context.teacher_restored is not None
        loss = pixel_loss(
            context.restored, context.teacher_restored, self.parameters_spec.distillation_loss
        )
        return {"distillation": loss}

    def after_step(self, interlude: Interlude, step: int) -> None:
        """One step of the generator's Adam, after every `student_steps` of the student."""
        if (step + 1) % self.parameters_spec.student_steps == 0:
            self.train_generator(interlude, step)

    def train_generator(self, interlude: Interlude, step: int) -> float:
        """Step the generator on as many images as the batch holds; returns its loss before."""
        parameters = self.own_parameters()
        with outside_autocast(interlude.degraded.device.type), torch.enable_grad():
            made, clean = self.generate(len(interlude.degraded), step, _GENERATORS)
            loss = self.adversarial_loss(interlude, made, clean)
            gradients = torch.autograd.grad(loss, parameters)
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if distributed:
                # Every process draws its own z; all take the same step.
                torch.distributed.all_reduce(gradient)
                gradient /= torch.distributed.get_world_size()
            parameter.grad = gradient
        self._optimizer.step()
        self._optimizer.zero_grad()
        return float(loss.detach())

    def generate(self, count: int, step: int, *purpose: int) -> tuple[Tensor, Tensor]:
        """Degraded images and their clean candidates, in the student's range; differentiable."""
        draws = step_generator(self.seed, step, *purpose)
        device = self.generator.first.weight.device
        latent = draws.standard_normal((count, self.parameters_spec.latent), np.float32)
        clean = self.generator(torch.from_numpy(latent).to(device))
        made = clean
        if self.degradation is not None:
            made = degrade_images(clean, self.degradation, draws.spawn(count))
        return to_range(made, self.value_range), to_range(clean, self.value_range)

    def adversarial_loss(self, interlude: Interlude, made: Tensor, clean: Tensor) -> Tensor:
        """What the generator minimises, on images from `generate`."""
        spec = self.parameters_spec
        assert interlude.run_teacher is not None
        taught, restored = interlude.run_teacher(made), interlude.run_student(made)
        loss = -torch.log1p(pixel_loss(restored, taught, spec.distillation_loss))
        if spec.consistency > 0:
            image, kept = (taught, clean)
            if self.degradation is None:
                image, kept = interlude.run_teacher(taught), taught
            loss = loss + spec.consistency * pixel_loss(image, kept, "l1")
        if self.degradation is None:
            loss = loss + spec.smoothness * total_variation(from_range(made, self.value_range))
        return loss


class Generator(nn.Module):
    """B x latent to B x 3 x size x size images in [0, 1].

    A linear layer to maps of a quarter of the size, then twice: enlarge, convolve, normalise.
    The paper's tanh, halved and raised by a half, is a sigmoid; nothing is clamped.
    """

    def __init__(self, latent: int, width: int, size: int) -> None:
        super().__init__()
        self.start = (width, size // 4, size // 4)
        self.first = nn.Linear(latent, width * (size // 4) ** 2)
        half = width // 2
        self.body = nn.Sequential(
            nn.InstanceNorm2d(width, affine=True),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(width, width, 3, padding=1),
            nn.InstanceNorm2d(width, affine=True),
            nn.LeakyReLU(0.2),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(width, half, 3, padding=1),
            nn.InstanceNorm2d(half, affine=True),
            nn.LeakyReLU(0.2),
            nn.Conv2d(half, 3, 3, padding=1),
        )

    def forward(self, latent: Tensor) -> Tensor:
        maps: Tensor = self.body(self.first(latent).unflatten(1, self.start))
        return torch.sigmoid(2 * maps)


def total_variation(images: Tensor) -> Tensor:
    """Mean absolute difference of neighbours, down and to the right."""
    return F.l1_loss(images[..., 1:, :], images[..., :-1, :]) + F.l1_loss(
        images[..., 1:], images[..., :-1]
    )


def _degradation(parameters: DataFreeParameters, setting: Setting) -> str | None:
    """The task whose degradation the generated images get, None for idempotence."""
    known = setting.task in DIFFERENTIABLE
    if parameters.consistency_form == "degraded" and not known:
        raise IrkdError(
            f"data-free: the task {setting.task} has no differentiable synthetic degradation;"
            f" {', '.join(DIFFERENTIABLE)} have one. Write consistency_form: idempotence."
        )
    return setting.task if known and parameters.consistency_form != "idempotence" else None


def _check_size(size: int, role: str, spec: NetworkSpec) -> None:
    with torch.device("meta"):
        multiple: int = build_network(spec).size_multiple  # type: ignore[assignment]
    if size % multiple:
        raise IrkdError(
            f"data-free: size {size} must be a multiple of {multiple} for the {role} ({spec.arch})."
        )


METHODS = (
    MethodEntry(
        "data-free",
        "Data-free distillation: images from an adversarial generator",
        DataFreeParameters,
        DataFreeDistillation,
    ),
)
