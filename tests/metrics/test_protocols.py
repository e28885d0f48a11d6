from __future__ import annotations

import math

import numpy as np
import pytest
from skimage import data

from irkd.errors import IrkdError
from irkd.metrics import full_reference as fr
from irkd.metrics.protocols import PROTOCOLS, choose_protocol, protocol, quantized

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
        if entry.align is not None:
            continue  # nothing to align by in an even image
        assert entry.score(restored, reference, ("psnr",)) == {"psnr_db": math.inf}


def test_only_what_is_asked_for_is_computed(pair):
    tiny = np.zeros((4, 4, 3), np.uint8)  # too small for any SSIM
    assert protocol("rgb").score(tiny, tiny, ("psnr",)) == {"psnr_db": math.inf}


@pytest.mark.parametrize(
    ("arguments", "name", "reason"),
    [
        ({"task": "derain"}, "y-matlab", "what most papers on derain follow"),
        ({"task": "deblur"}, "rgb-matlab3d", "what most papers on deblur follow"),
        ({"task": "denoise"}, "rgb-matlab3d", "what most papers on denoise follow"),
        ({"task": "dehaze"}, "rgb", "the default for dehaze"),
        ({}, "rgb", "no task is known"),
        ({"task": "derain", "built_in": True}, "rgb", "irkd's own images"),
        (
            {"task": "derain", "published": ("Rain1400", "y-matlab-float-ds")},
            "y-matlab-float-ds",
            "what published figures on Rain1400 follow",
        ),
    ],
)
def test_defaults_follow_the_data_set_and_then_the_task(arguments, name, reason):
    choice = choose_protocol(None, **arguments)
    assert choice.protocol.name == name
    assert reason in choice.reason


def test_a_protocol_that_is_asked_for_is_taken_and_the_usual_one_named():
    choice = choose_protocol("rgb", task="deblur", published=("GoPro", "rgb-matlab3d"))
    assert choice.protocol.name == "rgb"
    assert choice.reason == "as asked for; published figures on GoPro follow rgb-matlab3d"
    same = choose_protocol("rgb-matlab3d", published=("GoPro", "rgb-matlab3d"))
    assert same.reason == "as asked for"


def test_unknown_names_are_refused_with_a_suggestion():
    with pytest.raises(IrkdError, match="Did you mean 'y-matlab'"):
        protocol("y-matlb")
