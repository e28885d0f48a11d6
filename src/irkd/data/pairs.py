"""Pairs of a degraded image and its reference, wherever they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from irkd.data.crops import Augmentation

Image = NDArray[np.uint8]
Split = Literal["train", "test"]


@dataclass(frozen=True)
class Pair:
    """A degraded image and its reference: H x W x 3 RGB uint8, of one size."""

    name: str
    degraded: Image
    reference: Image


class PairSource(Protocol):
    """A numbered list of pairs. `load` is a pure function of its arguments.

    `task` is what the pairs teach (derain, deblur, ...), or None where nobody said.
    `epoch` changes the degradation of sources that make it themselves, and nothing elsewhere.
    """

    name: str
    task: str | None

    def __len__(self) -> int: ...

    def pair_name(self, index: int) -> str: ...

    def load(self, index: int, epoch: int = 0) -> Pair: ...


@runtime_checkable
class CropSource(Protocol):
    """A source that makes a training crop itself, cheaper than by loading a whole pair."""

    def load_crop(
        self, index: int, patch: int, augment: Augmentation, rng: np.random.Generator
    ) -> Pair: ...


@runtime_checkable
class SizedSource(Protocol):
    """A source that knows its images' sizes without loading them."""

    def check_patch(self, patch: int) -> None:
        """Raise IrkdError unless every image is at least patch x patch."""
