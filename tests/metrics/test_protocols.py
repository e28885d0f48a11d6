from __future__ import annotations

import math

import numpy as np
import pytest
from skimage import data

from irkd.errors import IrkdError
from irkd.metrics import full_reference as fr
from irkd.metrics.protocols import PROTOCOLS, default_protocol, protocol, quantized

METRICS = ("psnr", "ssim")


@pytest.fixture(scope="module")
def pair():
    reference = data.chelsea()
    restored = reference / 255 + np.random.default_rng(1).normal(0, 0.05, reference.shape)
    return restored.astype(np.float32), reference


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_scores_and_explains_itself(name, pair):
    entry = protocol(name)
    score = entry.score(*pair, METRICS)
    assert list(score) == ["psnr_db", "ssim"]
    assert 25 < score["psnr_db"] < 40
    assert 0.5 < score["ssim"] < 1
    perfect = entry.score(pair[1], pair[1], METRICS)
    assert perfect["psnr_db"] == math.inf
    assert perfect["ssim"] == pytest.approx(1)
    assert entry.description
    assert entry.used_for


@pytest.mark.parametrize("name", PROTOCOLS)
def test_quantisation_is_what_the_protocol_says(name, pair):
    entry = protocol(name)
    restored, reference = pair
    as_saved = quantized(restored)
    same = entry.score(as_saved, reference, METRICS) == entry.score(restored, reference, METRICS)
    assert same == entry.quantize


def test_protocols_are_far_apart_and_made_as_named(pair):
    restored, reference = pair
    restored = quantized(restored)
    luma = [fr.luma_matlab_rounded(image) for image in (restored, reference)]
    expected = {
        "rgb": (fr.psnr(restored, reference), fr.ssim(restored, reference)),
        "y-matlab": (fr.psnr(*luma), fr.ssim(*luma)),
        "rgb-matlab3d": (fr.psnr(restored, reference), fr.ssim_volume(restored, reference)),
        "rgb-skimage018": (
            fr.psnr(restored, reference),
            fr.ssim_uniform(restored, reference, peak=510),
        ),
    }
    for name, values in expected.items():
        assert tuple(protocol(name).score(restored, reference, METRICS).values()) == values
    assert max(ssim for _, ssim in expected.values()) - min(s for _, s in expected.values()) > 0.1


def test_values_beyond_the_range_are_clipped():
    reference = np.full((16, 16, 3), 255, np.uint8)
    restored = np.full((16, 16, 3), 7.5, np.float32)
    for entry in PROTOCOLS.values():
        assert entry.score(restored, reference, ("psnr",)) == {"psnr_db": math.inf}


def test_only_what_is_asked_for_is_computed(pair):
    tiny = np.zeros((4, 4, 3), np.uint8)  # too small for any SSIM
    assert protocol("rgb").score(tiny, tiny, ("psnr",)) == {"psnr_db": math.inf}


def test_defaults():
    assert default_protocol("derain", built_in=False).name == "y-matlab"
    assert default_protocol("deblur", built_in=False).name == "rgb-matlab3d"
    assert default_protocol("denoise", built_in=False).name == "rgb-matlab3d"
    assert default_protocol("dehaze", built_in=False).name == "rgb"
    assert default_protocol(None, built_in=False).name == "rgb"
    assert default_protocol("derain", built_in=True).name == "rgb"


def test_unknown_names_are_refused_with_a_suggestion():
    with pytest.raises(IrkdError, match="Did you mean 'y-matlab'"):
        protocol("y-matlb")
