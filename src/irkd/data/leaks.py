"""Clean images that stand on both sides of a line that they should not cross."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from irkd.data.layouts.base import FoundPair, PairReader
from irkd.errors import IrkdError

_BATCH = 1000
_CACHE_KIB = 8 << 10
_EXAMPLES = 5
# Bytes at either end of a file that are compared before all of it is.
_END = 4096


@dataclass
class SharedImages:
    """Clean images of `first` that `second` has too; `examples` are paths of both.

    `compared` and `skipped` count the images that were looked at, and those that were not since
    they are no files of their own (or, by pixels, could not be read).
    """

    first: str
    second: str
    count: int
    examples: list[tuple[str, str]]
    by: str
    compared: int
    skipped: int


class CleanImages:
    """The references of two groups, to be compared; kept on disk, not in memory.

    By default files are compared as they are, first by size: only files that could be equal are
    read. With `pixels`, every image is decoded when it is added, so that copies in another format
    are found as well.
    """

    def __init__(self, first: str, second: str, *, pixels: bool = False) -> None:
        self._names, self._pixels = (first, second), pixels
        self._compared = self._skipped = 0
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript(
            f"PRAGMA cache_size = -{_CACHE_KIB}; PRAGMA temp_store = FILE;"
            "PRAGMA journal_mode = OFF;"
            "CREATE TABLE image (side INTEGER, path BLOB, shown BLOB, mark BLOB,"
            " PRIMARY KEY (side, path)) WITHOUT ROWID; BEGIN;"
        )

    def add(self, side: int, root: Path, pair: FoundPair, reader: PairReader) -> None:
        """The reference of `pair`, once, to group 0 or 1."""
        path = os.fsencode(os.path.join(root, pair.reference))
        known = self._database.execute(
            "SELECT 1 FROM image WHERE side = ? AND path = ?", (side, path)
        )
        if known.fetchone():
            return
        if self._pixels:
            mark = _pixel_mark(root, pair, reader)
        else:
            file = reader.reference_file(root, pair)
            mark = None if file is None else _size_mark(path)
        if mark is None:
            self._skipped += 1
        else:
            self._compared += 1
            values = (side, path, os.fsencode(pair.reference), mark)
            self._database.execute("INSERT INTO image VALUES (?, ?, ?, ?)", values)

    def shared(self) -> SharedImages:
        self._keep_common()
        if not self._pixels:
            for stage in (_ends_mark, _content_mark):
                self._remark(stage)
                self._keep_common()
        (count,) = self._database.execute(
            "SELECT count(DISTINCT mark) FROM image WHERE side = 0"
        ).fetchone()
        rows = self._database.execute(
            "SELECT a.shown, min(b.shown) FROM image a JOIN image b ON a.mark = b.mark"
            f" WHERE a.side = 0 AND b.side = 1 GROUP BY a.mark ORDER BY a.shown LIMIT {_EXAMPLES}"
        )
        examples = [(os.fsdecode(first), os.fsdecode(second)) for first, second in rows]
        by = "pixels" if self._pixels else "files"
        return SharedImages(*self._names, int(count), examples, by, self._compared, self._skipped)

    def close(self) -> None:
        self._database.close()

    def _keep_common(self) -> None:
        self._database.executescript(
            "DROP INDEX IF EXISTS by_mark; CREATE INDEX by_mark ON image (mark, side);"
            "DELETE FROM image WHERE NOT EXISTS"
            " (SELECT 1 FROM image o WHERE o.mark = image.mark AND o.side <> image.side);"
        )

    def _remark(self, mark_of: Callable[[bytes], bytes | None]) -> None:
        for side, path in self._all():
            self._database.execute(
                "UPDATE image SET mark = ? WHERE side = ? AND path = ?", (mark_of(path), side, path)
            )

    def _all(self) -> Iterator[tuple[int, bytes]]:
        last: tuple[int, bytes] = (-1, b"")
        query = (
            "SELECT side, path FROM image WHERE (side, path) > (?, ?) ORDER BY side, path"
            f" LIMIT {_BATCH}"
        )
        while rows := self._database.execute(query, last).fetchall():
            yield from rows
            last = rows[-1]


def _pixel_mark(root: Path, pair: FoundPair, reader: PairReader) -> bytes | None:
    try:
        reference = reader.load(root, pair)[1]
    except IrkdError:
        return None
    return hashlib.blake2b(repr(reference.shape).encode() + reference.tobytes()).digest()


def _size_mark(path: bytes) -> bytes | None:
    try:
        return os.stat(path).st_size.to_bytes(8, "big")
    except OSError:
        return None


def _ends_mark(path: bytes) -> bytes | None:
    try:
        with open(path, "rb") as file:
            first = file.read(_END)
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - _END))
            return hashlib.blake2b(size.to_bytes(8, "big") + first + file.read(_END)).digest()
    except OSError:
        return None


def _content_mark(path: bytes) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "blake2b").digest()
    except OSError:
        return None
