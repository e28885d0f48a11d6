"""`irkd benchmark` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from irkd.cli.main import main
from irkd.models.base import create_network
from irkd.models.weights import save_network
from irkd.presets.load import list_presets
from irkd.profiling.benchmark import agrees_as_printed, subjects_of_presets

TEACHER = "{arch: nafnet, width: 8, enc_blk_nums: [1], middle_blk_num: 1, dec_blk_nums: [1]}"
PRESET = """
name: {name}
task: derain
teacher: {teacher}
student:
  {{arch: nafnet, width: {width}, enc_blk_nums: [1], middle_blk_num: 1, dec_blk_nums: [1]}}
methods: [{{name: response}}]
training: {{steps: 10}}
reported:
  - {{source: a paper, network: student, params_m: {params}, macs_g: 1.0}}
  - {{source: a paper, network: student, psnr_db: 30.0}}
"""


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["benchmark", *arguments])
    return int(end.value.code or 0)


def preset(folder: Path, name: str, width: int, params: float = 0.0, teacher: str = TEACHER) -> str:
    path = folder / f"{name}.yaml"
    path.write_text(PRESET.format(name=name, width=width, params=params, teacher=teacher))
    return str(path)


def rows(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(path.read_text())["rows"])


def test_every_preset_is_counted_beside_what_papers_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "result.json"
    assert run("--size", "512", "--budget", "0", "--json", str(out)) == 0
    found = rows(out)
    assert {name for row in found for name in row["presets"]} == set(list_presets())
    teacher, student = (
        next(row for row in found if "res-skd" in row["presets"] and row["role"] == role)
        for role in ("teacher", "student")
    )
    assert (teacher["params"], teacher["macs"]) == (26_126_644, 619_528_126_464)
    assert (student["params"], student["macs"]) == (3_537_482, 85_022_539_776)
    for row in (teacher, student):
        (entry,) = [entry for entry in row["reported"] if entry["macs_g"]]
        assert entry["agrees"] == {"params_m": True, "macs_g": True}
    table = capsys.readouterr().out
    assert "619.5 G agrees" in table
    assert "res-skd, res-sl: the student takes 13.5% of the parameters, 13.7% of the MACs" in table


def test_networks_that_presets_share_are_one_subject(tmp_path: Path) -> None:
    names = [preset(tmp_path, "first", 4), preset(tmp_path, "second", 6)]
    subjects = subjects_of_presets(names)
    assert [(each.role, each.presets) for each in subjects] == [
        ("teacher", names),
        ("student", names[:1]),
        ("student", names[1:]),
    ]


def test_a_network_is_measured_and_a_wrong_report_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "result.json"
    name = preset(tmp_path, "wrong", 4, params=9.9, teacher="null")
    arguments = ["--preset", name, "--size", "96x64", "--runs", "3", "--device", "cpu"]
    assert run(*arguments, "--json", str(out)) == 0
    content = json.loads(out.read_text())
    assert (content["height"], content["width"], content["device"]) == (96, 64, "cpu")
    (row,) = content["rows"]
    assert row["latency_how"] in ("measured", "once")
    assert row["latency_ms"] > 0
    assert row["peak_memory_mib"] >= 0
    # MACs at another size than the papers' are not compared.
    assert row["reported"][0]["agrees"] == {"params_m": False}
    assert "9.9 M differs" in capsys.readouterr().out
    # Nothing of the user's is overwritten.
    assert run(*arguments, "--json", str(out)) == 2
    assert json.loads(out.read_text()) == content


def test_a_trained_model_on_another_backend(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    network = create_network(
        "nafnet", width=4, enc_blk_nums=[1], middle_blk_num=0, dec_blk_nums=[0]
    )
    model, out = tmp_path / "mine.safetensors", tmp_path / "result.json"
    save_network(model, network, task="derain")
    arguments = ["--model", str(model), "--size", "256", "--runs", "2", "--device", "cpu"]
    assert run(*arguments, "--backend", "onnxruntime", "--json", str(out)) == 0
    (row,) = rows(out)
    assert (row["network"], row["backend"]) == ("mine (NAFNet)", "onnxruntime")
    assert (row["role"], row["presets"], row["reported"]) == ("model", [], [])
    assert row["latency_ms"] > 0
    # Four channels of 256x256 float32; memory that the runtime keeps between passes counts too.
    assert row["peak_memory_mib"] >= 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--size", "0"], "--size"),
        (["--size", "512x"], "--size"),
        (["--size", "12x12x12"], "--size"),
        (["--backend", "onnx"], "onnxruntime"),
        (["--backend", ","], "--backend"),
        (["--preset", "res-skt"], "res-skd"),
        (["--model", "nowhere.safetensors"], "nowhere.safetensors"),
        (["--device", "cuda:99"], "cuda:99"),
    ],
)
def test_bad_input_is_one_message(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    ("value", "printed", "agrees"),
    [
        (85.0225, 85.0, True),
        (85.06, 85.0, False),
        (26.13, 26, True),
        (26.13, 26.0, False),
        (971.957, 972.0, True),
        (346.294, 347.6, False),
        (3.5374, 3.5, True),
    ],
)
def test_agreement_is_to_the_printed_digit(value: float, printed: float, agrees: bool) -> None:
    assert agrees_as_printed(value, printed) is agrees
