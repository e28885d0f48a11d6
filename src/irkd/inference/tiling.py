"""Cutting an image into overlapping tiles, and the weights that blend them back without seams."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Weights are multiples of this, so that products of a row's and a column's weight are exact in
# float32 and the weights of a pixel sum to exactly one.
_WEIGHT_STEP = 2.0**-12
_EVERY = 4  # pixels between those that `steepest_window` looks at


@dataclass(frozen=True)
class Axis:
    """The tiles along one side of an image: tile i covers `starts[i]` to `starts[i] + tile`.

    `weights[i]` (tile,) blends them: smooth, zero towards a cut, summing to one at every pixel.
    """

    starts: tuple[int, ...]
    tile: int
    weights: tuple[NDArray[np.float32], ...]


def plan_axis(length: int, tile: int, overlap: int, multiple: int = 1) -> Axis:
    """Cover `length` pixels with tiles of `tile` that share at least `overlap` with a neighbour.

    `length` and `tile` are multiples of `multiple`, and so is every start: a strided network then
    sees each tile on the same grid as the whole image. `overlap` is rounded up to `multiple` and
    cut to half a tile.

    Of an overlap only the middle half blends; a quarter at each cut is thrown away, so that a
    network whose output depends on pixels at most overlap / 4 away gives what it gives for the
    whole image.
    """
    if length % multiple or tile % multiple or tile < multiple:
        raise ValueError(f"length {length} and tile {tile} must be multiples of {multiple}")
    if tile >= length:
        return Axis((0,), length, (np.ones(length, np.float32),))
    overlap = min(-(-overlap // multiple), tile // 2 // multiple) * multiple
    count = math.ceil((length - overlap) / (tile - overlap))
    room = (length - tile) // multiple
    starts = tuple(i * room // (count - 1) * multiple for i in range(count))
    # rises[i] climbs from 0 to 1 where tile i takes over from tile i - 1. Differences of
    # successive rises are the weights: never negative, and their sum telescopes to one.
    pixels = np.arange(length)
    rises = [np.ones(length, np.float32)]
    rises += [_rise(pixels, (a + tile + b) / 2, overlap / 4) for a, b in itertools.pairwise(starts)]
    rises.append(np.zeros(length, np.float32))
    weights = tuple(
        (rises[i] - rises[i + 1])[start : start + tile] for i, start in enumerate(starts)
    )
    return Axis(starts, tile, weights)


def _rise(pixels: NDArray[np.int_], centre: float, half_width: float) -> NDArray[np.float32]:
    """A raised cosine from 0 to 1 around `centre`, in multiples of the weight step."""
    distance = pixels + 0.5 - centre
    if half_width == 0:
        return (distance > 0).astype(np.float32)
    phase = np.clip(distance / half_width, -1, 1)
    rise = 0.5 + 0.5 * np.sin(np.pi / 2 * phase)
    return (np.round(rise / _WEIGHT_STEP) * _WEIGHT_STEP).astype(np.float32)


def steepest_window(image: NDArray[Any], side: int) -> tuple[slice, slice]:
    """The rows and columns, `side` each or all there are, where H x W x 3 has the most edges.

    Found on every fourth pixel, at steps of an eighth of `side`, from differences of the colours.
    """
    if image.shape[0] <= side and image.shape[1] <= side:
        return slice(None), slice(None)
    few = image[::_EVERY, ::_EVERY].mean(2, dtype=np.float32)
    steep = np.zeros((few.shape[0] + 1, few.shape[1] + 1))
    steep[1:-1, 1:] += np.diff(few, axis=0) ** 2
    steep[1:, 1:-1] += np.diff(few, axis=1) ** 2
    sums = steep.cumsum(0).cumsum(1)

    def starts(length: int) -> list[int]:
        step = max(side // 8, 1)
        return [*range(0, max(length - side, 0), step), max(length - side, 0)]

    def amount(top: int, left: int) -> float:
        above, before = top // _EVERY, left // _EVERY
        below = min(above + side // _EVERY, few.shape[0])
        beyond = min(before + side // _EVERY, few.shape[1])
        corners = sums[below, beyond] - sums[above, beyond] - sums[below, before]
        return float(corners + sums[above, before])

    places = itertools.product(starts(image.shape[0]), starts(image.shape[1]))
    top, left = max(places, key=lambda place: amount(*place))
    return slice(top, top + side), slice(left, left + side)
