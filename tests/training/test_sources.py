"""Which pairs train and which validate."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from irkd.data.pairs import CropSource
from irkd.errors import IrkdError
from irkd.presets.schema import DataSection
from irkd.training.sources import open_training_pairs


def _write(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), image)


def test_folder_without_split_holds_out_whole_references(tmp_path: Path) -> None:
    """Three rains of each of 40 clean images: no clean image is on both sides."""
    for number in range(40):
        _write(tmp_path / "ground_truth" / f"{number}.png", number)
        for rain in range(3):
            _write(tmp_path / "rainy_image" / f"{number}_{rain}.png", 1000 + number)
    train, validation = open_training_pairs(DataSection(train=str(tmp_path)), "derain", 0)
    assert validation is not None
    assert len(validation) == 2
    assert len(train) == 38 * 3
    held = {validation.load(i).reference.tobytes() for i in range(len(validation))}
    kept = {train.load(i).reference.tobytes() for i in range(len(train))}
    assert held.isdisjoint(kept)


def test_folder_with_test_split_validates_on_it(tmp_path: Path) -> None:
    for split, count in (("train", 4), ("test", 2)):
        for number in range(count):
            _write(tmp_path / split / "input" / f"{number}.png", number)
            _write(tmp_path / split / "target" / f"{number}.png", number)
    train, validation = open_training_pairs(DataSection(train=str(tmp_path)), "derain", 0)
    assert (len(train), len(validation or ())) == (4, 2)


def test_clean_folder_keeps_cutting_crops_itself(tmp_path: Path) -> None:
    for number in range(25):
        _write(tmp_path / f"{number}.png", number)
    data = DataSection(train=str(tmp_path), layout="clean")
    train, validation = open_training_pairs(data, "denoise", 0)
    assert isinstance(train, CropSource)
    assert (len(train), len(validation or ())) == (24, 1)


def test_photographs_never_train() -> None:
    with pytest.raises(IrkdError, match="never for training"):
        open_training_pairs(DataSection(train="photographs"), "derain", 0)


def test_procedural_training_validates_on_photographs() -> None:
    train, validation = open_training_pairs(DataSection(count=3), "derain", 0)
    assert (train.name, len(train)) == ("procedural", 3)
    assert validation is not None
    assert validation.name == "photographs"


def test_undamaged_crops_reach_training_and_not_validation() -> None:
    data = DataSection(train="scenes", count=6, size=64, undamaged=1.0)
    train, validation = open_training_pairs(data, "denoise", 0)
    assert validation is not None
    pairs = [train.load(index) for index in range(len(train))]
    same = [np.array_equal(pair.degraded, pair.reference) for pair in pairs]
    assert any(same)
    assert not all(same)  # half of them are saved as JPEG
    damaged = validation.load(0)
    assert not np.array_equal(damaged.degraded, damaged.reference)
    plain, _ = open_training_pairs(data.model_copy(update={"undamaged": 0.0}), "denoise", 0)
    assert np.array_equal(plain.load(0).reference, pairs[0].reference)
    assert np.abs(plain.load(0).degraded.astype(int) - pairs[0].degraded).mean() > 1


def test_a_mixture_reaches_training_crops() -> None:
    data = DataSection(train="scenes", count=4, size=64, mixture={"denoise": 1})
    train, _ = open_training_pairs(data, "general", 0)
    for index in range(4):
        pair = train.load(index)
        difference = pair.degraded.astype(float) - pair.reference
        assert not np.array_equal(pair.degraded, pair.reference)
        assert abs(difference.mean()) < 8  # noise alone: neither haze nor rain
    wrong = data.model_copy(update={"mixture": {"denoize": 1.0}})
    with pytest.raises(IrkdError, match="Did you mean 'denoise'"):
        open_training_pairs(wrong, "general", 0)


@pytest.mark.parametrize(
    ("option", "task"), [("undamaged", "denoise"), ("saved", "denoise"), ("mixture", "general")]
)
def test_pairs_from_files_cannot_be_mixed(tmp_path: Path, option: str, task: str) -> None:
    for number in range(2):
        _write(tmp_path / "input" / f"{number}.png", number)
        _write(tmp_path / "target" / f"{number}.png", number)
    value = {"denoise": 1.0} if option == "mixture" else 0.1
    data = DataSection.model_validate({"train": str(tmp_path), option: value})
    with pytest.raises(IrkdError, match=r"data\.undamaged, data\.saved, data\.mixture"):
        open_training_pairs(data, task, 0)
