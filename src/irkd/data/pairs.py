"""Pairs of a degraded image and its reference, wherever they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from irkd.data.crops import Augmentation

Image = NDArray[np.uint8]
Split = Literal["train", "test"]


class Sliceable(Protocol):
    """Pixels that stand somewhere else, of which `pixels[rows, columns]` reads a part."""

    def __getitem__(self, window: tuple[slice, slice]) -> NDArray[Any]: ...


@dataclass(frozen=True)
class Pair:
    """A degraded image and its reference: H x W x 3 RGB uint8, of one size.

    `teacher_restored` is what a teacher made of the degraded image, where that is kept
    (`teacher_cache`): float16 or uint8 of the same size. `damage` is the kind of degradation, where
    irkd made it: a task's name, or "undamaged".
    """

    name: str
    degraded: Image
    reference: Image
    teacher_restored: Sliceable | None = None
    damage: str | None = None


class PairSource(Protocol):
    """A numbered list of pairs. `load` is a pure function of its arguments.

    `task` is what the pairs teach (derain, deblur, ...), or None where nobody said.
    `epoch` changes the degradation of sources that make it themselves, and nothing elsewhere;
    `variants_of` says how many there are.
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


@runtime_checkable
class MeasuredSource(Protocol):
    """A source that knows each image's size without loading it."""

    def image_size(self, index: int) -> tuple[int, int]:
        """(height, width)."""


def variants_of(source: PairSource) -> int | None:
    """How many different pairs `load` makes of one index; None where every epoch brings another."""
    variants: int | None = getattr(source, "variants", 1)
    return variants


class PairsOver:
    """A source that hands on the pairs of another one; subclasses change what is loaded."""

    def __init__(self, source: PairSource) -> None:
        self.name, self.task = source.name, source.task
        self.unmatched = getattr(source, "unmatched", ())
        self.data_set = getattr(source, "data_set", None)
        self.variants = variants_of(source)
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def pair_name(self, index: int) -> str:
        return self._source.pair_name(index)

    def load(self, index: int, epoch: int = 0) -> Pair:
        return self._source.load(index, epoch)

    def check_patch(self, patch: int) -> None:
        if isinstance(self._source, SizedSource):
            self._source.check_patch(patch)

    def image_size(self, index: int) -> tuple[int, int]:
        if isinstance(self._source, MeasuredSource):
            return self._source.image_size(index)
        height, width = self._source.load(index).degraded.shape[:2]
        return height, width


class FixedVariants(PairsOver):
    """Pairs degraded in `variants` fixed ways in turn, instead of anew for every crop.

    The pair of an index and epoch is that of the epoch modulo `variants`. Whole images are
    degraded, so that a crop costs as much as its image.
    """

    def __init__(self, source: PairSource, variants: int) -> None:
        super().__init__(source)
        self.variants = variants

    def load(self, index: int, epoch: int = 0) -> Pair:
        assert self.variants is not None
        return self._source.load(index, epoch % self.variants)
