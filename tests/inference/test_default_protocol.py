"""What a data set's pairs are scored by when nobody says, and that the reason is shown."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import irkd
from irkd.cli.main import main
from irkd.inference.evaluate import evaluate
from irkd.models.weights import save_network


def _pair(root: Path, degraded: str, reference: str, seed: int) -> None:
    clean = np.random.default_rng(seed).integers(60, 200, (40, 48, 3), dtype=np.uint8)
    noise = np.random.default_rng(100 + seed).integers(-9, 10, clean.shape)
    for name, pixels in ((reference, clean), (degraded, clean + noise)):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), pixels.astype(np.uint8))


def _gopro(root: Path) -> Path:
    for part, sequence in (("train", "GOPR0372_07_00"), ("test", "GOPR0384_11_00")):
        for number in (1, 2):
            folder = f"{part}/{sequence}"
            _pair(root, f"{folder}/blur/{number}.png", f"{folder}/sharp/{number}.png", number)
    return root


def _rain1400(root: Path) -> Path:
    _pair(root, "testing/rainy_image/901_1.jpg", "testing/ground_truth/901.jpg", 1)
    return root


def _test2800(root: Path) -> Path:
    _pair(root, "Test2800/input/1.png", "Test2800/target/1.png", 1)
    return root


def _sots(root: Path) -> Path:
    _pair(root, "outdoor/hazy/0001_0.8_0.2.jpg", "outdoor/gt/0001.png", 1)
    return root


def _own(root: Path) -> Path:
    _pair(root, "input/1.png", "target/1.png", 1)
    return root


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A network whose file says that it was trained for deraining."""
    network = irkd.create_network(
        "nafnet", width=4, enc_blk_nums=[1], middle_blk_num=1, dec_blk_nums=[1]
    )
    path = tmp_path / "model.safetensors"
    save_network(path, network, task="derain")
    return path


@pytest.mark.parametrize(
    ("make", "name", "reason", "task"),
    [
        (_gopro, "rgb-matlab3d", "what published figures on GoPro follow", "deblur"),
        (_rain1400, "y-matlab-float-ds", "what published figures on Rain1400 follow", "derain"),
        (_test2800, "y-matlab", "what published figures on Test2800 follow", "derain"),
        (_sots, "dehaze-ffa", "what published figures on SOTS outdoor follow", "dehaze"),
        (_own, "y-matlab", "what most papers on derain follow; the data set is not", "derain"),
    ],
)
def test_evaluate_follows_the_data_set(
    tmp_path: Path, model: Path, make, name: str, reason: str, task: str
) -> None:
    found = evaluate(model, make(tmp_path / "data"))
    assert found.protocol is not None
    assert found.protocol.name == name
    assert reason in found.protocol_reason
    assert found.task == task
    told = any("was trained for derain" in note for note in found.notes)
    assert told == (task != "derain")


def test_evaluate_says_why_on_the_screen_and_in_json(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, path = _gopro(tmp_path / "data"), tmp_path / "scores.json"
    for extra, reason in (
        ([], "what published figures on GoPro follow"),
        (
            ["--protocol", "rgb"],
            "as asked for; published figures on GoPro follow rgb-matlab3d",
        ),
    ):
        arguments = ["evaluate", str(model), "--data", str(root), "--json", str(path)]
        with pytest.raises(SystemExit) as end:
            main([*arguments, "--overwrite", *extra])
        assert end.value.code == 0
        assert f"; {reason}." in capsys.readouterr().out
        assert json.loads(path.read_text())["protocol_reason"] == reason


def test_validation_follows_the_data_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = _gopro(tmp_path / "data"), tmp_path / "run"
    for blur in list(root.rglob("blur")):
        blur.rename(blur.parent / "blur_gamma")
    settings = ["student.width=4", "training.patch=16", "training.batch_size=1"]
    with pytest.raises(SystemExit) as end:
        main(
            [
                *("train", "--preset", "demo", "--role", "student", "--task", "denoise"),
                *("--data", str(root), "--layout", "gopro-gamma"),
                *("--out", str(out), "--steps", "1"),
                *(word for setting in settings for word in ("--set", setting)),
            ]
        )
    assert end.value.code == 0
    shown = capsys.readouterr()
    reason = "what published figures on GoPro (gamma) follow"
    assert f"protocol rgb-matlab3d: {reason}" in shown.out + shown.err
    assert "GoPro (gamma) is for deblur; the preset trains denoise" in shown.out + shown.err
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["protocol"], manifest["protocol_reason"]) == ("rgb-matlab3d", reason)
