"""`irkd evaluate` as a user meets it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data

import irkd
from irkd.cli.main import main
from irkd.models.weights import save_network


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", *map(str, arguments)])
    return int(stopped.value.code or 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run directory `runs/a`, pairs, and results for all of them."""
    torch.manual_seed(0)
    network = irkd.create_network(
        "nafnet", width=4, enc_blk_nums=[1], middle_blk_num=1, dec_blk_nums=[1]
    )
    directory = tmp_path / "runs" / "a"
    save_network(directory / "student.safetensors", network, task="denoise")
    (directory / "preset.yaml").write_text("name: a\n")
    log = [
        {"kind": "train", "step": step, "loss": 1 / step, "terms": {}} for step in range(1, 9)
    ] + [{"kind": "validation", "step": 8, "psnr_db": 25.0, "ssim": 0.8}]
    (directory / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    for index in range(3):
        picture = np.ascontiguousarray(data.coffee()[40 * index :, 100:][:40, :56, ::-1])
        for part, value in (("input", picture // 2), ("target", picture), ("results", picture)):
            path = tmp_path / ("pairs" if part != "results" else "") / part / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), value)
    return tmp_path


def test_table_files_and_report(folder, capsys):
    outputs = {name: folder / name for name in ("e.json", "e.csv", "i.csv", "report")}
    code = run(
        folder / "runs" / "a",
        *("--name", f"again={folder / 'runs' / 'a' / 'student.safetensors'}"),
        *("--data", folder / "pairs", "--restored", folder / "results"),
        *("--json", outputs["e.json"], "--csv", outputs["e.csv"]),
        *("--csv-images", outputs["i.csv"], "--report", outputs["report"], "--device", "cpu"),
    )
    captured = capsys.readouterr()
    assert code == 0, captured.err
    assert "Protocol: rgb-matlab3d" in captured.out
    assert "3 images" in captured.out
    assert "torch" in captured.out

    found = json.loads(outputs["e.json"].read_text())
    assert [row["label"] for row in found["rows"]] == ["degraded", "a", "again", "results"]
    assert found["protocol"] == "rgb-matlab3d"
    assert found["n"] == 3
    assert found["versions"]["torch"]
    degraded, model, again, results = found["rows"]
    assert model["psnr_db"] == again["psnr_db"]
    assert model["psnr_db_difference"] == model["psnr_db"] - degraded["psnr_db"]
    assert model["params_m"] > 0
    assert model["macs_g"] > 0
    assert model["latency_ms"] > 0
    assert results["psnr_db"] == "inf"
    assert results["psnr_db_infinite"] == 3
    assert results["psnr_db_std"] is None
    assert [image["image"] for image in model["images"]] == ["0", "1", "2"]

    with outputs["e.csv"].open() as file:
        table = list(csv.DictReader(file))
    assert [float(line["psnr_db"]) for line in table] == [
        float(row["psnr_db"]) for row in found["rows"]
    ]
    assert {"ssim", "params_m", "macs_g", "latency_ms", "protocol", "versions", "n"} <= set(
        table[0]
    )
    with outputs["i.csv"].open() as file:
        assert len(list(csv.DictReader(file))) == 4 * 3

    page = (outputs["report"] / "report.html").read_text()
    assert "Training loss" in page
    assert page.count("<article") == 3


def test_json_on_standard_output_is_alone_there(folder, capsys):
    code = run(folder / "runs" / "a", "--data", folder / "pairs", "--json", "-", "--baseline", "a")
    captured = capsys.readouterr()
    assert code == 0
    found = json.loads(captured.out)
    assert found["baseline"] == "a"
    assert "Protocol" in captured.err


def test_nothing_is_overwritten_and_nothing_is_scored_first(folder, capsys):
    target = folder / "kept.json"
    target.write_text("mine")
    arguments = (folder / "runs" / "a", "--data", folder / "pairs", "--json", target)
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert "--overwrite" in captured.err
    assert "scored" not in captured.err
    assert target.read_text() == "mine"
    assert run(*arguments, "--overwrite") == 0
    assert json.loads(target.read_text())["n"] == 3


def test_missing_results_end_with_code_1_and_everything_else_done(folder, capsys):
    (folder / "results" / "1.png").unlink()
    target = folder / "partial.json"
    code = run("--data", folder / "pairs", "--restored", folder / "results", "--json", target)
    captured = capsys.readouterr()
    assert code == 1
    assert "results: 1: " in captured.err
    found = json.loads(target.read_text())
    assert [row["n"] for row in found["rows"]] == [3, 2]
    assert found["failures"][0]["image"] == "1"


def test_labels_of_results(folder, capsys):
    code = run("--data", folder / "pairs", "--restored", f"mine={folder / 'results'}")
    assert code == 0
    assert "mine" in capsys.readouterr().out


def test_protocols_are_listed(capsys):
    assert run("--protocol", "list") == 0
    assert "y-matlab-float-ds" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name what to score on"),
        (("--data", "photographs"), "nothing to score"),
        (("--data", "x", "--name", "label"), "LABEL=MODEL"),
        (("--data", "x", "--name", "a=b", "--name", "a=c"), "two rows"),
        (("--data", "x", "--restored", "a=b", "--restored", "c"), "all folders a label"),
        (("m", "--data", "x", "--tile", "large"), "--tile 'large'"),
        (("m", "--data", "x"), "no model 'm'"),
        (("--data", "x", "--json", "."), "is a folder"),
    ],
)
def test_bad_requests_end_with_one_message_and_code_2(
    arguments, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert "Traceback" not in error
