"""What damage an image shows, and which model is for it.

A small network (`irkd.inference.judge`), trained on procedural images, tells from squares all over
the image how much blur, haze, rain, noise and JPEG there is. With some measures of the image, and
what each model changes in a square of it, it says which model promises most. docs/restore.md states
how often the answer is right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from irkd.inference.judge import DAMAGES, MODELS, Judge, trained_judge
from irkd.inference.picture import Pixels, as_colour, shrink_to, to_float
from irkd.models import dark_channel

Floats = NDArray[np.floating[Any]]
# Restores a square, H x W x 3 of any depth, by the model of a name, to float32.
Try = Callable[[str, Pixels], NDArray[np.float32]]

# Squares of this many pixels a side are judged, so many along each side of the image at most.
_SQUARE, _SQUARES = 256, 3
# The models are tried on the middle of the image: this many pixels a side.
_TRIED_SIDE = 256
# The measures are of the middle of the image: this many pixels a side tell enough.
_SIDE = 640
_SMALLEST_SIDE = 96
# Deviation of the light below which there is nothing to see.
_PLAIN = 0.01
_OVERVIEW_SIDE = 512
_DARK_WINDOW, _DARK_SIDE = 9, 400
# How sure it must be of a model for one task, else it is the general one. `deblur` leaves images
# alone in which it finds no motion; a good photograph taken for hazy loses most.
_SURE = {"derain": 0.45, "deblur": 0.25, "dehaze": 0.45, "denoise": 0.55}
# Levels of 255 below which damage is not named.
_SEEN = 1.5
_NAMES = {"jpeg": "JPEG"}
_FOR = {"derain": "rain", "deblur": "blur", "dehaze": "haze", "denoise": "noise or JPEG"}


class Degradation(NamedTuple):
    """`task`: derain, denoise, dehaze or deblur; or general where no model of one task promises
    most. `reasons`: what it was judged by, in words."""

    task: str
    reasons: tuple[str, ...]


def degradation_of(image: Pixels, try_model: Try) -> Degradation:
    """Judge an image H x W or H x W x 3, uint8, uint16 or float32 in [0, 1]; `try_model` is called
    with each of `judge.MODELS`.

    Images with a side below 96 pixels, and plain ones, do not tell: general.
    """
    if min(image.shape[:2]) < _SMALLEST_SIDE:
        return Degradation("general", ("too small to judge",))
    if float(to_float(_middle(image, _SIDE)).mean(axis=2).std()) < _PLAIN:
        return Degradation("general", ("too plain to judge",))
    judge = trained_judge()
    told = tell(image, judge, try_model)
    with torch.inference_mode():
        promises = judge.promises(told[None])[0]
    promised = {name: float(promises[MODELS.index(name)]) for name in _SURE}
    sure = [name for name, least in _SURE.items() if promised[name] >= least]
    task = max(sure, key=promised.__getitem__) if sure else "general"
    levels = {name: 2 ** float(told[place]) - 1 for place, name in enumerate(DAMAGES)}
    found = sorted((name for name in DAMAGES if levels[name] >= _SEEN), key=levels.__getitem__)
    words = [f"{_NAMES.get(name, name)} of {levels[name]:.0f} levels" for name in reversed(found)]
    unclear = f"little {_FOR[task]}, if any" if task in _FOR else "no clear damage"
    return Degradation(task, (", ".join(words) or unclear,))


def tell(image: Pixels, judge: Judge, try_model: Try) -> Tensor:
    """What `Judge.promises` is told of an image: the mean amounts of damage, log2(1 + levels), the
    measures, and what the models change."""
    further = torch.tensor(_measures(image) + _changes(image, try_model), dtype=torch.float32)
    return torch.cat([amounts_of(image, judge), further])


def amounts_of(image: Pixels, judge: Judge) -> Tensor:
    """The mean amounts of damage all over an image, log2(1 + levels)."""
    squares = torch.from_numpy(np.stack([to_float(each) for each in _squares(as_colour(image))]))
    with torch.inference_mode():
        return judge.amounts(squares.permute(0, 3, 1, 2)).mean(0)


def _changes(image: Pixels, try_model: Try) -> list[float]:
    """`judge.CHANGES` by each of `judge.MODELS`, in levels of 255: one that finds nothing to mend
    changes little."""
    square = np.ascontiguousarray(as_colour(_middle(image, _TRIED_SIDE)))
    before = np.rint(255 * to_float(square))
    found: list[float] = []
    for name in MODELS:
        change = np.rint(255 * np.clip(try_model(name, square), 0, 1)) - before
        rms, mean = np.sqrt((change**2).mean()), np.abs(change).mean()
        found += [float(np.log2(1 + rms)), float(change.mean()) / 16, float(np.log2(1 + mean))]
    return found


def _measures(image: Pixels) -> list[float]:
    """In the order of `judge.MEASURES`."""
    middle = to_float(as_colour(_middle(image, _SIDE)))
    light: Floats = np.ascontiguousarray(middle.mean(axis=2))
    # Of a strip, something must be left across it.
    across = -(-dark_channel.BLOCK * max(image.shape[:2]) // min(image.shape[:2]))
    small = to_float(shrink_to(as_colour(image), max(_OVERVIEW_SIDE, across)))
    height, width = (side // dark_channel.BLOCK * dark_channel.BLOCK for side in small.shape[:2])
    whole = torch.from_numpy(np.ascontiguousarray(small[:height, :width])).permute(2, 0, 1)[None]
    dark = dark_channel.shadows(dark_channel.dark_channel(whole))
    deviation, likeness = noise(middle)
    return [
        edge_sharpness(light),
        np.sqrt(darkest_spots(image)),
        float(dark.twentieth.sqrt()),
        float(dark.quarter.sqrt()),
        np.log(deviation + 0.1),
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


def _squares(image: Pixels) -> list[Pixels]:
    """Spread evenly over H x W x 3; all of it where it is small."""
    places = []
    for length in image.shape[:2]:
        count = min(_SQUARES, -(-length // _SQUARE))
        places.append(np.linspace(0, max(length - _SQUARE, 0), count).round().astype(int))
    return [
        image[top : top + _SQUARE, left : left + _SQUARE] for top in places[0] for left in places[1]
    ]


def _middle(image: Pixels, side: int) -> Pixels:
    top, left = (max(length - side, 0) // 2 for length in image.shape[:2])
    return image[top : top + side, left : left + side]


def _blocks(values: Any, side: int) -> Floats:
    """H x W as blocks x pixels; what does not fill a block is left out."""
    height, width = (length // side * side for length in values.shape)
    cut = values[:height, :width].reshape(height // side, side, width // side, side)
    return cut.swapaxes(1, 2).reshape(-1, side * side)
