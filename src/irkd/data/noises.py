"""Kinds of noise: white, a camera's as its sensor has it and as photographs show it, and others.

Images are H x W x 3, float32 in [0, 1]; results are not clipped where noise is added to values.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from irkd.data.seeds import log_uniform
from irkd.data.srgb import decode_srgb, encode_srgb

Floats = NDArray[Any]  # float32


class Camera(NamedTuple):
    """How strong a camera's noise is in linear light: of variance shot * light + read."""

    shot: np.float32
    read: np.float32

    def deviation(self, linear: Floats) -> Floats:
        return np.sqrt(self.shot * linear + self.read)


class Noise(NamedTuple):
    """White noise H x W x 3 of deviation 1, and how strong it is: a deviation of values, or a
    camera's in linear light."""

    white: Floats
    strength: np.float32 | Camera


def draw_camera(
    rng: np.random.Generator, weakest: float = 1e-4, strongest: float = 1.2e-2
) -> Camera:
    """One whose shot noise lies between these, and its read noise.

    Brooks et al., "Unprocessing images for learned raw denoising", CVPR 2019, section 3.1.
    """
    log_shot = rng.uniform(np.log(weakest), np.log(strongest))
    log_read = 2.18 * log_shot + 1.2 + rng.normal(0, 0.26)
    return Camera(np.float32(np.exp(log_shot)), np.float32(np.exp(log_read)))


def draw_noise(shape: tuple[int, ...], rng: np.random.Generator) -> Noise:
    """White Gaussian noise of deviation 0-50 (of 255), or a camera's shot and read noise."""
    if rng.random() < 0.6:
        sigma = np.float32(rng.uniform(0, 50) / 255)
        return Noise(rng.standard_normal(shape, np.float32), sigma)
    camera = draw_camera(rng)
    return Noise(rng.standard_normal(shape, np.float32), camera)


def noise(image: Floats, depth: Floats, rng: np.random.Generator) -> Floats:
    """White Gaussian noise of deviation 0-50 (of 255), or a camera's shot and read noise."""
    white, strength = draw_noise(image.shape, rng)
    if isinstance(strength, Camera):
        return _as_seen(decode_srgb(image), strength, white)
    return image + strength * white


def noise_in_fair_light(image: Floats, rng: np.random.Generator) -> Floats:
    """A camera's weaker noise, which nothing has smoothed."""
    camera = draw_camera(rng, 2e-5, 1e-3)
    return _as_seen(decode_srgb(image), camera, rng.standard_normal(image.shape, np.float32))


def _as_seen(linear: Floats, camera: Camera, white: Floats) -> Floats:
    return encode_srgb(np.clip(linear + camera.deviation(linear) * white, 0, 1))


def speckle(image: Floats, depth: Floats, rng: np.random.Generator) -> Floats:
    """Noise that grows with an image's values, not with its light: a count of photons in their
    place, or a share of each. No camera's, but that of many programs, scikit-image's and
    imagecorruptions' among them; and a network that knows none takes it for rough texture."""
    if rng.random() < 0.5:
        photons = log_uniform(rng, 8, 600)
        return (rng.poisson(np.clip(image, 0, 1) * photons) / photons).astype(np.float32)
    share = np.float32(log_uniform(rng, 0.03, 0.3))
    return image * (1 + share * rng.standard_normal(image.shape, np.float32))


def mosaic_noise(image: Floats, depth: Floats, rng: np.random.Generator) -> Floats:
    """A camera's shot and read noise as a photograph shows it: a sensor sees one colour a pixel, of
    which the others are interpolated, so that noise is spread, and differs between colours.

    The noise alone is interpolated so; the image keeps its own detail.
    """
    camera = draw_camera(rng)
    # A sensor sees less of red and blue; what it saw is multiplied.
    gains = np.array([rng.uniform(1, 2.2), 1, rng.uniform(1, 2.2)], np.float32)
    height, width = image.shape[:2]
    # Interpolation needs even sides.
    linear = np.pad(decode_srgb(image), ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    seen = linear / gains
    mosaic = np.empty(linear.shape[:2], np.float32)
    for row, column, colour in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        mosaic[row::2, column::2] = seen[row::2, column::2, colour]
    noisy = mosaic + camera.deviation(mosaic) * rng.standard_normal(mosaic.shape, np.float32)
    code = cv2.COLOR_BayerRGGB2RGB if rng.random() < 0.5 else cv2.COLOR_BayerRGGB2RGB_EA
    # Room below zero, for noise around black.
    whole, clean = (
        cv2.cvtColor(np.clip((each + 0.25) * 32768, 0, 65535).astype(np.uint16), code) / 32768
        for each in (noisy, mosaic)
    )
    linear = np.clip(linear + (whole - clean).astype(np.float32) * gains, 0, 1)
    return encode_srgb(linear[:height, :width])


def grain(image: Floats, depth: Floats, rng: np.random.Generator) -> Floats:
    """Noise of deviation 2 to 25 (of 255) that is not sharp: film's, a scanner's, or what is left
    where an image was made larger or smaller; grey, coloured, or both."""
    spread = rng.uniform(0.35, 1.2)
    coloured: Floats = rng.standard_normal(image.shape, np.float32)
    grey: Floats = rng.standard_normal(image.shape[:2], np.float32)[..., None]
    share = np.float32(rng.choice([0, 1, rng.uniform(0, 1)]))
    white = share * coloured + (1 - share) * grey
    soft = cv2.GaussianBlur(white, (0, 0), spread)
    deviation = np.float32(log_uniform(rng, 2, 25) / 255)
    return image + deviation * soft / max(float(soft.std()), 1e-6)
