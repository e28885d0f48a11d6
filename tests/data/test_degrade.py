"""Degradations: seeded, of the right form, and what their models say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irkd.data.degrade import (
    DEGRADATIONS,
    UNDAMAGED,
    Mixing,
    degrade,
    draw_blur_kernel,
    plausible_depth,
)
from irkd.data.procedural import procedural_image
from irkd.data.seeds import generator
from irkd.errors import IrkdError

TASKS = sorted(DEGRADATIONS)


@pytest.fixture(scope="module")
def scene():
    return procedural_image(5, 0, 96)


@pytest.mark.parametrize("task", TASKS)
def test_same_generator_same_result_and_the_input_is_left_alone(task, scene):
    image, depth = scene
    before, depth_before = image.copy(), depth.copy()
    state = _global_state()
    first = degrade(image, task, generator(2, 7), depth)
    again = degrade(image, task, generator(2, 7), depth)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(depth, depth_before)
    assert _global_state() == state
    assert first.dtype == np.uint8
    assert first.shape == image.shape


@pytest.mark.parametrize("task", TASKS)
def test_strength_is_visible_varied_and_never_absurd(task, scene):
    image, depth = scene
    found = [_psnr(degrade(image, task, generator(3, n), depth), image) for n in range(40)]
    assert len(set(found)) > 20
    assert 10 < np.median(found) < 38
    assert min(found) > 4


@settings(max_examples=60, deadline=None)
@given(
    task=st.sampled_from(TASKS),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    seed=st.integers(0, 2**32),
)
def test_images_of_any_size_can_be_degraded(task, height, width, seed):
    image = np.full((height, width, 3), 128, np.uint8)
    assert degrade(image, task, generator(1, seed)).shape == image.shape


def test_haze_is_the_scattering_law():
    # On black, I = A (1 - t): nothing at no depth but the base layer, more the farther.
    black = np.zeros((8, 64, 3), np.uint8)
    depth = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (8, 1))
    hazy = degrade(black, "dehaze", generator(0, 1), depth).astype(float)
    assert (np.diff(hazy.mean((0, 2))) >= 0).all()
    # Transmission t follows from black and white under the same haze: I_white - I_black = t.
    white = degrade(black + 255, "dehaze", generator(0, 1), depth).astype(float)
    transmission = (white - hazy).mean((0, 2)) / 255
    # t = exp(-beta d): the logarithm is a line, up to the rounding of both images to 8 bits.
    slope, level = np.polyfit(depth[0], np.log(transmission), 1)
    np.testing.assert_allclose(transmission, np.exp(slope * depth[0] + level), atol=1.5 / 255)
    assert 0.35 <= -slope <= 1.65


def test_white_noise_keeps_the_mean_and_has_the_drawn_spread():
    grey = np.full((128, 128, 3), 128, np.uint8)
    spreads = []
    for number in range(30):
        difference = degrade(grey, "denoise", generator(0, number)).astype(float) - grey
        assert abs(difference.mean()) < 3
        spreads.append(difference.std())
    assert min(spreads) < 5
    assert 30 < max(spreads) < 52


def test_blur_neither_darkens_nor_touches_a_flat_image():
    flat = np.full((64, 64, 3), 77, np.uint8)
    for number in range(20):
        assert np.abs(degrade(flat, "deblur", generator(0, number)).astype(int) - 77).max() <= 1


def test_noisy_blur_is_a_little_noisy() -> None:
    flat = np.full((64, 64, 3), 120, np.uint8)
    deviations = [degrade(flat, "deblur-noisy", generator(0, n)).std() for n in range(60)]
    assert min(deviations) < 1.2
    assert 3 < max(deviations) < 9


def test_blur_moves_nothing() -> None:
    """The light of a point stays around the point."""
    for seed in range(200):
        kernel = draw_blur_kernel(np.random.default_rng(seed))
        for axis in (0, 1):
            places = np.arange(kernel.shape[axis]) - kernel.shape[axis] // 2
            assert abs(float((kernel.sum(1 - axis) * places).sum())) < 1e-3, seed


def test_blur_averages_light_not_code_values():
    # Half black, half white under a wide blur: the mean of light 0.5 is code value 188, not 128.
    stripes = np.zeros((128, 128, 3), np.uint8)
    stripes[:, ::2] = 255
    values = [degrade(stripes, "deblur", generator(0, number)) for number in range(30)]
    flattest = min(values, key=lambda image: image[32:96, 32:96].std())
    assert abs(float(flattest[32:96, 32:96].mean()) - 188) < 6


def test_rain_only_adds_light_where_there_is_no_veil():
    dark = np.full((96, 96, 3), 20, np.uint8)
    rained = [degrade(dark, "derain", generator(0, number)) for number in range(20)]
    assert all((image >= 20).all() for image in rained)
    assert all((image > 25).any() for image in rained)


def test_heavy_rain_always_has_a_veil_and_covers_more():
    black = np.zeros((96, 96, 3), np.uint8)

    def rained(task):
        return [degrade(black, task, generator(0, number)) for number in range(30)]

    heavy, any_rain = rained("derain-heavy"), rained("derain")
    # The thinnest veil is 0.05 of a light of 0.6.
    assert all(image.min() >= 7 for image in heavy)
    assert np.mean([image.min() < 7 for image in any_rain]) > 0.4
    assert np.mean(heavy) > 1.3 * np.mean(any_rain)


def test_rain_falls_more_or_less_downwards():
    dark = np.zeros((160, 160, 3), np.uint8)
    across = down = 0.0
    for number in range(12):
        rained = degrade(dark, "derain", generator(0, number)).astype(float)
        across += np.abs(np.diff(rained, axis=1)).sum()
        down += np.abs(np.diff(rained, axis=0)).sum()
    assert across > 1.5 * down


def test_general_leaves_some_images_clean(scene):
    image, depth = scene
    same = sum(
        bool((degrade(image, "general", generator(0, n), depth) == image).all()) for n in range(100)
    )
    assert 3 <= same <= 30


def test_plausible_depth_is_farther_at_the_top():
    depths = [plausible_depth((60, 40), generator(0, number)) for number in range(20)]
    assert all(depth.min() >= 0 and depth.max() <= 1 for depth in depths)
    mean = np.mean(depths, axis=0)
    assert mean[:20].mean() > mean[40:].mean() + 0.2


def test_an_unknown_task_is_named_with_the_known_ones():
    with pytest.raises(IrkdError, match=r"'derian'.*Did you mean 'derain'"):
        degrade(np.zeros((8, 8, 3), np.uint8), "derian", generator(0))


def _global_state():
    return np.random.get_state()[1].tobytes()  # noqa: NPY002


def _psnr(image, reference):
    error = np.mean((image.astype(float) - reference) ** 2)
    return np.inf if error == 0 else 10 * np.log10(255**2 / error)


def test_mixing_leaves_its_share_of_images_alone() -> None:
    clean = procedural_image(3, 0, 64)[0]
    mixing = Mixing(undamaged=0.5, saved=0.3)
    drawn = [
        mixing.degrade(clean, "denoise", np.random.default_rng(seed))[0] for seed in range(400)
    ]
    kept = np.mean([np.array_equal(image, clean) for image in drawn])
    assert 0.18 < kept < 0.32  # half of the undamaged half is saved as JPEG
    assert Mixing(saved=1.0)
    assert Mixing(undamaged=1.0)
    assert not Mixing()
    only_jpeg = Mixing(undamaged=1.0).degrade(clean, "denoise", np.random.default_rng(3))[0]
    assert np.abs(only_jpeg.astype(int) - clean).mean() < 12


def test_mixing_saves_damaged_images_as_jpeg() -> None:
    """The same draws, with and without a file in between."""
    clean = np.full((64, 64, 3), 128, np.uint8)
    rng = np.random.default_rng
    plain = [Mixing(saved=1e-9).degrade(clean, "denoise", rng(seed))[0] for seed in range(20)]
    saved = [Mixing(saved=1.0).degrade(clean, "denoise", rng(seed))[0] for seed in range(20)]
    differing = [not np.array_equal(a, b) for a, b in zip(plain, saved, strict=True)]
    assert np.mean(differing) > 0.9


def test_the_kind_of_damage_is_told() -> None:
    flat = np.full((64, 64, 3), 128, np.uint8)
    mixing = Mixing(undamaged=0.3, mixture=(("denoise", 3.0), ("deblur", 1.0)))
    drawn = [mixing.degrade(flat, "general", np.random.default_rng(seed)) for seed in range(300)]
    told = [damage for _, damage in drawn]
    assert set(told) == {UNDAMAGED, "denoise", "deblur"}
    assert told.count("denoise") > 2 * told.count("deblur") > 0
    # Noise shows on a flat image, and nothing else does.
    for image, damage in drawn:
        assert np.array_equal(image, flat) or damage == "denoise"
    assert Mixing(saved=1.0).degrade(flat, "denoise", np.random.default_rng(1))[1] == "denoise"


def test_a_mixture_draws_other_tasks_in_their_shares() -> None:
    flat = np.full((64, 64, 3), 128, np.uint8)
    # JPEG leaves a flat image as it is, and blur does; noise does not.
    mixing = Mixing(mixture=(("jpeg", 2.0), ("denoise", 1.0), ("deblur", 1.0)))
    assert mixing
    drawn = [mixing.degrade(flat, "general", np.random.default_rng(seed))[0] for seed in range(400)]
    changed = np.mean([not np.array_equal(image, flat) for image in drawn])
    assert 0.18 < changed < 0.32


def test_short_motions_are_drawn_more_often() -> None:
    def extent(kernel: np.ndarray) -> int:
        rows, columns = np.nonzero(kernel > 1e-3)
        return int(max(np.ptp(rows), np.ptp(columns))) + 1

    kernels = [draw_blur_kernel(np.random.default_rng(seed)) for seed in range(400)]
    assert all(kernel.sum() == pytest.approx(1, abs=1e-5) for kernel in kernels)
    extents = np.array([extent(kernel) for kernel in kernels])
    assert 0.4 < np.mean(extents <= 9) < 0.65
    assert np.mean(extents >= 18) > 0.1
    mild = [draw_blur_kernel(np.random.default_rng(seed), longest=12) for seed in range(200)]
    assert max(extent(kernel) for kernel in mild) <= 14  # antialiased ends


def test_speckle_grows_with_values_keeps_their_mean_and_leaves_black():
    dark, bright = (np.full((64, 64, 3), level, np.uint8) for level in (50, 150))
    black = np.zeros((64, 64, 3), np.uint8)
    growths = []
    for number in range(40):
        first, second = (
            degrade(flat, "denoise-speckle", generator(0, number)).astype(float)
            for flat in (dark, bright)
        )
        assert not degrade(black, "denoise-speckle", generator(0, number)).any()
        assert abs(first.mean() - 50) < 3
        growths.append(second.std() / first.std())
    # Of a count of photons the root of three, else three; strong noise is clipped where bright.
    assert np.percentile(growths, 10) > 1.3
    assert np.percentile(growths, 90) < 3.1
    assert 0.2 < np.mean(np.array(growths) > 2.2) < 0.8


def test_noise_of_a_mosaic_is_spread_coloured_and_stronger_in_the_dark():
    shares, growths = [], []
    for number in range(20):
        dark, bright = (
            degrade(np.full((96, 96, 3), level, np.uint8), "denoise-mosaic", generator(0, number))
            - float(level)
            for level in (60, 180)
        )
        assert abs(bright.mean()) < 3
        growths.append(dark.std() / bright.std())
        green = dark[..., 1]
        shares.append(np.mean(green[:, 1:] * green[:, :-1]) / max(green.var(), 1e-9))
        # No two colours alike, as they would be in grey noise.
        correlation = np.corrcoef(dark[..., 0].ravel(), dark[..., 2].ravel())[0, 1]
        assert correlation < 0.8
    assert np.median(shares) > 0.15  # white noise has 0
    assert np.median(growths) > 1


def test_noise_of_a_mosaic_keeps_the_detail_of_the_image():
    """What is interpolated is the noise: hardly any leaves the image hardly changed."""
    image = procedural_image(0, 1, (65, 70))[0]
    weakest = min(
        np.abs(degrade(image, "denoise-mosaic", generator(0, n)).astype(float) - image).mean()
        for n in range(40)
    )
    assert weakest < 1.5


def test_grain_is_soft_noise_grey_or_coloured():
    flat = np.full((96, 96, 3), 120, np.uint8)
    deviations, neighbours, colours = [], [], []
    for number in range(40):
        noise = degrade(flat, "denoise-grain", generator(0, number)).astype(float) - 120
        assert abs(noise.mean()) < 1.5
        deviations.append(noise.std())
        neighbours.append(np.mean(noise[:, 1:] * noise[:, :-1]) / noise.var())
        colours.append((noise - noise.mean(2, keepdims=True)).std() / noise.std())
    assert min(deviations) < 4
    assert 15 < max(deviations) < 27
    assert min(neighbours) > 0
    assert max(neighbours) > 0.5
    assert min(colours) < 0.2
    assert max(colours) > 0.7
