"""Layouts with a folder of degraded images beside a folder of references."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from irkd.data.layouts.base import Degraded, Entry, Layout, Reference
from irkd.data.layouts.walking import (
    DEEPEST,
    images_below,
    is_hidden,
    listed,
    plain,
    stem_of,
)
from irkd.data.pairs import Split
from irkd.errors import IrkdError

DEGRADED_FOLDERS = (
    *("input", "lq", "degraded", "rain", "rainy", "rainy_image"),
    *("blur", "blurry", "hazy", "haze", "noisy"),
)
REFERENCE_FOLDERS = (
    *("target", "gt", "hq", "reference", "clean", "clear", "sharp"),
    *("ground_truth", "groundtruth", "norain"),
)

StemKey = Callable[[str], str | None]


def same(stem: str) -> str:
    return stem


@dataclass(frozen=True, kw_only=True)
class SideFolders(Layout):
    """Two folders side by side, such as input/ and target/, anywhere below the root.

    `degraded_key` and `reference_key` make of a stem what both sides have in common, or None for a
    name that belongs to no pair.
    `within_subfolders`: the folders below both are the same; else names alone tell.
    `official_split` says to which split a key belongs, where the data set's authors or the field
    fixed that by name and the folders do not tell.
    `not_below`: folders whose pairs are another layout's.
    `generic`: arrangements of which one is found out by trying which matches most files.
    """

    degraded_folders: tuple[str, ...] = DEGRADED_FOLDERS
    reference_folders: tuple[str, ...] = REFERENCE_FOLDERS
    degraded_key: StemKey = same
    reference_key: StemKey = same
    within_subfolders: bool = True
    official_split: Callable[[str], Split] | None = None
    not_below: tuple[str, ...] = ()
    generic: bool = False

    def entries(self, root: Path, split: Split | None) -> Iterator[Entry]:
        for folder in self.places(root, split):
            for degraded, reference in self.pair_folders(folder):
                yield from self.entries_of(root, degraded, reference, by_name=folder == root)

    def pair_folders(self, folder: Path) -> Iterator[tuple[Path, Path]]:
        """Folders of degraded images and of references that stand side by side."""
        for degraded, reference in _pair_folders(
            folder, self.degraded_folders, self.reference_folders
        ):
            where = degraded.parent.relative_to(folder).parts
            if {plain(part) for part in where}.isdisjoint(self.not_below):
                yield degraded, reference

    def entries_of(
        self, root: Path, degraded: Path, reference: Path, *, by_name: bool = False
    ) -> Iterator[Entry]:
        """The images of two such folders; `by_name`: their names may tell the split."""
        where, below = relative(degraded.parent, root), relative(reference, root)
        for path, parent, stem in _images(reference):
            key = self.reference_key(stem)
            # A key that no degraded image has keeps a file of no pair among the unmatched.
            key = f"\0{path}" if key is None else joined(where, self._key(parent, key))
            yield Reference(key, joined(below, path))
        below = relative(degraded, root)
        for path, parent, stem in _images(degraded):
            key = self.degraded_key(stem)
            full = joined(below, path)
            name = joined(where, joined(parent, stem))
            if key is None:
                yield Degraded(f"\1{path}", full, name)
                continue
            split = self.official_split(key) if by_name and self.official_split else None
            yield Degraded(joined(where, self._key(parent, key)), full, name, split)

    def _key(self, parent: str, key: str) -> str:
        return joined(parent, key) if self.within_subfolders else key


def joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def relative(path: Path, root: Path) -> str:
    """`path` below `root` with forward slashes; empty for the root itself."""
    text = path.relative_to(root).as_posix()
    return "" if text == "." else text


def _images(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Path below the folder, its parent, its stem."""
    for path in images_below(folder):
        parent, _, name = path.rpartition("/")
        yield path, parent, stem_of(name)


def _pair_folders(
    folder: Path, degraded_names: tuple[str, ...], reference_names: tuple[str, ...], depth: int = 0
) -> Iterator[tuple[Path, Path]]:
    degraded, references = [], []
    for name in _shown_folders(folder):
        if plain(name) in degraded_names:
            degraded.append(name)
        if plain(name) in reference_names:
            references.append(name)
    for several in (degraded, references):
        if len(several) > 1 and degraded and references:
            raise IrkdError(
                f"{folder} holds {listed_folders(sorted(several))}, which could all be the same "
                "side of the pairs. Keep one of them there, or name a folder that has only one."
            )
    if degraded and references:
        yield folder / degraded[0], folder / references[0]
    elif depth < DEEPEST:
        for name in _shown_folders(folder):
            yield from _pair_folders(folder / name, degraded_names, reference_names, depth + 1)


def _shown_folders(folder: Path) -> Iterator[str]:
    with listed(folder) as entries:
        for entry in entries:
            if not is_hidden(entry.name) and entry.is_dir():
                yield entry.name


def listed_folders(names: list[str]) -> str:
    return " and ".join(f"{name}/" for name in names)
