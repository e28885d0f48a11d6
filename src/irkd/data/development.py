"""What light, a lens and a developer make of a procedural image.

Paler, in the tones that photographs have, soft or sharpened.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from irkd.data.seeds import log_uniform

Floats = NDArray[Any]  # float32

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# Shares of images: almost without colour; without black, as through glass or a little air.
_GREYISH, _LIFTED = 0.05, 0.45


def pale(rng: np.random.Generator, srgb: Floats) -> Floats:
    """A fifth of images with less contrast, black most of all: faded or in flat light, not haze."""
    if rng.random() >= 0.2:
        return srgb
    black, white = rng.uniform(0, 0.35), rng.uniform(0.8, 1.0)
    colour = 1 + rng.normal(0, 0.06, 3)
    faded: Floats = (black * colour).astype(np.float32) + np.float32(white - black) * srgb
    return np.clip(faded, 0, 1)


def toned(rng: np.random.Generator, srgb: Floats) -> Floats:
    """An image, H x W x 3 in [0, 1], with stronger and mostly warmer colours, and less contrast
    between a shape and its surroundings, but a little more within a few pixels; to the same.

    Dead leaves had too little colour, as much blue as yellow, and too much contrast between
    neighbours: what learned from them took the softer contrast of a photograph for haze.
    """
    tint = np.exp(rng.normal((0.06, 0.0, -0.08), (0.08, 0.03, 0.1))).astype(np.float32)
    srgb = srgb * tint
    grey = srgb @ _LUMA
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


def developed(rng: np.random.Generator, srgb: Floats, *, sharp: bool, fine_colours: bool) -> Floats:
    """What a lens and a developer leave: soft or sharpened, at times with a little grain.

    Fine detail of photographs has hardly any colour: a sensor sees one colour a pixel, JPEG halves
    the resolution of colours. Where scenes had more, denoisers took real texture for noise.
    """
    if rng.random() < (0.4 if sharp else 0.6):
        srgb = cv2.GaussianBlur(srgb, (0, 0), float(rng.uniform(0.3, 0.7 if sharp else 0.9)))
    if rng.random() < (0.6 if sharp else 0.35):
        soft = cv2.GaussianBlur(srgb, (0, 0), float(rng.uniform(0.6, 1.5)))
        srgb = srgb + np.float32(rng.uniform(0.1, 0.5)) * (srgb - soft)
    if rng.random() < 0.45:
        grain: Floats = rng.standard_normal(srgb.shape[:2], np.float32)
        if rng.random() < 0.5:
            grain = 2 * cv2.GaussianBlur(grain, (0, 0), 0.6)
        srgb = srgb + np.float32(rng.uniform(0.3, 2.5) / 255) * grain[..., None]
    # Where an image is shown smaller than it was taken, its colours are as fine as its shapes.
    if rng.random() < (0.45 if fine_colours else 0.85):
        grey = srgb @ _LUMA
        colour = cv2.GaussianBlur(srgb - grey[..., None], (0, 0), float(rng.uniform(0.8, 2.2)))
        # Blurring is linear: the differences from grey stay without any grey.
        srgb = grey[..., None] + colour
    return np.clip(srgb, 0, 1)
