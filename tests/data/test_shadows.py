"""Shadows on procedural images."""

from __future__ import annotations

import cv2
import numpy as np

from irkd.data.procedural import procedural_image
from irkd.data.shadows import _cast, _gaps, draw_shadows


def disk(side=96, radius=15):
    """Depth of a disk at 0.2 before a wall at 0.9."""
    depth = np.full((side, side), 0.9, np.float32)
    cv2.circle(depth, (side // 2, side // 2), radius, 0.2, cv2.FILLED)
    return depth


def test_a_shadow_falls_on_what_is_behind_and_to_one_side():
    depth = disk()
    wall, rows = depth > 0.5, np.indices(depth.shape)
    seen = 0
    for seed in range(40):
        shadow = _cast(np.random.default_rng(seed), depth)
        assert set(np.unique(shadow)) <= {0, 1}
        assert not shadow[~wall].any()
        if shadow.sum() < 60:
            continue
        seen += 1
        # Its middle lies beside the disk, and it reaches no farther than 60 pixels from it.
        offsets = rows[:, shadow > 0] - 47.5
        assert np.hypot(*offsets.mean(1)) > 4
        assert np.hypot(*offsets).max() < 15 + 60 + 2
    assert seen > 20


def test_a_flat_scene_casts_no_shadow_and_has_no_gaps():
    flat = np.full((32, 48), 0.4, np.float32)
    for seed in range(10):
        assert not _cast(np.random.default_rng(seed), flat).any()
        np.testing.assert_allclose(_gaps(np.random.default_rng(seed), flat), 0, atol=1e-5)


def test_gaps_are_dark_beside_what_is_nearer_only():
    depth = disk()
    for seed in range(10):
        gaps = _gaps(np.random.default_rng(seed), depth)
        assert gaps.min() >= 0
        assert gaps.max() <= 1
        assert gaps[depth < 0.5].max() < 1e-4
        assert gaps[48, 48 + 16] > gaps[48, 48 + 30] >= gaps[0, 0]
        assert gaps[48, 48 + 16] > 0.1


def test_light_stays_positive_and_its_exposure_makes_up_for_shadows():
    means = []
    for seed in range(40):
        light = draw_shadows(np.random.default_rng(seed), disk())
        assert light.shape == (96, 96, 1)
        assert light.dtype == np.float32
        assert light.min() > 0
        means.append(light.mean())
    # Without the longer exposure the mean of these is 0.79, the least 0.34.
    assert 0.85 < np.mean(means) <= 1
    assert min(means) > 0.5


def test_dark_places_are_about_as_common_as_in_photographs(monkeypatch):
    """The dark channel: the least of three colours in 15 x 15 pixels.

    Its mean is 0.18 over the centres of 40 photographs (every fifth of BSDS500's training images),
    0.11 over the built-in ones; its 90th percentile 0.42 and 0.27.
    """

    def dark_channel():
        images = (procedural_image(77, index, 128, "lit")[0] for index in range(60))
        return np.stack([cv2.erode(each.min(2), np.ones((15, 15), np.uint8)) for each in images])

    with_shadows = dark_channel() / 255
    monkeypatch.setattr("irkd.data.procedural.draw_shadows", lambda rng, depth: np.float32(1))
    without = dark_channel() / 255
    assert 0.13 < with_shadows.mean() < 0.23
    assert np.quantile(with_shadows, 0.9) < np.quantile(without, 0.9)
    assert with_shadows.mean() < without.mean() - 0.02
