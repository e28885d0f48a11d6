"""`irkd distill`, `train` and `presets` as a user types them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from irkd.cli.main import main

TINY = {
    "name": "tiny",
    "task": "denoise",
    "teacher": {
        "arch": "nafnet",
        "width": 6,
        "enc_blk_nums": [1],
        "middle_blk_num": 1,
        "dec_blk_nums": [1],
    },
    "student": {
        "arch": "nafnet",
        "width": 4,
        "enc_blk_nums": [1],
        "middle_blk_num": 1,
        "dec_blk_nums": [1],
    },
    "methods": [{"name": "response", "ssim": 0.1}],
    "data": {"train": "procedural", "validation": "none", "count": 4, "size": 48},
    "training": {"steps": 2, "batch_size": 2, "patch": 32, "precision": "fp32"},
}

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return int(end.value.code or 0), captured.out, captured.err

    return call


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


def test_teacher_then_student_then_what_is_left(run: Run, preset: Path, tmp_path: Path) -> None:
    teacher, student = tmp_path / "teacher", tmp_path / "student"
    code, _, errors = run(
        "train", "--preset", preset, "--role", "teacher", "--out", teacher, "--device", "cpu"
    )
    assert code == 0, errors
    code, output, errors = run(
        "distill",
        *("--preset", preset, "--teacher", teacher, "--out", student, "--device", "cpu"),
        *("--json", tmp_path / "result.json"),
    )
    assert code == 0, errors
    assert f"student: {student / 'student.safetensors'}" in output
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["step"], result["stopped"]) == (2, None)

    files = {path.name for path in student.iterdir()}
    assert files >= {
        *("preset.yaml", "manifest.json", "log.jsonl", "checkpoints", "samples"),
        *("report.md", "student.safetensors"),
    }
    manifest = json.loads((student / "manifest.json").read_text())
    assert manifest["teacher"]["sha256"]
    assert manifest["versions"]["torch"]
    assert (student / "samples" / "step-00000000.png").is_file()
    entries = [json.loads(line) for line in (student / "log.jsonl").read_text().splitlines()]
    train = [entry for entry in entries if entry["kind"] == "train"]
    assert train[-1]["step"] == 2
    assert set(train[-1]["terms"]) == {"reconstruction", "distillation", "ssim"}
    assert {"loss", "lr", "images_per_s", "data_wait_percent", "peak_memory_mib"} <= set(train[-1])


def test_missing_teacher_is_one_message(run: Run, preset: Path, tmp_path: Path) -> None:
    code, _, errors = run("distill", "--preset", preset, "--out", tmp_path / "run")
    assert code == 2
    assert "--teacher FILE" in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--preset", "nonesuch"], "unknown preset"),
        ([], "--preset NAME"),
        (["--preset", "demo", "--data", "no/such/folder"], "no/such/folder"),
        (["--preset", "demo", "--method", "skdd"], "skdd"),
        (["--preset", "demo", "--set", "student.widht=3"], "Did you mean 'width'"),
        (["--preset", "demo", "--max-time", "soon"], "2h, 45m"),
        (["--preset", "demo", "--steps", "3", "--epochs", "1"], "not both"),
        (["--preset", "demo", "--device", "tpu"], "unknown device"),
        (["--preset", "demo", "--teacher", "no-such-model"], "no-such-model"),
        (["--resume", "no/such/run"], "no run directory"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(
    arguments: list[str], expected: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, errors = run("distill", *arguments)
    assert code == 2, errors
    assert expected in errors.replace("\n", " ")
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_dry_run_prints_the_plan_and_writes_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, output, errors = run("distill", "--preset", "res-skd", "--dry-run", "--json", "-")
    assert code == 0, errors
    plan = json.loads(output[output.index("{\n") :])
    counts = {row["network"]: (row["params_m"], row["macs_g_512"]) for row in plan["networks"]}
    assert counts["teacher"] == (26.126644, pytest.approx(619.528126464))
    assert counts["student"] == (3.537482, pytest.approx(85.022539776))
    assert plan["steps"] == 157500
    assert plan["memory_estimate_mib"] > 1000
    assert list(tmp_path.iterdir()) == []


def test_audit_shows_every_term(run: Run, preset: Path, tmp_path: Path) -> None:
    teacher = tmp_path / "teacher"
    run("train", "--preset", preset, "--role", "teacher", "--out", teacher, "--device", "cpu")
    code, _, errors = run(
        "distill",
        *("--preset", preset, "--teacher", teacher, "--audit", "--device", "cpu"),
        *("--method", "skd", "--json", tmp_path / "audit.json"),
    )
    assert code == 0, errors
    terms = json.loads((tmp_path / "audit.json").read_text())["terms"]
    assert sum(row["share"] for row in terms) == pytest.approx(1)
    assert all(row["gradient_at_parameters"] > 0 for row in terms)
    features = [row for row in terms if row["gradient_at_taps"] > 0]
    assert features
    assert any(row["gradient_at_projectors"] > 0 for row in features)


def test_epochs_become_steps(run: Run, preset: Path, tmp_path: Path) -> None:
    code, _, errors = run(
        *("train", "--preset", preset, "--epochs", "1.5", "--out", tmp_path / "run"),
        *("--device", "cpu", "--json", tmp_path / "result.json"),
    )
    assert code == 0, errors
    assert json.loads((tmp_path / "result.json").read_text())["steps"] == 3


def test_presets_list_show_check(run: Run, preset: Path) -> None:
    code, output, _ = run("presets", "list")
    assert code == 0
    assert "res-skd" in output
    code, output, _ = run("presets", "show", "res-skd", "--set", "student.dim=32")
    assert code == 0
    assert yaml.safe_load(output)["student"]["dim"] == 32
    code, output, _ = run("presets", "check", preset)
    assert code == 0
    preset.write_text(preset.read_text().replace("width: 4", "widht: 4"))
    code, _, errors = run("presets", "check", preset)
    assert code == 2
    assert "Did you mean 'width'" in errors


def test_train_teacher_goes_first_and_is_not_trained_twice(
    run: Run, preset: Path, tmp_path: Path
) -> None:
    student = tmp_path / "student"
    command = ["distill", "--preset", preset, "--train-teacher", "--device", "cpu"]
    code, _, errors = run(*command, "--out", student)
    assert code == 0, errors
    teacher = tmp_path / "student-teacher" / "student.safetensors"
    before = teacher.stat().st_mtime_ns
    manifest = json.loads((student / "manifest.json").read_text())
    assert manifest["teacher"]["weights"] == str(teacher.parent)
    code, _, errors = run(*command, "--out", student)
    assert code == 2, "the student's run is there already"
    assert teacher.stat().st_mtime_ns == before


def test_train_keeps_how_the_preset_compares_with_the_reference(
    run: Run, preset: Path, tmp_path: Path
) -> None:
    content = yaml.safe_load(preset.read_text())
    methods = ([{"name": "none", "reconstruction_loss": "psnr"}], [{"name": "response"}])
    for given, kept in zip(methods, ("psnr", "l1"), strict=True):
        preset.write_text(yaml.safe_dump({**content, "methods": given}))
        out = tmp_path / kept
        code, _, errors = run("train", "--preset", preset, "--device", "cpu", "--out", out)
        assert code == 0, errors
        (method,) = yaml.safe_load((out / "preset.yaml").read_text())["methods"]
        assert (method["name"], method["reconstruction_loss"]) == ("none", kept)


def test_taken_json_name_is_refused_before_the_work(run: Run, preset: Path, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("mine")
    code, _, errors = run(
        *("train", "--preset", preset, "--out", tmp_path / "run"),
        *("--json", tmp_path / "result.json"),
    )
    assert code == 2
    assert "result.json" in errors
    assert not (tmp_path / "run").exists()
    assert (tmp_path / "result.json").read_text() == "mine"


def test_full_disk_ends_with_one_message(
    run: Run, preset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is written first when the disk fills up, here the sample picture."""
    import errno
    import os

    real = os.fsync

    def full(handle: int) -> None:
        if os.readlink(f"/proc/self/fd/{handle}").endswith(".png"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    code, _, errors = run("train", "--preset", preset, "--out", tmp_path / "run", "--device", "cpu")
    assert code == 2
    assert "the disk is full" in errors
    assert list((tmp_path / "run" / "samples").iterdir()) == []


@pytest.mark.parametrize("command", ["train", "distill"])
def test_a_run_whose_time_is_up_names_the_command_that_goes_on(
    run: Run, preset: Path, tmp_path: Path, command: str
) -> None:
    out = tmp_path / "run"
    teacher = tmp_path / "teacher"
    run("train", "--preset", preset, "--role", "teacher", "--out", teacher, "--device", "cpu")
    settings = ["--set", f"teacher.weights={teacher}", "--set", "training.steps=100000"]
    code, output, _ = run(
        command, "--preset", preset, "--out", out, "--device", "cpu", "--max-time", "1s", *settings
    )
    assert code == 0
    assert f"go on with: irkd {command} --resume {out}" in " ".join(output.split())
