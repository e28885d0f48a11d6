"""Putting degraded images and references together by their keys, in bounded memory.

Names are kept in a temporary database on disk, which sorts and joins them: a folder of millions of
files takes no more memory than one of a thousand.
"""

from __future__ import annotations

import os
import sqlite3
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, overload

from irkd.data.layouts.base import Degraded, Entry, FoundPair, Missing, Reference
from irkd.data.layouts.walking import natural
from irkd.data.pairs import Split
from irkd.errors import IrkdError

_BATCH = 1000
_CACHE_KIB = 16 << 10

_TABLES = """
CREATE TABLE degraded (
    name BLOB, path BLOB, key BLOB, split TEXT, position BLOB, PRIMARY KEY (name, path)
) WITHOUT ROWID;
CREATE TABLE reference (key BLOB, path BLOB, PRIMARY KEY (key, path)) WITHOUT ROWID;
CREATE TABLE missing (path BLOB PRIMARY KEY) WITHOUT ROWID;
"""
# Where several files could be meant, the first by name stands for them, and `clashes` tells.
_PAIRS = """
SELECT d.name, d.path, (SELECT min(r.path) FROM reference r WHERE r.key = d.key) AS reference
FROM degraded d
WHERE reference IS NOT NULL
    AND d.path = (SELECT min(e.path) FROM degraded e WHERE e.name = d.name)
    {where}
"""


@contextmanager
def _room() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise IrkdError(
            f"the list of files could not be kept on disk ({error}). Make room for temporary files,"
            " or set TMPDIR to a folder that has some."
        ) from error


class Matches:
    """The entries of a layout, matched. Names come out sorted as people count."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        # An empty name: a file of its own that is removed when the connection closes.
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript(
            f"PRAGMA cache_size = -{_CACHE_KIB}; PRAGMA temp_store = FILE;"
            f"PRAGMA journal_mode = OFF; {_TABLES} BEGIN;"
        )
        stream = iter(entries)
        while batch := list(islice(stream, _BATCH)):
            self._insert(batch)
        with _room():
            self._database.execute("CREATE INDEX by_key ON degraded (key)")

    def pairs(self, split: Split | None = None) -> Iterator[FoundPair]:
        """All pairs, or those whose names put them in `split`."""
        query = _PAIRS.format(where="AND d.split = ?" if split else "")
        rows = self._rows(f"{query} ORDER BY d.position, d.name", *([split] if split else []))
        for name, degraded, reference in rows:
            yield FoundPair(name, degraded, reference)

    def count(self, split: Split | None = None) -> int:
        query = _PAIRS.format(where="AND d.split = ?" if split else "")
        values = [split] if split else []
        (number,) = self._database.execute(f"SELECT count(*) FROM ({query})", values).fetchone()
        return int(number)

    def unmatched_degraded(self) -> Iterator[str]:
        """Degraded images without a reference."""
        query = """
            SELECT path FROM degraded d
            WHERE NOT EXISTS (SELECT 1 FROM reference r WHERE r.key = d.key) ORDER BY path
        """
        return (path for (path,) in self._rows(query))

    def unmatched_reference(self) -> Iterator[str]:
        """References that no degraded image belongs to."""
        query = """
            SELECT path FROM reference r
            WHERE NOT EXISTS (SELECT 1 FROM degraded d WHERE d.key = r.key) ORDER BY path
        """
        return (path for (path,) in self._rows(query))

    def missing(self) -> Iterator[str]:
        """Files that lists name and that are not there."""
        return (path for (path,) in self._rows("SELECT path FROM missing ORDER BY path"))

    def clashes(self) -> Iterator[tuple[str, str]]:
        """Files of which one name could mean either: the one taken, and another."""
        query = """
            SELECT min(path), max(path) FROM degraded GROUP BY name HAVING count(*) > 1
            UNION ALL SELECT min(path), max(path) FROM reference GROUP BY key HAVING count(*) > 1
        """
        return ((first, second) for first, second in self._rows(query))

    def examples(self, table: str, number: int) -> list[str]:
        """Some paths of one side: `degraded` or `reference`."""
        rows = self._rows(f"SELECT path FROM {table} ORDER BY path LIMIT {number}")
        return [path for (path,) in rows]

    def close(self) -> None:
        self._database.close()

    def _insert(self, batch: list[Entry]) -> None:
        degraded, references, missing = [], [], []
        for entry in batch:
            path = os.fsencode(entry.path)
            if isinstance(entry, Degraded):
                position = os.fsencode(natural(entry.name))
                name, key = os.fsencode(entry.name), os.fsencode(entry.key)
                degraded.append((name, path, key, entry.split, position))
            elif isinstance(entry, Reference):
                references.append((os.fsencode(entry.key), path))
            elif isinstance(entry, Missing):
                missing.append((path,))
        insert = self._database.executemany
        with _room():
            insert("INSERT OR IGNORE INTO degraded VALUES (?, ?, ?, ?, ?)", degraded)
            insert("INSERT OR IGNORE INTO reference VALUES (?, ?)", references)
            insert("INSERT OR IGNORE INTO missing VALUES (?)", missing)

    def _rows(self, query: str, *values: Any) -> Iterator[tuple[str, ...]]:
        # Names are bytes in the database: not all that file systems allow are texts.
        for row in self._database.execute(query, values):
            yield tuple(os.fsdecode(value) for value in row)


class PairTable(Sequence[FoundPair]):
    """Pairs in little memory: their texts in one block that forked processes share."""

    def __init__(self, pairs: Iterable[FoundPair]) -> None:
        texts, ends = bytearray(), array("Q", [0])
        for pair in pairs:
            for text in (pair.name, pair.degraded, pair.reference):
                texts += os.fsencode(text)
                ends.append(len(texts))
        self._texts, self._ends = bytes(texts), ends

    def __len__(self) -> int:
        return len(self._ends) // 3

    @overload
    def __getitem__(self, index: int) -> FoundPair: ...

    @overload
    def __getitem__(self, index: slice) -> list[FoundPair]: ...

    def __getitem__(self, index: int | slice) -> FoundPair | list[FoundPair]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(index)
        ends = self._ends[3 * number : 3 * number + 4]
        texts = [self._texts[ends[k] : ends[k + 1]] for k in range(3)]
        return FoundPair(*map(os.fsdecode, texts))
