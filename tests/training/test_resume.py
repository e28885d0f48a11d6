"""A resumed run ends with the same bits as one that was never stopped."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import skd_preset, tiny_content, tiny_preset

from irkd.errors import IrkdError
from irkd.presets.load import validate
from irkd.training.checkpoint import load_newest, save_checkpoint
from irkd.training.distill import distill
from irkd.training.observer import Observer


class _StopAt(Observer):
    """Stops the run as a user's Ctrl-C would, after `step` steps."""

    def __init__(self, step: int) -> None:
        self.step = step

    def stepped(self, step: int, entry: object) -> None:
        if step == self.step:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("workers", [0, 2])
def test_resumed_run_equals_uninterrupted(tmp_path: Path, workers: int) -> None:
    preset = skd_preset(tmp_path, average=0.9, steps=10)
    preset = preset.model_copy(update={"data": preset.data.model_copy(update={"workers": workers})})
    whole = distill(preset, out=tmp_path / "whole", device="cpu")
    stopped = distill(preset, out=tmp_path / "parts", device="cpu", observer=_StopAt(4))
    assert (stopped.step, stopped.stopped) == (4, "signal")
    resumed = distill(preset, out=tmp_path / "parts", resume=True, device="cpu")
    assert (resumed.step, resumed.stopped) == (10, None)

    one, other = (load_newest(run.directory / "checkpoints") for run in (whole, resumed))
    for part in ("task", "average", "optimizer"):
        _assert_same(one[part], other[part])
    students = [load_file(run.directory / "student.safetensors") for run in (whole, resumed)]
    _assert_same(*students)


def test_muons_state_is_resumed(tmp_path: Path) -> None:
    student = {"arch": "resunet", "unshuffle": 1, "widths": [32], "blocks": [1]}
    preset = validate({**tiny_content(optimizer="muon", steps=6), "student": student}, "tiny")
    whole = distill(preset, out=tmp_path / "whole", device="cpu")
    distill(preset, out=tmp_path / "parts", device="cpu", observer=_StopAt(3))
    resumed = distill(preset, out=tmp_path / "parts", resume=True, device="cpu")
    states = [load_newest(run.directory / "checkpoints") for run in (whole, resumed)]
    assert any("momentum" in entry for entry in states[0]["optimizer"]["state"].values())
    for part in ("task", "average", "optimizer"):
        _assert_same(states[0][part], states[1][part])


def _assert_same(one: object, other: object) -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            _assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            _assert_same(*pair)
    else:
        assert one == other


def test_run_killed_before_its_first_checkpoint_begins_again(tmp_path: Path) -> None:
    preset = tiny_preset(steps=4)
    whole = distill(preset, out=tmp_path / "whole", device="cpu")
    killed = distill(preset, out=tmp_path / "killed", device="cpu", observer=_StopAt(2))
    shutil.rmtree(killed.directory / "checkpoints")
    resumed = distill(preset, out=killed.directory, resume=True, device="cpu")
    assert (resumed.step, resumed.stopped) == (4, None)
    students = [load_file(run.directory / "student.safetensors") for run in (whole, resumed)]
    _assert_same(*students)


def test_damaged_checkpoints_are_not_taken_for_none(tmp_path: Path) -> None:
    stopped = distill(tiny_preset(steps=4), out=tmp_path / "run", device="cpu", observer=_StopAt(2))
    for path in (stopped.directory / "checkpoints").glob("*.pt"):
        path.write_bytes(b"damaged")
    with pytest.raises(IrkdError, match="no complete checkpoint"):
        distill(tiny_preset(steps=4), out=stopped.directory, resume=True, device="cpu")


def test_other_seed_gives_other_weights(tmp_path: Path) -> None:
    """The comparison above would notice a difference."""
    runs = [
        distill(tiny_preset(seed=seed, steps=2), out=tmp_path / str(seed), device="cpu")
        for seed in (0, 1)
    ]
    one, other = (load_file(run.directory / "student.safetensors") for run in runs)
    assert not torch.equal(one["intro.weight"], other["intro.weight"])


def test_resume_refuses_another_teacher(tmp_path: Path) -> None:
    from tiny_runs import tiny_teacher

    preset = skd_preset(tmp_path, steps=6)
    distill(preset, out=tmp_path / "run", device="cpu", observer=_StopAt(2))
    (tmp_path / "teacher.safetensors").unlink()
    tiny_teacher(tmp_path / "teacher.safetensors")
    distill(preset, out=tmp_path / "run", resume=True, device="cpu", observer=_StopAt(3))

    torch.manual_seed(123)
    from irkd.models.base import build_network
    from irkd.models.weights import save_network

    save_network(
        tmp_path / "teacher.safetensors", build_network(preset.teacher), task=None, overwrite=True
    )
    with pytest.raises(IrkdError, match="allow-teacher-change"):
        distill(preset, out=tmp_path / "run", resume=True, device="cpu")
    result = distill(
        preset, out=tmp_path / "run", resume=True, device="cpu", allow_teacher_change=True
    )
    assert result.step == 6


def test_second_run_into_one_directory_is_refused(tmp_path: Path) -> None:
    preset = tiny_preset(steps=1)
    result = distill(preset, out=tmp_path / "run", device="cpu")
    before = (result.directory / "student.safetensors").read_bytes()
    with pytest.raises(IrkdError, match="--resume"):
        distill(preset, out=tmp_path / "run", device="cpu")
    assert (result.directory / "student.safetensors").read_bytes() == before


def test_newest_valid_checkpoint_wins(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        save_checkpoint(tmp_path, step, {"step": step}, keep=4)
    newest = tmp_path / "step-00000004.pt"
    newest.write_bytes(newest.read_bytes()[:-10])
    (tmp_path / "step-00000003.json").unlink()  # killed before the marker was written
    (tmp_path / ".step-00000005.half.pt").write_bytes(b"half")  # killed while writing
    assert load_newest(tmp_path)["step"] == 2


def test_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, 1, {"weights": torch.zeros(100)}, keep=1)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(IrkdError, match="no complete checkpoint"):
        load_newest(tmp_path)


def test_retention_keeps_the_newest(tmp_path: Path) -> None:
    for step in range(5):
        save_checkpoint(tmp_path, step, {"step": step}, keep=2)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"step-0000000{n}.{suffix}" for n in (3, 4) for suffix in ("json", "pt")]


def test_time_limit_ends_with_validation_and_can_be_resumed(tmp_path: Path) -> None:
    preset = tiny_preset(steps=1000)
    result = distill(preset, out=tmp_path / "run", device="cpu", max_seconds=0.001)
    assert (result.step, result.stopped) == (1, "time")
    assert (result.directory / "student.safetensors").is_file()
    log = [json.loads(line) for line in (result.directory / "log.jsonl").read_text().splitlines()]
    assert log[0]["kind"] == "train"
    assert log[0]["terms"].keys() == {"reconstruction"}
