"""Real processes: signals, kills, and two processes that train one student."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tiny_runs import tiny_content, tiny_teacher

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def _write_preset(folder: Path, **training: object) -> Path:
    content = tiny_content(**training)
    content["teacher"] = tiny_teacher(folder / "teacher.safetensors")
    content["methods"] = [{"name": "skd"}]
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def _distill(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "irkd", "distill", *arguments, "--device", "cpu"]


def _wait_for_log(run: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not (run / "log.jsonl").is_file() or not (run / "log.jsonl").read_text():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_saves_and_says_how_to_go_on(tmp_path: Path, number: signal.Signals) -> None:
    preset = _write_preset(tmp_path, steps=100_000, log_every=1)
    run = tmp_path / "run"
    process = subprocess.Popen(
        _distill("--preset", str(preset), "--out", str(run)),
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    _wait_for_log(run, process)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert f"--resume {run}" in output
    assert "Traceback" not in errors
    assert list((run / "checkpoints").glob("step-*.json"))


def test_killed_run_resumes_from_its_newest_complete_checkpoint(tmp_path: Path) -> None:
    """kill -9 while checkpoints are written all the time: what is there is whole."""
    preset = _write_preset(tmp_path, steps=100_000, checkpoint_every=1, log_every=1)
    run = tmp_path / "run"
    process = subprocess.Popen(
        _distill("--preset", str(preset), "--out", str(run)),
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    _wait_for_log(run, process)
    time.sleep(0.5)
    process.kill()
    process.wait()
    from irkd.training.checkpoint import load_newest

    step = load_newest(run / "checkpoints")["step"]
    preset_text = (run / "preset.yaml").read_text()
    (run / "preset.yaml").write_text(preset_text.replace("steps: 100000", f"steps: {step + 3}"))
    done = subprocess.run(
        _distill("--resume", str(run), "--json", "-"),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout[done.stdout.index("{") :])["step"] == step + 3


def test_two_runs_into_one_directory(tmp_path: Path) -> None:
    preset = _write_preset(tmp_path, steps=100_000, log_every=1)
    run = tmp_path / "run"
    first = subprocess.Popen(
        _distill("--preset", str(preset), "--out", str(run)),
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _wait_for_log(run, first)
        second = subprocess.run(
            _distill("--resume", str(run)),
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert second.returncode == 2
        assert "in use by another run" in second.stderr
        assert first.poll() is None
    finally:
        first.kill()
        first.communicate()


def test_two_processes_train_the_student_of_one_big_batch(tmp_path: Path) -> None:
    """torchrun with gloo: same parameters on both ranks, and those of one process with batch 4."""
    preset = _write_preset(tmp_path, steps=3, batch_size=2, average=None)
    content = yaml.safe_load(preset.read_text())
    # Without the contrast term, whose negatives are the other images of a process's batch.
    content["methods"] = [{"name": "skd", "contrast": "off"}]
    preset.write_text(yaml.safe_dump(content))
    common = ["-m", "irkd", "distill", "--preset", str(preset), "--device", "cpu"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launch, *common, "--out", str(tmp_path / "two")],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    done = subprocess.run(
        [
            sys.executable,
            *common,
            "--out",
            str(tmp_path / "one"),
            "--set",
            "training.batch_size=4",
        ],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    two, one = (load_file(tmp_path / name / "student.safetensors") for name in ("two", "one"))
    for key in one:
        torch.testing.assert_close(two[key], one[key], atol=1e-5, rtol=1e-4)
