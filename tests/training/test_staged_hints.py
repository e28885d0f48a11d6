"""FitNets' first stage in the real loop: what lies behind the hint does not move by a bit."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import tiny_content, tiny_teacher

from irkd.models.base import build_network
from irkd.presets.load import validate
from irkd.presets.schema import Preset
from irkd.report.run_directory import RunDirectory
from irkd.training.checkpoint import load_newest
from irkd.training.distill import distill
from irkd.training.observer import Observer


def staged(folder: Path, hint_steps: int, others: tuple[dict[str, Any], ...] = ()) -> Preset:
    """AdamW with weight decay and momentum, which would move a parameter of gradient 0."""
    content = tiny_content(
        steps=6, optimizer="adamw", weight_decay=0.1, lr=1e-2, average=None, log_every=1,
        clip_norm=1.0,
    )  # fmt: skip
    content["teacher"] = tiny_teacher(folder / "teacher.safetensors")
    hints = {"name": "hints", "schedule": "staged", "hint_steps": hint_steps}
    content["methods"] = [hints, *others]
    return validate(content, "tiny")


def is_behind_the_hint(key: str) -> bool:
    return key.startswith(("decoders", "ups", "ending"))


@pytest.mark.parametrize("others", [(), ({"name": "response", "ssim": 0},)])
def test_the_first_stage_trains_only_what_lies_before_the_hint(tmp_path: Path, others: Any) -> None:
    preset = staged(tmp_path, 6, others)
    run = distill(preset, out=tmp_path / "run", device="cpu")
    torch.manual_seed(preset.training.seed)
    start = distill(
        preset.model_copy(update={"training": preset.training.model_copy(update={"steps": 0})}),
        out=tmp_path / "start",
        device="cpu",
    )
    before, after = (load_file(each.directory / "student.safetensors") for each in (start, run))
    assert any(map(is_behind_the_hint, before))
    for key, value in before.items():
        if is_behind_the_hint(key):
            assert torch.equal(after[key], value), key
    assert not torch.equal(after["intro.weight"], before["intro.weight"])
    assert not torch.equal(
        after["middle_blks.0.conv1.weight"], before["middle_blks.0.conv1.weight"]
    )


def test_the_second_stage_trains_everything(tmp_path: Path) -> None:
    preset = staged(tmp_path, 3)
    run = distill(preset, out=tmp_path / "run", device="cpu")
    entries = [entry for entry in RunDirectory(run.directory).log() if entry["kind"] == "train"]
    assert [list(entry["terms"]) for entry in entries] == [["hint"]] * 3 + [["reconstruction"]] * 3
    first = distill(
        preset.model_copy(update={"training": preset.training.model_copy(update={"steps": 3})}),
        out=tmp_path / "first",
        device="cpu",
    )
    before, after = (load_file(each.directory / "student.safetensors") for each in (first, run))
    decoders = [key for key in before if is_behind_the_hint(key) and key.endswith("conv1.weight")]
    assert decoders
    assert all(not torch.equal(after[key], before[key]) for key in decoders)


def test_the_student_has_what_this_test_names(tmp_path: Path) -> None:
    names = [name for name, _ in build_network(staged(tmp_path, 1).student).named_parameters()]
    assert any(not is_behind_the_hint(name) for name in names)
    assert {name.split(".")[0] for name in names if is_behind_the_hint(name)} == {
        "decoders",
        "ups",
        "ending",
    }


class _StopIn(Observer):
    """Stops the run after `step` steps, as Ctrl-C would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def stepped(self, step: int, entry: object) -> None:
        if step == self.step:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_run_stopped_in_the_first_stage_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    preset = staged(tmp_path, 4)
    whole = distill(preset, out=tmp_path / "whole", device="cpu")
    stopped = distill(preset, out=tmp_path / "parts", device="cpu", observer=_StopIn(2))
    assert stopped.step == 2
    resumed = distill(preset, out=tmp_path / "parts", resume=True, device="cpu")
    one, other = (load_newest(run.directory / "checkpoints")["task"] for run in (whole, resumed))
    assert any(key.endswith("spreads.0.variance") for key in one)
    torch.testing.assert_close(one, other, rtol=0, atol=0)
