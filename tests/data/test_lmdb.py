"""Databases of BasicSR and NAFNet, written as their programs write them."""

import sys

import cv2
import numpy as np
import pytest

from irkd.cli.main import main
from irkd.data.layouts import choose_layout
from irkd.data.opening import open_pairs
from irkd.data.sampler import training_loader
from irkd.errors import IrkdError


def write_database(folder, images):
    """PNG bytes under the image's name without its ending, and a list beside them."""
    lmdb = pytest.importorskip("lmdb")
    folder.mkdir(parents=True)
    environment = lmdb.open(str(folder), map_size=1 << 20)
    lines = []
    with environment.begin(write=True) as transaction:
        for key, pixels in images.items():
            _, png = cv2.imencode(".png", pixels)
            transaction.put(key.encode(), png.tobytes())
            height, width, channels = pixels.shape
            lines.append(f"{key}.png ({height},{width},{channels}) 1\n")
    environment.close()
    (folder / "meta_info.txt").write_text("".join(lines))


def flat(value, size=(20, 24)):
    return np.full((*size, 3), value, np.uint8)


@pytest.fixture
def gopro(tmp_path):
    """NAFNet's GoPro: crops to train on, whole images to test on."""
    keys = ["GOPR0372_07_00-000047_s001", "109fromGOPR1096.MP4", "GOPR0372_07_00-000047_s010"]
    root = tmp_path / "GoPro"
    for side, value in (("blur_crops", 0), ("sharp_crops", 100)):
        images = {key: flat(value + number) for number, key in enumerate(keys)}
        write_database(root / "train" / f"{side}.lmdb", images)
    for side, value in (("input", 5), ("target", 105)):
        write_database(root / "test" / f"{side}.lmdb", {"a/1": flat(value)})
    return root


def pairs(source):
    loaded = [source.load(index) for index in range(len(source))]
    return {pair.name: tuple(map(_value, (pair.degraded, pair.reference))) for pair in loaded}


def _value(image):
    assert (image == image[0, 0, 0]).all()
    return int(image[0, 0, 0])


def test_databases_are_known_and_read(gopro):
    assert choose_layout(gopro).name == "lmdb"
    train = open_pairs(gopro, split="train")
    assert pairs(train) == {
        "train/109fromGOPR1096.MP4": (1, 101),
        "train/GOPR0372_07_00-000047_s001": (0, 100),
        "train/GOPR0372_07_00-000047_s010": (2, 102),
    }
    assert train.image_size(0) == (20, 24)
    assert pairs(open_pairs(gopro, layout="lmdb")) == {"test/a/1": (5, 105)}


def test_worker_processes_read_them_too(gopro):
    train = open_pairs(gopro, split="train")
    train.load(0)  # opened here before the workers are forked
    loader = training_loader(train, patch=8, batch_size=3, steps=2, seed=0, workers=1)
    for batch in loader:
        assert (batch["reference"] - batch["degraded"] == 100).all()
    assert pairs(train)  # and here afterwards


def test_keys_of_one_side_are_unmatched(gopro):
    meta = gopro / "train" / "blur_crops.lmdb" / "meta_info.txt"
    meta.write_text("other.png (20,24,3) 1\n" + meta.read_text().partition("\n")[2])
    train = open_pairs(gopro, split="train")
    assert len(train) == 2
    assert train.unmatched == [
        "train/blur_crops.lmdb/other",
        "train/sharp_crops.lmdb/GOPR0372_07_00-000047_s001",
    ]


def test_inspection_names_the_set(gopro, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["data", "inspect", str(gopro)])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert "layout lmdb, GoPro, task deblur, protocol rgb-matlab3d" in shown
    assert "train: 3 pairs, 24 x 20 pixels" in shown
    assert "test/input.lmdb/a/1 <- test/target.lmdb/a/1" in shown


def test_what_the_list_names_must_be_there(gopro):
    for side in ("input", "target"):
        (gopro / "test" / f"{side}.lmdb" / "meta_info.txt").write_text("b.png (20,24,3) 1\n")
    with pytest.raises(IrkdError, match=r"input.lmdb/b: meta_info.txt names it, but"):
        open_pairs(gopro).load(0)


def test_a_missing_list_and_a_damaged_database_are_named(gopro):
    folder = gopro / "test" / "input.lmdb"
    (folder / "data.mdb").write_bytes(b"damaged")
    with pytest.raises(IrkdError, match=r"input.lmdb: not a readable LMDB database"):
        open_pairs(gopro).load(0)
    (folder / "meta_info.txt").unlink()
    with pytest.raises(IrkdError, match=r"meta_info.txt: cannot be read.*BasicSR"):
        open_pairs(gopro)


def test_the_extra_is_named_where_the_package_is_missing(tmp_path, monkeypatch):
    for side in ("input", "target"):
        (tmp_path / f"{side}.lmdb").mkdir()
        (tmp_path / f"{side}.lmdb" / "meta_info.txt").write_text("b.png (20,24,3) 1\n")
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(IrkdError, match=r"pip install 'irkd\[lmdb\]'"):
        open_pairs(tmp_path)
