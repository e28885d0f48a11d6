"""Terms scaled by their gradients on the first batch, and the scales kept over a resume."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import skd_preset

from irkd.models.base import build_network
from irkd.presets.load import apply_overrides, validate
from irkd.report.run_directory import RunDirectory
from irkd.training.audit import audit
from irkd.training.balance import balance_terms
from irkd.training.distill import distill
from irkd.training.task import DistillTask, build_task


def _task(folder: Path) -> tuple[DistillTask, torch.Tensor, torch.Tensor]:
    preset = skd_preset(folder)
    torch.manual_seed(0)
    student, teacher = build_network(preset.student), build_network(preset.teacher)
    for parameter in (*student.parameters(), *teacher.parameters()):
        torch.nn.init.normal_(parameter, std=0.2)
    degraded, reference = torch.rand(2, 2, 3, 16, 16)
    return build_task(student, preset.methods, teacher), degraded, reference


def test_a_weight_is_a_share_of_the_reconstruction_gradient(tmp_path: Path) -> None:
    task, *images = _task(tmp_path)
    before = {row["term"]: row for row in audit(task, *images)}
    weights = {term: row["weight"] for term, row in before.items()}
    anchor = before["reconstruction"]["gradient_at_parameters"] / weights["reconstruction"]
    ratios = {t: r["gradient_at_parameters"] / anchor / weights[t] for t, r in before.items()}
    assert max(ratios.values()) > 2 * min(ratios.values()), "nothing to balance here"
    balance_terms(task, *images)
    for row in audit(task, *images):
        expected = weights[row["term"]] * anchor
        assert row["gradient_at_parameters"] == pytest.approx(expected, rel=1e-3), row["term"]


def test_a_resumed_run_keeps_its_scales(tmp_path: Path) -> None:
    preset = skd_preset(tmp_path, balance="grad_norm_at_init", steps=6)
    whole = distill(preset, out=tmp_path / "whole", device="cpu")
    part = distill(preset, out=tmp_path / "part", device="cpu", max_seconds=0)
    assert part.stopped == "time"
    rest = distill(preset, out=tmp_path / "part", resume=True, device="cpu")
    assert rest.stopped is None
    one, other = (load_file(run.directory / "student.safetensors") for run in (whole, rest))
    assert all(torch.equal(one[key], other[key]) for key in one)
    logged = [e for e in RunDirectory(tmp_path / "part").log() if e["kind"] == "balance"]
    assert logged[0]["scales"]["reconstruction"] == 1.0
    unbalanced = apply_overrides(preset.model_dump(mode="json"), {"training.balance": "none"})
    plain = distill(validate(unbalanced, "plain"), out=tmp_path / "plain", device="cpu")
    unscaled = load_file(plain.directory / "student.safetensors")
    assert any(not torch.equal(one[key], unscaled[key]) for key in one)
