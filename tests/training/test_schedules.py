"""Methods' weights over the steps, and what is run for those that do not count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import tiny_content, tiny_teacher

from irkd.models.base import build_network
from irkd.presets.load import validate
from irkd.training.task import DistillTask, build_task


def _task(folder: Path, *methods: dict[str, Any]) -> tuple[DistillTask, list[int]]:
    """The task, and a list that grows with every run of the teacher."""
    content = tiny_content()
    content["teacher"] = tiny_teacher(folder / "teacher.safetensors")
    content["methods"] = list(methods)
    preset = validate(content, "tiny")
    torch.manual_seed(0)
    teacher = build_network(preset.teacher)
    runs: list[int] = []
    teacher.get_submodule("intro").register_forward_hook(lambda *_: runs.append(1))
    return build_task(build_network(preset.student), preset.methods, teacher), runs


def test_a_method_outside_its_steps_costs_no_run_of_the_teacher(tmp_path: Path) -> None:
    task, runs = _task(
        tmp_path, {"name": "none"}, {"name": "response", "ssim": 0, "start": 2, "stop": 4}
    )
    images = torch.rand(2, 2, 3, 16, 16)
    seen = []
    for step in range(6):
        runs.clear()
        terms = task(*images, step).terms
        seen.append((len(runs), sorted(name.partition(".")[0] for name in terms)[-1]))
    assert seen == [(0, "none")] * 2 + [(1, "response")] * 2 + [(0, "none")] * 2


def test_stacked_methods_share_one_run_of_the_teacher(tmp_path: Path) -> None:
    task, runs = _task(
        tmp_path,
        {"name": "response"},
        {"name": "hints"},
        {"name": "attention"},
        {"name": "wavelet"},
    )
    task(*torch.rand(2, 2, 3, 16, 16), 0)
    assert len(runs) == 1


@pytest.mark.parametrize(
    ("schedule", "weights"),
    [
        ({"weight": 2.0}, [2, 2, 2, 2]),
        ({"start": 1, "stop": 3}, [0, 1, 1, 0]),
        ({"weight": 3.0, "start": 1, "ramp": 3}, [0, 1, 2, 3]),
    ],
)
def test_the_loss_follows_the_schedule(
    tmp_path: Path, schedule: dict[str, Any], weights: list[float]
) -> None:
    task, _ = _task(tmp_path, {"name": "none", "weight": 0}, {"name": "wavelet", **schedule})
    images = torch.rand(2, 2, 3, 16, 16)
    full = task(*images, int(weights.index(max(weights))))
    unit = float(full.loss.detach()) / max(weights)
    losses = [float(task(*images, step).loss.detach()) for step in range(4)]
    assert losses == pytest.approx([unit * weight for weight in weights], abs=1e-6)
