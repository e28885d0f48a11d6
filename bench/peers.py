"""What the models are held against in `bench.marks`, each told something that a model is not."""

from __future__ import annotations

from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Floats = NDArray[Any]

VEIL, VEIL_LIGHT = np.float32(0.2), np.float32(0.8)


def veiled(image: Floats) -> Floats:
    return image * (1 - VEIL) + VEIL * VEIL_LIGHT


def streaks_removed(degraded: Image, clean: Image) -> Image:
    """What a perfect remover of streaks leaves of heavy rain: the veil."""
    return rounded(veiled(clean.astype(np.float32) / 255))


def bm3d(degraded: Image, clean: Image, *, sigma: float | None) -> Image | None:
    """Dabov et al., TIP 2007, by the authors' package; None where it is not installed.

    sigma: of the noise, in levels of 255; None: the deviation of what was added, measured.
    """
    try:
        from bm3d import bm3d_rgb
    except ImportError:
        return None
    if sigma is None:
        sigma = float((degraded.astype(np.float64) - clean).std())
    return rounded(bm3d_rgb(degraded.astype(np.float64) / 255, sigma / 255))


def dark_channel_prior(degraded: Image, clean: Image) -> Image:
    """He, Sun, Tang: "Single image haze removal using dark channel prior", TPAMI 2011, with their
    values (15 x 15, omega 0.95, t0 0.1), refined by a guided filter (radius 40, eps 1e-3)."""
    image = degraded.astype(np.float32) / 255
    patch = np.ones((15, 15), np.uint8)
    dark = cv2.erode(image.min(2), patch)
    brightest = np.argsort(dark.ravel())[-max(dark.size // 1000, 1) :]
    candidates = image.reshape(-1, 3)[brightest]
    air = candidates[candidates.sum(1).argmax()]
    transmission = 1 - 0.95 * cv2.erode((image / air).min(2), patch)
    guide = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    mean = partial(cv2.boxFilter, ddepth=-1, ksize=(81, 81))
    mean_guide, mean_t = mean(guide), mean(transmission)
    slope = (mean(guide * transmission) - mean_guide * mean_t) / (
        mean(guide * guide) - mean_guide**2 + 1e-3
    )
    offset = mean_t - slope * mean_guide
    refined = mean(slope) * guide + mean(offset)
    return rounded((image - air) / np.maximum(refined, 0.1)[..., None] + air)


def rounded(image: Floats) -> Image:
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
