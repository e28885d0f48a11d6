"""Pairs read from folders."""

from __future__ import annotations

from pathlib import Path

from irkd.data.crops import check_size
from irkd.data.data_sets import identify
from irkd.data.layouts import check_folder, find_pairs, list_images, split_folder
from irkd.data.pairs import Image, Pair, Split
from irkd.data.procedural import Floats
from irkd.data.reading import image_size, read_image
from irkd.data.synthetic import CLEAN_FOLDER, SyntheticPairs
from irkd.errors import IrkdError


class FolderPairs:
    """Degraded and reference images that stand on disk.

    `unmatched`: files of either side without a partner, relative to the folder; they are left out.
    Raises IrkdError when two files could be the same image.
    """

    def __init__(
        self, root: Path, *, task: str | None, split: Split = "test", layout: str = "auto"
    ) -> None:
        found = find_pairs(root, layout=layout, split=split)
        if found.clashes:
            first, second = found.clashes[0]
            raise IrkdError(
                f"{root}: {first} and {second} have the same stem, so that it is not clear which "
                f"to take ({len(found.clashes)} such cases). Remove one of each."
            )
        self.name = str(found.folder)
        self.layout = found.layout.name
        self.data_set = identify(found)
        self.task = task or (self.data_set.task if self.data_set else None)
        self.unmatched = found.unmatched_degraded + found.unmatched_reference + found.missing
        self._root, self._pairs = root, found.pairs
        self._border, self._reader = found.layout.reference_border, found.layout.reader

    def __len__(self) -> int:
        return len(self._pairs)

    def pair_name(self, index: int) -> str:
        return self._pairs[index].name

    def reference_name(self, index: int) -> str:
        """The clean image's file: that of many pairs, in sets with several rains to an image."""
        return self._pairs[index].reference

    def load(self, index: int, epoch: int = 0) -> Pair:
        pair = self._pairs[index]
        degraded, reference = self._reader.load(self._root, pair)
        size, full = degraded.shape[:2], reference.shape[:2]
        border = reference_border(size, full, self._border)
        if border is None:
            raise IrkdError(size_mismatch(self._root, pair.degraded, pair.reference, size, full))
        if border:
            reference = reference[border:-border, border:-border].copy()
        return Pair(pair.name, degraded, reference)

    def check_patch(self, patch: int) -> None:
        """IrkdError for the first pair smaller than the patch, from the files' headers."""
        for index, pair in enumerate(self._pairs):
            check_size(*self.image_size(index), patch, str(self._root / pair.degraded))

    def image_size(self, index: int) -> tuple[int, int]:
        return self._reader.degraded_size(self._root, self._pairs[index])


class CleanFolderPairs(SyntheticPairs):
    """A folder of clean images, degraded on the fly for a task."""

    def __init__(self, root: Path, *, task: str, split: Split = "test", seed: int = 0) -> None:
        check_folder(root)
        self._folder = split_folder(root, split)
        self._images = list_images(self._folder)
        if not self._images:
            raise IrkdError(f"{self._folder}: no images in it or the folders below it.")
        self.name = str(self._folder)
        self.task = self._degradation = task
        self._seed, self._stream = seed, CLEAN_FOLDER
        part = self._folder.relative_to(root).as_posix()
        self._prefix = "" if part == "." else f"{part}/"

    def __len__(self) -> int:
        return len(self._images)

    def pair_name(self, index: int) -> str:
        # With the ending: two clean images of one stem are different images all the same.
        return self._prefix + self._images[index]

    def clean(self, index: int) -> tuple[Image, Floats | None]:
        return read_image(self._folder / self._images[index]), None

    def check_patch(self, patch: int) -> None:
        """IrkdError for the first image smaller than the patch, from the files' headers."""
        for index, name in enumerate(self._images):
            check_size(*self.image_size(index), patch, str(self._folder / name))

    def image_size(self, index: int) -> tuple[int, int]:
        return image_size(self._folder / self._images[index])


def reference_border(size: tuple[int, ...], full: tuple[int, ...], allowed: int) -> int | None:
    """Pixels to cut from each side of the reference: 0 or `allowed`; None for a true mismatch."""
    if size == full:
        return 0
    fits = allowed and (full[0] - size[0], full[1] - size[1]) == (2 * allowed, 2 * allowed)
    return allowed if fits else None


def size_mismatch(
    root: Path, degraded: str, reference: str, size: tuple[int, ...], full: tuple[int, ...]
) -> str:
    return (
        f"{root}: {degraded} is {size[1]} x {size[0]} pixels but its reference {reference} is "
        f"{full[1]} x {full[0]}. Both must have the same size; fix or remove the pair."
    )
