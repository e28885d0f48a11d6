"""The pictures of a report: the right images, however they were scored, in bounded memory."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import weakref
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from irkd.cli.main import main
from irkd.errors import IrkdError
from irkd.inference import pictures
from irkd.inference.evaluate import evaluate, evaluate_sets
from irkd.inference.pictures import ReportPictures
from irkd.inference.restorer import Restorer
from irkd.inference.scoring import Restoration
from irkd.metrics.catalogue import open_metrics
from irkd.report.evaluation import ImageScore
from irkd.report.selection import Selection

SIGMAS = (12, 30, 5, 22, 40, 8, 17, 26)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Pairs 0 to 7 with noise of SIGMAS, and results of a median filter for all of them."""
    generator = np.random.default_rng(0)
    for index, sigma in enumerate(SIGMAS):
        clean = data.coffee()[20 * index :, 100:][:48, :64, ::-1]
        noisy = np.clip(clean + generator.normal(0, sigma, clean.shape), 0, 255).astype(np.uint8)
        files = {
            tmp_path / "pairs" / "target": clean,
            tmp_path / "pairs" / "input": noisy,
            tmp_path / "median" / "pairs": cv2.medianBlur(noisy, 3),
        }
        for folder, picture in files.items():
            folder.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(folder / f"{index}.png"), picture)
    return tmp_path / "pairs"


@pytest.fixture
def restorations(monkeypatch) -> list[int]:
    """Grows with every call of a model."""
    calls: list[int] = []
    plain = Restorer.__call__

    def counted(self, degraded):
        calls.append(1)
        return plain(self, degraded)

    monkeypatch.setattr(Restorer, "__call__", counted)
    return calls


def shown(found) -> list[str]:
    return [strip.name for strip in found.strips]


def expected(found, label: str, worst: int, best: int, behind: int) -> list[str]:
    """The names that sorting all scores gives, those with the worst first."""
    scores = {image.name: image.scores["psnr_db"] for image in found.by_label[label].images}
    others = {image.name: image.scores["psnr_db"] for image in found.rows[0].images}
    ordered = sorted(scores, key=scores.__getitem__)
    lags = sorted(scores, key=lambda name: scores[name] - others[name])
    names = {*ordered[:worst], *ordered[len(ordered) - best :], *lags[:behind]}
    return [name for name in ordered if name in names]


def test_worst_and_best_of_the_first_model_or_of_the_named_row(pairs, blur_model, restorations):
    request = {"restored": {"median": pairs.parent / "median" / "pairs"}, "device": "cpu"}
    found = evaluate(blur_model, pairs, **request, strips=4)
    assert found.selection.label == "blur"
    assert shown(found) == expected(found, "blur", 2, 1, 1)
    assert shown(found) != sorted(shown(found))
    assert len(restorations) == len(SIGMAS)  # compressed while scoring
    for strip in found.strips:
        assert list(strip.pictures) == ["degraded", "blur", "median", "reference"]
    median = evaluate(blur_model, pairs, **request, strips=6, strips_of="median")
    assert shown(median) == expected(median, "median", 2, 2, 2)
    for found in (median, evaluate(data=pairs, **request, strips=6)):
        assert shown(found) == shown(median)
    degraded = evaluate(blur_model, pairs, **request, strips=3, strips_of="degraded")
    assert shown(degraded) == ["4", "1", "2"]  # nothing is behind itself


def test_kept_scores_need_the_chosen_images_only(pairs, blur_model, restorations, tmp_path):
    """Scores of an earlier run, without pictures: the chosen ones are restored once more."""
    request = {"device": "cpu", "restored": {"median": pairs.parent / "median" / "pairs"}}
    plain = evaluate(blur_model, pairs, **request, strips=3)
    keep = tmp_path / "kept.jsonl"
    evaluate(blur_model, pairs, **request, resume_scores=keep, limit=5)
    restorations.clear()
    resumed = evaluate(blur_model, pairs, **request, resume_scores=keep, strips=3)
    again = [name for name in shown(plain) if int(name) < 5]
    assert again
    assert len(restorations) == 3 + len(again)
    # Not one byte of the pictures differs, wherever they were made.
    assert resumed.strips == plain.strips
    assert any("15 scores were taken" in note for note in resumed.notes)


def test_processes_and_several_data_sets(pairs, tmp_path):
    """Through the command: one page, the images of both data sets, scored in processes."""
    reversed_pairs = tmp_path / "reversed"
    for part in ("input", "target"):
        (reversed_pairs / part).mkdir(parents=True)
        for index in range(3):
            source = pairs / part / f"{7 - index}.png"
            (reversed_pairs / part / f"{index}.png").write_bytes(source.read_bytes())
    results = pairs.parent / "median" / "reversed"
    results.mkdir()
    for index in range(3):
        source = pairs.parent / "median" / "pairs" / f"{7 - index}.png"
        (results / f"{index}.png").write_bytes(source.read_bytes())
    target = tmp_path / "e.json"
    command = [
        *(sys.executable, "-m", "irkd", "evaluate", "--data", pairs, "--data", reversed_pairs),
        *("--restored", pairs.parent / "median", "--device", "cpu", "--workers", 2),
        *("--report", tmp_path / "report", "--report-images", 6, "--json", target),
    ]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "report" / "report.html").read_text("utf-8")
    assert [file.name for file in (tmp_path / "report").iterdir()] == ["report.html"]
    here = evaluate_sets(
        data=[pairs, reversed_pairs],
        restored=[pairs.parent / "median"],
        device="cpu",
        strips=6,
    )
    names = [name for found in here.sets.values() for name in shown(found)]
    assert re.findall(r"<h4>(\w+)</h4>", page) == names
    assert len(shown(here.sets["pairs"])) == 3
    assert "All images, by PSNR (dB) of median" in page  # three of three
    assert "Of 8 images the 1 worst, the 1 best and the 1 with the worst difference" in page
    rows = json.loads(target.read_text())["rows"]
    for row in rows:
        assert f'value="{row["psnr_db"]!r}"' in page


def test_images_without_a_score_are_not_shown(pairs):
    results = pairs.parent / "median" / "pairs"
    (results / "4.png").unlink()
    found = evaluate(data=pairs, restored={"median": results}, strips=9, device="cpu")
    assert len(found.failures) == 1
    assert sorted(shown(found)) == ["0", "1", "2", "3", "5", "6", "7"]


def test_no_more_pictures_are_held_than_are_shown(monkeypatch):
    """Even where every image is better than all before it."""

    class Made:
        pass

    alive: weakref.WeakSet[Made] = weakref.WeakSet()

    def make(*_):
        alive.add(made := Made())
        return made

    monkeypatch.setattr(pictures, "make_strip", make)
    metric = open_metrics(["psnr"])[0]
    chosen = Selection.of("model", "degraded", metric, 1000, 9)
    collected = ReportPictures(chosen, 10**5, keep=True)
    picture = np.zeros((4, 4, 3), np.uint8)
    most = 0
    for index in range(1000):
        rows = {"degraded": 20.0, "model": 20.0 + index}
        scores = {
            label: ImageScore(str(index), 4, 4, {"psnr_db": value}) for label, value in rows.items()
        }
        item = Restoration(index, str(index), (4, 4), picture, dict.fromkeys(rows, picture))
        collected.offer(item, scores)
        most = max(most, len(alive))
    assert 3 < most <= 9
    assert len(collected.finish(lambda index: pytest.fail(f"{index} was not kept"))) == 6


def test_an_unknown_row_is_named_before_anything_is_scored(pairs, blur_model, restorations):
    with pytest.raises(IrkdError, match=r"no row is called 'mine'. The rows: degraded, blur"):
        evaluate(blur_model, pairs, strips=3, strips_of="mine", device="cpu")
    assert not restorations


@pytest.mark.parametrize("option", [("--report-images", "3"), ("--report-row", "median")])
def test_options_of_the_report_need_one(option, pairs, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", "--data", str(pairs), *option])
    assert stopped.value.code == 2
    assert "add --report DIR" in capsys.readouterr().err
