"""Pairs of a degraded image and its reference, wherever they come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from irkd.data.crops import Augmentation
from irkd.errors import IrkdError

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


def open_pairs(
    data: str | Path,
    *,
    task: str | None = None,
    split: Split = "test",
    layout: str = "auto",
    count: int | None = None,
    size: int | None = None,
    seed: int = 0,
) -> PairSource:
    """The pairs of `data`.

    Args:
        data: a folder, or one of the built-in sets: "procedural" (images made by irkd) and
            "photographs" (those inside scikit-image, for testing only).
        task: what to restore; the built-in sets and folders of clean images are degraded for it.
        split: "train" or "test"; the two never share a procedural image.
        layout: how the folder is arranged, a name in `layouts.LAYOUTS`, or "auto" to find out.
        count, size: number and side of the images, for "procedural" only.
        seed: of procedural images and synthetic degradations. The photographs are always the same.

    Raises IrkdError when there are no pairs, or not as asked.
    """
    from irkd.data.folders import CleanFolderPairs, FolderPairs
    from irkd.data.layouts import CLEAN, check_layout
    from irkd.data.photographs import PhotographPairs
    from irkd.data.synthetic import ProceduralPairs

    check_layout(layout)
    if str(data) == "procedural":
        return ProceduralPairs(
            _needs_task(task, data), split=split, count=count, size=size, seed=seed
        )
    if str(data) == "photographs":
        if split == "train":
            raise IrkdError(
                "the built-in photographs are for testing, never for training. "
                "Train on 'procedural' or on a folder."
            )
        return PhotographPairs(_needs_task(task, data))
    root = Path(data)
    if layout == CLEAN:
        return CleanFolderPairs(root, task=_needs_task(task, data), split=split, seed=seed)
    return FolderPairs(root, task=task, split=split, layout=layout)


def _needs_task(task: str | None, data: str | Path) -> str:
    from irkd.data.degrade import DEGRADATIONS, check_task

    if task is None:
        raise IrkdError(
            f"{data} holds clean images, to be degraded for a task: add --task with one of "
            f"{', '.join(DEGRADATIONS)}."
        )
    return check_task(task)
