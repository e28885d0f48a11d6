"""Fine regular patterns of surfaces, as cloth, knitting, mesh and tiles have.

A denoiser that had seen hardly any took the ribs of a pullover for noise: regular texture of a few
pixels is what methods that compare patches of an image, as BM3D does, keep best.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]  # float32
Labels = NDArray[np.int32]

# Waves a pattern has side by side, in pixels; below two a sensor would see none.
_PERIODS = (2.3, 12.0)
# Factors on light.
_CHANGES = (0.1, 4.0)


def draw_fabric(rng: np.random.Generator, labels: Labels, count: int) -> Floats:
    """H x W x 3 factors on linear light: a regular pattern on some of `count` shapes, else 1.

    `labels`: the shape seen in each pixel. In one image hardly any shape has a pattern, in another
    most. Half of the patterns change the colour as well.
    """
    factors = np.ones((*labels.shape, 3), np.float32)
    shortest, longest = np.log(_PERIODS)
    period = np.exp(rng.uniform(shortest, longest, count))
    other = np.clip(period * np.exp(rng.normal(0, 0.35, count)), *_PERIODS)
    turn = rng.uniform(0, np.pi, count)
    upright = rng.random(count) < 0.4
    turn = np.where(upright, np.rint(turn / (np.pi / 2)) * (np.pi / 2), turn)
    turn += rng.normal(0, 0.05, count)
    kind = rng.integers(0, 5, count)
    sharpness = rng.uniform(0.3, 2, count)
    uneven = rng.uniform(0, 1.2, count) * (rng.random(count) < 0.6)
    strength = np.exp(rng.normal(np.log(0.12), 0.8, count))
    strength[rng.random(count) > rng.uniform(0, 0.7)] = 0
    weights = 1 + rng.normal(0, 0.35, (count, 3)) * (rng.random((count, 1)) < 0.5)
    bent_y, bent_x = (_bend(rng, labels.shape) for _ in range(2))
    irregular, contrast = _waves(rng, labels.shape, 24), _waves(rng, labels.shape, 6)
    depth = rng.uniform(0.1, 0.7)
    rows, columns = np.nonzero((strength > 0)[labels])
    if not rows.size:
        return factors
    shape = labels[rows, columns]
    x, y = columns + bent_x[rows, columns], rows + bent_y[rows, columns]
    cos, sin = np.cos(turn)[shape], np.sin(turn)[shape]
    jitter = uneven[shape] * irregular[rows, columns]
    u = 2 * np.pi * (cos * x + sin * y) / period[shape] + jitter
    v = 2 * np.pi * (cos * y - sin * x) / other[shape] + jitter
    # Ribs, a plain weave, a mesh, zigzags, and bricks.
    bricks = np.sin(u) * np.sin(v / 2 + np.pi / 2 * (np.floor(u / np.pi) % 2))
    patterns = (
        np.sin(u),
        1.6 * np.sin(u) * np.sin(v),
        np.maximum(np.sin(u), np.sin(v)),
        np.sin(u + 1.2 * np.sin(v / 2)),
        1.6 * bricks,
    )
    pattern = np.choose(kind[shape], patterns)
    pattern = np.tanh(sharpness[shape] * pattern) / np.tanh(sharpness)[shape]
    pattern *= strength[shape] * np.exp(depth * contrast[rows, columns])
    change = np.clip(pattern[:, None] * weights[shape], *np.log(_CHANGES))
    factors[rows, columns] = np.exp(change)
    return factors


def _bend(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Displacements of some pixels that change slowly: cloth hangs in folds."""
    grid = rng.normal(0, rng.uniform(0, 8), (6, 6)).astype(np.float32)
    return cv2.resize(grid, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)


def _waves(rng: np.random.Generator, shape: tuple[int, ...], count: int) -> Floats:
    """Noise of about unit deviation with `count` waves along the image."""
    grid = rng.normal(0, 1.2, (count, count)).astype(np.float32)
    return cv2.resize(grid, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
