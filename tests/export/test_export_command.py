"""`irkd export` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from irkd.cli.main import main
from irkd.models.base import create_network
from irkd.models.weights import load_network_file, save_network


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["export", *arguments])
    return int(end.value.code or 0)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run directory, in whose parent the commands run."""
    torch.manual_seed(0)
    network = create_network(
        "nafnet", width=4, enc_blk_nums=[1], middle_blk_num=0, dec_blk_nums=[0]
    )
    directory = tmp_path / "my-run"
    directory.mkdir()
    save_network(directory / "student.safetensors", network, task="deblur", preset="demo")
    monkeypatch.chdir(tmp_path)
    return directory


def test_a_run_directory_becomes_a_file_named_after_it(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("my-run", "--to", "safetensors", "--precision", "fp16", "--json", "out.json") == 0
    path = tmp_path / "my-run-fp16.safetensors"
    assert load_network_file(path).spec == load_network_file(model / "student.safetensors").spec
    assert path.stat().st_size < (model / "student.safetensors").stat().st_size
    printed = capsys.readouterr().out
    assert "my-run-fp16.safetensors" in printed
    assert "compared with PyTorch at 64x68" in printed
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["metadata"]["task"] == "deblur"
    assert content["verification"]["passed"] is True
    assert len(content["verification"]["comparisons"]) == 3
    # A second time nothing is overwritten, unless asked for.
    before = path.stat().st_mtime_ns
    assert run("my-run", "--to", "safetensors", "--precision", "fp16") == 2
    assert path.stat().st_mtime_ns == before
    arguments = ["my-run", "--to", "safetensors", "--precision", "fp16", "--overwrite"]
    assert run(*arguments, "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["files"] == [path.name]


def test_onnx_goes_where_it_is_told(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    assert run(str(model), "--to", "onnx", "-o", "deep/er/net.onnx") == 0
    assert [file.name for file in (tmp_path / "deep" / "er").iterdir()] == ["net.onnx"]
    # An exported file is not exported again.
    assert run("deep/er/net.onnx", "--to", "openvino") == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["my-run", "--to", "onx"], "onnx"),
        (["my-run", "--to", "onnx", "--precision", "int4"], "int8"),
        (["my-run", "--to", "openvino", "--precision", "int8"], "available for onnx"),
        (["my-run", "--to", "onnx", "--precision", "int8"], "--calibrate"),
        (["my-run", "--to", "onnx", "-o", "net.xml"], ".onnx"),
        (["nowhere", "--to", "onnx"], "nowhere"),
        (["my-run"], "--to"),
    ],
)
def test_bad_input_is_one_message_and_no_file(
    arguments: list[str],
    words: str,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(*arguments) == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [model]


@pytest.mark.parametrize("kind", ["onnx", "openvino", "pt2"])
def test_a_network_that_no_graph_can_hold_is_refused_with_the_way_out(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    network = create_network("deconvunet", widths=[4], blocks=[1])
    save_network(tmp_path / "shake.safetensors", network, task="deblur")
    monkeypatch.chdir(tmp_path)
    assert run("shake.safetensors", "--to", kind) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "Fourier transforms have lengths that go by the image's" in said
    assert "Export it as safetensors instead." in said
    assert [path.name for path in tmp_path.iterdir()] == ["shake.safetensors"]
    assert run("shake.safetensors", "--to", "safetensors", "--precision", "fp16") == 0
