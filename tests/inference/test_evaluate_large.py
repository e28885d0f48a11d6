"""Evaluations of several data sets, in processes, stopped and gone on with."""

from __future__ import annotations

import csv
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from irkd.cli.main import main
from irkd.errors import IrkdError
from irkd.inference.evaluate import evaluate, evaluate_sets
from irkd.inference.kept_scores import KeptScores
from irkd.inference.scoring import choose_workers
from irkd.metrics.catalogue import open_metrics
from irkd.models.weights import save_network

RELEASE = Path(__file__).parents[1] / "metrics" / "brisque_release"


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", *map(str, arguments)])
    return int(stopped.value.code or 0)


def write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture[..., ::-1])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Data sets `small` (2 pairs) and `large` (4), and results of two tools for both."""
    generator = np.random.default_rng(0)
    for name, count, sigma in (("small", 2, 30), ("large", 4, 10)):
        for index in range(count):
            clean = data.coffee()[40 * index :, 100:][:48, :64]
            noise = generator.normal(0, sigma, clean.shape)
            noisy = np.clip(clean + noise, 0, 255).astype(np.uint8)
            write(tmp_path / name / "target" / f"{index}.png", clean)
            write(tmp_path / name / "input" / f"{index}.png", noisy)
            smooth = cv2.GaussianBlur(noisy, (0, 0), 1.0)
            write(tmp_path / "gauss" / name / f"{index}.png", smooth)
            write(tmp_path / "median" / name / f"{index}.png", cv2.medianBlur(noisy, 3))
    return tmp_path


def sets(folder: Path) -> list[Path]:
    return [folder / "small", folder / "large"]


# Several data sets.


def test_macro_average_is_of_the_sets_means(folder, capsys):
    outputs = [folder / name for name in ("e.json", "e.csv", "i.csv")]
    code = run(
        *("--data", folder / "small", "--data", folder / "large"),
        *("--restored", folder / "gauss", "--restored", folder / "median"),
        *("--average", "macro", "--baseline", "gauss", "--worst", "1"),
        *("--json", outputs[0], "--csv", outputs[1], "--csv-images", outputs[2]),
    )
    captured = capsys.readouterr()
    assert code == 0, captured.err
    assert "macro average" in captured.out
    assert "worst images by PSNR" in captured.out
    found = json.loads(outputs[0].read_text())
    small, large = found["sets"]["small"], found["sets"]["large"]
    assert (small["n"], large["n"], found["n"]) == (2, 4, 6)
    for position, label in enumerate(("degraded", "gauss", "median")):
        row = found["rows"][position]
        assert row["label"] == label
        means = [each["rows"][position]["psnr_db"] for each in (small, large)]
        assert abs(means[0] - means[1]) > 1
        assert row["psnr_db"] == pytest.approx(sum(means) / 2, abs=1e-12)
    median, gauss = found["rows"][2], found["rows"][1]
    assert median["psnr_db_difference"] == pytest.approx(median["psnr_db"] - gauss["psnr_db"])
    low, high = median["psnr_db_difference_low"], median["psnr_db_difference_high"]
    assert low < median["psnr_db_difference"] < high
    images = small["rows"][2]["images"]
    assert found["worst"]["small"]["median"] == [min(images, key=lambda i: i["psnr_db"])["image"]]
    with outputs[1].open() as file:
        table = list(csv.DictReader(file))
    assert [line["set"] for line in table] == ["small"] * 3 + ["large"] * 3 + ["macro"] * 3
    assert float(table[8]["ssim"]) == median["ssim"]
    with outputs[2].open() as file:
        assert len(list(csv.DictReader(file))) == 3 * 6


def test_average_over_images_weighs_sets_by_their_size(folder):
    found = evaluate_sets(
        data=sets(folder), restored={"mine": folder / "gauss"}, average="images", device="cpu"
    )
    each = [evaluation.by_label["mine"] for evaluation in found.sets.values()]
    expected = (2 * each[0].mean("ssim") + 4 * each[1].mean("ssim")) / 6
    assert found.mean("mine", "ssim") == pytest.approx(expected, abs=1e-12)
    macro = evaluate_sets(data=sets(folder), restored={"mine": folder / "gauss"}, device="cpu")
    assert abs(macro.mean("mine", "ssim") - expected) > 0.01


def test_results_of_each_set_by_a_label_that_comes_again(folder, capsys):
    shutil.move(folder / "gauss" / "small", folder / "elsewhere")
    target = folder / "e.json"
    code = run(
        *("--data", folder / "small", "--data", folder / "large", "--json", target),
        *("--restored", f"g={folder / 'elsewhere'}"),
        *("--restored", f"g={folder / 'gauss' / 'large'}"),
    )
    assert code == 0, capsys.readouterr().err
    found = json.loads(target.read_text())
    sources = [each["rows"][1]["source"] for each in found["sets"].values()]
    assert sources == [str(folder / "elsewhere"), str(folder / "gauss" / "large")]


def test_a_set_without_scores_has_no_average(folder):
    for file in (folder / "gauss" / "small").iterdir():
        file.write_bytes(b"no image")
    found = evaluate_sets(
        data=sets(folder),
        restored=[folder / "gauss", folder / "median"],
        baseline="median",
        device="cpu",
    )
    assert math.isnan(found.mean("gauss", "psnr_db"))
    assert math.isnan(found.difference("gauss", "psnr_db"))
    assert found.mean("median", "psnr_db") > 0
    assert [failure.image for failure in found.failures] == ["small/0", "small/1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "small", "--average", "macro", "--restored", "gauss/small"], "several times"),
        (["--data", "small", "--data", "large", "--average", "mean"], "macro or images"),
        (["--data", "small", "--data", "missing", "--restored", "gauss"], "missing"),
        (["--data", "small", "--data", "large", "--restored", "gauss/small"], "holds no folder"),
        (["--data", "small", "--data", "large"], "nothing to score"),
        (["--data", "small", "--data", "large", "--images", "small"], "--images"),
        (["--data", "small", "--restored", "gauss/small", "--workers", "-1"], "workers"),
    ],
)
def test_bad_requests_cost_nothing(arguments, message, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert message in " ".join(captured.err.split())
    assert "scored" not in captured.err


# Without references.


def test_a_folder_of_real_images_needs_no_reference_and_no_model(folder, capsys):
    target = folder / "e.json"
    code = run(
        *("--images", folder / "large" / "input", "--restored", folder / "gauss" / "large"),
        *("--metrics", "piqe,brisque,entropy", "--brisque-model", RELEASE, "--json", target),
    )
    captured = capsys.readouterr()
    assert code == 0, captured.err
    assert "allmodel, SHA-256" in captured.out
    found = json.loads(target.read_text())
    assert [row["label"] for row in found["rows"]] == ["degraded", "large"]
    assert all(row["n"] == 4 and row["brisque"] and row["entropy"] for row in found["rows"])
    alone = evaluate(images=folder / "large" / "input", brisque_model=RELEASE, device="cpu")
    assert [metric.name for metric in alone.metrics] == ["piqe", "brisque"]
    assert alone.rows[0].mean("piqe") == found["rows"][0]["piqe"]


def test_metrics_that_cannot_be_had_say_why(folder, monkeypatch):
    import pyiqa

    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(pyiqa, "create_metric", offline)
    with pytest.raises(IrkdError, match=r"cannot fetch .*'niqe'.*no route.*needs none \(psnr"):
        open_metrics(["niqe"])
    with pytest.raises(IrkdError, match="--brisque-model"):
        open_metrics(["brisque"])
    with pytest.raises(IrkdError, match="as a whole"):
        open_metrics(["fid"])


def test_an_image_that_a_metric_fails_on_costs_only_itself(folder):
    write(folder / "large" / "input" / "tiny.png", np.zeros((12, 12, 3), np.uint8))
    found = evaluate(
        images=folder / "large" / "input", metrics=["piqe", "brisque"], brisque_model=RELEASE
    )
    assert found.rows[0].n == 4
    assert [(failure.label, failure.image) for failure in found.failures] == [("degraded", "tiny")]


# Processes.


def test_processes_give_the_same_bits_in_the_same_order(folder):
    target = folder / "e.json"
    command = [
        *(sys.executable, "-m", "irkd", "evaluate", "--data", folder / "large"),
        *("--restored", folder / "gauss" / "large", "--metrics", "psnr,ssim,piqe"),
        *("--protocol", "realblur-ecc", "--device", "cpu", "--workers", 2, "--json", target),
    ]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "scored 4 of 4" in done.stderr
    rows = json.loads(target.read_text())["rows"]
    here = evaluate(
        data=folder / "large",
        restored=folder / "gauss" / "large",
        metrics=["psnr", "ssim", "piqe"],
        protocol="realblur-ecc",
        device="cpu",
    )
    for row, expected in zip(rows, here.rows, strict=True):
        assert [image["image"] for image in row["images"]] == ["0", "1", "2", "3"]
        for image, score in zip(row["images"], expected.images, strict=True):
            assert {name: image[name] for name in score.scores} == score.scores


def test_processes_are_for_many_images_and_metrics_of_our_own():
    own, foreign = open_metrics(["psnr", "piqe"]), open_metrics(["psnr", "entropy"])
    assert choose_workers(None, 10, own, beside_network=False) == 0
    assert choose_workers(None, 5000, own, beside_network=True) == 0
    assert choose_workers(None, 5000, foreign, beside_network=False) == 0
    assert choose_workers(3, 5000, foreign, beside_network=True) == 3
    assert choose_workers(3, 2, own, beside_network=False) == 2


# Stopped and gone on with.


class Stop(Exception):
    pass


@pytest.fixture
def model(tmp_path: Path) -> Path:
    import irkd

    torch.manual_seed(0)
    options = {"width": 4, "enc_blk_nums": [1], "middle_blk_num": 1, "dec_blk_nums": [1]}
    path = tmp_path / "model.safetensors"
    save_network(path, irkd.create_network("nafnet", **options), task="denoise")
    return path


def count_restorations(monkeypatch) -> list[int]:
    from irkd.inference.restorer import Restorer

    calls: list[int] = []
    plain = Restorer.__call__

    def counted(self, degraded):
        calls.append(1)
        return plain(self, degraded)

    monkeypatch.setattr(Restorer, "__call__", counted)
    return calls


def scores(found) -> list[list[object]]:
    return [[(image.name, dict(image.scores)) for image in row.images] for row in found.rows]


def test_a_stopped_run_goes_on(folder, model, monkeypatch):
    calls = count_restorations(monkeypatch)

    def stop(done: int, *_: object) -> None:
        if done == 2:
            raise Stop

    keep = folder / "kept.jsonl"
    request = {
        "data": folder / "large",
        "restored": {"gauss": folder / "gauss" / "large"},
        "device": "cpu",
    }
    with pytest.raises(Stop):
        evaluate(model, **request, resume_scores=keep, progress=stop)
    assert len(calls) == 2
    with keep.open("a") as file:
        file.write('{"key": "half a li')  # as a power cut leaves it
    calls.clear()
    found = evaluate(model, **request, resume_scores=keep)
    assert len(calls) == 2
    assert any("6 scores were taken" in note for note in found.notes)
    assert scores(found) == scores(evaluate(model, **request))
    calls.clear()
    again = evaluate(model, **request, resume_scores=keep)
    assert not calls
    assert scores(again) == scores(found)
    assert again.by_label["model"].latency_ms == found.by_label["model"].latency_ms


def test_scores_of_anything_else_are_not_taken(folder, model, monkeypatch):
    keep = folder / "kept.jsonl"
    same = {"data": folder / "small", "protocol": "rgb", "device": "cpu"}
    request = {**same, "resume_scores": keep}
    restored = {"gauss": folder / "gauss" / "small"}
    evaluate(model, **request, restored=restored)
    calls = count_restorations(monkeypatch)
    for change in ({"protocol": "y-matlab"}, {"metrics": ["ssim"]}, {"tile": 32}):
        evaluate(model, **(request | change))
        assert len(calls) == 2
        calls.clear()
    # Other weights under the same name.
    import irkd

    torch.manual_seed(1)
    options = {"width": 4, "enc_blk_nums": [1], "middle_blk_num": 1, "dec_blk_nums": [1]}
    save_network(model, irkd.create_network("nafnet", **options), task="denoise", overwrite=True)
    evaluate(model, **request)
    assert len(calls) == 2
    # Another result, and another image of the set, under the same names.
    write(folder / "gauss" / "small" / "0.png", np.zeros((48, 64, 3), np.uint8))
    write(folder / "small" / "input" / "1.png", np.zeros((48, 64, 3), np.uint8))
    kept = evaluate(**request, restored=restored)
    fresh = evaluate(**same, restored=restored)
    assert scores(kept) == scores(fresh)
    # What is left is the degraded image 0.
    assert any("1 score was taken" in note for note in kept.notes)


def test_infinite_scores_are_kept(folder):
    keep = folder / "kept.jsonl"
    request = {
        "data": folder / "small",
        "restored": {"perfect": folder / "small" / "target"},
        "resume_scores": keep,
    }
    first, second = evaluate(**request), evaluate(**request)
    assert scores(first) == scores(second)
    assert second.by_label["perfect"].mean("psnr_db") == math.inf


@pytest.mark.parametrize("content", ["mine", "mine\n", "{}\n", "[1]\n", '{"a": 1}\n\n'])
def test_another_file_is_not_written_into(content, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text(content)
    with pytest.raises(IrkdError, match="no file of kept scores"):
        KeptScores(path)
    assert path.read_text() == content


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "kept.jsonl"
    KeptScores(path).close()
    path.write_text(path.read_text() + '{"key": 1}\n')
    with pytest.raises(IrkdError, match="line 2"):
        KeptScores(path)


def test_networks_without_a_file_are_refused(folder, model):
    import irkd

    network = irkd.load_network(str(model))
    with pytest.raises(IrkdError, match="is no file"):
        evaluate(network, folder / "small", resume_scores=folder / "kept.jsonl")
