"""What released weights do not tell, in the commands that take a MODEL."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from irkd.cli.main import main
from irkd.models.base import create_network
from irkd.models.weights import read_metadata

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    levels = {"enc_blk_nums": [1], "middle_blk_num": 1, "dec_blk_nums": [1]}
    network = create_network("nafnet", width=4, **levels)
    torch.save({"params": network.state_dict()}, tmp_path / "net.pth")
    image = np.random.default_rng(0).integers(0, 255, (32, 48, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "image.png"), image)

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return int(end.value.code or 0), captured.out, captured.err

    return call


def test_restore_says_what_it_takes_and_is_told_otherwise(run: Run) -> None:
    restore = ("restore", "image.png", "--model", "net.pth", "--overwrite")
    code, _, said = run(*restore)
    assert code == 0, said
    assert "net.pth: the kind of pooling is not in the weights; over the whole image" in said
    code, _, said = run(*restore, "--task", "deblur")
    assert code == 0, said
    assert "local pooling" in said
    code, _, said = run(*restore, "--set", "arch=nafnet")
    assert code == 0, said
    assert "pooling" not in said


def test_evaluate_notes_it_beside_the_scores_and_takes_options_by_label(run: Run) -> None:
    evaluate = ("evaluate", "--name", "first=net.pth", "--name", "second=net.pth")
    data = ("--data", "photographs", "--task", "denoise", "--limit", "1", "--json", "-")
    code, output, said = run(*evaluate, *data, "--set", "second.arch=nafnet_local")
    assert code == 0, said
    notes = json.loads(output)["notes"]
    assert [note.split(":")[0] for note in notes if "pooling" in note] == ["first"]
    code, _, said = run(*evaluate, *data, "--set", "secnd.arch=nafnet")
    assert code == 2
    assert "Did you mean 'second'" in said


def test_export_keeps_what_was_taken(run: Run, tmp_path: Path) -> None:
    export = ("export", "net.pth", "--to", "safetensors", "-o")
    code, _, said = run(*export, "plain.safetensors")
    assert code == 0, said
    assert "the kind of pooling is not in the weights" in said
    settings = ("--set", "arch=nafnet_local", "--set", "train_size=[1,3,64,64]")
    code, _, said = run(*export, "local.safetensors", *settings)
    assert code == 0, said
    specs = [read_metadata(tmp_path / f"{name}.safetensors")["spec"] for name in ("plain", "local")]
    assert [spec["arch"] for spec in specs] == ["nafnet", "nafnet_local"]
    assert specs[1]["train_size"] == [1, 3, 64, 64]


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("img_size=256", "unknown key 'img_size'"),
        ("width=8", "width 4 and 8"),
        ("net.arch=nafnet", "option of the network"),
        ("arch", "key=value"),
        ("value_range=[1, 0]", "value_range"),
    ],
)
def test_wrong_options_are_one_message(run: Run, setting: str, expected: str) -> None:
    code, _, said = run("restore", "image.png", "--model", "net.pth", "--set", setting)
    assert code == 2
    assert expected in said
    assert said.count("error:") == 1
    assert not Path("image_restored.png").exists()


def test_exported_files_take_no_options(run: Run) -> None:
    """Said before the file is opened, so that any will do here."""
    Path("net.onnx").write_bytes(b"an exported network")
    code, _, said = run("restore", "image.png", "--model", "net.onnx", "--set", "arch=nafnet")
    assert code == 2
    assert "its network is fixed" in said
