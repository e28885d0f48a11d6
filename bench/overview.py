"""Teaches the judge's view of an image as a whole (`irkd.inference.overview`) what haze looks like.

From procedural images alone: half of them in haze, over the depth of their shapes or one that
changes slowly; all with colours, contrasts and softness as cameras differ, some faded evenly, some
rainy or noisy, some saved as JPEG.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from bench.learning import Losses, learn, of_odds
from irkd.data.degrade import DEGRADATIONS, plausible_depth
from irkd.data.opening import open_pairs
from irkd.inference.overview import Overview, in_small

Floats = NDArray[Any]

SEED = 4243
# Procedural images of every thousand.
STYLES = {
    "tones": 460,
    "sunlight": 93,
    "daylight": 93,
    "surfaces": 77,
    "scenes": 77,
    "streets": 123,
    "fabrics": 77,
}
WHOLE = 256  # pixels along a side of the procedural images
BATCH = 48
# Levels of 255 below which haze hardly shows, and how much such an image counts.
THIN, COUNTS = 15, 0.3


class Views:
    """Images of all styles, `thousands` times as many as in STYLES, seen from afar."""

    def __init__(self, thousands: float) -> None:
        self._pool = []
        for style, count in STYLES.items():
            count = max(1, round(thousands * count))
            pairs = open_pairs(
                style, task="dehaze", split="train", count=count, size=WHOLE, seed=SEED
            )
            for index in range(count):
                image, depth = pairs.clean(index)  # type: ignore[attr-defined]
                self._pool.append((image, None if depth is None else depth.astype(np.float16)))

    def draw(self, rng: np.random.Generator) -> tuple[Tensor, float]:
        """An image as `Overview` takes it, and by how many levels of 255 haze changed it."""
        image, depth = self._pool[rng.integers(len(self._pool))]
        side = int(rng.integers(WHOLE // 2, WHOLE + 1))
        top, left = rng.integers(0, WHOLE - side + 1, 2)
        turn = -1 if rng.random() < 0.5 else 1
        crop = (slice(top, top + side), slice(left, left + side))
        view = _varied(image[crop][:, ::turn].astype(np.float32) / 255, rng)
        levels = 0.0
        if rng.random() < 0.5:
            if depth is not None and rng.random() < 0.5:
                far = depth[crop][:, ::turn].astype(np.float32)
            else:
                far = plausible_depth(view.shape, rng)
            hazy = np.clip(DEGRADATIONS["dehaze"](view, far, rng), 0, 1)
            levels = 255 * float(np.sqrt(((hazy - view) ** 2).mean()))
            view = hazy
        return in_small(_damaged(view, rng)), levels


def _varied(view: Floats, rng: np.random.Generator) -> Floats:
    """Colours, contrast, sharpness and blacks as they differ between cameras."""
    if rng.random() < 0.2:
        view = view[..., rng.permutation(3)]
    if rng.random() < 0.3:
        grey = view.mean(2, keepdims=True)
        view = np.clip(grey + (view - grey) * rng.uniform(0.3, 1.3), 0, 1)
    if rng.random() < 0.4:
        view = view ** rng.uniform(0.6, 1.5)
    if rng.random() < 0.25:
        view = cv2.GaussianBlur(view.astype(np.float32), (0, 0), rng.uniform(0.3, 2.0))
    if rng.random() < 0.25:  # faded, the same everywhere: that is no haze
        lost = rng.uniform(0.02, 0.15)
        view = view * (1 - lost * rng.uniform(0.3, 1)) + lost * rng.uniform(0.2, 0.8)
    if rng.random() < 0.2:
        view = view * rng.uniform(0.9, 1.1, 3)
    return np.clip(view, 0, 1).astype(np.float32)


def _damaged(view: Floats, rng: np.random.Generator) -> Floats:
    """By rain or noise, some of them, and saved as JPEG, a third: none of that is haze."""
    kind = rng.random()
    if kind < 0.18:
        name = "derain" if kind < 0.08 else "derain-heavy" if kind < 0.12 else "denoise"
        view = np.clip(DEGRADATIONS[name](view, plausible_depth(view.shape, rng), rng), 0, 1)
    if rng.random() < 0.2:
        view = view + rng.normal(0, rng.uniform(0, 0.04), view.shape)
    view = np.clip(view, 0, 1).astype(np.float32)
    if rng.random() < 0.35:
        view = DEGRADATIONS["jpeg"](view, plausible_depth(view.shape, rng), rng)
    return view.astype(np.float32)


def learn_overview(overview: Overview, thousands: float, steps: int, file: Path) -> None:
    """Train `overview` on `thousands` times as many images as in STYLES."""

    def ready() -> Losses:
        views = Views(thousands)

        def losses(rng: np.random.Generator) -> Tensor:
            drawn = [views.draw(rng) for _ in range(BATCH)]
            facts = overview(torch.stack([view for view, _ in drawn]))
            return _losses(facts, torch.tensor([levels for _, levels in drawn]))

        return losses

    learn(overview, ready, ("haze", "its levels"), steps=steps, seed=SEED, file=file)


def _losses(facts: Tensor, levels: Tensor) -> Tensor:
    """Of whether there is haze, and of how much: an octave of levels counts 0.08."""
    hazy = levels > 0
    counts = torch.where(hazy & (levels < THIN), COUNTS, 1.0)
    odds = (counts * of_odds(facts[:, 0], hazy)).mean()
    return 0.5 * torch.stack([odds, 0.08 * F.mse_loss(facts[:, 1], (1 + levels).log2())])
