"""Evaluations of models and folders of results on real files."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data
from torch import nn

import irkd
from irkd.errors import IrkdError
from irkd.export.export import export_network
from irkd.inference.candidates import label_models
from irkd.inference.evaluate import evaluate
from irkd.inference.judge import trained_judge
from irkd.metrics.no_reference import piqe
from irkd.metrics.protocols import protocol
from irkd.models.base import NetworkSpec, parameter_count
from irkd.models.weights import save_network
from irkd.profiling.macs import count_macs

SIZE = (48, 64)
NAMES = ("one", "two", "three")


class Fixed(nn.Module):
    """A network that does something known: `change` maps [0, 1] images to [0, 1] images."""

    size_multiple = 1
    in_channels = out_channels = 3

    def __init__(self, change=lambda images: images, task: str | None = None) -> None:
        super().__init__()
        self.spec = NetworkSpec(arch="fixed")
        self.metadata = {"task": task}
        self.change = change

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.change(images)


def write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture[..., ::-1])


def photographs() -> dict[str, np.ndarray]:
    source = data.astronaut()
    height, width = SIZE
    return {name: source[60 * i :, 150:][:height, :width] for i, name in enumerate(NAMES)}


def noisy(picture: np.ndarray, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 20, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    folder = tmp_path / "pairs"
    for name, picture in photographs().items():
        write(folder / "target" / f"{name}.png", picture)
        write(folder / "input" / f"{name}.png", noisy(picture))
    return folder


@pytest.fixture
def run_directory(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = irkd.create_network(
        "nafnet", width=4, enc_blk_nums=[1], middle_blk_num=1, dec_blk_nums=[1]
    )
    path = tmp_path / "runs" / "first"
    save_network(path / "student.safetensors", network, task="derain")
    (path / "preset.yaml").write_text("name: first\n")
    return path


def test_scores_are_the_protocols(pairs):
    found = evaluate({"darker": Fixed(lambda images: images * 0.9)}, pairs, protocol="y-matlab")
    assert [row.label for row in found.rows] == ["degraded", "darker"]
    assert found.protocol is protocol("y-matlab")
    assert found.n == 3
    for index, row in enumerate(found.rows):
        for image in row.images:
            reference = photographs()[image.name]
            restored = noisy(reference)
            if index == 1:
                restored = restored.astype(np.float32) / 255 * np.float32(0.9)
            assert image.scores == protocol("y-matlab").score(restored, reference, ("psnr", "ssim"))
    degraded, darker = found.rows
    assert {image.name for image in degraded.images} == set(NAMES)
    values = [image.scores["psnr_db"] for image in darker.images]
    assert darker.mean("psnr_db") == pytest.approx(np.mean(values))
    assert darker.std("psnr_db") == pytest.approx(np.std(values, ddof=1))
    difference = darker.mean("psnr_db") - degraded.mean("psnr_db")
    assert found.difference(darker, "psnr_db") == difference
    assert darker.latency_ms > 0
    assert degraded.latency_ms is None


def test_a_real_model_with_its_cost(run_directory):
    found = irkd.evaluate(run_directory, "photographs", limit=1)
    row = found.by_label["first"]
    network = irkd.load_network(run_directory)
    assert found.task == "derain"
    assert row.params_m == parameter_count(network) / 1e6
    assert found.size == (512, 512)
    assert row.macs_g == count_macs(network, 512, 512) / 1e9
    assert row.n == 1


def test_an_exported_file_has_the_scores_and_the_cost_of_its_network(
    pairs, run_directory, tmp_path
):
    pytest.importorskip("openvino")
    network = irkd.load_network(run_directory)
    path = tmp_path / "exported.xml"
    export_network(network, path, format="openvino", source=network.metadata)
    found = evaluate([run_directory, path], pairs, limit=1)
    original, exported = found.by_label["first"], found.by_label["exported"]
    assert exported.params_m == original.params_m
    assert exported.macs_g == original.macs_g
    assert exported.mean("psnr_db") == pytest.approx(original.mean("psnr_db"), abs=0.02)
    assert found.task == "derain"


def test_macs_are_counted_at_the_size_most_images_have(pairs, run_directory):
    assert evaluate(run_directory, pairs).size == SIZE
    for side, name in zip((32, 40), NAMES, strict=False):
        for part in ("input", "target"):
            write(pairs / part / f"{name}.png", data.astronaut()[:side, :side])
    assert evaluate(run_directory, pairs).size == (512, 512)


def test_default_protocols(pairs):
    model = {"model": Fixed(task="derain")}
    assert evaluate(model, pairs).protocol.name == "y-matlab"
    assert evaluate(model, pairs, task="deblur").protocol.name == "rgb-matlab3d"
    assert evaluate({"model": Fixed()}, pairs).protocol.name == "rgb"
    built_in = evaluate(model, "procedural", limit=1)
    assert built_in.protocol.name == "rgb"
    assert built_in.task == "derain"


def test_a_model_for_another_task_is_noted(pairs):
    found = evaluate({"model": Fixed(task="derain")}, pairs, task="deblur")
    assert any("model was trained for derain" in note for note in found.notes)


def test_results_of_another_tool_are_matched_by_name(pairs, tmp_path):
    results = tmp_path / "results"
    pictures = photographs()
    write(results / "ONE.PNG", pictures["one"])  # the reference itself
    write(results / "deeper" / "two.bmp", noisy(pictures["two"], seed=1))
    write(results / "three.png", noisy(pictures["three"], seed=2))
    write(results / "unrelated.png", pictures["one"])
    row = evaluate((), pairs, restored=results).by_label["results"]
    assert row.n == 3
    assert [image.name for image in row.images if math.isinf(image.scores["psnr_db"])] == ["one"]
    assert row.infinite("psnr_db") == 1
    finite = [image.scores["psnr_db"] for image in row.images if image.name != "one"]
    assert row.mean("psnr_db") == pytest.approx(np.mean(finite))
    assert row.kind == "restored"
    assert row.params_m is None


def test_perfect_results_have_an_infinite_mean(pairs, tmp_path):
    shutil.copytree(pairs / "target", tmp_path / "perfect")
    found = evaluate((), pairs, restored=tmp_path / "perfect")
    row = found.by_label["perfect"]
    assert row.mean("psnr_db") == math.inf
    assert math.isnan(row.std("psnr_db"))
    assert row.mean("ssim") == pytest.approx(1)


def test_a_folder_of_references_is_enough_for_results(pairs, tmp_path):
    references = tmp_path / "references"
    shutil.copytree(pairs / "target", references)
    found = evaluate((), references, restored=pairs / "input")
    assert [row.label for row in found.rows] == ["input"]
    assert found.baseline is None
    assert any("taken as the references" in note for note in found.notes)
    same = evaluate((), pairs, restored=pairs / "input")
    assert found.rows[0].images == same.by_label["input"].images
    with pytest.raises(IrkdError):
        evaluate({"model": Fixed()}, references)


def test_what_cannot_be_scored_is_listed_and_the_rest_is_done(pairs, tmp_path):
    results = tmp_path / "results"
    pictures = photographs()
    write(results / "one.png", pictures["one"][:-1])
    write(results / "three.png", noisy(pictures["three"]))
    found = evaluate((), pairs, restored=results)
    reasons = {failure.image: failure.reason for failure in found.failures}
    assert set(reasons) == {"one", "two"}
    assert "47 x 64" in reasons["one"]
    assert "no result" in reasons["two"]
    assert found.by_label["results"].n == 1
    assert found.by_label["degraded"].n == 3


def test_a_damaged_image_costs_only_itself(pairs):
    whole = (pairs / "input" / "two.png").read_bytes()
    (pairs / "input" / "two.png").write_bytes(whole[: len(whole) // 2])
    found = evaluate({"model": Fixed()}, pairs)
    assert [failure.image for failure in found.failures] == ["two"]
    assert found.by_label["model"].n == 2


def test_a_network_without_finite_output_is_refused(pairs):
    broken = Fixed(lambda images: images * math.nan)
    found = evaluate({"fine": Fixed(), "broken": broken}, pairs)
    assert {failure.label for failure in found.failures} == {"broken"}
    assert math.isnan(found.by_label["broken"].mean("psnr_db"))
    with pytest.raises(IrkdError, match="nothing could be scored"):
        evaluate({"broken": broken}, pairs)


def test_images_without_references(pairs):
    found = evaluate({"same": Fixed()}, images=pairs / "input")
    assert found.protocol is None
    expected = [piqe(noisy(picture)) for _, picture in sorted(photographs().items())]
    for row in found.rows:
        assert [image.scores["piqe"] for image in row.images] == expected
    with pytest.raises(IrkdError, match="psnr"):
        evaluate({"same": Fixed()}, images=pairs / "input", metrics=["psnr"])


def test_strips_hold_every_row_and_the_reference(pairs):
    found = evaluate({"model": Fixed()}, pairs, strips=2)
    assert len(found.strips) == 2
    for strip in found.strips:
        assert list(strip.pictures) == ["degraded", "model", "reference"]
        assert list(strip.crops) == ["degraded", "model", "reference"]


def test_pyiqa_metrics_by_name(pairs):
    pytest.importorskip("pyiqa")
    found = evaluate({"model": Fixed()}, pairs, metrics=["psnr", "gmsd"], limit=1)
    assert [metric.field for metric in found.metrics] == ["psnr_db", "gmsd"]
    assert not found.metrics[1].higher_is_better
    assert 0 < found.by_label["model"].mean("gmsd") < 1
    assert "pyiqa" in found.environment["versions"]


def test_equal_file_names_are_told_apart(tmp_path, run_directory):
    other = shutil.copytree(run_directory, tmp_path / "runs" / "second")
    files = [run_directory / "student.safetensors", other / "student.safetensors"]
    assert list(label_models([run_directory, other])) == ["first", "second"]
    assert list(label_models(files)) == ["first", "second"]
    assert list(label_models([run_directory, run_directory])) == ["first", "first (2)"]
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(files[0], tmp_path / folder / "net.safetensors")
    equal = [tmp_path / folder / "net.safetensors" for folder in ("a", "b")]
    assert list(label_models(equal)) == ["a/net", "b/net"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "name what to score on"),
        ({"data": "photographs", "images": "x"}, "one of them"),
        ({"data": "photographs", "models": ()}, "nothing to score"),
        ({"data": "photographs"}, "--task"),
        ({"data": "missing"}, "missing"),
        ({"images": "missing"}, "no such folder"),
        ({"data": "procedural", "task": "denoise", "protocol": "ygb"}, "unknown protocol"),
        ({"data": "procedural", "task": "denoise", "metrics": ["psnrr"]}, "unknown metric"),
        ({"data": "procedural", "task": "denoise", "metrics": []}, "no metric given"),
        ({"data": "procedural", "task": "denoise", "baseline": "b"}, "no row is called 'b'"),
        ({"data": "procedural", "task": "denoise", "limit": 0}, "at least 1"),
        ({"data": "procedural", "restored": "missing"}, "no such folder"),
        ({"data": "procedural", "models": {"degraded": Fixed()}, "task": "denoise"}, "'degraded'"),
        ({"data": "procedural", "models": "no-such-model", "task": "denoise"}, "no-such-model"),
    ],
)
def test_bad_requests_are_explained(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(IrkdError, match=message):
        evaluate(**{"models": {"model": Fixed()}, **arguments})


def test_general_is_evaluated_like_a_network(tmp_path: Path) -> None:
    """It takes the model for the damage, and its scores are kept and found again."""
    settings = {"data": "photographs", "task": "denoise", "limit": 2, "device": "cpu"}
    kept = tmp_path / "scores.jsonl"
    found = irkd.evaluate(["general", "denoise"], resume_scores=kept, **settings)
    rows = {row.label: row for row in found.rows}
    assert rows["general"].mean("psnr_db") == rows["denoise"].mean("psnr_db")
    assert rows["general"].macs_g is None
    parts = ("derain", "deblur", "dehaze", "denoise")
    networks = sum(parameter_count(irkd.load_network(name)) for name in parts)
    judge = parameter_count(trained_judge())
    assert 1e6 * rows["general"].params_m == pytest.approx(networks + judge)
    lines = len(kept.read_text().splitlines())
    again = irkd.evaluate(["general", "denoise"], resume_scores=kept, **settings)
    assert again.rows[1].mean("psnr_db") == rows["general"].mean("psnr_db")
    assert len(kept.read_text().splitlines()) == lines
