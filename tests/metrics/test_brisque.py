"""BRISQUE against the release's published scores, and model files that are none."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.ndimage
from scipy.special import gamma
from skimage import data

from irkd.errors import IrkdError
from irkd.metrics.brisque import _halved, brisque_features, open_brisque_model
from irkd.metrics.catalogue import open_metrics

RELEASE = Path(__file__).parent / "brisque_release"


@pytest.fixture(scope="module")
def model():
    return open_brisque_model(RELEASE)


# The release under MATLAB on distorted TID2013 images of pyiqa. Two more are flat in parts,
# where the release's score depends on the order of its sums.
RELEASED = {"I03": 94.6421, "I04": -0.1076, "I06": 0.9929}


@pytest.mark.parametrize("name", RELEASED)
def test_reproduces_the_release(name, model, calibration_pair):
    distorted, _ = calibration_pair(name)
    assert model(distorted) == pytest.approx(RELEASED[name], abs=0.005)


@pytest.mark.parametrize(("name", "official", "apart"), [("I08", 5.3583, 1), ("I19", 72.2617, 4)])
def test_flat_areas_move_the_score_by_little(name, official, apart, model, calibration_pair):
    distorted, _ = calibration_pair(name)
    assert model(distorted) == pytest.approx(official, abs=apart)


def test_features_are_the_formulas():
    """Of one picture at its full size, written out with other tools."""
    picture = data.chelsea()[40:140, 100:220]
    grey = np.floor(picture @ [0.298936021293775, 0.587043074451121, 0.114020904255103] + 0.5)
    kernel = np.exp(-((np.arange(7) - 3) ** 2) / (2 * (7 / 6) ** 2))
    kernel = np.outer(kernel, kernel) / kernel.sum() ** 2
    mean = scipy.ndimage.convolve(grey, kernel, mode="constant")
    square = scipy.ndimage.convolve(grey**2, kernel, mode="constant")
    normalised = (grey - mean) / (np.sqrt(np.abs(square - mean**2)) + 1)
    found = brisque_features(picture)
    assert found[1] == pytest.approx((normalised**2).mean(), rel=1e-9)
    ratio = gamma(1 / found[0]) * gamma(3 / found[0]) / gamma(2 / found[0]) ** 2
    expected = (normalised**2).mean() / np.abs(normalised).mean() ** 2
    assert ratio == pytest.approx(expected, rel=1e-3)
    across = normalised * np.roll(normalised, 1, axis=1)
    assert found[4] == pytest.approx((across[across < 0] ** 2).mean(), rel=1e-9)
    assert found[5] == pytest.approx((across[across > 0] ** 2).mean(), rel=1e-9)
    # The mean of an asymmetric generalised Gaussian is what its third parameter is.
    spread = np.sqrt(gamma(1 / found[2]) / gamma(3 / found[2])) * gamma(2 / found[2])
    eta = (np.sqrt(found[5]) - np.sqrt(found[4])) * spread / gamma(1 / found[2])
    assert found[3] == pytest.approx(eta, rel=1e-9)


@pytest.mark.parametrize("shape", [(40, 40), (41, 37)])
def test_halving_keeps_what_a_resampler_keeps(shape):
    rows, columns = np.indices(shape, dtype=float)
    flat, ramp = np.full(shape, 7.0), 3 * rows + 2 * columns
    np.testing.assert_allclose(_halved(flat), 7, atol=1e-12)
    assert _halved(flat).shape == tuple(-(-side // 2) for side in shape)
    # Sample i of the half lies between samples 2i and 2i + 1; away from the border a ramp is exact.
    inside = _halved(ramp)[3:-3, 3:-3]
    expected = (ramp + 2.5)[6::2, 6::2][: inside.shape[0], : inside.shape[1]]
    np.testing.assert_allclose(inside, expected, atol=1e-10)
    checker = np.where((rows + columns) % 2 == 0, 255.0, 0.0)
    assert np.abs(_halved(checker)[3:-3, 3:-3] - 127.5).max() < 2


def test_degradation_makes_it_worse(model):
    clean = data.astronaut()
    noisy = np.clip(clean + np.random.default_rng(0).normal(0, 25, clean.shape), 0, 255)
    assert model(clean) + 10 < model(noisy.astype(np.uint8))
    assert model(clean) + 10 < model(cv2.GaussianBlur(clean, (0, 0), 2.5))


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.zeros((40, 40, 3), np.uint8), "without content"),
        (np.zeros((8, 40, 3), np.uint8), "at least 16 x 16"),
        (np.zeros((40, 40)), "uint8"),
    ],
)
def test_what_has_no_score_is_said(picture, message, model):
    with pytest.raises(IrkdError, match=message):
        model(picture)


def test_the_metric_by_name():
    (metric,) = open_metrics(["brisque"], brisque_model=RELEASE / "allmodel")
    assert not metric.needs_reference
    assert not metric.higher_is_better
    assert metric.package is None
    assert metric.detail is not None
    assert metric.function is not None
    picture = data.coffee()[:100, :120]
    assert metric.function(picture, None) == open_brisque_model(RELEASE)(picture)
    with pytest.raises(IrkdError, match="Add brisque"):
        open_metrics(["piqe"], brisque_model=RELEASE)


def written(folder: Path, model: str | None = None, ranges: str | None = None) -> Path:
    texts = {"allmodel": model, "allrange": ranges}
    for name, text in texts.items():
        (folder / name).write_text((RELEASE / name).read_text() if text is None else text)
    return folder


HEAD = "svm_type epsilon_svr\nkernel_type rbf\ngamma 0.05\nnr_class 2\ntotal_sv 1\nrho 1\nSV\n"
FULL_RANGE = "x\n-1 1\n" + "".join(f"{index} 0 1\n" for index in range(1, 37))


@pytest.mark.parametrize(
    ("model", "ranges", "message"),
    [
        ("", None, "allmodel: not a libsvm model.*no line SV"),
        ((RELEASE / "allmodel").read_text()[:5000], None, "says 774"),
        (HEAD.replace("rbf", "linear") + "1 1:1\n", None, "kernel_type is linear"),
        (HEAD.replace("gamma 0.05\n", "") + "1 1:1\n", None, "gamma"),
        (HEAD + "1 37:1\n", None, "feature 37"),
        (HEAD + "nan 1:1\n", None, "not finite"),
        (HEAD + "1 one\n", None, "not a libsvm model"),
        (None, "", "allrange: not a libsvm range"),
        (None, "x\n-1 1\n1 0 1\n", "1 features"),
        (None, FULL_RANGE.replace("36 0 1", "36 1 1"), "empty"),
        (None, FULL_RANGE.replace("-1 1", "nan 1", 1), "scale to"),
    ],
)
def test_files_that_are_no_model_are_refused(model, ranges, message, tmp_path):
    with pytest.raises(IrkdError, match=message):
        open_brisque_model(written(tmp_path, model, ranges))


def test_a_small_model_by_hand(tmp_path):
    folder = written(tmp_path, HEAD + "2 1:0.5 36:-1\n", FULL_RANGE)
    features = np.linspace(0, 1, 36)
    support = np.zeros(36)
    support[[0, 35]] = 0.5, -1
    distance = np.square(support - (2 * features - 1)).sum()
    found = open_brisque_model(folder).predict(features)
    assert found == pytest.approx(2 * np.exp(-0.05 * distance) - 1, abs=1e-12)


@pytest.mark.parametrize("missing", ["allmodel", "allrange"])
def test_a_missing_file_is_named(missing, tmp_path):
    (written(tmp_path) / missing).unlink()
    with pytest.raises(IrkdError, match=f"{missing}.*allmodel and"):
        open_brisque_model(tmp_path)
