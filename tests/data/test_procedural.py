"""Procedural images: the same everywhere, with the statistics of photographs, and exact depth."""

import hashlib
import itertools
import subprocess
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irkd.data.fabrics import draw_fabric
from irkd.data.lights import draw_lights
from irkd.data.procedural import procedural_image
from irkd.data.srgb import encode_srgb

# Mean of the RGB channels over a 4 x 4 grid of image (seed 0, index 0) of 64 x 64 pixels: a seed
# stands for the same scene in every version. Written by this generator, then looked at.
GRID = [
    [155.67, 198.49, 227.13, 165.88],
    [165.11, 202.50, 214.36, 124.94],
    [178.13, 200.97, 205.25, 132.19],
    [221.78, 62.34, 79.86, 102.35],
]


def test_image_and_depth_have_the_promised_form():
    image, depth = procedural_image(3, 5, (48, 80))
    assert image.shape == (48, 80, 3)
    assert image.dtype == np.uint8
    assert depth.shape == (48, 80)
    assert depth.dtype == np.float32
    assert depth.min() >= 0
    assert depth.max() <= 1


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**63),
    index=st.integers(0, 2**40),
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
)
def test_any_seed_index_and_size_make_an_image_and_always_the_same(seed, index, size):
    first, first_depth = procedural_image(seed, index, size)
    again, again_depth = procedural_image(seed, index, size)
    assert first.shape == (*size, 3)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first_depth, again_depth)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**63), size=st.tuples(st.integers(1, 70), st.integers(1, 70)))
def test_any_seed_and_size_make_a_woven_image_and_always_the_same(seed, size):
    first, _ = procedural_image(seed, 0, size, "woven")
    again, _ = procedural_image(seed, 0, size, "woven")
    assert first.shape == (*size, 3)
    np.testing.assert_array_equal(first, again)


def test_another_process_makes_the_same_image_whatever_the_global_random_state():
    code = (
        "import hashlib, numpy as np; np.random.seed(99)\n"
        "from irkd.data.procedural import procedural_image\n"
        "image, depth = procedural_image(11, 4, 96)\n"
        "print(hashlib.sha256(image.tobytes() + depth.tobytes()).hexdigest())"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    image, depth = procedural_image(11, 4, 96)
    here = hashlib.sha256(image.tobytes() + depth.tobytes()).hexdigest()
    assert there.stdout.strip() == here


def test_a_seed_stands_for_the_same_scene_in_every_version():
    image, _ = procedural_image(0, 0, 64)
    grid = image.reshape(4, 16, 4, 16, 3).mean((1, 3, 4))
    # Other processors round differently in the last place of a float, no more.
    np.testing.assert_allclose(grid, GRID, atol=0.5)


def test_seeds_and_indices_make_different_images():
    images = [procedural_image(seed, index, 48)[0] for seed in (0, 1) for index in (0, 1)]
    for number, image in enumerate(images):
        for other in images[:number]:
            assert np.abs(image.astype(int) - other).mean() > 5


def test_statistics_are_those_of_photographs():
    images = [procedural_image(1, index, 128)[0] for index in range(24)]
    greys = [image.mean(2) for image in images]
    # Power falls as f^-2 to f^-3 in photographs; white noise has 0 and a blurred blob below -4.
    assert -3.2 < np.mean([_power_slope(grey) for grey in greys]) < -2.0
    stack = np.stack(images)
    assert 80 < stack.mean() < 160
    assert 30 < np.mean([grey.std() for grey in greys]) < 75
    # Not many pixels at either end: information that no photograph's exposure would give away.
    assert (stack == 0).mean() < 0.12
    assert (stack == 255).mean() < 0.12
    # Mostly flat, with rare strong edges: heavy tails, unlike Gaussian noise with kurtosis 3.
    steps = np.concatenate([np.diff(grey, axis=1).ravel() for grey in greys])
    assert np.mean(steps**4) / np.mean(steps**2) ** 2 > 8


def test_depth_changes_only_where_one_shape_ends():
    _, depth = procedural_image(2, 1, 128)
    # Constant inside a shape: most neighbours are equal, and the others are at outlines.
    assert (np.diff(depth, axis=1) == 0).mean() > 0.6
    assert len(np.unique(depth)) > 10


def test_depth_is_spread_over_its_range():
    depths = np.stack([procedural_image(4, index, 96)[1] for index in range(20)])
    shares = np.histogram(depths, bins=4, range=(0, 1))[0] / depths.size
    assert shares.min() > 0.05


@pytest.mark.parametrize("level", [0.0, 0.002, 0.0031308, 0.2, 1.0])
def test_srgb_encoding_agrees_with_opencv(level):
    pixel = np.full((1, 1, 3), level, np.float32)
    # OpenCV has no direct function: grey of linear level Y is Lab lightness 116 Y^(1/3) - 16.
    light = 116 * np.cbrt(level) - 16 if level > 0.008856 else 903.3 * level
    lab = np.array([[[light, 0, 0]]], np.float32)
    expected = cv2.cvtColor(lab, cv2.COLOR_Lab2RGB)
    np.testing.assert_allclose(encode_srgb(pixel), expected, atol=2e-3)


def _power_slope(grey):
    """Exponent of the radially averaged power spectrum between 4 cycles and 0.4 per pixel."""
    side = grey.shape[0]
    window = np.hanning(side)
    power = np.abs(np.fft.fft2((grey - grey.mean()) * window[:, None] * window)) ** 2
    axis = np.fft.fftfreq(side)
    radius = np.hypot(axis[:, None], axis)
    edges = np.geomspace(4 / side, 0.4, 10)
    levels = [
        power[(radius >= low) & (radius < high)].mean() for low, high in itertools.pairwise(edges)
    ]
    return np.polyfit(np.log(np.sqrt(edges[1:] * edges[:-1])), np.log(levels), 1)[0]


def test_a_style_is_a_set_of_its_own():
    plain, _ = procedural_image(0, 0, 64)
    images = [plain]
    for style in ("detailed", "textured", "built", "lit", "sunlit", "woven", "toned"):
        image, depth = procedural_image(0, 0, 64, style)
        again, _ = procedural_image(0, 0, 64, style)
        np.testing.assert_array_equal(image, again)
        assert all((image != other).mean() > 0.9 for other in images)
        assert depth.min() >= 0
        assert depth.max() <= 1
        images.append(image)


def test_textured_images_have_fine_texture_as_photographs_do():
    """In most images strong in places and weak in others, which noise is not.

    Deviation of the finest diagonal differences (Haar) in blocks of 16 x 16 pixels, whose 10th,
    50th and 90th percentile of an image are taken. The medians over the centres of 40 photographs
    (every fifth of BSDS500's training images) are 2.6, 6.9 and 12.4 levels, over 24 detailed images
    1.4, 4.1 and 9.3.
    """

    def measure(style):
        found = []
        for index in range(16):
            grey = procedural_image(4, index, 128, style)[0].astype(np.float32).mean(2)
            fine = (grey[::2, ::2] - grey[::2, 1::2] - grey[1::2, ::2] + grey[1::2, 1::2]) / 2
            blocks = fine.reshape(8, 8, 8, 8).transpose(0, 2, 1, 3).reshape(64, 64).std(1)
            found.append(np.percentile(blocks, (10, 50, 90)))
        return np.median(found, axis=0)

    weak, middle, strong = measure("textured")
    assert weak < middle / 2
    assert 5 < middle < 9
    assert 9.5 < strong < 16
    assert (measure("detailed")[1:] < (middle, strong)).all()


def test_colours_of_woven_images_are_as_fine_as_those_of_photographs_without_subsampling():
    """What is finer than a Gaussian of deviation 1, in colour, as a share of that in grey.

    The median of six photographs shown smaller than they were taken (the built-in ones) is 0.28,
    of BSDS500's, whose JPEG halved the resolution of colours, 0.09. Woven images are of both kinds.
    """

    def measure(style):
        found = []
        for index in range(24):
            image = procedural_image(4, index, 128, style)[0].astype(np.float32)
            grey = image @ np.array([0.299, 0.587, 0.114], np.float32)
            fine = [
                part - cv2.GaussianBlur(part, (0, 0), 1.0)
                for part in (image - grey[..., None], grey)
            ]
            found.append(np.sqrt(np.mean(fine[0] ** 2) / np.mean(fine[1] ** 2)))
        return np.percentile(found, (20, 80))

    low, high = measure("woven")
    assert low < 0.12
    assert 0.25 < high < 0.6
    assert measure("textured")[1] < high - 0.05


def test_half_of_the_fabrics_change_the_colour_and_patterns_are_finer_than_twelve_pixels():
    labels = np.zeros((96, 96), np.int32)
    drawn = [draw_fabric(np.random.default_rng(seed), labels, 1) for seed in range(120)]
    made = [factors for factors in drawn if (factors != 1).any()]
    assert 20 < len(made) < 70  # an image has none on half of its shapes or more
    assert all((factors > 0.0999).all() and (factors < 4.001).all() for factors in made)
    coloured = [np.ptp(np.log(factors), axis=2).max() > 1e-4 for factors in made]
    assert 0.3 < np.mean(coloured) < 0.7
    for factors in made:
        wave = np.log(factors[..., 0])
        # Nothing slow: the mean over 24 x 24 pixels is about the same everywhere.
        means = wave.reshape(4, 24, 4, 24).mean((1, 3))
        assert means.std() < 0.35 * wave.std()


def test_lights_are_few_and_far_brighter_than_the_rest():
    dark = np.full((64, 64, 3), 0.05, np.float32)
    for seed in range(8):
        lit = draw_lights(np.random.default_rng(seed), dark)
        assert lit.min() > 0
        assert np.median(lit) < 0.2
        assert lit.max() > 2 * np.median(lit)
    assert draw_lights(np.random.default_rng(1), dark[:1, :1]).shape == (1, 1, 3)


def test_detailed_images_have_photographs_share_of_fine_texture():
    """Median of the absolute Laplacian and share of flat pixels, over 24 images of 128 x 128.

    Of 200 photographs (BSDS500's training images) they are 10.7 and 0.28, of plain images 3.5 and
    0.50.
    """

    def measure(style):
        found = []
        for index in range(24):
            gray = procedural_image(4, index, 128, style)[0].astype(np.float32).mean(2)
            flat = np.mean(np.abs(np.diff(gray, axis=1)) < 1.5)
            found.append((np.median(np.abs(cv2.Laplacian(gray, cv2.CV_32F))), flat))
        return np.median(found, axis=0)

    (texture, flat), (plain_texture, plain_flat) = measure("detailed"), measure("plain")
    assert 5 < texture < 20
    assert 0.2 < flat < 0.45
    assert plain_texture < texture
    assert plain_flat > flat


def test_tones_are_as_strong_in_colour_and_as_soft_as_those_of_photographs():
    """Where procedural images were greyer and harder, a network took photographs for hazy.

    Medians over the central 192 x 192 pixels of BSDS500's 200 training images: the mean saturation
    0.36, the mean deviation in 9 x 9 pixels 0.075, in 25 x 25 0.108; over 120 sunlit images 0.25,
    0.087 and 0.134.
    """
    saturation, near, far = [], [], []
    for index in range(40):
        image = procedural_image(3, index, 192, "toned")[0].astype(np.float32) / 255
        most, least = image.max(2), image.min(2)
        saturation.append(((most - least) / (most + 1e-3)).mean())
        grey = image.mean(2)
        for side, found in ((9, near), (25, far)):
            variance = cv2.blur(grey**2, (side, side)) - cv2.blur(grey, (side, side)) ** 2
            found.append(np.sqrt(np.clip(variance, 0, None)).mean())
    assert np.median(saturation) == pytest.approx(0.36, abs=0.06)
    assert np.median(near) == pytest.approx(0.075, abs=0.01)
    assert np.median(far) == pytest.approx(0.108, abs=0.015)
