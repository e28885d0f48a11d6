"""What one optimizer step costs, without the cost of reading data."""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor

from irkd.presets.schema import TrainingSection
from irkd.training.optimization import build_optimizer
from irkd.training.task import DistillTask


def step_seconds(
    task: DistillTask,
    training: TrainingSection,
    degraded: Tensor,
    reference: Tensor,
    times: int = 5,
) -> float:
    """Median seconds of a step of `task` on one batch; its weights change.

    degraded, reference: [0, 1], B x 3 x H x W, on the task's device. On a CPU the seconds are those
    of the process, so that other programs do not count; on a GPU they pass on the wall.
    """
    optimizer = build_optimizer(task.trained_parameters(), training)
    task.train()
    cpu = degraded.device.type == "cpu"
    seconds = []
    for step in range(times + 1):
        begin = _now(cpu)
        optimizer.zero_grad()
        task(degraded, reference, step).loss.backward()
        optimizer.step()
        task.after_step(degraded, reference, step)
        seconds.append(_now(cpu) - begin)
    # The first step also fills caches and allocates the optimizer's state.
    return statistics.median(seconds[1:])


def _now(cpu: bool) -> float:
    if cpu:
        return time.process_time()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
