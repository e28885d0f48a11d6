"""Noise of `bench.spread_noise`: as strong as it says, and like its neighbours."""

import numpy as np
import pytest
from bench.spread_noise import interpolated, noises, soft

GREY = np.full((96, 96, 3), 0.5, np.float32)


@pytest.mark.parametrize("grey", [False, True])
def test_soft_noise_has_its_deviation_and_colour(grey: bool) -> None:
    noise = soft(GREY, np.random.default_rng(1), sigma=15, spread=0.8, grey=grey) - GREY
    assert abs(255 * noise.std() - 15) < 0.1
    assert (np.ptp(noise, axis=2).max() < 1e-6) == grey


def test_all_of_it_is_spread() -> None:
    for name, degrade in noises():
        noise = degrade(GREY, np.random.default_rng(2))[..., 0] - 0.5
        along = np.mean(noise[:, 1:] * noise[:, :-1]) / noise.var()
        assert along > 0.1, name  # white noise has 0


def test_interpolated_of_no_noise_is_the_image_where_it_is_smooth() -> None:
    ramp = np.linspace(0.2, 0.8, 96, dtype=np.float32)[None, :, None]
    image = np.broadcast_to(ramp * [1, 0.8, 0.6], (96, 96, 3)).astype(np.float32)
    result = interpolated(image, np.random.default_rng(3), sigma=0)
    np.testing.assert_allclose(result[4:-4, 4:-4], image[4:-4, 4:-4], atol=2e-3)
