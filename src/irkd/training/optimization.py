"""Optimizer, learning rate and weight average, each a plain function of the preset."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from irkd.presets.schema import TrainingSection
from irkd.training.muon import Muon

Tensors = list[Tensor] | tuple[Tensor, ...]


def build_optimizer(
    parameters: Iterable[nn.Parameter], training: TrainingSection
) -> torch.optim.Optimizer:
    """Adam couples weight decay into the gradient (L2), AdamW and Muon do not: no synonyms."""
    if training.optimizer == "muon":
        return Muon(
            parameters,
            lr=training.lr,
            matrix_lr=training.matrix_lr,
            betas=training.betas,
            weight_decay=training.weight_decay,
        )
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[training.optimizer]
    return kind(
        parameters, lr=training.lr, betas=training.betas, weight_decay=training.weight_decay
    )


def learning_rate(training: TrainingSection, step: int, steps: int) -> float:
    """The rate of `step` (from 0) of `steps`: linear warm-up, then cosine from lr to min_lr.

    The first step after the warm-up has `lr`, the last one `min_lr`.
    """
    if step < training.warmup_steps:
        return training.lr * (step + 1) / training.warmup_steps
    if training.schedule == "constant":
        return training.lr
    span = max(1, steps - 1 - training.warmup_steps)
    progress = min(1.0, (step - training.warmup_steps) / span)
    return (
        training.min_lr + (training.lr - training.min_lr) * (1 + math.cos(math.pi * progress)) / 2
    )


def build_average(student: nn.Module, decay: float) -> AveragedModel:
    """A float32 exponential average of weights, with the decay min(decay, (1 + t) / (10 + t)).

    Without that warm-up the first thousand steps would mostly average the untrained weights.
    """

    @torch.no_grad()
    def update(averages: Tensors, weights: Tensors, updates: Tensor | int) -> None:
        count = int(updates)
        momentum = min(decay, (1 + count) / (10 + count))
        torch._foreach_lerp_(list(averages), [weight.float() for weight in weights], 1 - momentum)

    return AveragedModel(student, multi_avg_fn=update, use_buffers=True)
