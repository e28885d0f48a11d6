"""Random crops, flips and quarter turns, drawn from a given generator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irkd.errors import IrkdError


@dataclass(frozen=True)
class Augmentation:
    """One of the eight symmetries of a square."""

    quarter_turns: int
    mirrored: bool

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Augmentation:
        return cls(int(rng.integers(4)), bool(rng.integers(2)))

    @classmethod
    def none(cls) -> Augmentation:
        return cls(0, False)

    def __call__(self, image: NDArray[Any]) -> NDArray[Any]:
        turned = np.rot90(image, self.quarter_turns)
        return turned[:, ::-1] if self.mirrored else turned


def draw_corner(
    shape: tuple[int, ...], patch: int, rng: np.random.Generator, name: str
) -> tuple[int, int]:
    """The top left corner (y, x) of a crop; IrkdError if `name` has no room for it."""
    height, width = shape[:2]
    check_size(height, width, patch, name)
    return int(rng.integers(height - patch + 1)), int(rng.integers(width - patch + 1))


def check_size(height: int, width: int, patch: int, name: str) -> None:
    if height < patch or width < patch:
        raise IrkdError(
            f"{name} is {width} x {height} pixels, smaller than the training patch of {patch}. "
            f"Choose a patch of at most {min(height, width)} (--set training.patch="
            f"{min(height, width)}), or remove the image."
        )
