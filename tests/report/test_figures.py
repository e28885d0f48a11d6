import numpy as np
import pytest

from irkd.errors import IrkdError
from irkd.report.figures import error_image, fit_within, sample_grid


def picture(height: int, width: int, value: int) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_grid_holds_every_picture_unchanged():
    first, second = picture(40, 60, 10), picture(40, 60, 200)
    third, fourth = picture(20, 30, 90), picture(20, 30, 150)
    grid = sample_grid({"degraded": [first, third], "student": [second, fourth]})
    assert grid.dtype == np.uint8
    top = grid.shape[0] - 20 - 4 - 40
    assert np.array_equal(grid[top : top + 40, :60], first)
    assert np.array_equal(grid[top : top + 40, 64:124], second)
    assert np.array_equal(grid[-20:, :30], third)
    assert np.array_equal(grid[-20:, 64:94], fourth)
    assert (grid[:top] < 128).any(), "no label was drawn"


def test_grid_draws_long_and_foreign_labels_in_narrow_columns():
    grid = sample_grid(
        {"a very long label indeed": [picture(8, 8, 0)], "пример": [picture(8, 8, 0)]}
    )
    assert grid.shape == (28, 20, 3)


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"a": []},
        {"a": [picture(4, 4, 0)], "b": []},
        {"a": [np.zeros((4, 4), np.uint8)]},
        {"a": [np.zeros((4, 4, 3), np.float32)]},
    ],
)
def test_grid_refuses_what_is_no_grid(columns):
    with pytest.raises(IrkdError):
        sample_grid(columns)


def test_error_image_is_the_amplified_difference_without_wrapping():
    assert (error_image(picture(2, 2, 10), picture(2, 2, 13)) == 12).all()
    assert (error_image(picture(2, 2, 250), picture(2, 2, 3)) == 255).all()
    with pytest.raises(IrkdError):
        error_image(picture(2, 2, 0), picture(2, 3, 0))


def test_fit_within_only_makes_smaller():
    small = picture(30, 20, 7)
    assert fit_within(small, 30) is small
    assert fit_within(picture(100, 50, 7), 10).shape == (10, 5, 3)
