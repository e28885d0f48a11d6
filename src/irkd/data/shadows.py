"""Shadows on a procedural scene: cast by nearer shapes, in the gaps between them, and from outside.

Photographs have dark places nearly everywhere, which is how haze over them can be told (He et al.,
"Single image haze removal using dark channel prior", CVPR 2009). Dead leaves have fewer: the colour
of each is as light as it happens to be drawn.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from irkd.data.seeds import log_uniform

Floats = NDArray[Any]  # float32

_STEPS = 12


def draw_shadows(rng: np.random.Generator, depth: Floats) -> Floats:
    """What shadows on a scene multiply its light with, H x W x 1, above 0.

    depth: H x W from 0 (nearest) to 1 (farthest). Where shadows are many, what they leave is
    brighter, as the camera's exposure would be longer.
    """
    share = np.ones_like(depth)
    if rng.random() < 0.7:
        share *= _dimmed(rng, _cast(rng, depth), softest=2.0)
    if rng.random() < 0.8:
        share *= 1 - np.float32(rng.uniform(0.3, 0.95)) * _gaps(rng, depth)
    if rng.random() < 0.5:
        share *= _dimmed(rng, _from_outside(rng, depth.shape), softest=6.0)
    return (share / share.mean() ** np.float32(0.6))[..., None]


def _dimmed(rng: np.random.Generator, shadow: Floats, *, softest: float) -> Floats:
    """The light left where `shadow` is 1: that of the sky, 0.03 to 0.5 of the sun's with it."""
    soft = cv2.GaussianBlur(shadow, (0, 0), log_uniform(rng, 0.4, softest))
    return 1 - np.float32(1 - log_uniform(rng, 0.03, 0.5)) * soft


def _cast(rng: np.random.Generator, depth: Floats) -> Floats:
    """1 where something nearer stands between a surface and the sun, which is to one side."""
    height, width = depth.shape
    angle = rng.uniform(0, 2 * np.pi)
    reach = log_uniform(rng, 4, 60)
    # How much nearer a thing must be for its shadow to fall so far.
    rise = np.float32(log_uniform(rng, 0.02, 0.5))
    shadow = np.zeros_like(depth)
    for step in np.linspace(1 / _STEPS, 1, _STEPS):
        x, y = step * reach * np.cos(angle), step * reach * np.sin(angle)
        move = np.array([[1, 0, x], [0, 1, y]], np.float32)
        between = cv2.warpAffine(
            depth, move, (width, height), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
        )
        shadow = np.maximum(shadow, (depth - between > step * rise).astype(np.float32))
    return shadow


def _gaps(rng: np.random.Generator, depth: Floats) -> Floats:
    """Near 1 in narrow places behind what is in front of them, where little of the sky is seen."""
    radius = log_uniform(rng, 1.5, 12)
    behind = np.maximum(depth - cv2.GaussianBlur(depth, (0, 0), radius), 0)
    return np.minimum(behind * np.float32(log_uniform(rng, 2, 12)), 1)


def _from_outside(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """1 in large places that something out of the picture shades: trees, houses, clouds."""
    cells = int(rng.integers(3, 12))
    ground: Floats = rng.normal(0, 1, (cells, cells)).astype(np.float32)
    ground = cv2.resize(ground, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return (ground > rng.normal(0.2, 0.6)).astype(np.float32)
