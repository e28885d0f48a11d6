"""PSNR and SSIM against the reference scripts' figures and against independent peers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from irkd.errors import IrkdError
from irkd.metrics import full_reference as fr

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")


def degrade(image: np.ndarray) -> np.ndarray:
    """A fixed pattern on top: no generator, the same on every machine."""
    rows, columns, channels = np.indices(image.shape)
    pattern = (rows * 7 + columns * 13 + channels * 29) % 31 - 15
    return np.clip(image + pattern, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module", params=PHOTOGRAPHS)
def pair(request):
    reference = getattr(data, request.param)()
    return degrade(reference), reference


# The MATLAB scripts of the protocols, run under Octave on five TID2013 pairs that pyiqa installs:
# y-matlab PSNR and SSIM, y-matlab-float-ds PSNR and SSIM, rgb-matlab3d SSIM, grey SSIM_index and
# grey ssim.m.
OCTAVE = {
    "I03": (23.588433, 0.733929, 23.592199, 0.679733, 0.705953, 0.699337, 0.642299),
    "I04": (math.inf, 1.000000, 57.338766, 0.999694, 0.430488, 0.997753, 0.999351),
    "I06": (math.inf, 1.000000, 57.878282, 0.999868, 0.889438, 0.998908, 0.999679),
    "I08": (25.066659, 0.967623, 25.064921, 0.965050, 0.965586, 0.966901, 0.964488),
    "I19": (24.323723, 0.678987, 24.336761, 0.781791, 0.704639, 0.651877, 0.761702),
}


@pytest.mark.parametrize("name", OCTAVE)
def test_reproduces_the_matlab_scripts(name, calibration_pair):
    distorted, reference = calibration_pair(name)
    rounded = [fr.luma_matlab_rounded(image) for image in (distorted, reference)]
    exact = [fr.luma_matlab(image) for image in (distorted, reference)]
    weights = np.array([0.298936021293775, 0.587043074451121, 0.114020904255103])
    grey = [np.floor(image @ weights + 0.5) for image in (distorted, reference)]
    found = (
        fr.psnr(*rounded),
        fr.ssim(*rounded),
        fr.psnr(*exact),
        fr.ssim_decimated(*exact),
        fr.ssim_volume(distorted, reference),
        fr.ssim(*grey),
        fr.ssim_decimated(*grey),
    )
    assert found == pytest.approx(OCTAVE[name], abs=6e-7, rel=0)


# degrade(photograph) against the photograph: PSNR and SSIM of RGB (scikit-image), of rounded Y
# (scikit-image), SSIM volume (scipy), SSIM uniform (scikit-image), of Y not rounded (PSNR, and SSIM
# decimated by 2 but for chelsea, whose shorter side is 300).
TABLE = {
    "astronaut": (
        *(29.511098, 0.657538, 31.872153, 0.775990, 0.781385, 0.676494),
        *(31.884315, 0.985605),
    ),
    "chelsea": (29.107977, 0.682388, 31.497861, 0.753281, 0.925910, 0.712049, 31.515593, 0.753957),
    "coffee": (29.311045, 0.670559, 31.709112, 0.755739, 0.957092, 0.688558, 31.725530, 0.984138),
    "rocket": (29.118630, 0.555057, 31.509387, 0.651539, 0.880856, 0.559852, 31.526725, 0.970213),
}


@pytest.mark.parametrize("name", TABLE)
def test_reproduces_the_table_over_photographs(name):
    reference = getattr(data, name)()
    degraded = degrade(reference)
    luma = [fr.luma_matlab_rounded(image) for image in (degraded, reference)]
    exact = [fr.luma_matlab(image) for image in (degraded, reference)]
    found = (
        fr.psnr(degraded, reference),
        fr.ssim(degraded, reference),
        fr.psnr(*luma),
        fr.ssim(*luma),
        fr.ssim_volume(degraded, reference),
        fr.ssim_uniform(degraded, reference),
        fr.psnr(*exact),
        fr.ssim_decimated(*exact),
    )
    assert found == pytest.approx(TABLE[name], abs=6e-7, rel=0)


def test_psnr_is_scikit_images(pair):
    assert fr.psnr(*pair) == pytest.approx(peak_signal_noise_ratio(*pair), abs=1e-10)


def test_psnr_is_the_formula():
    assert fr.psnr(np.zeros((4, 4, 3)), np.full((4, 4, 3), 255.0)) == 0
    assert fr.psnr(np.zeros((4, 4)), np.full((4, 4), 25.5)) == pytest.approx(20)


def test_ssim_is_scikit_images_gaussian(pair):
    peer = structural_similarity(
        *pair,
        data_range=255,
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert fr.ssim(*pair) == pytest.approx(peer, abs=1e-10)


@pytest.mark.parametrize("peak", [255, 510])
def test_uniform_ssim_is_scikit_images_default(pair, peak):
    peer = structural_similarity(*pair, data_range=peak, channel_axis=2)
    assert fr.ssim_uniform(*pair, peak=peak) == pytest.approx(peer, abs=1e-10)


def peer_similarity(x: np.ndarray, y: np.ndarray, window) -> np.ndarray:
    """The formula of the SSIM paper, written out once more."""
    first, second = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    x, y = x.astype(float), y.astype(float)
    mean_x, mean_y = window(x), window(y)
    variance_x, variance_y = window(x**2) - mean_x**2, window(y**2) - mean_y**2
    covariance = window(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + first) / (mean_x**2 + mean_y**2 + first)
    return luminance * (2 * covariance + second) / (variance_x + variance_y + second)


def test_volume_ssim_is_scipys_gaussian_over_three_axes(pair):
    def window(volume):
        return scipy.ndimage.gaussian_filter(volume, 1.5, mode="nearest", radius=5)

    peer = peer_similarity(*pair, window).mean()
    assert fr.ssim_volume(*pair) == pytest.approx(peer, abs=1e-10)


def test_zero_padded_ssim_is_scipys_gaussian_with_zeros(pair):
    def window(volume):
        return scipy.ndimage.gaussian_filter(volume, 1.5, mode="constant", radius=5, axes=(0, 1))

    peer = peer_similarity(*pair, window).mean()
    assert fr.ssim_zero_padded(*pair) == pytest.approx(peer, abs=1e-10)


def test_pooled_ssim_is_torchs_adaptive_pooling():
    reference = np.tile(data.chelsea(), (2, 2, 1))[:557, :801]
    degraded = degrade(reference)

    def pool(image):
        batch = torch.from_numpy(image.astype(float)).permute(2, 0, 1)[None]
        pooled = torch.nn.functional.adaptive_avg_pool2d(batch, (557 // 2, 801 // 2))
        return pooled[0].permute(1, 2, 0).numpy()

    peer = fr.ssim(pool(degraded), pool(reference))
    assert fr.ssim_pooled(degraded, reference) == pytest.approx(peer, abs=1e-10)


@pytest.mark.parametrize(("side", "factor"), [(100, 1), (383, 1), (384, 2), (512, 2), (640, 3)])
def test_decimation_rounds_as_matlab(side, factor):
    assert fr.decimation_factor(side, side + 100) == factor


@pytest.mark.parametrize("side", [640, 900])
def test_decimation_is_a_box_filter_with_symmetric_border(side):
    image = fr.luma_matlab(np.tile(data.astronaut(), (2, 2, 1))[:side, : side + 7])
    factor = fr.decimation_factor(*image.shape)
    origin = (factor + 1) // 2 - 1  # MATLAB's floor((size + 1) / 2), counted from 0
    after = factor - 1 - origin
    padded = np.pad(image, ((origin, after), (origin, after)), mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (factor, factor))
    peer = windows.mean(axis=(2, 3))[::factor, ::factor]
    np.testing.assert_allclose(fr._decimate(image, factor), peer, atol=1e-10)


def test_luma_of_known_colours():
    colours = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0]]], np.uint8)
    assert fr.luma_matlab(colours)[0] == pytest.approx([16, 235, 81.481], abs=1e-9)
    assert fr.luma_matlab_rounded(colours)[0].tolist() == [16, 235, 81]


VARIANTS = (
    fr.ssim,
    fr.ssim_zero_padded,
    fr.ssim_decimated,
    fr.ssim_pooled,
    fr.ssim_volume,
    fr.ssim_uniform,
)


@pytest.mark.parametrize("function", VARIANTS)
def test_properties_of_every_ssim(function):
    reference = data.coffee()
    degraded = degrade(reference)
    assert function(reference, reference) == pytest.approx(1, abs=1e-12)
    assert function(degraded, reference) == pytest.approx(function(reference, degraded), abs=1e-12)
    assert function(degraded, reference) < 0.999
    assert function(degraded.astype(np.float32), reference) == function(degraded, reference)
    black, white = np.zeros_like(reference), np.full_like(reference, 255)
    assert 0 <= function(black, white) < 0.01


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(11, 40), st.integers(11, 40))
def test_properties_at_any_size(seed, height, width):
    generator = np.random.default_rng(seed)
    x, y = generator.integers(0, 256, (2, height, width, 3), np.uint8)
    assert fr.psnr(x, y) == fr.psnr(y, x)
    assert fr.psnr(x, x) == math.inf
    for function in VARIANTS:
        assert function(x, x) == pytest.approx(1, abs=1e-12)
        assert -1 <= function(x, y) < 1
        assert function(x, y) == pytest.approx(function(x[:, ::-1], y[:, ::-1]), abs=1e-9)


@pytest.mark.parametrize("function", [fr.psnr, *VARIANTS])
def test_sizes_that_differ_are_refused(function):
    with pytest.raises(IrkdError, match=r"16 x 16 x 3 .* 16 x 17 x 3"):
        function(np.zeros((16, 16, 3)), np.zeros((16, 17, 3)))


def test_images_smaller_than_the_window_are_refused():
    tiny = np.zeros((10, 40, 3), np.uint8)
    with pytest.raises(IrkdError, match="at least 11 x 11"):
        fr.ssim(tiny, tiny)
