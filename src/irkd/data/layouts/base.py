"""What a layout is: where the images of a data set stand, and which of them belong together."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from irkd.data.layouts.glance import Glance
from irkd.data.layouts.walking import split_folders
from irkd.data.pairs import Image, Split
from irkd.data.reading import image_size, read_image
from irkd.errors import IrkdError

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Degraded:
    """A degraded image. It belongs to the reference of the same `key`.

    `name` is what the pair is called; `split` is set where the folder holds several.
    """

    key: str
    path: str
    name: str
    split: Split | None = None


@dataclass(frozen=True, slots=True)
class Reference:
    key: str
    path: str


@dataclass(frozen=True, slots=True)
class Missing:
    """A file that a list names and that is not there."""

    path: str


Entry = Degraded | Reference | Missing


@dataclass(frozen=True, slots=True)
class FoundPair:
    """Paths relative to the searched folder, with forward slashes.

    A layout whose images are no files of their own appends to the file's path what its reader
    needs.
    """

    name: str
    degraded: str
    reference: str


class PairReader:
    """Reads both images of a pair: here, one file each."""

    def load(self, root: Path, pair: FoundPair) -> tuple[Image, Image]:
        """Degraded and reference: H x W x 3 RGB uint8."""
        return read_image(root / pair.degraded), read_image(root / pair.reference)

    def degraded_size(self, root: Path, pair: FoundPair) -> Size:
        """(height, width), from the file's header."""
        # Paths as texts: millions of them are made here.
        return image_size(os.path.join(root, pair.degraded))

    def reference_size(self, root: Path, pair: FoundPair) -> Size:
        return image_size(os.path.join(root, pair.reference))

    def reference_file(self, root: Path, pair: FoundPair) -> str | None:
        """The file that holds the reference image and nothing else; None where there is none."""
        return os.path.join(root, pair.reference)


@dataclass(frozen=True, kw_only=True)
class Layout(ABC):
    """An arrangement of pairs.

    `data_set`: the name in `data_sets.DATA_SETS` of the one set that is arranged so, if it is one.
    `signature`: whether a folder is arranged so, from a glance at it. No two layouts may know the
    same folder; a layout without one is chosen by name, or as `choosing` says.
    `reference_border`: pixels by which the reference may exceed the degraded image on each side;
    they are cut off.
    `has_references` is False where what degraded images belong to are no images (`counterpart`).
    """

    name: str
    description: str
    data_set: str | None = None
    signature: Callable[[Glance], bool] = lambda glance: False
    reference_border: int = 0
    has_references: bool = True
    counterpart: str = "reference"
    reader: ClassVar[PairReader] = PairReader()

    @abstractmethod
    def entries(self, root: Path, split: Split | None) -> Iterator[Entry]:
        """The images below `root`, in any order, at least those of `split` (None: of all).

        Nothing is kept in memory: a folder may hold millions.
        """

    def parts(self, root: Path) -> dict[Split, Path]:
        """The splits that the folder tells apart, and the folder or file of each."""
        return split_folders(root)

    def place(self, root: Path, split: Split) -> tuple[Split | None, Path]:
        """The split to read when `split` is asked for, and where it is.

        A folder with train/ alone has no test images of its own; its train/ stands for both, and
        the caller decides what to hold out.
        """
        parts = self.parts(root)
        if not parts:
            return None, root
        if split in parts:
            return split, parts[split]
        ((only, path),) = parts.items()
        if split == "train" and path.is_dir():
            raise IrkdError(
                f"{root} has {path.name}/ but no train/ folder. To train on {path.name}/ all the "
                f"same, name it: {path}."
            )
        if split == "train":
            raise IrkdError(
                f"{root} has test images ({path.name}) but none to train on. Add them as the data "
                "set's authors arrange them, or choose another folder."
            )
        return only, path

    def places(self, root: Path, split: Split | None) -> list[Path]:
        """Where to look for the pairs of `split`, or of all."""
        parts = self.parts(root)
        return [parts[split]] if split in parts else list(parts.values()) or [root]

    def shown(self, pair: FoundPair) -> tuple[str, str]:
        """Both sides of a pair as they are printed."""
        return pair.degraded, pair.reference
