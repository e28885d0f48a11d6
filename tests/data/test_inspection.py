"""`irkd data inspect` on published data sets: what it calls them, and what it warns of."""

import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import cv2
import data_set_trees as trees
import numpy as np
import pytest
from data_set_trees import write

from irkd.cli.main import main
from irkd.data import inspection
from irkd.data.data_sets import DATA_SETS
from irkd.data.inspection import inspect_folder
from irkd.data.layouts import find_pairs, layouts
from irkd.data.layouts.matching import PairTable
from irkd.metrics.protocols import PROTOCOLS


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        main(["data", *map(str, arguments)])
    return stop.value.code


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (trees.rain1400, ["layout rain1400, Rain1400, task derain, protocol y-matlab-float-ds"]),
        (trees.rain1400, ["train: 6 pairs", "test: 3 pairs", "11,200 of Rain1400's 14,000"]),
        (trees.rain1400, ["testing/rainy_image/901_1.jpg <- testing/ground_truth/901.jpg"]),
        (trees.rain1400, ["Both sides are JPEG", "train: 6 pairs here; Rain1400 as published has"]),
        (trees.rain1400_flat, ["train: 2 pairs", "test: 2 pairs"]),
        (trees.did_mdn, ["1.jpg (left half) <- DID-MDN-test/1.jpg (right half)", "16 x 16"]),
        (trees.did_mdn, ["6 clean images were not compared: no files of their own; --pixels"]),
        (trees.gopro, ["layout gopro, GoPro, task deblur, protocol rgb-matlab3d", "blur_gamma"]),
        (trees.hide, ["train: 2 pairs", "test: 2 pairs", "GT/109fromGOPR1096.MP4.png"]),
        (trees.realblur, ["layout realblur-j", "protocol realblur-ecc", "not aligned"]),
        (trees.ots_beta, ["layout ots, OTS, task dehaze\n", "72,135"]),
        (trees.sots_indoor, ["all: 4 pairs, 64 x 46 pixels", "protocol dehaze-ffa"]),
        (trees.rtts, ["all: 2 images", "AM_Bing_211.png <- ", "has no references: PSNR"]),
        (trees.sidd, ["layout sidd", "all: 4 pairs", "1,280 validation blocks"]),
        (trees.rain200h, ["layout rain200, Rain200H, task derain, protocol y-matlab"]),
        (trees.restormer, ["layout paired, Rain13K and Test2800", "must not be scored on Rain14"]),
        (trees.restormer, ["Test2800 is part of Rain1400", "task derain, protocol y-matlab\n"]),
    ],
)
def test_a_published_set_is_named_with_what_to_know(tmp_path, make, expected, capsys):
    # A folder's own name may tell what it holds.
    root = make(tmp_path / "Rain200H" if make is trees.rain200h else tmp_path / "data")
    assert run("inspect", root) == 0
    shown = capsys.readouterr().out
    for text in expected:
        assert text in shown


def test_rain100h_is_known_by_its_name(tmp_path, capsys):
    root = trees.rain100_one_folder(tmp_path / "Rain100H")
    assert run("inspect", root) == 0
    assert "546 training images" in capsys.readouterr().out


def test_the_border_of_sots_is_no_mismatch_but_another_is(tmp_path, capsys):
    root = trees.sots_indoor(tmp_path / "data")
    assert run("inspect", root) == 0
    write(root / "SOTS" / "indoor" / "nyuhaze500" / "gt" / "1401.png", size=(68, 86))
    assert run("inspect", root) == 1
    shown = capsys.readouterr()
    assert "2 pairs of different sizes" in shown.out
    assert "2 of the pairs cannot be used" in shown.err


def test_odd_widths_of_halves_are_mismatches(tmp_path, capsys):
    root = trees.did_mdn(tmp_path / "data")
    write(root / "DID-MDN-test" / "3.jpg", size=(16, 33))
    assert run("inspect", root) == 1
    assert "DID-MDN-test/3.jpg is 16 x 16, DID-MDN-test/3.jpg is 17 x 16" in capsys.readouterr().out


def test_what_lists_name_in_vain_is_shown(tmp_path, capsys):
    root = trees.spa(tmp_path / "data")
    (root / "real_test_1000" / "rain" / "001.png").unlink()
    assert run("inspect", root) == 0
    shown = capsys.readouterr().out
    assert "1 listed files that are not there:\n  real_test_1000/rain/001.png" in shown
    assert "1 references without a degraded image:\n  real_test_1000/gt/001gt.png" in shown


def test_annotations_are_called_so(tmp_path, capsys):
    root = trees.rtts(tmp_path / "data")
    (root / "RTTS" / "Annotations" / "AM_Bing_212.xml").unlink()
    assert run("inspect", root) == 0
    shown = capsys.readouterr().out
    assert "1 degraded images without an annotation:\n  RTTS/JPEGImages/AM_Bing_212.png" in shown


def noise(seed, size=(16, 16)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def leaking(root, copy):
    """Three training and two test references, of which `copy` is in both."""
    for split, seeds in (("train", (1, 2, 3)), ("test", (4, 5))):
        for seed in seeds:
            save(root / split / "input" / f"{seed}.png", noise(100 + seed))
            save(root / split / "target" / f"{seed}.png", noise(seed))
    save(root / "test" / "input" / "6.png", noise(106))
    save(root / "test" / "target" / f"6{copy}", noise(2))
    return root


def test_clean_images_in_both_splits_are_found(tmp_path, capsys):
    root = leaking(tmp_path / "data", ".png")
    path = tmp_path / "report.json"
    assert run("inspect", root, "--json", path) == 0
    shown = capsys.readouterr().out
    assert "1 clean images are the same in train and test:" in shown
    assert "train/target/2.png = test/target/6.png" in shown
    (shared,) = json.loads(path.read_text())["shared_clean"]
    assert (shared["count"], shared["compared"], shared["by"]) == (1, 6, "files")


def test_copies_in_another_format_are_found_by_pixels(tmp_path, capsys):
    root = leaking(tmp_path / "data", ".bmp")
    assert run("inspect", root) == 0
    assert "no clean image of train is also in test (compared by files)" in capsys.readouterr().out
    assert run("inspect", root, "--pixels") == 0
    assert "train/target/2.png = test/target/6.bmp" in capsys.readouterr().out


def test_files_of_one_size_that_differ_in_the_middle_are_not_the_same(tmp_path, capsys):
    root = leaking(tmp_path / "data", ".png")
    for name, middle in (("train/target/2.bmp", 0), ("test/target/6.bmp", 1)):
        pixels = np.zeros((200, 200, 3), np.uint8)
        pixels[100] = middle
        (root / name).with_suffix(".png").unlink()
        save(root / name, pixels)
    assert run("inspect", root) == 1  # sizes differ from the degraded images'
    assert "no clean image of train is also in test" in capsys.readouterr().out


def test_another_folder_may_be_compared_with(tmp_path, capsys):
    for name, seeds in (("a", (1, 2, 3)), ("b", (7, 3))):
        for seed in seeds:
            save(tmp_path / name / "input" / f"{seed}.png", noise(100 + seed))
            save(tmp_path / name / "target" / f"{seed}.png", noise(seed))
    assert run("inspect", tmp_path / "a", "--against", tmp_path / "b") == 0
    assert "target/3.png = target/3.png" in capsys.readouterr().out
    assert run("inspect", tmp_path / "a", "--against", tmp_path / "c") == 2
    assert "no such folder" in capsys.readouterr().err


def test_halves_are_compared_by_pixels(tmp_path, capsys):
    root = trees.did_mdn(tmp_path / "data")
    test, train = (
        root / "DID-MDN-test" / "1.jpg",
        root / "DID-MDN-training" / "Rain_Heavy" / "train2018new" / "2.jpg",
    )
    train.write_bytes(test.read_bytes())
    assert run("inspect", root, "--pixels") == 0
    assert "train2018new/2.jpg = DID-MDN-test/1.jpg" in capsys.readouterr().out


def test_layouts_are_listed(capsys):
    assert run("layouts") == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in layouts())


def test_data_sets_and_layouts_name_what_there_is():
    assert {layout.data_set for layout in layouts().values()} - {None} <= set(DATA_SETS)
    assert {each.protocol for each in DATA_SETS.values()} - {None} <= set(PROTOCOLS)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not allow such names")
def test_names_that_are_no_text_are_shown(tmp_path, capfd):
    path = write(tmp_path / "input" / "a.png")
    path.rename(path.parent / "b\udcff.png")
    write(tmp_path / "input" / "1.png")
    write(tmp_path / "target" / "1.png")
    report = tmp_path / "report.json"
    done = subprocess.run(
        [sys.executable, "-m", "irkd", "data", "inspect", str(tmp_path), "--json", str(report)],
        capture_output=True,
        check=True,
    )
    assert b"1 degraded images without a reference" in done.stdout
    assert json.loads(report.read_text())["unmatched_degraded_count"] == 1


class Listing:
    """`os.scandir` of a folder that is not there: names are made as they are asked for."""

    class Entry:
        def __init__(self, name, path, folder):
            self.name, self.path, self._folder = name, path, folder

        def is_dir(self):
            return self._folder

        def is_file(self):
            return not self._folder

    def __init__(self, path, names, folders):
        self._path, self._names, self._folders = path, names, folders

    def __enter__(self):
        return (self.Entry(name, f"{self._path}/{name}", self._folders) for name in self._names)

    def __exit__(self, *_):
        pass


@pytest.fixture
def endless(monkeypatch):
    """A folder of `count` pairs of one reference each, in names alone."""

    def make(root, count):
        def scandir(path):
            side = Path(path).relative_to(root).as_posix()
            if side == ".":
                return Listing(path, iter(("hazy", "clear")), True)
            # A tenth of the references is not there.
            step = 1 if side == "hazy" else 10
            numbers = range(count) if step == 1 else (n for n in range(count) if n % step)
            ending = "_0.8_0.12.jpg" if side == "hazy" else ".jpg"
            return Listing(path, (f"{n:07d}{ending}" for n in numbers), False)

        monkeypatch.setattr(os, "scandir", scandir)
        monkeypatch.setattr("irkd.data.layouts.base.image_size", lambda path: (480, 640))
        return root

    return make


def test_memory_does_not_grow_with_the_folder(tmp_path, endless, monkeypatch):
    monkeypatch.setattr(inspection, "KEPT", 20)

    def peak(count):
        root = endless(tmp_path, count)
        tracemalloc.start()
        report = inspect_folder(root)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert report.layout == "ots"
        assert report.splits["all"].count == count * 9 // 10
        assert report.unmatched_degraded.count == count // 10
        assert len(report.unmatched_degraded.first) == inspection.KEPT
        return most

    peak(5_000)  # what is imported and cached is no part of it
    small, large = peak(1_000), peak(5_000)
    # One name of every pair that is added would be 400 kB.
    assert large < small + 100_000


def test_a_table_of_pairs_takes_little_more_than_its_texts(tmp_path, endless):
    root = endless(tmp_path, 3_000)
    tracemalloc.start()
    found = find_pairs(root)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(found.pairs, PairTable)
    first = found.pairs[0]
    assert first == found.pairs[-len(found.pairs)]
    text = sum(map(len, (first.name, first.degraded, first.reference)))
    assert kept < 2 * len(found.pairs) * text + 100 * len(found.unmatched_degraded)
