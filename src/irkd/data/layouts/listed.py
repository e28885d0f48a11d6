"""Layouts whose pairs are lines of a text file: one line, two paths."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from irkd.data.layouts.base import Degraded, Entry, Missing, Reference
from irkd.data.layouts.side_folders import SideFolders, joined, relative
from irkd.data.layouts.walking import is_hidden, listed, stem_of
from irkd.data.pairs import Split
from irkd.errors import IrkdError

# A list stands at most this far below the root.
_LIST_DEPTH = 2
_SAMPLE = 50


@dataclass(frozen=True, kw_only=True)
class Listed(SideFolders):
    """Lists say what belongs together, and which split it is of; without any, two folders do.

    `train_list`, `test_list`: the names of the files, as patterns that ignore case.
    `degraded_column`: 0 where the degraded image comes first on a line, 1 where the reference does.
    """

    train_list: str
    test_list: str
    degraded_column: int

    def parts(self, root: Path) -> dict[Split, Path]:
        patterns: dict[Split, str] = {"train": self.train_list, "test": self.test_list}
        parts: dict[Split, Path] = {}
        for path in _text_files(root):
            for split, pattern in patterns.items():
                if re.fullmatch(pattern, path.name, re.IGNORECASE):
                    parts.setdefault(split, path)
        return parts

    def entries(self, root: Path, split: Split | None) -> Iterator[Entry]:
        for part in self.places(root, split):
            if part.is_dir():
                for degraded, reference in self.pair_folders(part):
                    yield from self.entries_of(root, degraded, reference)
            else:
                yield from self._lines(root, part)

    def _lines(self, root: Path, path: Path) -> Iterator[Entry]:
        folder = relative(_start(root, path), root)
        for columns in _columns(path):
            degraded = joined(folder, columns[self.degraded_column])
            reference = joined(folder, columns[1 - self.degraded_column])
            name = stem_of(degraded)
            there = [os.path.isfile(os.path.join(root, side)) for side in (degraded, reference)]
            if there[0]:
                yield Degraded(reference, degraded, name)
            else:
                yield Missing(degraded)
            if there[1]:
                yield Reference(reference, reference)
            else:
                yield Missing(reference)


def _columns(path: Path) -> Iterator[tuple[str, str]]:
    """The first two paths of every line that is not empty, relative to wherever the list counts.

    Lines may begin with `/` or `./`: the authors' programs put their own folder before it.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
            for number, line in enumerate(lines, start=1):
                words = line.split()
                if not words:
                    continue
                if len(words) < 2 or any("\0" in word for word in words[:2]):
                    raise IrkdError(
                        f"{path}, line {number}: expected two paths, found {line.strip()[:80]!r}."
                    )
                first, second = (_inside(path, number, word) for word in words[:2])
                yield first, second
    except OSError as error:
        raise IrkdError(f"{path}: cannot be read ({error.strerror}).") from error


def _inside(path: Path, number: int, word: str) -> str:
    parts = [part for part in PurePosixPath(word).parts if part not in ("/", "//", ".")]
    if not parts or ".." in parts:
        raise IrkdError(
            f"{path}, line {number}: {word[:80]!r} leads out of the data set's folder. Expected "
            "paths below it."
        )
    return "/".join(parts)


def _start(root: Path, path: Path) -> Path:
    """The folder that the list's paths count from: its own, or one between that and the root."""
    folders = [path.parent, *path.parent.parents]
    candidates = folders[: folders.index(root) + 1]
    sample = list(islice(_columns(path), _SAMPLE))

    def there(folder: Path) -> int:
        return sum((folder / name).is_file() for columns in sample for name in columns)

    return max(candidates, key=there)


def _text_files(root: Path, folder: str = "", depth: int = 0) -> Iterator[Path]:
    below = []
    with listed(root / folder) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if entry.name.lower().endswith(".txt") and entry.is_file():
                yield Path(entry.path)
            elif depth < _LIST_DEPTH and entry.is_dir():
                below.append(joined(folder, entry.name))
    for name in sorted(below):
        yield from _text_files(root, name, depth + 1)
