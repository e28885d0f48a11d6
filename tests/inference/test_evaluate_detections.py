"""`irkd evaluate --ground-truth` as a user meets it."""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path

import pytest
import torch
from inference_networks import Identity
from rtts_files import HEIGHT, OBJECTS, WIDTH, annotation, write_images, write_rtts
from test_evaluate_command import run
from tiny_detectors import CLASSES, save_detector

import irkd
from irkd.models.weights import save_network


@pytest.fixture
def folder(tmp_path) -> Path:
    """RTTS with dimmed images, the same images in full light, and a detector."""
    write_rtts(tmp_path / "RTTS")
    write_images(tmp_path / "clean")
    save_detector(tmp_path / "d.onnx", "yolov4-zoo")
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    return tmp_path


def detector_options(folder: Path) -> tuple[object, ...]:
    return (
        *("--ground-truth", folder / "RTTS"),
        *("--detector", folder / "d.onnx", "--detector-classes", folder / "classes.txt"),
    )


@pytest.fixture
def brightener(tmp_path) -> Path:
    """A network that doubles its input."""
    network = irkd.create_network(
        "nafnet", width=4, enc_blk_nums=[1], middle_blk_num=1, dec_blk_nums=[1]
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for channel in range(3):
            network.intro.weight[channel, channel, 1, 1] = 1
            network.ending.weight[channel, channel, 1, 1] = 1
    path = tmp_path / "brightener.safetensors"
    save_network(path, network, task="dehaze")
    return path


def test_rtts_degraded_restored_clean(folder, brightener, capsys):
    code = run(
        *detector_options(folder),
        *(brightener, "--restored", f"clean={folder / 'clean'}"),
        *("--json", folder / "e.json", "--csv", folder / "e.csv", "--device", "cpu"),
        *("--save-detections", folder / "found"),
    )
    captured = capsys.readouterr()
    assert code == 0, captured.err
    lines = captured.out.splitlines()
    assert [cell.strip() for cell in lines[1].strip("┃").split("┃")] == [
        *("average precision", "objects", "degraded", "brightener", "clean")
    ]
    # 0.8 of full light is found, less surely: everything is found, and nothing else.
    assert [cell.strip() for cell in lines[3].strip("│").split("│")] == [
        *("AP50", "3", "0.0000", "1.0000", "1.0000")
    ]
    assert "AP50 red" in captured.out
    assert "layout yolov4-zoo, input 64 x 64" in captured.out
    assert "faster-coco-eval" in captured.out

    found = json.loads((folder / "e.json").read_text())
    assert (found["n"], found["objects"], found["objects_per_class"]) == (
        *(3, 3),
        {"green": 1, "red": 2},
    )
    degraded, model, clean = found["rows"]
    assert [row["kind"] for row in found["rows"]] == ["degraded", "model", "restored"]
    assert degraded["ap50"] == degraded["ap"] == degraded["ap75"] == 0
    assert model["ap50"] == clean["ap"] == 1
    assert clean["ap50_per_class"] == {"green": 1, "red": 1}
    assert [row["detections"] for row in found["rows"]] == [0, 3, 3]
    with (folder / "e.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [float(line["ap50"]) for line in table] == [0, 1, 1]
    assert {"label", "kind", "n", "ap", "ap75", "ap50_red", "ap50_green", "versions"} <= set(
        table[0]
    )

    # What was written is COCO's, and scores the same.
    written = json.loads((folder / "found" / "brightener.json").read_text())
    assert all(0.5 < entry["score"] < 0.7 for entry in written)
    code = run(
        *("--ground-truth", folder / "found" / "ground_truth.json"),
        *("--detections", f"restored={folder / 'found' / 'brightener.json'}"),
        *("--detections", folder / "found" / "degraded.json", "--json", "-"),
    )
    captured = capsys.readouterr()
    assert code == 0, captured.err
    again = json.loads(captured.out)
    assert [(row["label"], row["ap"]) for row in again["rows"]] == [
        *(("restored", 1), ("degraded", 0))
    ]


def test_images_of_a_model_are_made_as_restore_makes_them(folder, capsys):
    # The command names models by what a user has; Python also takes a network itself.
    from irkd.inference.detection import evaluate_detections

    network = Identity()
    found = evaluate_detections(
        folder / "RTTS",
        detector=folder / "d.onnx",
        detector_classes=folder / "classes.txt",
        models={"same": network},
        device="cpu",
        limit=2,
    )
    assert network.seen == [(HEIGHT, WIDTH)] * 2
    assert (found.n, [row.label for row in found.rows]) == (2, ["degraded", "same"])


def test_yolo_labels_beside_images(folder, capsys):
    labels = folder / "set" / "labels" / "val"
    labels.mkdir(parents=True)
    write_images(folder / "set" / "images" / "val", suffix=".jpg")
    for name, objects in OBJECTS.items():
        lines = [
            f"{kind} {(x + w / 2) / WIDTH} {(y + h / 2) / HEIGHT} {w / WIDTH} {h / HEIGHT}\n"
            for kind, x, y, w, h in objects
        ]
        (labels / f"{name}.txt").write_text("".join(lines))
    (folder / "set" / "data.yaml").write_text("names: [red, green]\n")
    code = run(
        *("--ground-truth", labels, "--detector", folder / "d.onnx"),
        *("--detector-classes", folder / "set" / "data.yaml", "--json", "-"),
    )
    captured = capsys.readouterr()
    assert code == 0, captured.err
    found = json.loads(captured.out)
    # JPEG moves the squares' colours a little, and the boxes not at all.
    assert found["rows"][0]["ap50"] == 1
    assert "data.yaml" in found["notes"][0]


def test_a_row_without_an_image_is_left_out_and_the_rest_is_done(folder, capsys):
    (folder / "clean" / "AM_Google_7.png").unlink()
    write_images(folder / "damaged")
    (folder / "damaged" / "YT_Bing_002.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    # Its header is whole: the damage shows when the detector's turn comes.
    cut = write_images(folder / "cut") / "AM_Google_7.png"
    cut.write_bytes(cut.read_bytes()[:100])
    code = run(
        *detector_options(folder),
        *("--restored", f"clean={folder / 'clean'}", "--restored", f"damaged={folder / 'damaged'}"),
        *("--restored", f"cut={folder / 'cut'}"),
        *("--json", folder / "e.json"),
    )
    captured = capsys.readouterr()
    assert code == 1, captured.err
    assert "clean: AM_Google_7: " in captured.err
    assert "damaged: YT_Bing_002: " in captured.err
    found = json.loads((folder / "e.json").read_text())
    assert [row["label"] for row in found["rows"]] == ["degraded"]
    assert [failure["label"] for failure in found["failures"]] == ["clean", "damaged", "cut"]


def test_restored_images_of_another_size(folder, capsys):
    from tiny_detectors import draw_squares, save_picture

    save_picture(folder / "clean" / "AM_Bing_211.png", draw_squares(64, 48, []))
    code = run(*detector_options(folder), "--restored", f"clean={folder / 'clean'}")
    assert code == 1
    assert "64 x 48 pixels; the annotations are for 128 x 96" in capsys.readouterr().err


def test_images_that_are_not_there_are_left_out_of_all_rows(folder, capsys):
    (folder / "RTTS" / "JPEGImages" / "AM_Google_7.png").unlink()
    code = run(*detector_options(folder), "--restored", f"clean={folder / 'clean'}", "--json", "-")
    captured = capsys.readouterr()
    assert code == 0, captured.err
    found = json.loads(captured.out)
    assert found["n"] == 2
    assert found["rows"][1]["ap50"] == 1
    assert "1 of 3 images of the ground truth are not in" in found["notes"][0]


def test_nothing_is_overwritten(folder, capsys):
    kept = folder / "found" / "clean.json"
    kept.parent.mkdir()
    kept.write_text("mine")
    arguments = (
        *detector_options(folder),
        *("--restored", f"clean={folder / 'clean'}", "--save-detections", folder / "found"),
    )
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert "--overwrite" in captured.err
    assert "scored" not in captured.err
    assert kept.read_text() == "mine"
    assert run(*arguments, "--overwrite") == 0
    assert len(json.loads(kept.read_text())) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--detections", "a=found.json"], "--ground-truth PATH"),
        (["--ground-truth", "RTTS"], "nothing to score"),
        (["--ground-truth", "RTTS", "--restored", "clean"], "give --detector FILE.onnx"),
        (["--ground-truth", "gone", "--detections", "a=b"], "gone: no such file"),
        (["--ground-truth", "RTTS", "--detections", "a=gone.json"], "gone.json: no such file"),
        (["--ground-truth", "RTTS", "--metrics", "psnr"], "--metrics has no part"),
        (["--ground-truth", "RTTS", "--data", "RTTS"], "--data has no part"),
        (["--ground-truth", "RTTS", "--detector", "d.onnx"], "Name them with --detector-classes"),
        (
            ["--ground-truth", "RTTS", "--detector", "d.onnx", "--images", "no"],
            "no: no such folder",
        ),
        (
            ["--ground-truth", "RTTS", "--classes", "classes.txt", "--detections", "a=b"],
            "leave out --classes",
        ),
        (["--ground-truth", "RTTS", "--detections", "="], "expected LABEL=PATH"),
    ],
)
def test_mistakes_end_with_one_message(folder, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(folder)
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert re.search(message, error.replace("\n", " ")), error
    assert error.count("error:") == 1


def test_annotations_of_another_size(folder, capsys):
    text = annotation("AM_Google_7", OBJECTS["AM_Google_7"]).replace("<width>128", "<width>256")
    (folder / "RTTS" / "Annotations" / "AM_Google_7.xml").write_text(text)
    assert run(*detector_options(folder)) == 2
    assert "128 x 96 pixels; the annotations are for 256 x 96" in capsys.readouterr().err


def test_missing_library_names_the_extra_before_the_work(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    assert run(*detector_options(folder)) == 2
    captured = capsys.readouterr()
    assert "irkd[detect]" in captured.err
    assert "scored" not in captured.err
