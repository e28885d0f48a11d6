"""Long straight things in procedural images."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from irkd.data.procedural import procedural_image
from irkd.data.structures import Bars, draw_bars, outlines


def bar(**values):
    given = {"length": 40, "width": 4, "turn": 0.0, "lightness": 90, "place": 1} | values
    return Bars(np.array([[50.0, 30.0]]), *(np.array([float(each)]) for each in given.values()))


@pytest.mark.parametrize("turn", [0.0, 0.3, np.pi / 2, 2.0])
def test_an_outline_is_the_rectangle_of_its_bar(turn):
    (points,) = outlines(bar(turn=turn), 32)
    (x, y), sides, angle = cv2.minAreaRect(points.astype(np.float32))
    assert (x, y) == pytest.approx((50, 30), abs=1e-3)
    assert sorted(sides) == pytest.approx([4, 40], rel=1e-4)
    long_side = np.deg2rad(angle) + (np.pi / 2 if sides[0] < sides[1] else 0)
    assert np.sin(long_side - turn) == pytest.approx(0, abs=1e-3)
    assert cv2.contourArea(points.astype(np.float32)) == pytest.approx(160, rel=1e-4)


def test_bars_are_thin_often_bright_and_stand_in_order():
    found = [draw_bars(np.random.default_rng(seed), 96, 128) for seed in range(200)]
    assert 0.1 < np.mean([len(bars.length) == 0 for bars in found]) < 0.4
    length, width, lightness = (
        np.concatenate([getattr(bars, name) for bars in found])
        for name in ("length", "width", "lightness")
    )
    assert (length > 2 * width).mean() > 0.95
    assert width.max() <= 15
    assert width.min() > 0
    assert 0.4 < (lightness >= 70).mean() < 0.9
    assert lightness.min() >= 0
    assert lightness.max() <= 100
    assert all((np.diff(bars.place) >= 0).all() for bars in found)


@pytest.mark.parametrize(("lightness", "brighter"), [(97.0, True), (4.0, False)])
def test_a_bar_is_seen_where_it_stands(monkeypatch, lightness, brighter):
    """The nearest shape of all, 5 x 60 pixels about (50, 30); only it differs in brightness."""
    mean = {}
    for name, shown in (("with", [0]), ("without", [])):
        one = bar(length=60, width=5, lightness=lightness)
        some = Bars(*(getattr(one, field)[shown] for field in Bars.__dataclass_fields__))
        monkeypatch.setattr("irkd.data.procedural.draw_bars", lambda *_, some=some: some)
        images = [procedural_image(6, index, 96, "built")[0] for index in range(12)]
        mean[name] = np.mean([image[29:32, 25:75].mean() for image in images])
    change = mean["with"] - mean["without"]
    assert change > 40 if brighter else change < -40


def test_pale_light_leaves_more_images_without_black_than_scenes_have():
    def share(style):
        images = (procedural_image(5, index, 64, style)[0] for index in range(120))
        return np.mean([np.percentile(image.mean(2), 0.5) > 60 for image in images])

    assert share("built") > share("detailed") + 0.04
