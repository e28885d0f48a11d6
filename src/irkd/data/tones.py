"""Colours and contrasts as photographs have them, for procedural images.

Dead leaves had too little colour, as much blue as yellow, and too much contrast between neighbours:
what learns from them takes the softer contrast of a photograph for haze.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from irkd.data.seeds import log_uniform

Floats = NDArray[Any]  # float32

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# Shares of images: almost without colour; without black, as through glass or a little air.
_GREYISH, _LIFTED = 0.05, 0.45


def toned(rng: np.random.Generator, srgb: Floats) -> Floats:
    """An image, H x W x 3 in [0, 1], with stronger and mostly warmer colours, and less contrast
    between a shape and its surroundings, but a little more within a few pixels; to the same."""
    tint = np.exp(rng.normal((0.06, 0.0, -0.08), (0.08, 0.03, 0.1))).astype(np.float32)
    srgb = srgb * tint
    grey = srgb @ LUMA
    chroma = np.float32(np.exp(rng.normal(0.3, 0.25)))
    if rng.random() < _GREYISH:
        chroma = np.float32(rng.uniform(0, 0.4))
    near = cv2.GaussianBlur(grey, (0, 0), log_uniform(rng, 1.0, 2.0))
    far = cv2.GaussianBlur(grey, (0, 0), log_uniform(rng, 10, 30))
    middle, fine = np.exp(rng.normal((-0.15, 0.15), 0.12)).astype(np.float32)
    contrast = far + middle * (near - far) + fine * (grey - near)
    changed: Floats = contrast[..., None] + chroma * (srgb - grey[..., None])
    if rng.random() < _LIFTED:
        black = np.float32(rng.uniform(0.02, 0.15))
        changed = black + (1 - black) * changed
    return np.clip(changed, 0, 1)
