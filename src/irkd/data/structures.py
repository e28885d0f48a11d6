"""Long straight shapes of procedural images: poles, wires, railings, windows, edges of metal.

Without them networks that remove rain took bright straight things in photographs for streaks
(docs/data.md). They come alone, in parallel rows or in grids, mostly upright or level, some with a
bright line along them, as round metal has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irkd.data.seeds import log_uniform

Floats = NDArray[Any]  # float64


@dataclass(frozen=True)
class Bars:
    """N bars. Lengths in pixels of the final image, N each unless said otherwise."""

    centre: Floats  # N x 2 (x, y)
    length: Floats
    width: Floats
    turn: Floats  # of the long side from the x axis, radians
    lightness: Floats  # CIE L*, 0 to 100
    place: Floats  # in the stack of shapes: 0 farthest, 1 nearest


def draw_bars(rng: np.random.Generator, height: int, width: int) -> Bars:
    """Bars of one image of `height` x `width` pixels, in groups; none in a quarter of images."""
    parts: list[list[float]] = []
    if rng.random() < 0.75:
        for _ in range(int(rng.integers(1, 8))):
            group = _grid if rng.random() < 0.2 else _row
            parts += group(rng, height, width)
    rows = np.array(parts, np.float64).reshape(-1, 7)
    rows = rows[np.argsort(rows[:, 6], kind="stable")]
    return Bars(rows[:, :2], *rows[:, 2:].T)


def _row(rng: np.random.Generator, height: int, width: int) -> list[list[float]]:
    """x, y, length, width, turn, lightness, place of one bar or of some side by side."""
    small = rng.random() < 0.4
    longest = max(40, 1.5 * max(height, width))
    length = log_uniform(rng, 8, 60) if small else log_uniform(rng, 40, longest)
    thick = log_uniform(rng, 0.7, 4) if small else log_uniform(rng, 0.8, 14)
    thick = min(thick, length / 4)
    upright = rng.random() < 0.6
    turn = rng.integers(2) * np.pi / 2 + rng.normal(0, 0.12) if upright else rng.uniform(0, np.pi)
    lightness = rng.uniform(70, 99) if rng.random() < 0.65 else rng.uniform(3, 70)
    x, y, place = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.4, 1)
    number = int(rng.integers(3, 12)) if rng.random() < 0.25 else 1
    gap = thick * rng.uniform(2, 6)
    shine = rng.random() < 0.3 and thick > 2
    bars = []
    for step in range(number):
        at = (step - (number - 1) / 2) * gap
        bar_x, bar_y = x - np.sin(turn) * at, y + np.cos(turn) * at
        bars.append([bar_x, bar_y, length, thick, turn, lightness, place])
        if shine:
            side = rng.uniform(-0.25, 0.25) * thick
            shining = min(lightness + rng.uniform(15, 60), 99)
            centre = [bar_x - np.sin(turn) * side, bar_y + np.cos(turn) * side]
            bars.append([*centre, 0.95 * length, 0.3 * thick, turn, shining, place])
    return bars


def _grid(rng: np.random.Generator, height: int, width: int) -> list[list[float]]:
    """As `_row`, of bars that cross: the frames of windows, fences, scaffolds."""
    x, y, place = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.4, 1)
    turn = rng.normal(0, 0.1)
    lightness = rng.uniform(70, 99) if rng.random() < 0.7 else rng.uniform(3, 70)
    thick = log_uniform(rng, 0.7, 5)
    numbers = rng.integers(2, 8, 2)
    gaps = thick * np.exp(rng.uniform(np.log(3), np.log(12), 2))
    sides = (numbers - 1) * gaps + thick
    bars = []
    for across in (0, 1):
        for step in range(int(numbers[across])):
            at = (step - (numbers[across] - 1) / 2) * gaps[across]
            bar_turn = turn + across * np.pi / 2
            bar_x, bar_y = x - np.sin(bar_turn) * at, y + np.cos(bar_turn) * at
            length = float(sides[1 - across])
            bars.append([bar_x, bar_y, length, thick, bar_turn, lightness, place])
    return bars


def outlines(bars: Bars, vertices: int) -> Floats:
    """Closed outlines, N x vertices x 2 (x, y); `vertices` is a multiple of 4."""
    share = np.arange(vertices // 4) / (vertices // 4)
    one = np.ones_like(share)
    x = np.concatenate((2 * share - 1, one, 1 - 2 * share, -one))
    y = np.concatenate((-one, 2 * share - 1, one, 1 - 2 * share))
    along = x[None] * bars.length[:, None] / 2
    across = y[None] * bars.width[:, None] / 2
    cos, sin = np.cos(bars.turn)[:, None], np.sin(bars.turn)[:, None]
    points = np.stack((cos * along - sin * across, sin * along + cos * across), -1)
    return points + bars.centre[:, None]
