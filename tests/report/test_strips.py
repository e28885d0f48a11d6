import cv2
import numpy as np
import pytest
from skimage import data

from irkd.report.strips import PAGE_BYTES, make_strip, strip_budget


def decode(webp: bytes) -> np.ndarray:
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(webp, np.uint8), cv2.IMREAD_COLOR), 4)


def total(strip) -> int:
    return sum(map(len, [*strip.pictures.values(), *strip.crops.values()]))


def test_pictures_and_crops_are_what_went_in():
    reference = data.chelsea()
    degraded = reference.copy()
    degraded[150:180, 200:260] = 0
    strip = make_strip("chelsea", {"degraded": degraded, "reference": reference}, 10**6)
    assert (strip.height, strip.width) == reference.shape[:2]
    shown = decode(strip.pictures["reference"])
    assert shown.shape == reference.shape
    assert np.abs(shown.astype(int) - reference).mean() < 4
    top, left, height, width = strip.crop
    assert top <= 150
    assert top + height >= 180
    assert left <= 200
    assert left + width >= 260
    crop = decode(strip.crops["reference"])
    window = reference[top : top + height, left : left + width]
    assert np.abs(crop.astype(int) - window).mean() < 4


def test_many_rows_of_noise_still_fit():
    noise = np.random.default_rng(0).integers(0, 256, (12, 300, 400, 3), np.uint8)
    strip = make_strip("noise", dict(zip("abcdefghijkl", noise, strict=True)), strip_budget(100))
    assert total(strip) * 100 * 4 / 3 < 19.5e6


def test_few_pictures_are_shown_larger_than_many():
    picture = np.tile(data.coffee(), (2, 2, 1))
    few = make_strip("coffee", {"a": picture, "b": picture}, strip_budget(1))
    many = make_strip("coffee", {"a": picture, "b": picture}, strip_budget(100))
    assert decode(few.pictures["a"]).shape == picture.shape
    assert total(many) <= PAGE_BYTES / 100
    assert decode(many.pictures["a"]).shape[1] < picture.shape[1]


@pytest.mark.parametrize("shape", [(1, 1, 3), (20, 300, 3), (96, 96, 3)])
def test_small_and_narrow_pictures(shape):
    picture = np.zeros(shape, np.uint8)
    strip = make_strip("small", {"degraded": picture, "reference": picture}, 10**5)
    assert decode(strip.crops["degraded"]).shape == (min(96, shape[0]), min(96, shape[1]), 3)
