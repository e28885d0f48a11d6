"""Points of light: stars, lamps and drops, which a denoiser takes for noise if it never saw any."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from irkd.data.seeds import log_uniform

Floats = NDArray[Any]  # float32


def draw_lights(rng: np.random.Generator, linear: Floats) -> Floats:
    """`linear` light with points of light added, as stars, lamps and drops are, mostly at night."""
    height, width = linear.shape[:2]
    if rng.random() < 0.7:
        linear = linear * np.float32(log_uniform(rng, 0.01, 0.3))
    lights = np.zeros_like(linear)
    for size in (1, 2.5):
        number = int(log_uniform(rng, 10, 800) / size**3)
        y, x = (rng.uniform(0, max(side - 1.001, 0), number) for side in (height, width))
        top, left = y.astype(int), x.astype(int)
        strength = 0.1 * (1 + rng.pareto(1.2, number)).clip(0, 40)
        colour = (1 + rng.normal(0, 0.3, (number, 3))).clip(0.1, 2) * strength[:, None]
        sparse = np.zeros_like(linear)
        for down in (0, 1):
            for right in (0, 1):
                share = np.abs(1 - down - (y - top)) * np.abs(1 - right - (x - left))
                at = np.minimum(top + down, height - 1), np.minimum(left + right, width - 1)
                np.add.at(sparse, at, share[:, None] * colour)
        width_of_light = size * rng.uniform(0.5, 1.0)
        peak = 2 * np.pi * width_of_light**2
        lights += np.float32(peak) * cv2.GaussianBlur(sparse, (0, 0), width_of_light)
    return linear + lights
