"""RealBlur's protocol: what alignment undoes, and what cannot be aligned."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from skimage import data
from skimage.metrics import structural_similarity

from irkd.errors import IrkdError
from irkd.metrics import full_reference as fr
from irkd.metrics.alignment import align
from irkd.metrics.protocols import protocol

METRICS = ("psnr", "ssim")


def moved(picture: np.ndarray, exposure: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
    """`picture` seen through a small homography and darker, and that homography."""
    homography = np.array([[1.004, 0.003, 1.7], [-0.002, 0.997, -2.2], [4e-6, -3e-6, 1]])
    size = picture.shape[1::-1]
    warped = cv2.warpPerspective(
        picture, homography, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )
    return np.rint(warped * exposure).astype(np.uint8), homography


@pytest.fixture(scope="module")
def reference() -> np.ndarray:
    return np.ascontiguousarray(data.coffee()[60:260, 150:390])


def test_shift_and_exposure_are_undone(reference):
    restored, homography = moved(reference)
    pair = align(restored, reference)
    corners = np.array([[[0, 0], [239, 0], [0, 199], [239, 199]]], float)
    expected = cv2.perspectiveTransform(corners, homography)
    found = cv2.perspectiveTransform(corners, pair.homography.astype(float))
    assert np.abs(found - expected).max() < 0.3
    unaligned = protocol("rgb").score(restored, reference, METRICS)
    scores = protocol("realblur-ecc").score(restored, reference, METRICS)
    assert unaligned["psnr_db"] < 24
    # Two interpolations and 8 bits are left over.
    assert scores["psnr_db"] > 36
    assert unaligned["ssim"] < 0.75
    assert scores["ssim"] > 0.97


def test_scores_are_means_over_the_mask(reference):
    restored, _ = moved(reference)
    pair = align(restored, reference)
    assert set(np.unique(pair.mask)) == {0, 1}
    inside = pair.mask[..., 0] == 1
    assert 0.9 < inside.mean() < 1
    error = np.square(pair.restored[inside].astype(float) - pair.reference[inside]).mean()
    assert pair.psnr() == pytest.approx(-10 * math.log10(error), abs=1e-9)
    assert not pair.restored[~inside].any()
    assert not pair.reference[~inside].any()
    _, full = structural_similarity(
        pair.restored.astype(float),
        pair.reference.astype(float),
        data_range=1,
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    valid = inside[5:-5, 5:-5]
    assert pair.ssim() == pytest.approx(full[5:-5, 5:-5][valid].mean(), abs=1e-9)


def test_without_anything_to_undo_it_is_the_plain_score(reference):
    noise = np.random.default_rng(0).normal(0, 4, reference.shape)
    restored = np.clip(reference + noise, 0, 255).astype(np.uint8)
    scores = protocol("realblur-ecc").score(restored, reference, METRICS)
    # What is fitted to the noise, and interpolation at a hundredth of a pixel, move it a little.
    assert scores["psnr_db"] == pytest.approx(fr.psnr(restored, reference), abs=0.3)
    assert scores["ssim"] == pytest.approx(fr.ssim(restored, reference), abs=0.01)


def test_the_same_bits_every_time(reference):
    restored, _ = moved(reference)
    entry = protocol("realblur-ecc")
    first = entry.score(restored, reference, METRICS)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        assert entry.score(restored, reference, METRICS) == first
    finally:
        cv2.setNumThreads(threads)


@pytest.mark.parametrize(
    ("restored", "message"),
    [
        (np.full((64, 64, 3), 255, np.uint8), "do not converge"),
        (np.zeros((64, 64, 3), np.uint8), "black"),
        (np.zeros((64, 60, 3), np.uint8), "one size"),
    ],
)
def test_what_cannot_be_aligned_is_said(restored, message):
    with pytest.raises(IrkdError, match=message):
        align(restored, data.coffee()[:64, :64])
