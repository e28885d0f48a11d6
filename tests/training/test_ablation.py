"""Ablations: every row and seed once, shared by processes, gone on with, and put side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import tiny_content, tiny_teacher

from irkd.cli.main import main
from irkd.errors import IrkdError
from irkd.presets.ablation import row_presets
from irkd.presets.load import apply_overrides, list_presets, load_preset, validate
from irkd.presets.schema import Preset
from irkd.report.run_directory import RunDirectory
from irkd.training.ablation import plan_cells, run_ablation
from irkd.training.observer import Observer

ROWS = [
    {"name": "student alone", "set": {"methods": [{"name": "none"}]}},
    {"name": "taught", "set": {"methods": [{"name": "response", "ssim": 0}]}},
]


def ablation_content(folder: Path, **section: Any) -> dict[str, Any]:
    content = tiny_content(steps=4)
    content["teacher"] = tiny_teacher(folder / "teacher.safetensors", width=16)
    content["data"] |= {"validation": "photographs", "validation_limit": 1}
    content["ablation"] = {"seeds": [0, 1], "rows": ROWS, **section}
    return content


def ablation_preset(folder: Path, **section: Any) -> Preset:
    return validate(ablation_content(folder, **section), "tiny")


class Notes(Observer):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def test_rows_change_what_they_name_and_nothing_else(tmp_path: Path) -> None:
    preset = ablation_preset(tmp_path)
    rows = row_presets(preset, seed=5)
    assert [row.methods[0].name for row in rows.values()] == ["none", "response"]
    for row in rows.values():
        assert row.training.seed == 5
        assert row.student == preset.student
        assert row.ablation is None


def test_every_row_runs_with_every_seed_and_the_table_holds_their_scores(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run_ablation(ablation_preset(tmp_path), out, device="cpu")
    assert done.missing == []
    baseline, taught = done.groups["steps"]
    assert (baseline.name, taught.name, baseline.steps) == ("student alone", "taught", 4)
    for group, folder in ((baseline, "student-alone"), (taught, "taught")):
        logs = [RunDirectory(out / "equal-steps" / folder / f"seed-{s}").log() for s in (0, 1)]
        last = [[e for e in log if e["kind"] == "validation"][-1] for log in logs]
        assert group.psnr_db == tuple(entry["psnr_db"] for entry in last)
    assert len(set(baseline.psnr_db + taught.psnr_db)) == 4


def test_finished_runs_are_not_run_again_and_stopped_ones_go_on(tmp_path: Path) -> None:
    preset, out = ablation_preset(tmp_path), tmp_path / "out"
    ticks = iter([0.0, 0.0, 0.0, 9.0, 9.0, 9.0])
    first = run_ablation(preset, out, device="cpu", max_seconds=5, clock=lambda: next(ticks))
    assert len(first.missing) == 2
    before = {path: path.stat().st_mtime_ns for path in out.rglob("student.safetensors")}
    notes = Notes()
    second = run_ablation(preset, out, device="cpu", observer=notes)
    assert second.missing == []
    assert len(before) == 2
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert len([line for line in notes.lines if line.startswith("[")]) == 2


def test_a_run_another_process_is_at_is_passed_over(tmp_path: Path) -> None:
    preset, out = ablation_preset(tmp_path), tmp_path / "out"
    run_ablation(preset, out, device="cpu")
    busy = out / "equal-steps" / "taught" / "seed-1"
    log = busy / "log.jsonl"
    log.write_text(log.read_text().rpartition('{"kind": "validation"')[0])
    with RunDirectory(busy).locked():
        done = run_ablation(preset, out, device="cpu")
    assert done.missing == ["taught, equal steps, seed 1"]
    assert [group.name for group in done.groups["steps"]] == ["student alone"]


def test_equal_time_gives_dear_steps_fewer_of_them(tmp_path: Path) -> None:
    preset, out = ablation_preset(tmp_path, equal=["steps", "time"]), tmp_path / "out"
    out.mkdir()
    (out / "step-seconds.json").write_text(json.dumps({"student alone": 1.0, "taught": 2.0}))
    cells = plan_cells(preset, out, "cpu", Observer())
    steps = {(cell.row, cell.equal): cell.preset.training.steps for cell in cells}
    assert steps == {
        ("student alone", "steps"): 4,
        ("taught", "steps"): 4,
        ("student alone", "time"): 4,
        ("taught", "time"): 2,
    }
    shared = {cell.directory for cell in cells if cell.row == "student alone" and cell.seed == 0}
    assert len(shared) == 1


def test_measured_costs_are_kept(tmp_path: Path) -> None:
    preset, out = ablation_preset(tmp_path, equal=["time"]), tmp_path / "out"
    plan_cells(preset, out, "cpu", Observer())
    text = (out / "step-seconds.json").read_text()
    costs = json.loads(text)
    assert set(costs) == {"student alone", "taught"}
    assert min(costs.values()) > 0
    plan_cells(preset, out, "cpu", Observer())
    assert (out / "step-seconds.json").read_text() == text


def test_results_of_two_ablations_are_never_mixed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    preset = ablation_preset(tmp_path, seeds=[0])
    run_ablation(preset, out, device="cpu")
    changed = apply_overrides(preset.model_dump(mode="json"), {"training.lr": 5e-4})
    with pytest.raises(IrkdError, match="another ablation"):
        run_ablation(validate(changed, "tiny"), out, device="cpu")
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("")
    with pytest.raises(IrkdError, match="not empty"):
        run_ablation(preset, other, device="cpu")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"rows": ROWS[:1]}, "at least 2"),
        ({"rows": [ROWS[0], ROWS[0]]}, "same name"),
        ({"time_of": "nobody"}, "is no row"),
        ({"seeds": [1, 1]}, "stands twice"),
        ({"rows": [ROWS[0], {"name": "x", "set": {"methods": [{"name": "skdd"}]}}]}, "skd"),
    ],
)
def test_a_wrong_section_is_named(tmp_path: Path, section: dict[str, Any], message: str) -> None:
    with pytest.raises(IrkdError, match=message):
        row_presets(ablation_preset(tmp_path, **section), 0)


@pytest.mark.parametrize("name", list_presets())
def test_every_row_of_the_shipped_ablations_is_a_preset(name: str) -> None:
    preset = load_preset(name)
    if preset.ablation is not None:
        rows = row_presets(preset, 0)
        assert len({row.model_dump_json(exclude={"title"}) for row in rows.values()}) == len(rows)


def test_the_command_writes_a_page_curves_and_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import yaml

    preset, out = tmp_path / "tiny.yaml", tmp_path / "out"
    preset.write_text(yaml.safe_dump(ablation_content(tmp_path, seeds=[0])))
    command = ["distill", "--preset", str(preset), "--ablate", "--device", "cpu"]
    with pytest.raises(SystemExit) as ended:
        main([*command, "--out", str(out)])
    assert ended.value.code == 0
    page = (out / "results.md").read_text()
    record = json.loads((out / "results.json").read_text())
    scores = {row["row"]: row["psnr_db"] for row in record["results"]["steps"]}
    for row, psnr in scores.items():
        assert f"| {row} | 4 |" in page
        assert f"{psnr:.2f}" in page
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "taught" in capsys.readouterr().out

    runs = [str(out / "equal-steps" / name / "seed-0") for name in ("student-alone", "taught")]
    picture = tmp_path / "curves.png"
    with pytest.raises(SystemExit) as ended:
        main(["compare", *runs, "--picture", str(picture), "--json", "-"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    compared = json.loads(printed[printed.index("{") :])
    assert [run["psnr_db"] for run in compared["runs"]] == list(scores.values())
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["distill", "--preset", "demo", "--ablate", "--out", "x"], "no ablation"),
        (["compare", "nowhere"], "no run directory"),
        (["compare", "nowhere", "nowhere"], "twice"),
        (["compare", "x", "--picture", "curves.tiff"], ".png"),
    ],
)
def test_wrong_use_ends_with_one_message(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
