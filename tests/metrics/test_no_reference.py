from __future__ import annotations

import numpy as np
import pytest
from skimage import data

from irkd.errors import IrkdError
from irkd.metrics.no_reference import piqe

# MATLAB's piqe of pyiqa's five distorted calibration images.
MATLAB = {"I03": 100.00, "I04": 21.62, "I06": 35.86, "I08": 41.15, "I19": 76.95}


@pytest.mark.parametrize("name", MATLAB)
def test_reproduces_matlab(name, calibration_pair):
    distorted, _ = calibration_pair(name)
    assert piqe(distorted) == pytest.approx(MATLAB[name], abs=0.005)


def test_noise_and_blocks_make_it_worse():
    clean = data.astronaut()
    noise = np.random.default_rng(0).normal(0, 20, clean.shape)
    noisy = np.clip(clean + noise, 0, 255).astype(np.uint8)
    blocky = np.repeat(np.repeat(clean[::8, ::8], 8, 0), 8, 1)
    assert piqe(clean) + 5 < piqe(noisy) < 100
    assert piqe(clean) + 5 < piqe(blocky)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_an_image_without_content_has_the_worst_score(value):
    assert piqe(np.full((40, 50, 3), value, np.uint8)) == 100


def test_an_incomplete_block_counts_from_half_a_block_on():
    # Content in the last rows only: with 8 rows of the fifth block it is seen, with 7 it is not.
    image = np.full((72, 64, 3), 128, np.uint8)
    image[68:] = data.astronaut()[68:72, :64]
    assert piqe(image) < 100
    assert piqe(image[:71]) == 100


@pytest.mark.parametrize(
    "image", [np.zeros((20, 20), np.uint8), np.zeros((20, 20, 3)), np.zeros((4, 20, 3), np.uint8)]
)
def test_refuses_what_is_no_image(image):
    with pytest.raises(IrkdError, match="PIQE needs"):
        piqe(image)
