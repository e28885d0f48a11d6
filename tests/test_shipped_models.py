"""The models in the package: small, described, and better than doing nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

import irkd
from irkd.data.degrade import degrade
from irkd.data.opening import open_pairs
from irkd.data.pairs import Image
from irkd.inference.backends import load_network
from irkd.inference.restorer import Restorer
from irkd.inference.specialists import open_chooser
from irkd.metrics.full_reference import psnr
from irkd.metrics.protocols import quantized
from irkd.models.weights import read_metadata
from irkd.profiling.macs import count_macs

SHIPPED = sorted((Path(irkd.__file__).parent / "shipped").glob("*.safetensors"))
MEASURED = ("deblur", "dehaze", "denoise", "denoise-fast", "derain")
JUDGE = Path(irkd.__file__).parent / "inference" / "judge.safetensors"


def test_there_are_models_for_the_demo_and_for_restore() -> None:
    assert {path.stem for path in SHIPPED} >= {"demo-teacher", *MEASURED}
    assert sum(path.stat().st_size for path in (*SHIPPED, JUDGE)) < 12e6


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_model_says_what_it_is(path: Path) -> None:
    metadata = read_metadata(path)
    assert metadata["task"]
    assert metadata["preset"]
    assert metadata["training"]["steps"] > 0
    card = path.with_suffix(".md").read_text()
    for heading in ("## Made from", "## Scores", "## Weak"):
        assert heading in card
    network = load_network(path.stem)
    assert count_macs(network, 512, 512) <= 30e9


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_model_improves_real_photographs(path: Path) -> None:
    """By its own task's degradation, on photographs that no training saw."""
    network = load_network(path.stem)
    restorer = Restorer(network)
    gains = []
    for degraded, reference in photographs(read_metadata(path)["task"]):
        restored = quantized(restorer(degraded.astype(np.float32) / 255))
        gains.append(psnr(restored, reference) - psnr(degraded, reference))
    assert np.mean(gains) > 1.0, gains


@pytest.mark.parametrize("name", MEASURED)
def test_a_good_photograph_stays_good(name: str) -> None:
    restorer = Restorer(load_network(name))
    unchanged = []
    for _, reference in photographs("denoise"):
        clean = quantized(restorer(reference.astype(np.float32) / 255))
        unchanged.append(min(psnr(clean, reference), 60.0))
    assert np.mean(unchanged) > 40.0, unchanged


@pytest.mark.parametrize(
    ("name", "worst"),
    [("deblur", 42), ("dehaze", 58), ("denoise", 37), ("denoise-fast", 42), ("derain", 40)],
)
def test_no_whole_photograph_is_harmed_badly(name: str, worst: float) -> None:
    """A bright pole or fork anywhere can be taken for a streak; parts of photographs hide that."""
    restorer = Restorer(load_network(name))
    unchanged = [
        min(psnr(quantized(restorer(reference.astype(np.float32) / 255)), reference), 60.0)
        for reference in whole_photographs()
    ]
    assert min(unchanged) > worst, unchanged
    assert np.mean(unchanged) > 42.0, unchanged


@pytest.mark.parametrize("name", ["deblur", "dehaze", "derain"])
def test_no_whole_photograph_saved_as_jpeg_is_made_worse(name: str) -> None:
    restorer = Restorer(load_network(name))
    gains = []
    for reference in whole_photographs():
        encoded = cv2.imencode(".jpg", reference[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
        degraded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1]
        restored = quantized(restorer(degraded.astype(np.float32) / 255))
        gains.append(psnr(restored, reference) - psnr(degraded, reference))
    assert min(gains) > -0.1, gains


def test_a_photograph_saved_as_jpeg_is_not_made_worse() -> None:
    """By what people take without knowing what a photograph lacks."""
    gains = []
    for degraded, reference in photographs("jpeg"):
        restored = irkd.restore(degraded)
        gains.append(psnr(restored, reference) - psnr(degraded, reference))
    assert np.mean(gains) > 0, gains


@pytest.mark.parametrize("task", ["denoise", "derain", "deblur", "dehaze"])
def test_told_nothing_it_does_nearly_what_the_model_for_the_damage_does(task: str) -> None:
    told = Restorer(load_network(task))
    gains, most = [], []
    for degraded, reference in photographs(task):
        before = psnr(degraded, reference)
        gains.append(psnr(irkd.restore(degraded), reference) - before)
        restored = quantized(told(degraded.astype(np.float32) / 255))
        most.append(psnr(restored, reference) - before)
    assert np.mean(gains) > np.mean(most) - 1.0, (gains, most)


@pytest.mark.parametrize("task", ["denoise", "derain", "dehaze", "deblur"])
def test_told_nothing_it_mostly_finds_what_is_wrong(task: str) -> None:
    pairs = open_pairs("photographs", task=task)
    chooser = open_chooser(None)
    found = [chooser.choose(pairs.load(index).degraded).found[:1] for index in range(len(pairs))]
    assert found.count((task,)) >= 4, found


@pytest.mark.parametrize(
    "kinds", [("dehaze", "denoise"), ("derain", "denoise"), ("derain-heavy", "denoise", "jpeg")]
)
def test_told_nothing_it_mends_one_damage_after_the_other(kinds: tuple[str, ...]) -> None:
    """What the models that follow gain beside the first alone."""
    chooser = open_chooser(None)
    further = []
    for index, (_, reference) in enumerate(photographs("denoise")):
        degraded = reference
        for kind in kinds:
            degraded = degrade(degraded, kind, np.random.default_rng([7, index]))
        choice = chooser.choose(degraded)
        first, last = (
            psnr(quantized(restored), reference)
            for restored in (
                choice.restorers[0](degraded, sure=choice.sure),
                choice.restore(degraded),
            )
        )
        further.append(last - first)
    assert np.mean(further) > 0.5, further
    assert min(further) > -0.5, further


def test_told_nothing_it_leaves_good_photographs_as_they_are() -> None:
    unchanged, gains = [], []
    for reference in whole_photographs():
        unchanged.append(min(psnr(irkd.restore(reference), reference), 60.0))
        encoded = cv2.imencode(".jpg", reference[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
        degraded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1]
        gains.append(psnr(irkd.restore(degraded), reference) - psnr(degraded, reference))
    assert np.mean(unchanged) > 42, unchanged
    assert min(unchanged) > 40, unchanged
    assert np.mean(gains) > 0, gains


def test_a_hazy_photograph_comes_back_clear() -> None:
    """Even haze of another colour than irkd's, which grows with no depth."""
    reference = next(whole_photographs())
    air = np.array([200, 205, 215], np.float32)
    degraded = np.rint(reference * 0.5 + air * 0.5).astype(np.uint8)
    restored = quantized(Restorer(load_network("dehaze"))(degraded.astype(np.float32) / 255))
    assert psnr(restored, reference) - psnr(degraded, reference) > 3


def test_a_shaken_photograph_comes_back_sharper() -> None:
    """By a path that is no line and no walk. A network without deconvolutions gained 0.6 dB."""
    kernel = np.zeros((25, 25), np.float32)
    path = np.array([[5, 8], [8, 14], [14, 15], [19, 11]], np.int32)
    cv2.polylines(kernel, [path], False, 1.0, lineType=cv2.LINE_AA)
    reference = next(whole_photographs())
    linear = (reference.astype(np.float32) / 255) ** 2.2
    blurred = cv2.filter2D(linear, -1, kernel / kernel.sum()).clip(0, 1) ** (1 / 2.2)
    degraded = np.rint(blurred * 255).astype(np.uint8)
    restored = quantized(Restorer(load_network("deblur"))(degraded.astype(np.float32) / 255))
    assert psnr(restored, reference) - psnr(degraded, reference) > 2.5


@pytest.mark.parametrize("side", [160, 256])
def test_a_glow_at_dusk_is_not_taken_for_motion(side: int) -> None:
    """A large kernel explains it, but the small one sees a sharp image."""
    rocket = list(whole_photographs())[3]
    top, left = ((length - side) // 2 for length in rocket.shape[:2])
    crop = rocket[top : top + side, left : left + side]
    restored = quantized(Restorer(load_network("deblur"))(crop.astype(np.float32) / 255))
    assert psnr(restored, crop) > 50


def whole_photographs() -> Iterator[Image]:
    pairs = open_pairs("photographs", task="denoise")
    return (pairs.load(index).reference for index in range(len(pairs)))


def photographs(task: str) -> Iterator[tuple[Image, Image]]:
    """Degraded and reference parts of photographs."""
    pairs = open_pairs("photographs", task=task)
    for index in (1, 2, 3):
        pair = pairs.load(index)
        yield pair.degraded[:256, :256], pair.reference[:256, :256]
