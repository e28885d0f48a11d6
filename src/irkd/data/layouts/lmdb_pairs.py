"""LMDB databases of BasicSR and NAFNet: one file of encoded images for each side."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from irkd.data.layouts.base import Degraded, Entry, FoundPair, Layout, PairReader, Reference, Size
from irkd.data.layouts.glance import Glance
from irkd.data.layouts.side_folders import (
    DEGRADED_FOLDERS,
    REFERENCE_FOLDERS,
    joined,
    listed_folders,
    relative,
)
from irkd.data.layouts.walking import DEEPEST, plain, stem_of, subfolders
from irkd.data.pairs import Image, Split
from irkd.data.reading import decode_image, encoded_size, is_image_name
from irkd.errors import IrkdError

_ENDING = ".lmdb"
_META = "meta_info.txt"
_MOST_OPEN = 64
_environments: dict[Path, Any] = {}
_lock = threading.RLock()


class Databases(PairReader):
    """Images are called FOLDER.lmdb/KEY."""

    def load(self, root: Path, pair: FoundPair) -> tuple[Image, Image]:
        first, second = (
            decode_image(bytes(_stored(root, path)), str(root / path))
            for path in (pair.degraded, pair.reference)
        )
        return first, second

    def degraded_size(self, root: Path, pair: FoundPair) -> Size:
        return encoded_size(_stored(root, pair.degraded), str(root / pair.degraded))

    def reference_size(self, root: Path, pair: FoundPair) -> Size:
        return encoded_size(_stored(root, pair.reference), str(root / pair.reference))

    def reference_file(self, root: Path, pair: FoundPair) -> None:
        return None


def _stored(root: Path, path: str) -> bytes:
    database, _, key = path.partition(f"{_ENDING}/")
    with _lock, _open(root / f"{database}{_ENDING}").begin() as transaction:
        value: bytes | None = transaction.get(key.encode("utf-8", "surrogateescape"))
    if value is None:
        raise IrkdError(f"{root / path}: {_META} names it, but the database does not hold it.")
    return value


def _open(folder: Path) -> Any:
    if folder not in _environments:
        lmdb = _package()
        if len(_environments) >= _MOST_OPEN:
            _close_all()
        try:
            _environments[folder] = lmdb.open(
                str(folder), readonly=True, lock=False, readahead=False, meminit=False
            )
        except lmdb.Error as error:
            raise IrkdError(f"{folder}: not a readable LMDB database ({error}).") from error
    return _environments[folder]


def _close_all() -> None:
    with _lock:
        for environment in _environments.values():
            environment.close()
        _environments.clear()


# An environment is of no use to a process forked after it was opened, and keeps it from opening
# its own: both open theirs anew.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_close_all)


def _package() -> Any:
    try:
        import lmdb
    except ImportError as error:
        raise IrkdError(
            "reading LMDB databases needs the package lmdb. Install it with: pip install"
            " 'irkd[lmdb]'"
        ) from error
    return lmdb


def _side(name: str) -> str | None:
    """`input`, `blur`, ... of input.lmdb, blur_crops.lmdb, ...; None for other folders."""
    text = plain(name)
    return text.removesuffix(_ENDING).removesuffix("_crops") if text.endswith(_ENDING) else None


def _signature(glance: Glance) -> bool:
    return any(
        _side(name) in (*DEGRADED_FOLDERS, *REFERENCE_FOLDERS)
        for folder in glance.folders.values()
        for name in folder.folders
    )


@dataclass(frozen=True, kw_only=True)
class LmdbPairs(Layout):
    """Two databases side by side, whose images have the same keys."""

    reader: ClassVar[PairReader] = Databases()

    def entries(self, root: Path, split: Split | None) -> Iterator[Entry]:
        for folder in self.places(root, split):
            for degraded, reference in _databases(folder):
                _package()
                where = relative(degraded.parent, root)
                for key in _keys(reference):
                    path = joined(relative(reference, root), key)
                    yield Reference(joined(where, key), path)
                for key in _keys(degraded):
                    name = joined(where, key)
                    yield Degraded(name, joined(relative(degraded, root), key), name)


def _databases(folder: Path, depth: int = 0) -> Iterator[tuple[Path, Path]]:
    names = subfolders(folder)
    degraded = [name for name in names if _side(name) in DEGRADED_FOLDERS]
    references = [name for name in names if _side(name) in REFERENCE_FOLDERS]
    for several in (degraded, references):
        if len(several) > 1 and degraded and references:
            raise IrkdError(
                f"{folder} holds {listed_folders(several)}, which could all be the same side of "
                "the pairs. Keep one of them there, or name a folder that has only one."
            )
    if degraded and references:
        yield folder / degraded[0], folder / references[0]
    elif depth < DEEPEST:
        for name in names:
            if _side(name) is None:
                yield from _databases(folder / name, depth + 1)


def _keys(folder: Path) -> Iterator[str]:
    """The keys that BasicSR's list names: `NAME.png (height,width,channels) level` a line."""
    path = folder / _META
    try:
        with path.open(encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                name = line.rpartition(" (")[0].strip() or line.strip()
                if name:
                    yield stem_of(name) if is_image_name(name) else name
    except OSError as error:
        raise IrkdError(
            f"{path}: cannot be read ({error.strerror}). Expected the list of images that BasicSR "
            "writes beside every database."
        ) from error


LAYOUTS = (
    LmdbPairs(
        name="lmdb",
        description="input.lmdb and target.lmdb, also blur_crops.lmdb and the like (BasicSR)",
        signature=_signature,
    ),
)
