"""`irkd data`, as its users see it."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from irkd.cli.main import main
from irkd.data.opening import open_pairs


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        main(["data", *map(str, arguments)])
    return stop.value.code


def write(path, size=(20, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((*size, 3), 90, np.uint8))
    return path


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def tree(tmp_path):
    """Two pairs that fit, one of two sizes, and a file without partner on either side."""
    root = tmp_path / "tree"
    for name in ("1.png", "2.png"):
        write(root / "input" / name)
        write(root / "target" / name)
    write(root / "input" / "3.png", (20, 32))
    write(root / "target" / "3.png", (20, 30))
    write(root / "input" / "4.png")
    write(root / "target" / "5.png")
    return root


def test_help_needs_neither_torch_nor_opencv():
    code = (
        "import sys; from irkd.cli.main import main\n"
        "try: main(['data', '{}', '--help'])\n"
        "except SystemExit: pass\n"
        "print({{'torch', 'cv2', 'numpy'}} & sys.modules.keys(), file=sys.stderr)"
    )
    for command in ("inspect", "make"):
        done = subprocess.run(
            [sys.executable, "-c", code.format(command)], capture_output=True, text=True, check=True
        )
        assert done.stderr.strip() == "set()"
        assert "--layout" in done.stdout


def test_inspect_tells_what_fits_and_what_does_not(tree, capsys):
    assert run("inspect", tree) == 1
    shown = capsys.readouterr()
    assert "layout paired" in shown.out
    assert "all: 3 pairs" in shown.out
    assert "input/1.png <- target/1.png" in shown.out
    assert "input/4.png" in shown.out
    assert "target/5.png" in shown.out
    assert "input/3.png is 32 x 20, target/3.png is 30 x 20" in shown.out
    assert "1 of the pairs cannot be used" in shown.err


def test_inspect_writes_all_of_it_as_json(tree, tmp_path, capsys):
    path = tmp_path / "report.json"
    assert run("inspect", tree, "--json", path) == 1
    report = json.loads(path.read_text())
    assert report["layout"] == "paired"
    assert report["splits"]["all"]["count"] == 3
    assert report["splits"]["all"]["smallest_size"] == [20, 30]
    assert report["splits"]["all"]["largest_size"] == [20, 32]
    assert report["unmatched_degraded"] == ["input/4.png"]
    assert report["unmatched_reference"] == ["target/5.png"]
    assert report["size_mismatches"] == [
        {
            "degraded": "input/3.png",
            "degraded_size": [20, 32],
            "reference": "target/3.png",
            "reference_size": [20, 30],
        }
    ]
    assert "irkd" in report["environment"]["versions"]
    # The report of an earlier run is the user's file.
    assert run("inspect", tree, "--json", path) == 2
    assert run("inspect", tree, "--json", path, "--overwrite") == 1
    capsys.readouterr()
    assert run("inspect", tree, "--json", "-") == 1
    assert json.loads(capsys.readouterr().out)["faults"] == 1


def test_inspect_reads_headers_only(tree, capsys):
    # A file cut off behind its header has a size, and is not decoded.
    path = tree / "input" / "1.png"
    path.write_bytes(path.read_bytes()[:60])
    (tree / "input" / "3.png").unlink()
    assert run("inspect", tree) == 0
    (tree / "input" / "2.png").write_text("no image")
    assert run("inspect", tree) == 1
    assert "2.png: not a readable image" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no such folder"),
        (["empty"], "no images"),
        (["empty", "--layout", "clean"], "no images"),
        (["empty", "--layout", "piared"], "Did you mean 'paired'"),
    ],
)
def test_inspect_refuses_what_holds_nothing(tmp_path, capsys, arguments, message):
    (tmp_path / "empty").mkdir()
    assert run("inspect", tmp_path / arguments[0], *arguments[1:]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.out == ""


def test_inspect_shows_a_fault_of_one_split_though_the_other_is_sound(tmp_path, capsys):
    for side in ("input", "target"):
        write(tmp_path / "test" / side / "1.png")
    write(tmp_path / "train" / "input" / "1.png")
    assert run("inspect", tmp_path) == 2
    assert "no references beside it" in capsys.readouterr().err


def test_inspect_of_clean_images(tmp_path, capsys):
    write(tmp_path / "train" / "1.png")
    write(tmp_path / "val" / "2.png")
    assert run("inspect", tmp_path, "--layout", "clean") == 0
    shown = capsys.readouterr().out
    assert "train: 1 images, 30 x 20 pixels" in shown
    assert "test: 1 images" in shown


def test_make_writes_pairs_that_irkd_reads(tmp_path, capsys):
    folder = tmp_path / "pairs"
    assert run("make", folder, "--task", "derain", "--count", 3, "--size", 48) == 0
    assert "3 pairs for derain" in capsys.readouterr().out
    source = open_pairs(folder, task="derain")
    assert [source.pair_name(n) for n in range(len(source))] == ["000001", "000002", "000003"]
    for index in range(3):
        pair = source.load(index)
        assert pair.degraded.shape == pair.reference.shape == (48, 48, 3)
        assert (pair.degraded != pair.reference).any()


def test_make_is_repeatable_and_goes_on_where_it_stopped(tmp_path, capsys):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    options = ["--task", "general", "--size", 32]
    assert run("make", whole, *options, "--count", 6) == 0
    assert run("make", parts, *options, "--count", 2) == 0
    (parts / "target" / "000001.png").unlink()
    assert run("make", parts, *options, "--count", 6) == 0
    assert "1 were there already" in capsys.readouterr().out
    assert digests(whole) == digests(parts)
    other = tmp_path / "other"
    assert run("make", other, *options, "--count", 6, "--seed", 1) == 0
    assert digests(other)["input/000001.png"] != digests(whole)["input/000001.png"]


def test_make_leaves_what_is_there_unless_told(tmp_path, capsys):
    folder = tmp_path / "pairs"
    options = ["--size", 32, "--count"]
    assert run("make", folder, "--task", "denoise", *options, 3) == 0
    before = digests(folder)
    assert run("make", folder, "--task", "jpeg", *options, 2) == 2
    assert "made differently" in capsys.readouterr().err
    assert run("make", folder, "--task", "denoise", *options, 2) == 2
    assert "3 such pairs already" in capsys.readouterr().err
    assert digests(folder) == before
    assert run("make", folder, "--task", "jpeg", *options, 2, "--overwrite") == 0
    # Nothing of the three older pairs is left among the two.
    assert len(open_pairs(folder)) == 2
    assert digests(folder).keys() == {
        "irkd-pairs.json",
        *(f"{side}/{name}.png" for side in ("input", "target") for name in ("000001", "000002")),
    }


def test_make_never_mixes_into_a_folder_of_someone_else(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("years of work")
    for extra in ([], ["--overwrite"]):
        assert run("make", tmp_path, "--task", "jpeg", "--count", 1, *extra) == 2
        assert "is not empty" in capsys.readouterr().err
    assert digests(tmp_path).keys() == {"thesis.txt"}


def test_make_in_the_layout_of_rain1400(tmp_path):
    options = ["--task", "derain", "--layout", "rain1400", "--size", 16, "--count", 150]
    assert run("make", tmp_path / "r", *options) == 0
    train = open_pairs(tmp_path / "r", split="train")
    test = open_pairs(tmp_path / "r", split="test")
    assert (len(train), len(test)) == (140, 10)
    assert train.layout == "rain1400"
    assert train.pair_name(13) == "training/1_14"
    first, last = train.load(0), train.load(13)
    np.testing.assert_array_equal(first.reference, last.reference)
    assert (first.degraded != last.degraded).any()


def test_make_from_photographs(tmp_path, capsys):
    photographs = tmp_path / "photographs"
    ramp = np.arange(60 * 80 * 3, dtype=np.uint32).reshape(60, 80, 3) % 251
    photographs.mkdir()
    cv2.imwrite(str(photographs / "a.png"), ramp.astype(np.uint8))
    write(photographs / "b" / "c.JPG", (40, 50))
    options = ["--task", "dehaze", "--from", photographs]
    assert run("make", tmp_path / "whole", *options) == 0
    source = open_pairs(tmp_path / "whole")
    assert len(source) == 2
    np.testing.assert_array_equal(source.load(0).reference, ramp[..., ::-1])
    assert run("make", tmp_path / "crops", *options, "--size", 32, "--count", 5) == 0
    crops = open_pairs(tmp_path / "crops")
    assert [crops.load(n).reference.shape for n in range(5)] == [(32, 32, 3)] * 5
    assert (crops.load(0).reference != crops.load(2).reference).any()
    assert run("make", tmp_path / "large", *options, "--size", 48) == 2
    assert "c.JPG is 50 x 40 pixels, smaller than the crops of 48" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "derian", "--count", "1"], "Did you mean 'derain'"),
        (["--task", "jpeg"], "Add --count"),
        (["--task", "jpeg", "--count", "1", "--layout", "rain1400"], "rain1400 is for task derain"),
        (["--task", "jpeg", "--count", "1", "--layout", "lmdb"], "Known: paired, rain1400"),
        (["--task", "jpeg", "--from", "nowhere"], "no such folder"),
        (["--task", "jpeg", "--count", "0"], "--count"),
        (["--task", "jpeg", "--count", "1", "--size", "8"], "--size"),
        (["--task", "jpeg", "--count", "1", "--seed", "-1"], "--seed"),
    ],
)
def test_make_refuses_impossible_wishes(tmp_path, capsys, arguments, message):
    folder = tmp_path / "pairs"
    assert run("make", folder, *arguments) == 2
    assert message in capsys.readouterr().err
    assert not folder.exists()


def test_make_removes_no_photograph(tmp_path, capsys):
    pairs, photographs = tmp_path / "pairs", tmp_path / "photographs"
    make = ["make", "--task", "denoise", "--count", 2, "--size", 32]
    assert run(*make, pairs) == 0
    assert run(*make, photographs) == 0
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for folder, source in (
        (pairs, pairs / "target"),
        (pairs, pairs),
        (photographs / "new", photographs),
    ):
        options = ["--task", "derain", "--from", source, "--overwrite"]
        assert run("make", folder, *options) == 2
        assert "lie in one another" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files


def test_make_says_where_a_file_stands_in_the_way(tmp_path, capsys):
    path = tmp_path / "pairs"
    path.write_text("a file")
    assert run("make", path, "--task", "jpeg", "--count", 1) == 2
    assert "is a file" in capsys.readouterr().err
    assert path.read_text() == "a file"


def test_interrupted_make_leaves_whole_files_and_says_how_to_go_on(tmp_path):
    folder = tmp_path / "pairs"
    command = [sys.executable, "-m", "irkd", "data", "make", str(folder)]
    options = ["--task", "denoise", "--size", "64"]
    started = subprocess.Popen(
        [*command, *options, "--count", "100000"], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (folder / "input" / "000003.png").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(started.pid, signal.SIGINT)
    _, message = started.communicate(timeout=60)
    assert started.returncode == 130
    assert "the same command makes the rest" in message
    assert "Traceback" not in message
    leftovers = [path.name for path in folder.rglob(".*")]
    assert leftovers == []
    source = open_pairs(folder)
    assert len(source) >= 3
    assert all(source.load(index).reference.shape == (64, 64, 3) for index in range(len(source)))
