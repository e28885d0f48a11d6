"""Where `irkd restore` writes, what it takes for its own results, and how it is ended: what was
there is never lost, and the same command goes on."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from clip_files import write_clip
from image_files import noise

import irkd
from irkd.cli.main import main
from irkd.inference.restorer import Restorer


@pytest.fixture
def run(capsys, identity_model):
    """Exit code, standard output, standard error of `irkd restore` with a model."""

    def run(*arguments, model=identity_model):
        with pytest.raises(SystemExit) as end:
            main(["restore", *map(str, arguments), *(["--model", str(model)] if model else [])])
        captured = capsys.readouterr()
        return end.value.code or 0, captured.out, captured.err

    return run


def write(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), noise((12, 15, 3)))
    return [path.read_bytes() for path in paths]


def below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_no_image_of_the_run_is_replaced_by_a_result(run, tmp_path):
    photo, compare, other = (tmp_path / name for name in ("p.png", "p_compare.png", "q.png"))
    before = write(photo, compare, other)
    (tmp_path / "out").mkdir()
    result = tmp_path / "out" / "x.png"
    for says, *arguments in (
        ("would replace the image it is made from", compare, "-o", photo, "--compare"),
        ("is an image to be restored, and would be", photo, other, compare, "--compare"),
        ("is an image of this run", other, photo, "--json", other),
        ("is an image of this run", other, "-o", result, "--json", result),
    ):
        code, _, err = run(*arguments, "--overwrite")
        assert (code, says in err) == (2, True), (arguments, err)
    assert [path.read_bytes() for path in (photo, compare, other)] == before
    assert below(tmp_path) == ["p.png", "p_compare.png", "q.png"]


def test_all_of_a_folder_named_again_goes_on(run, tmp_path):
    """As `irkd restore *.png` does, which names the results of the first run too."""
    write(tmp_path / "a.png", tmp_path / "b.png")
    assert run(*sorted(tmp_path.glob("*.png")), "--compare")[0] == 0
    found = ["a.png", "a_compare.png", "a_restored.png"]
    found += ["b.png", "b_compare.png", "b_restored.png"]
    assert below(tmp_path) == found
    code, out, err = run(*sorted(tmp_path.glob("*.png")), "--compare")
    assert code == 0
    assert "0 restored, 2 skipped" in out
    assert "results of earlier runs passed over: 4." in err
    assert below(tmp_path) == found
    code, _, err = run(*sorted(tmp_path.glob("*.png")), "--overwrite")
    assert code == 2
    assert "a_restored.png is an image to be restored, and would be replaced" in err


def test_results_beside_images_are_passed_over_in_folders(run, tmp_path):
    folder = tmp_path / "in"
    write(folder / "a.png", folder / "b_restored.png", folder / "c_compare.png")
    assert run(folder / "a.png", "--compare")[0] == 0
    code, out, err = run(folder, "-o", tmp_path / "out", "--compare")
    assert code == 0, err
    assert "3 restored." in out
    assert "results of earlier runs passed over: 2." in err
    # b.png and c.png are not there, so that these two are no results.
    made = {"a.png", "b_restored.png", "c_compare.png"}
    pictures = {"a_compare.png", "b_compare.png", "c_compare_compare.png"}
    assert set(below(tmp_path / "out")) == made | pictures
    # Nor are those that are made now, inside the folder.
    for expected in ("3 restored.", "0 restored, 3 skipped"):
        code, out, err = run(folder, "-o", folder / "results", "--compare")
        assert expected in out
        assert "results of earlier runs passed over: 2." in err


def test_what_a_folder_holds_besides_is_said(run, tmp_path):
    folder = tmp_path / "in"
    write(folder / "a.png", tmp_path / "elsewhere" / "b.png")
    for name in ("c.HEIC", "d.dng", "e.txt"):
        (folder / name).write_bytes(b"any")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(folder / "pipe.png")
    code, out, err = run(folder)
    assert code == 0
    assert "1 restored." in out
    assert "files that irkd does not read (.dng, .heic) passed over: 2." in err
    assert "linked folders passed over: 1." in err


def test_a_slash_makes_a_folder(run, tmp_path):
    write(tmp_path / "a.png")
    assert run(tmp_path / "a.png", "-o", f"{tmp_path}/results.v2/")[0] == 0
    assert below(tmp_path / "results.v2") == ["a.png"]


@pytest.mark.parametrize("arguments", [[""], ["a.png", "-o", ""], ["a.png", "-m", ""]])
def test_an_empty_argument_is_refused(run, tmp_path, monkeypatch, arguments):
    write(tmp_path / "here" / "a.png")
    monkeypatch.chdir(tmp_path / "here")
    code, _, err = run(*arguments, model=None)
    assert code == 2
    assert "an empty argument was given" in err
    assert below(tmp_path) == ["here/a.png"]


def test_the_longest_names(run, tmp_path):
    write(tmp_path / ("n" * 251 + ".png"))
    assert run(tmp_path, "-o", tmp_path / "out")[0] == 0
    assert below(tmp_path / "out") == ["n" * 251 + ".png"]


def test_a_folder_in_the_place_of_a_result_is_no_result(run, tmp_path):
    write(tmp_path / "in" / "a.png", tmp_path / "in" / "b.png")
    (tmp_path / "out" / "a.png").mkdir(parents=True)
    code, out, err = run(tmp_path / "in", "-o", tmp_path / "out")
    assert code == 1
    assert "1 restored, 1 failed." in out
    assert "a.png exists already" in err


def test_a_name_that_the_encoding_lacks_is_printed_all_the_same(tmp_path, identity_model):
    folder = tmp_path / "in"
    write(folder / "a.png", folder / "z.png")
    os.rename(folder / "a.png", os.fsencode(folder) + b"/\xff\xfe.png")
    done = subprocess.run(
        [sys.executable, "-m", "irkd", "restore", folder, "--model", identity_model],
        env=os.environ | {"PYTHONIOENCODING": "utf-8:strict"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "2 restored." in done.stdout
    assert r"\udcff\udcfe.png" in done.stdout


def test_the_report_goes_on_with_the_run(run, tmp_path, interrupted_at):
    write(*(tmp_path / "in" / f"{name}.png" for name in "abc"))
    report = tmp_path / "report.json"
    with interrupted_at(3):
        assert run(tmp_path / "in", "--json", report)[0] == 130
    first = json.loads(report.read_text())["files"]
    assert [each["status"] for each in first] == ["restored", "restored"]
    assert run(tmp_path / "in", "--json", report)[0] == 0
    second = json.loads(report.read_text())["files"]
    assert second[:2] == first
    assert [each["status"] for each in second] == ["restored"] * 3
    (tmp_path / "list.json").write_text('{"files": "mine"}')
    code, _, err = run(tmp_path / "in", "--json", tmp_path / "list.json")
    assert code == 2
    assert "is no report of irkd restore" in err
    assert (tmp_path / "list.json").read_text() == '{"files": "mine"}'


def test_what_another_process_made_meanwhile_is_skipped(run, tmp_path, monkeypatch):
    write(tmp_path / "in" / "a.png", tmp_path / "in" / "b.png")
    restore = Restorer.__call__

    def meanwhile(self, degraded, **options):
        write(tmp_path / "out" / "a.png")
        return restore(self, degraded, **options)

    monkeypatch.setattr(Restorer, "__call__", meanwhile)
    code, out, err = run(tmp_path / "in", "-o", tmp_path / "out")
    assert code == 0
    assert "1 restored, 1 skipped" in out
    assert "a.png: made meanwhile by another process" in err


def test_a_missing_comparison_of_a_video_is_added(run, tmp_path):
    write_clip(tmp_path / "a.mp4", frames=3, sound=None)
    write(tmp_path / "b.png")
    arguments = [tmp_path / "a.mp4", tmp_path / "b.png", "-o", tmp_path / "out"]
    assert run(*arguments)[0] == 0
    kept = (tmp_path / "out" / "a.mp4").read_bytes()
    code, out, _ = run(*arguments, "--compare")
    assert code == 0
    assert "0 restored, 2 skipped" in out
    assert (tmp_path / "out" / "a_compare.png").is_file()
    assert (tmp_path / "out" / "a.mp4").read_bytes() == kept


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            ["--model", "general", "--task", "derain"],
            "general judges what each image needs; name task derain alone",
        ),
        (["--model", "denoise", "--task", "derain"], "denoise is for denoise, not derain"),
    ],
)
def test_a_task_that_a_model_is_not_for(run, tmp_path, options, says):
    write(tmp_path / "a.png")
    code, _, err = run(tmp_path / "a.png", *options, model=None)
    assert code == 2
    assert says in err
    assert below(tmp_path) == ["a.png"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_says_so_and_leaves_nothing_half(tmp_path, number, code):
    source = tmp_path / "a.mp4"
    write_clip(source, frames=400, sound=None)
    process = subprocess.Popen(
        [sys.executable, "-m", "irkd", "restore", source, "--model", "denoise-fast"],
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(1200):
        if len(list(tmp_path.iterdir())) > 1:
            break
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "error: interrupted." in err
    assert below(tmp_path) == ["a.mp4"]


def test_an_interrupt_as_a_file_is_made_leaves_none(run, tmp_path, monkeypatch):
    write(tmp_path / "a.png")
    touch = Path.touch

    def interrupted(path, **options):
        touch(path, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "touch", interrupted)
    assert run(tmp_path / "a.png")[0] == 130
    assert below(tmp_path) == ["a.png"]


def test_a_closed_output_is_no_error(tmp_path, identity_model):
    write(tmp_path / "a.png")
    command = f'"{sys.executable}" -m irkd restore a.png --model "{identity_model}" >&- 2>&-'
    done = subprocess.run(command, shell=True, cwd=tmp_path, check=False)
    assert done.returncode == 0
    assert below(tmp_path) == ["a.png", "a_restored.png"]


def test_a_full_disk_is_named_without_another_command_s_option(run, tmp_path, monkeypatch):
    write(tmp_path / "a.png")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "r.json"))

    monkeypatch.setattr("irkd.files.write_json", full)
    code, _, err = run(tmp_path / "a.png", "--json", tmp_path / "r.json")
    assert code == 2
    assert "the disk is full" in err
    assert "--out" not in err


def test_the_function_replaces_no_image_either(tmp_path, identity_model):
    write(tmp_path / "a.png")
    with pytest.raises(irkd.IrkdError, match="would replace the image"):
        irkd.restore(
            tmp_path / "a.png", model=identity_model, output=tmp_path / "a.png", overwrite=True
        )
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a.png")), noise((12, 15, 3)))
