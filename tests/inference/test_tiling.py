import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irkd.inference.restorer import Restorer
from irkd.inference.tiling import plan_axis, steepest_window
from irkd.models.base import create_network


@st.composite
def axes(draw):
    multiple = draw(st.sampled_from([1, 2, 8, 16]))
    length = multiple * draw(st.integers(1, 60))
    tile = multiple * draw(st.integers(1, 20))
    return length, tile, draw(st.integers(0, 200)), multiple


@given(axes())
def test_weights_sum_to_exactly_one_inside_the_tiles(axis):
    length, tile, overlap, multiple = axis
    plan = plan_axis(length, tile, overlap, multiple)
    total = np.zeros(length, np.float32)
    for start, weights in zip(plan.starts, plan.weights, strict=True):
        assert start % multiple == 0
        assert len(weights) == plan.tile <= max(tile, length)
        assert (weights >= 0).all()
        total[start : start + plan.tile] += weights
    assert (total == 1).all()


@given(axes(), axes())
def test_products_of_rows_and_columns_sum_to_exactly_one(first, second):
    rows, columns = plan_axis(*first), plan_axis(*second)
    total = np.zeros((first[0], second[0]), np.float32)
    for top, down in zip(rows.starts, rows.weights, strict=True):
        for left, across in zip(columns.starts, columns.weights, strict=True):
            total[top : top + rows.tile, left : left + columns.tile] += down[:, None] * across
    assert (total == 1).all()


@given(axes())
def test_a_quarter_of_the_overlap_at_each_cut_is_thrown_away(axis):
    length, tile, overlap, multiple = axis
    plan = plan_axis(length, tile, overlap, multiple)
    kept = min(overlap, tile // 2 // multiple * multiple) // 4
    for i, weights in enumerate(plan.weights):
        if i > 0:
            assert not weights[:kept].any()
        if i < len(plan.weights) - 1:
            assert not weights[len(weights) - kept :].any()


@given(axes())
def test_no_more_tiles_than_the_overlap_asks_for(axis):
    length, tile, overlap, multiple = axis
    plan = plan_axis(length, tile, overlap, multiple)
    if len(plan.starts) > 1:
        step = tile - min(-(-overlap // multiple), tile // 2 // multiple) * multiple
        assert (len(plan.starts) - 2) * step + tile < length
        assert all(b - a <= step for a, b in zip(plan.starts, plan.starts[1:], strict=False))


def test_the_crossfade_is_smooth():
    plan = plan_axis(400, 256, 64)
    assert np.abs(np.diff(plan.weights[0])).max() < 0.06


def test_sides_off_the_grid_are_refused():
    with pytest.raises(ValueError, match="multiples of 8"):
        plan_axis(100, 64, 16, 8)


def test_a_network_states_what_its_tiles_share() -> None:
    four_levels = create_network("resunet", widths=[8, 8, 8, 8], blocks=[1, 1, 1, 1])
    assert Restorer(four_levels).overlap == 256
    assert Restorer(four_levels, overlap=32).overlap == 32
    assert Restorer(create_network("nafnet", width=8)).overlap == 64


@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from([8, 16, 33, 64]))
def test_the_steepest_window_lies_inside_and_is_as_large_as_it_can(
    height: int, width: int, side: int
) -> None:
    image = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    part = image[steepest_window(image, side)]
    if max(height, width) <= side:
        assert part.shape == image.shape
    else:
        assert part.shape == (min(height, side), min(width, side), 3)


def test_the_steepest_window_is_where_the_edges_are() -> None:
    image = np.full((600, 800, 3), 90, np.uint8)
    image[380:520, 560:720] = np.random.default_rng(1).integers(0, 256, (140, 160, 3))
    rows, columns = steepest_window(image, 256)
    assert rows.start <= 380 < 520 <= rows.stop
    assert columns.start <= 560 < 720 <= columns.stop
