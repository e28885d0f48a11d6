"""PSNR and the SSIM variants that published restoration figures were made with.

Every function takes two arrays of one shape, H x W or H x W x C, holding values from 0 to 255 in
any dtype, computes in float64 and returns a plain float. Which variant belongs to which published
figure stands in `protocols`.

SSIM is eq. 13 of Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility
to structural similarity", IEEE TIP 2004; the variants differ in window, border and averaging only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from irkd.errors import IrkdError

Image = NDArray[Any]
Plane = NDArray[np.float64]
_Window = Callable[[Plane], Any]

_GAUSSIAN_SIZE = 11
_GAUSSIAN_SIGMA = 1.5
_MARGIN = _GAUSSIAN_SIZE // 2


def luma_matlab(rgb: Image) -> Plane:
    """The Y of MATLAB's `rgb2ycbcr`, 16 to 235, not rounded. H x W x 3 in 0..255 to H x W."""
    weights = np.array([65.481, 128.553, 24.966]) / 255
    return 16 + np.asarray(rgb, np.float64) @ weights


def luma_matlab_rounded(rgb: NDArray[np.uint8]) -> Plane:
    """The Y of MATLAB's `rgb2ycbcr` of a uint8 picture: rounded half up.

    In integers, so that a tie is the same on every machine.
    """
    thousandths = np.asarray(rgb, np.int64) @ np.array([65481, 128553, 24966])
    return 16.0 + (thousandths + 127500) // 255000


def psnr(restored: Image, reference: Image, peak: float = 255.0) -> float:
    """Peak signal-to-noise ratio in dB over all values together; infinite for equal images."""
    _check(restored, reference)
    difference = np.subtract(restored, reference, dtype=np.float64)
    error = float(np.vdot(difference, difference)) / difference.size
    return math.inf if error == 0 else 10 * math.log10(peak * peak / error)


def ssim(restored: Image, reference: Image, peak: float = 255.0) -> float:
    """SSIM as its authors' `SSIM_index` (2003): 11 x 11 Gaussian of sigma 1.5, valid area only.

    Of colour images the mean over the channels. Equals scikit-image's `structural_similarity` with
    `gaussian_weights=True, sigma=1.5, use_sample_covariance=False`.
    """
    _check(restored, reference, smallest=_GAUSSIAN_SIZE)
    values = [
        _valid_map(x, y, peak).mean()
        for x, y in zip(_planes(restored), _planes(reference), strict=True)
    ]
    return float(np.mean(values))


def similarity_map(restored: Image, reference: Image, peak: float = 255.0) -> Plane:
    """The values that `ssim` is the mean of: H - 10 x W - 10 x C of H x W x C images."""
    _check(restored, reference, smallest=_GAUSSIAN_SIZE)
    pairs = zip(_planes(restored), _planes(reference), strict=True)
    return np.stack([_valid_map(x, y, peak) for x, y in pairs], axis=-1)


def _valid_map(x: Plane, y: Plane, peak: float) -> Any:
    inside = slice(_MARGIN, -_MARGIN)
    return _similarity(x, y, _gaussian(cv2.BORDER_REFLECT_101), peak)[inside, inside]


def ssim_zero_padded(restored: Image, reference: Image, peak: float = 255.0) -> float:
    """SSIM over all pixels, with zeros beyond the border (FFA-Net's `metrics.py`)."""
    _check(restored, reference)
    values = [
        _similarity(x, y, _gaussian(cv2.BORDER_CONSTANT), peak).mean()
        for x, y in zip(_planes(restored), _planes(reference), strict=True)
    ]
    return float(np.mean(values))


def ssim_decimated(restored: Image, reference: Image, peak: float = 255.0) -> float:
    """SSIM as its authors' `ssim.m` (2009): box filter and decimation first, then `ssim`.

    The factor is max(1, round(min(H, W) / 256)), rounded half up as MATLAB does.
    """
    _check(restored, reference)
    factor = decimation_factor(*reference.shape[:2])
    return ssim(_decimate(restored, factor), _decimate(reference, factor), peak)


def ssim_pooled(restored: Image, reference: Image, peak: float = 255.0) -> float:
    """SSIM after average pooling by the factor of `ssim_decimated` (DehazeFormer's `test.py`).

    The pooled size is H // factor x W // factor; its cells are those of adaptive average pooling.
    """
    _check(restored, reference)
    height, width = reference.shape[:2]
    # Python's round, half to even, as in that script.
    factor = max(1, round(min(height, width) / 256))
    size = (height // factor, width // factor)
    return ssim(_pool(restored, size), _pool(reference, size), peak)


def ssim_volume(restored: Image, reference: Image, peak: float = 255.0) -> float:
    """SSIM as MATLAB's `ssim(RGB, RGB)`, which takes H x W x 3 as a volume.

    11 x 11 x 11 Gaussian of sigma 1.5, border replicated in all three axes, mean over the volume.
    """
    _check(restored, reference)
    x, y = np.atleast_3d(restored), np.atleast_3d(reference)
    return float(_similarity(_double(x), _double(y), _gaussian_volume(x.shape[2]), peak).mean())


def ssim_uniform(restored: Image, reference: Image, peak: float = 255.0) -> float:
    """SSIM with a 7 x 7 uniform window and sample covariance: scikit-image's default.

    scikit-image up to 0.18 took 2 as the range of float images in [0, 1]: `peak=510` gives its
    figures.
    """
    _check(restored, reference, smallest=7)
    sample = 49 / 48
    values = [
        _similarity(x, y, _uniform, peak, sample)[3:-3, 3:-3].mean()
        for x, y in zip(_planes(restored), _planes(reference), strict=True)
    ]
    return float(np.mean(values))


def decimation_factor(height: int, width: int) -> int:
    """max(1, round(min(H, W) / 256)) with MATLAB's rounding: 640 gives 3, not Python's 2."""
    return max(1, math.floor(min(height, width) / 256 + 0.5))


def _similarity(x: Plane, y: Plane, window: _Window, peak: float, sample: float = 1.0) -> Any:
    """The SSIM map of eq. 13 under the weights of `window`."""
    stabilise_mean, stabilise_contrast = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    mean_x, mean_y = window(x), window(y)
    product, energy = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    covariance = sample * (window(x * y) - product)
    variances = sample * (window(x * x + y * y) - energy)
    result = (2 * product + stabilise_mean) * (2 * covariance + stabilise_contrast)
    result /= (energy + stabilise_mean) * (variances + stabilise_contrast)
    return result


def _gaussian(border: int) -> _Window:
    def window(plane: Plane) -> Any:
        size = (_GAUSSIAN_SIZE, _GAUSSIAN_SIZE)
        blurred = cv2.GaussianBlur(plane, size, _GAUSSIAN_SIGMA, borderType=border)
        return blurred.reshape(plane.shape)

    return window


def _gaussian_volume(channels: int) -> _Window:
    # Along an axis of C pixels with a replicated border, the window is a C x C matrix.
    kernel = cv2.getGaussianKernel(_GAUSSIAN_SIZE, _GAUSSIAN_SIGMA, cv2.CV_64F)[:, 0]
    across = np.zeros((channels, channels))
    for target in range(channels):
        for offset, weight in zip(range(-_MARGIN, _MARGIN + 1), kernel, strict=True):
            across[min(max(target + offset, 0), channels - 1), target] += weight
    in_plane = _gaussian(cv2.BORDER_REPLICATE)
    return lambda volume: in_plane(volume) @ across


def _uniform(plane: Plane) -> Any:
    return cv2.blur(plane, (7, 7))


def _decimate(image: Image, factor: int) -> Any:
    """MATLAB's `imfilter` with a factor x factor box, symmetric border, then every factor-th pixel.

    An even box reaches one pixel further to the bottom and right, as `imfilter` anchors it.
    """
    image = _double(image)
    if factor == 1:
        return image
    anchor = (factor // 2 if factor % 2 else factor // 2 - 1,) * 2
    box = cv2.blur(image, (factor, factor), anchor=anchor, borderType=cv2.BORDER_REFLECT)
    return box[::factor, ::factor]


def _pool(image: Image, size: tuple[int, int]) -> Plane:
    """Adaptive average pooling: cell i of n covers floor(i H / n) up to ceil((i + 1) H / n)."""
    image = _double(image)
    for axis, target in enumerate(size):
        length = image.shape[axis]
        cells = np.arange(target)
        starts, ends = cells * length // target, -((cells + 1) * -length // target)
        sums = np.concatenate(
            [np.zeros_like(image.take([0], axis)), image.cumsum(axis, dtype=np.float64)], axis
        )
        shape = [1] * image.ndim
        shape[axis] = target
        image = (sums.take(ends, axis) - sums.take(starts, axis)) / (ends - starts).reshape(shape)
    return image


def _planes(image: Image) -> list[Plane]:
    if image.ndim == 2:
        return [_double(image)]
    return [_double(image[..., channel]) for channel in range(image.shape[2])]


def _double(image: Image) -> Plane:
    return np.ascontiguousarray(image, np.float64)


def _check(restored: Image, reference: Image, smallest: int = 1) -> None:
    if restored.shape != reference.shape:
        raise IrkdError(
            "only images of one size can be compared, not "
            f"{_size(restored)} (restored) and {_size(reference)} (reference)."
        )
    if restored.ndim not in (2, 3) or min(restored.shape[:2]) < smallest:
        raise IrkdError(
            f"an image of {_size(restored)} cannot be scored: this SSIM needs at least "
            f"{smallest} x {smallest} pixels."
        )


def _size(image: Image) -> str:
    return " x ".join(map(str, image.shape))
