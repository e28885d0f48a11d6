"""`irkd restore` as a user meets it: real files, exit codes, messages."""

import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from image_files import SRGB, exif_bytes, noise, smooth, write_png
from PIL import Image

from irkd.cli.main import main
from irkd.inference.backends import load_network
from irkd.inference.restorer import Restorer


@pytest.fixture
def run(capsys):
    """Run the command line in this process: exit code, standard output, standard error."""

    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            main(["restore", *map(str, arguments)])
        captured = capsys.readouterr()
        return end.value.code or 0, captured.out, captured.err

    return run


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def files_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# One image.


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_identity_gives_back_every_pixel(
    run, tmp_path, identity_model, suffix, dtype, channels
):
    pixels = noise((21, 34) if channels == 1 else (21, 34, channels), dtype)
    path = tmp_path / f"a.{suffix}"
    if suffix == "png":
        cv2.imwrite(str(path), pixels)
    else:
        tifffile.imwrite(path, pixels, photometric="rgb" if channels > 1 else "minisblack")
        if channels == 4:
            tifffile.imwrite(path, pixels, photometric="rgb", extrasamples=["unassalpha"])
    code, out, _ = run(path, "--model", identity_model)
    assert code == 0
    target = tmp_path / f"a_restored.{suffix}"
    assert str(target) in out
    assert "34 x 21" in out
    if suffix == "tif" and dtype == "uint8" and channels == 4:
        # OpenCV multiplies the colours of such files by their alpha.
        np.testing.assert_array_equal(np.asarray(Image.open(target)), pixels)
        return
    restored, expected = read(target), read(path)
    assert restored.dtype == dtype
    np.testing.assert_array_equal(restored, expected)


@pytest.mark.parametrize("tile", ["off", "8", "16"])
def test_grey_alpha_and_metadata_survive_tiles(run, tmp_path, identity_model, tile):
    pixels = noise((30, 41, 2), "uint16")
    write_png(tmp_path / "a.png", pixels, colour=4)
    Image.fromarray(smooth(24, 40)).save(
        tmp_path / "b.jpg", exif=exif_bytes(6), icc_profile=SRGB, quality=100
    )
    code, _, _ = run(
        tmp_path / "a.png", tmp_path / "b.jpg", "--model", identity_model, "--tile", tile
    )
    assert code == 0
    restored = read(tmp_path / "a_restored.png")
    np.testing.assert_array_equal(restored[..., 0], pixels[..., 0])
    np.testing.assert_array_equal(restored[..., 3], pixels[..., 1])
    with Image.open(tmp_path / "b_restored.jpg") as image:
        assert image.size == (24, 40)
        assert image.getexif()[274] == 1
        assert image.info["icc_profile"] == SRGB


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 5), (1, 300)])
def test_the_smallest_images(run, tmp_path, identity_model, height, width):
    pixels = noise((height, width, 3))
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    code, _, _ = run(tmp_path / "a.png", "--model", identity_model, "--compare")
    assert code == 0
    np.testing.assert_array_equal(read(tmp_path / "a_restored.png"), pixels)
    assert (tmp_path / "a_compare.png").exists()


def test_the_network_really_runs(run, tmp_path, blur_model):
    pixels = noise((40, 50, 3))
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    run(tmp_path / "a.png", "--model", blur_model)
    expected = cv2.blur(pixels.astype(np.float32), (3, 3))[1:-1, 1:-1]
    restored = read(tmp_path / "a_restored.png")[1:-1, 1:-1]
    np.testing.assert_allclose(restored, expected, atol=0.51)


def test_strength_mixes(run, tmp_path, blur_model):
    pixels = noise((40, 50, 3), "uint16")
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    results = {}
    for strength in ("0", "0.5", "1"):
        target = tmp_path / f"{strength}.png"
        run(tmp_path / "a.png", "--model", blur_model, "--strength", strength, "-o", target)
        results[strength] = read(target).astype(float)
    np.testing.assert_array_equal(results["0"], pixels)
    np.testing.assert_allclose(results["0.5"], (results["0"] + results["1"]) / 2, atol=1.01)


@pytest.mark.parametrize("told", [True, False])
def test_strength_0_needs_no_network_and_changes_no_pixel(
    told, run, tmp_path, blur_model, monkeypatch
):
    def fail(self, degraded, **_):
        raise AssertionError("the network ran")

    monkeypatch.setattr(Restorer, "__call__", fail)
    options = ["--model", blur_model] if told else []
    for name, pixels in (("a.png", noise((110, 141), "uint16")), ("b.png", noise((110, 141, 4)))):
        cv2.imwrite(str(tmp_path / name), pixels)
        code, _, _ = run(tmp_path / name, *options, "--strength", "0", "--compare")
        assert code == 0
        result = tmp_path / name.replace(".", "_restored.")
        np.testing.assert_array_equal(read(result), pixels)


def test_the_output_chooses_the_format(run, tmp_path, identity_model):
    pixels = noise((20, 20, 3), "uint16")
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    code, _, err = run(tmp_path / "a.png", "--model", identity_model, "-o", tmp_path / "b.jpg")
    assert code == 0
    assert "8 bits" in err
    assert Image.open(tmp_path / "b.jpg").format == "JPEG"
    code, _, err = run(tmp_path / "a.png", "--model", identity_model, "-o", tmp_path / "c.tiff")
    assert (code, err) == (0, "")
    np.testing.assert_array_equal(read(tmp_path / "c.tiff"), pixels)
    code, _, _ = run(tmp_path / "a.png", "--model", identity_model, "-o", tmp_path / "folder")
    assert code == 0
    np.testing.assert_array_equal(read(tmp_path / "folder" / "a.png"), pixels)


def test_gif_becomes_png(run, tmp_path, identity_model):
    Image.fromarray(noise((9, 9))).save(tmp_path / "a.gif")
    assert run(tmp_path / "a.gif", "--model", identity_model)[0] == 0
    np.testing.assert_array_equal(read(tmp_path / "a_restored.png")[..., 0], noise((9, 9)))


def test_compare_shows_before_and_after(run, tmp_path, blur_model):
    pixels = noise((200, 300, 3))
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    run(tmp_path / "a.png", "--model", blur_model, "--compare")
    picture = read(tmp_path / "a_compare.png")
    strip = picture.shape[0] - 200
    assert 10 < strip < 60
    np.testing.assert_array_equal(picture[strip:, :300], pixels)
    np.testing.assert_array_equal(picture[strip:, -300:], read(tmp_path / "a_restored.png"))
    assert (picture[:, 300] == 255).all()
    assert picture[:strip, :300].max() > 200, "no label"


def test_compare_shows_transparency_on_a_checkerboard(run, tmp_path, identity_model):
    pixels = np.zeros((200, 200, 4), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    run(tmp_path / "a.png", "--model", identity_model, "--compare")
    picture = read(tmp_path / "a_compare.png")[-200:, :200]
    assert set(np.unique(picture)) == {204, 255}


def test_nothing_is_overwritten_unasked(run, tmp_path, identity_model):
    cv2.imwrite(str(tmp_path / "a.png"), noise((9, 9, 3)))
    (tmp_path / "a_restored.png").write_bytes(b"mine")
    code, _, err = run(tmp_path / "a.png", "--model", identity_model)
    assert code == 2
    assert "exists already" in err
    assert "--overwrite" in err
    assert (tmp_path / "a_restored.png").read_bytes() == b"mine"
    assert run(tmp_path / "a.png", "--model", identity_model, "--overwrite")[0] == 0
    assert read(tmp_path / "a_restored.png") is not None


def test_the_image_itself_is_never_replaced(run, tmp_path, identity_model):
    cv2.imwrite(str(tmp_path / "a.png"), noise((9, 9, 3)))
    before = (tmp_path / "a.png").read_bytes()
    for output in (tmp_path / "a.png", tmp_path):
        code, _, err = run(
            tmp_path / "a.png", "--model", identity_model, "-o", output, "--overwrite"
        )
        assert code == 2
        assert "would replace" in err
    assert (tmp_path / "a.png").read_bytes() == before


def test_json_says_what_was_done(run, tmp_path, identity_model):
    cv2.imwrite(str(tmp_path / "a.png"), noise((40, 50, 3)))
    code, out, err = run(
        tmp_path / "a.png", "--model", identity_model, "--json", "-", "--tile", "32"
    )
    assert code == 0
    result = json.loads(out)
    assert "a_restored.png" in err
    (entry,) = result["files"]
    assert entry["status"] == "restored"
    assert (entry["width"], entry["height"], entry["tile"]) == (50, 40, [32, 32])
    assert entry["megapixels"] == 0.002
    assert entry["time_s"] > 0
    assert result["environment"]["versions"]["torch"] == importlib.metadata.version("torch")
    assert result["environment"]["device"] == "cpu" or torch.cuda.is_available()
    assert result["model"].endswith("identity.safetensors")


# What is refused.


def bad_inputs(folder, model):
    cv2.imwrite(str(folder / "good.png"), noise((9, 9, 3)))
    whole = (folder / "good.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[:100])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("no picture\n")
    (folder / "clip.mp4").write_bytes(b"\0" * 100)
    (folder / "nothing").mkdir()
    state = load_network(model).state_dict()
    state["intro.bias"][0] = float("nan")
    torch.save(state, folder / "nan.pth")
    good = folder / "good.png"
    yield [folder / "missing.png"], ["missing.png", "no such file"]
    yield [folder / "cut.png"], ["cut.png", "cut off"]
    yield [folder / "empty.png"], ["empty.png is empty"]
    yield [folder / "text.png"], ["text.png", "not an image"]
    yield [folder / "clip.mp4"], ["clip.mp4", "damaged, cut off, or no video"]
    yield [folder / "nothing"], ["nothing holds no images"]
    yield [], ["no image given"]
    yield [good, "--tile", "big"], ["--tile is auto, off or a number"]
    yield [good, "--tile", "0"], ["at least one pixel"]
    yield [good, "--strength", "2"], ["strength runs from 0"]
    yield [good, "--strength", "nan"], ["strength runs from 0"]
    yield [good, "--device", "tpu"], ["unknown device"]
    yield [good, "--backend", "onnxruntime"], ["onnxruntime needs an .onnx"]
    yield [good, "-o", folder / "a.xyz"], ["writes no .xyz"]
    yield [good, folder / "cut.png", "-o", folder / "a.png"], ["several images need a folder"]
    yield [folder, "-o", good], ["several images need a folder"]
    yield [good, good], ["both be written to"]
    yield [good, "--model", folder / "nan.pth"], ["nan.pth"]
    yield [good, "--model", folder / "none.pth"], ["none.pth"]
    yield [good, "--task", "polish"], ["unknown task"]


def test_bad_input_ends_with_one_message(run, tmp_path, identity_model):
    for arguments, words in bad_inputs(tmp_path, identity_model):
        given = list(arguments)
        if not {"--model", "--task"} & set(map(str, given)):
            given += ["--model", identity_model]
        before = files_below(tmp_path)
        code, out, err = run(*given)
        assert code == 2, (given, err)
        assert out == ""
        assert err.startswith("error: ")
        assert "Traceback" not in err
        assert "fault in irkd" not in err
        for word in words:
            assert word in err.replace("\n", " "), (word, err)
        assert files_below(tmp_path) == before


@pytest.fixture
def unprivileged(identity_model):
    """A folder of one's own, as a user whom permissions bind."""
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        (folder / "model.safetensors").write_bytes(identity_model.read_bytes())
        (folder / "model.safetensors").chmod(0o666)
        if root:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            if root:
                os.seteuid(0)


def test_files_without_permission_to_read(run, unprivileged):
    cv2.imwrite(str(unprivileged / "a.png"), noise((9, 9, 3)))
    (unprivileged / "a.png").chmod(0)
    code, _, err = run(unprivileged / "a.png", "--model", unprivileged / "model.safetensors")
    assert code == 2
    assert "a.png: no permission to read it" in err


def test_folders_without_permission_to_write(run, unprivileged):
    cv2.imwrite(str(unprivileged / "a.png"), noise((9, 9, 3)))
    (unprivileged / "closed").mkdir(mode=0o555)
    code, _, err = run(
        unprivileged / "a.png",
        *("--model", unprivileged / "model.safetensors"),
        *("-o", unprivileged / "closed" / "a.png"),
    )
    assert code == 2
    assert "a.png cannot be written: Permission denied" in err


def test_a_full_disk_stops_and_leaves_nothing_half(run, tmp_path, identity_model):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("only root can make a small disk")
    try:
        (tmp_path / "in").mkdir()
        for i in range(3):
            cv2.imwrite(str(tmp_path / "in" / f"{i}.png"), noise((110, 110, 3)))
        code, _, err = run(tmp_path / "in", "--model", identity_model, "-o", disk / "out")
        assert code == 2
        assert "the disk is full" in err.replace("\n", " ")
        assert files_below(disk) == ["out/0.png"]
        np.testing.assert_array_equal(read(disk / "out" / "0.png"), noise((110, 110, 3)))
    finally:
        subprocess.run(["umount", disk], check=True)


# Folders.


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "photos"
    for name in ("a.png", "sub/b.png", "sub/deep/c.jpg", "sub/.hidden.png", ".cache/d.png"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise((9, 12, 3), seed=len(name))).save(path)
    (folder / "notes.txt").write_text("not an image")
    return folder


def test_a_folder_is_mirrored(run, tree, identity_model):
    code, out, err = run(tree, "--model", identity_model, "--compare")
    assert code == 0
    assert err == ""
    assert "3 restored." in out
    results = tree.with_name("photos_restored")
    assert files_below(results) == [
        "a.png",
        "a_compare.png",
        "sub/b.png",
        "sub/b_compare.png",
        "sub/deep/c.jpg",
        "sub/deep/c_compare.png",
    ]
    np.testing.assert_array_equal(read(results / "sub/b.png"), read(tree / "sub/b.png"))


def test_results_inside_the_folder_are_not_restored_again(run, tree, identity_model):
    for expected in ("3 restored.", "0 restored, 3 skipped"):
        code, out, _ = run(tree, "--model", identity_model, "-o", tree / "results")
        assert code == 0
        assert expected in out
    assert files_below(tree / "results") == ["a.png", "sub/b.png", "sub/deep/c.jpg"]


def test_failures_are_listed_and_the_rest_is_done(run, tree, identity_model):
    (tree / "aa.png").write_bytes(b"broken")
    (tree / "sub" / "bb.jpg").write_bytes(b"")
    code, out, err = run(tree, "--model", identity_model)
    assert code == 1
    assert "3 restored, 2 failed." in out
    assert "2 of 5 files failed" in err
    assert "aa.png" in err
    assert "bb.jpg is empty" in err
    assert len(files_below(tree.with_name("photos_restored"))) == 3


def test_existing_results_are_skipped_until_overwritten(run, tree, identity_model):
    run(tree, "--model", identity_model)
    results = tree.with_name("photos_restored")
    (results / "a.png").write_bytes(b"edited")
    (results / "sub" / "b.png").unlink()
    code, out, _ = run(tree, "--model", identity_model)
    assert code == 0
    assert "1 restored, 2 skipped" in out
    assert (results / "a.png").read_bytes() == b"edited"
    code, out, _ = run(tree, "--model", identity_model, "--overwrite")
    assert "3 restored." in out
    assert read(results / "a.png") is not None


def test_a_missing_comparison_is_added_to_a_result_that_stands(run, tree, identity_model):
    run(tree, "--model", identity_model)
    results = tree.with_name("photos_restored")
    kept = (results / "a.png").stat()
    code, out, err = run(tree, "--model", identity_model, "--compare")
    assert code == 0
    assert "0 restored, 3 skipped" in out
    assert "a.png: its before/after picture was added" in err
    assert (results / "a_compare.png").exists()
    assert (results / "a.png").stat().st_mtime_ns == kept.st_mtime_ns


@pytest.mark.parametrize("piped", [True, False])
def test_lines_and_the_bar_do_not_mix(run, tree, identity_model, monkeypatch, piped):
    """Standard error is a terminal; paths go to standard output, or above the bar on both."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: not piped, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "300")
    code, out, err = run(tree, "--model", identity_model)
    assert code == 0
    assert "MP/s" in err
    assert "3 restored." in out
    place, other = (out, err) if piped else (err, out)
    assert len(re.findall(r"sub/b\.png  12 x 9", place)) == 1
    assert "sub/b.png  12 x 9" not in other
    if not piped:
        # The bar is erased before the line is written.
        assert re.search(r"\x1b\[2K[^\n]*sub/b\.png  12 x 9", err)


def test_several_inputs_go_to_one_folder(run, tree, tmp_path, identity_model):
    cv2.imwrite(str(tmp_path / "x.png"), noise((9, 9, 3)))
    code, _, _ = run(tree, tmp_path / "x.png", "--model", identity_model, "-o", tmp_path / "out")
    assert code == 0
    assert files_below(tmp_path / "out") == [
        "photos/a.png",
        "photos/sub/b.png",
        "photos/sub/deep/c.jpg",
        "x.png",
    ]


def test_names_that_would_meet_are_kept_apart(run, tmp_path, identity_model):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.png", "a.gif", "a.jpg"):
        Image.fromarray(noise((9, 9))).save(folder / name)
    code, _, err = run(folder, "--model", identity_model, "--compare")
    assert code == 0, err
    assert files_below(tmp_path / "in_restored") == [
        "a.gif.png",
        "a.gif_compare.png",
        "a.jpg",
        "a.png",
        "a.png_compare.png",
        "a_compare.png",
    ]


def test_an_interrupt_leaves_complete_files_and_can_go_on(
    run, tree, identity_model, interrupted_at
):
    with interrupted_at(3):
        code, _, err = run(tree, "--model", identity_model)
    assert code == 130
    assert "2 of 3 files are done; the same command goes on." in err
    results = tree.with_name("photos_restored")
    assert files_below(results) == ["a.png", "sub/b.png"]
    code, out, _ = run(tree, "--model", identity_model)
    assert code == 0
    assert "1 restored, 2 skipped" in out


def test_a_real_interrupt(tmp_path, blur_model):
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(40):
        cv2.imwrite(str(folder / f"{i:02}.png"), noise((300, 300, 3), seed=i))
    process = subprocess.Popen(
        [sys.executable, "-m", "irkd", "restore", folder, "--model", blur_model],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    results = tmp_path / "in_restored"
    for _ in range(1200):
        if len(list(results.glob("[0-9]*.png"))) >= 2:
            break
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in err
    assert "Traceback" not in err
    done = sorted(results.iterdir())
    assert 2 <= len(done) < 40
    assert all(not path.name.startswith(".") and read(path) is not None for path in done)


# Models that ship.


@pytest.mark.parametrize("options", [["--tile", "0"], ["--backend", "onnxruntime"]])
def test_what_no_model_can_do_is_refused_once_and_before_the_work(run, tmp_path, options):
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), noise((20, 20, 3)))
    code, out, err = run(tmp_path, *options, "-o", tmp_path / "out")
    assert (code, out) == (2, "")
    assert "failed" not in err
    assert not (tmp_path / "out").exists()


def test_the_task_picks_the_shipped_model(run, tmp_path, identity_model, blur_model, monkeypatch):
    shipped = dict.fromkeys(("deblur", "dehaze", "derain"), identity_model)
    shipped["denoise"] = blur_model
    for module in ("irkd.models.weights", "irkd.inference.specialists"):
        monkeypatch.setattr(f"{module}.shipped_models", lambda: shipped)
    pixels = noise((20, 20, 3))
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    cases = ([], True), (["--task", "derain"], True), (["--task", "denoise"], False)
    for options, is_same in cases:
        code, _, err = run(tmp_path / "a.png", *options, "-o", tmp_path / "b.png", "--overwrite")
        assert (code, err) == (0, "")
        assert np.array_equal(read(tmp_path / "b.png"), pixels) == is_same
    code, _, err = run(tmp_path / "a.png", "--task", "jpeg")
    assert code == 0
    assert "no model for jpeg ships with irkd; each image is judged" in err
    code, out, _ = run("--list-models")
    assert code == 0
    assert "general" in out
    assert "nafnet" in out
    code, out, _ = run("--list-models", "--json", "-")
    models = json.loads(out)["models"]
    assert [row["name"] for row in models] == ["deblur", "dehaze", "derain", "denoise", "general"]
    assert models[0]["params_m"] == pytest.approx(
        sum(p.numel() for p in load_network(identity_model).parameters()) / 1e6
    )


def test_without_any_model(run, tmp_path, monkeypatch):
    monkeypatch.setattr("irkd.inference.specialists.shipped_models", dict)
    cv2.imwrite(str(tmp_path / "a.png"), noise((9, 9, 3)))
    code, _, err = run(tmp_path / "a.png")
    assert code == 2
    assert "--model" in err
