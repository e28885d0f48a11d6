"""`irkd presets` as a user types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from irkd.cli.main import main
from irkd.presets.load import list_presets

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def presets(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["presets", *(str(argument) for argument in arguments)])
        captured = capsys.readouterr()
        return int(end.value.code or 0), captured.out, captured.err

    return call


def test_the_list_fits_eighty_columns_and_names_what_matters(presets: Run) -> None:
    code, output, errors = presets("list")
    assert code == 0, errors
    table = output[: output.index("M: the student's")]
    lines = table.splitlines()
    assert max(len(line) for line in lines) <= 80
    for name in list_presets():
        assert any(line.split()[:1] == [name] for line in lines), name
    start = next(number for number, line in enumerate(lines) if "res-skd" in line)
    assert lines[start].split() == [
        *("res-skd", "restormer", "skd", "3.54", "85.0", "derain", "deraining.pth")
    ]
    tasks = [tuple(line.split(maxsplit=1)) for line in lines[start + 1 : start + 4]]
    assert [(task, weights.strip()) for task, weights in tasks] == [
        ("deblur", "motion_deblurring.pth"),
        ("denoise", "real_denoising.pth"),
        ("dehaze", "none released"),
    ]


def test_the_list_as_json_holds_everything(presets: Run, tmp_path: Path) -> None:
    path = tmp_path / "presets.json"
    code, _, errors = presets("list", "--json", path)
    assert code == 0, errors
    rows = {row["name"]: row for row in json.loads(path.read_text())["presets"]}
    assert set(rows) == set(list_presets())
    row = rows["drs-skd"]
    assert (row["task"], row["teacher"], row["methods"]) == ("derain", "drsformer", ["skd"])
    costs = {each["network"]: (each["params_m"], each["macs_g_512"]) for each in row["networks"]}
    assert costs["student"] == (pytest.approx(4.59938), pytest.approx(131.984526592))
    assert costs["teacher"] == (pytest.approx(33.655424), pytest.approx(971.9190784))
    tasks = {each["task"]: each for each in row["tasks"]}
    assert list(tasks) == ["derain", "deblur", "denoise", "dehaze"]
    assert tasks["deblur"]["releases"] == []
    assert tasks["derain"]["releases"][3]["options"] == {"mefc": False}
    assert tasks["denoise"]["protocol"] == "rgb-matlab3d-float"
    code, _, errors = presets("list", "--json", path)
    assert code == 2
    assert "presets.json" in errors


def test_show_prints_the_tasks_preset_and_its_costs(presets: Run) -> None:
    code, output, errors = presets("show", "res-skd", "--task", "denoise")
    assert code == 0, errors
    shown = yaml.safe_load(output)
    assert (shown["task"], shown["teacher"]["LayerNorm_type"]) == ("denoise", "BiasFree")
    assert "tasks" not in shown
    assert "# teacher: restormer, 26.112 M parameters, 619.53 GMAC at 512x512" in output
    assert "# student: restormer, 3.537 M parameters, 85.02 GMAC at 512x512" in output
    assert "# other tasks (--task): derain, deblur, dehaze" in output
    code, output, _ = presets("show", "res-skd", "--task", "denoise", "--json", "-")
    result = json.loads(output)
    assert result["releases"][0]["file"] == "real_denoising.pth"
    assert [row["network"] for row in result["networks"]] == ["teacher", "student"]


@pytest.mark.parametrize(
    ("name", "setting", "params_m"),
    [
        ("res-skd", "student.dim=32", 6.233),
        ("res-skd", "student.dim=2", 0.034),
        ("res-skd", "student.num_blocks=[0, 0, 0, 0]", 1.075),
        # Far more than any machine holds, and counted without allocating it.
        ("res-skd", "student.dim=1024", 6216.459),
        ("ufor-skd", "student.embed_dim=1", 0.089),
        ("drs-skd", "student.mefc_steps=1", 4.525),
        ("sharpen", "student.width=1", 0.018),
    ],
)
def test_students_of_any_size(presets: Run, name: str, setting: str, params_m: float) -> None:
    code, output, errors = presets("show", name, "--set", setting, "--json", "-")
    assert code == 0, errors
    student = json.loads(output)["networks"][1]
    assert student["params_m"] == pytest.approx(params_m, abs=5e-4)


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("res-skd", "student.dim=7"),
        ("res-skd", "student.dim=0"),
        ("res-skd", "student.dim=-2"),
        ("res-skd", "student.dim=1000000000000"),
        ("res-skd", "student.dim=.nan"),
        ("res-skd", "student.dim=.inf"),
        ("res-skd", "student.dim=null"),
        ("res-skd", "student.dim=[1, 2]"),
        ("res-skd", "student.dim={a: 1}"),
        ("res-skd", "student.num_blocks=[1, 1, 1]"),
        ("res-skd", "student.num_blocks=[1000, 1, 1, 1]"),
        ("res-skd", "student.heads=[0, 2, 4, 8]"),
        ("res-skd", "student.heads=[1, 2, 4, 1000000000]"),
        ("res-skd", "student.ffn_expansion_factor=1e-9"),
        ("res-skd", "student.value_range=[0, .inf]"),
        ("res-skd", "student.value_range=[.nan, 1]"),
        ("res-skd", "student.inp_channels=4"),
        ("ufor-skd", "student.num_heads=[1, 2, 4, 8, 16, 16, 8, 4, 7]"),
        ("ufor-skd", "student.depths=[1, 1]"),
        ("ufor-skd", "student.drop_path_rate=1"),
        ("ufor-skd", "student.img_size=0"),
        ("drs-skd", "student.heads=[1, 2, 4, 192]"),
        ("sharpen", "student.enc_blk_nums=[1, 1]"),
        ("res-skd", "student=null"),
        ("res-skd", "student=5"),
        ("res-skd", "student.arch=null"),
        ("res-skd", "methods=[]"),
    ],
)
def test_sizes_that_make_no_network_are_named(presets: Run, name: str, setting: str) -> None:
    code, output, errors = presets("show", name, "--set", setting)
    assert code == 2
    assert output == ""
    assert errors.startswith(f"error: preset {name}: ")
    assert setting.split("=")[0].split(".")[0] in errors
    assert errors.count("\n") == 1


def test_check_looks_at_every_task(presets: Run, tmp_path: Path) -> None:
    path = tmp_path / "child.yaml"
    path.write_text("extends: res-skd\nname: child\ntasks: {deblur: {student: {dim: 16}}}\n")
    code, output, errors = presets("check", path)
    assert code == 0, errors
    assert [line.split(": ")[1].split(",")[0] for line in output.splitlines()] == [
        *("derain", "deblur", "denoise", "dehaze")
    ]
    path.write_text("extends: res-skd\nname: child\ntasks: {deblur: {student: {dim: 7}}}\n")
    code, _, errors = presets("check", path)
    assert code == 2
    assert "dim must be even" in errors
