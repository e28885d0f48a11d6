"""Measures of an image by which its damage is judged, beside what networks tell of it."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from irkd.inference.picture import Pixels, as_colour, middle, shrink_to, to_float
from irkd.models import dark_channel

Floats = NDArray[np.floating[Any]]

# Most are of the middle of the image: this many pixels a side tell enough.
MEASURED_SIDE = 640
_OVERVIEW_SIDE = 512
_DARK_WINDOW, _DARK_SIDE = 9, 400


def measures_of(image: Pixels) -> list[float]:
    """In the order of `judge.MEASURES`."""
    centre = to_float(as_colour(middle(image, MEASURED_SIDE)))
    light: Floats = np.ascontiguousarray(centre.mean(axis=2))
    # Of a strip, something must be left across it.
    across = -(-dark_channel.BLOCK * max(image.shape[:2]) // min(image.shape[:2]))
    small = to_float(shrink_to(as_colour(image), max(_OVERVIEW_SIDE, across)))
    height, width = (side // dark_channel.BLOCK * dark_channel.BLOCK for side in small.shape[:2])
    whole = torch.from_numpy(np.ascontiguousarray(small[:height, :width])).permute(2, 0, 1)[None]
    channel = dark_channel.dark_channel(whole)
    dark, air = dark_channel.shadows(channel), dark_channel.air_light(whole, channel)
    deviation, likeness = noise(centre)
    return [
        edge_sharpness(light),
        float(np.sqrt(darkest_spots(image))),
        float(dark.twentieth.sqrt()),
        float(dark.quarter.sqrt()),
        float(air.mean()),
        float((air.amax() - air.amin()) / air.amax().clamp(min=0.1)),
        float(np.log(deviation + 0.1)),
        likeness,
        blocks_of_jpeg(light),
    ]


def noise(colours: Floats) -> tuple[float, float]:
    """Of H x W x 3 colours: the deviation of the noise in levels of 255, from the quietest blocks
    of the finest diagonal detail, and the correlation between colours in them.

    A grey image's colours are the same: its correlation is 1.
    """
    height, width = (side // 2 * 2 for side in colours.shape[:2])
    even = colours[:height, :width]
    # Haar's diagonal wavelet: white noise keeps its deviation.
    finest = (even[::2, ::2] - even[1::2, ::2] - even[::2, 1::2] + even[1::2, 1::2]) / 2
    mean = _blocks(even[::2, ::2].mean(axis=2), 8).mean(axis=1)
    detail = np.stack([_blocks(finest[..., colour], 8) for colour in range(3)])
    # Clipped light has no noise.
    open_ = (mean > 0.04) & (mean < 0.96)
    if open_.sum() >= 20:
        detail = detail[:, open_]
    power = (detail**2).mean(axis=(0, 2))
    quiet = detail[:, power <= np.percentile(power, 30)]
    red, green, blue = quiet.reshape(3, -1)
    correlations = [
        float((a * b).mean() / np.sqrt((a * a).mean() * (b * b).mean() + 1e-12))
        for a, b in ((red, green), (green, blue))
    ]
    return 255 * float(np.sqrt(np.percentile(power, 15))), max(correlations)


def darkest_spots(image: Pixels) -> float:
    """The brightness, 0 to 1, that all but the darkest hundredth of an image's surroundings have:
    haze and veils leave nothing dark."""
    step = max(max(image.shape[:2]) // (4 * _DARK_SIDE), 1)
    thinned = to_float(as_colour(image)[::step, ::step])
    small = shrink_to(thinned, _DARK_SIDE)
    dark = cv2.erode(small.min(axis=2), np.ones((_DARK_WINDOW, _DARK_WINDOW), np.uint8))
    return float(np.percentile(dark, 1))


def edge_sharpness(light: Floats) -> float:
    """How steep the steepest edges of H x W light are, where they are least: the
    difference over one pixel over that over three. 1 is a step, 1/3 a ramp."""
    height, width = light.shape
    shares = []
    for angle in np.arange(0, np.pi, np.pi / 8):
        steep = []
        for distance in (1, 3):
            across, down = distance * np.cos(angle), distance * np.sin(angle)
            move = np.array([[1, 0, across], [0, 1, down]], np.float32)
            moved = cv2.warpAffine(light, move, (width, height), borderMode=cv2.BORDER_REFLECT)
            steep.append(np.percentile(np.abs(light - moved)[4:-4, 4:-4], 99.7))
        shares.append(float(steep[0] / (steep[1] + 1e-6)))
    return min(shares)


def blocks_of_jpeg(light: Floats) -> float:
    """How much larger the steps of H x W light are where JPEG's blocks meet than elsewhere; 1 where
    there are none, or where they lie elsewhere."""
    shares = []
    for axis in (0, 1):
        steps = np.abs(np.diff(light, axis=axis)).mean(axis=1 - axis)
        meets = np.arange(len(steps)) % 8 == 7
        shares.append(float(steps[meets].mean() / (steps[~meets].mean() + 1e-6)))
    return sum(shares) / 2


def _blocks(values: Any, side: int) -> Floats:
    """H x W as blocks x pixels; what does not fill a block is left out."""
    height, width = (length // side * side for length in values.shape)
    cut = values[:height, :width].reshape(height // side, side, width // side, side)
    return cut.swapaxes(1, 2).reshape(-1, side * side)
