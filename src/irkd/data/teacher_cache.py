"""A teacher's output images kept on disk, found by what they were made from.

A cache is a folder for one teacher and one way of running it (the `identity`), with one safetensors
file for each degraded image, named by the hash of its pixels. Nothing in it can be taken for what
it is not: an entry carries the identity, another teacher or another image has another name, and a
file cut short does not open. Entries are moved into place complete, so that any number of processes
may fill a cache at once; the same image gives the same entry.

`index.json` says which pairs of which data are there, so that a run can see at once whether all
are. It is a convenience: the entries alone decide.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from irkd.data.pairs import Image, Pair, PairSource, PairsOver
from irkd.errors import IrkdError
from irkd.files import write_bytes, write_json

if os.name == "posix":
    import fcntl

Storage = Literal["float16", "uint8"]

_TENSOR = "teacher_restored"
_INDEX = "index.json"
_DTYPES: dict[str, Any] = {"float16": np.float16, "uint8": np.uint8}
_STORED_DTYPES = {"float16": "F16", "uint8": "U8"}
# Bytes of an entry besides its pixels, at most.
_HEADER_BYTES = 512


@dataclass(frozen=True)
class Record:
    """A line of the index: the entry of a pair, and the size of its image."""

    key: str
    height: int
    width: int


class TeacherCache:
    """The outputs of one teacher under `root`.

    Args:
        root: the folder that holds caches; each identity has a folder of its own in it.
        identity: what the outputs depend on besides the degraded image: the teacher's weights and
            spec, padding, context. Values that JSON can hold.
        storage: "float16" keeps outputs unclipped, rounded at 77 dB (PSNR) in bright pixels and
            less in dark ones; "uint8" takes half the room, clips to [0, 1] and rounds to 8 bits:
            what a student sees of its teacher is bounded at 58.9 dB.
    """

    def __init__(self, root: Path, identity: Mapping[str, Any], storage: Storage) -> None:
        self.identity = {**identity, "storage": storage}
        self.storage = storage
        canonical = json.dumps(self.identity, sort_keys=True).encode()
        self.digest = hashlib.sha256(canonical).hexdigest()
        self.folder = root / self.digest[:16]

    @staticmethod
    def key(degraded: Image) -> str:
        """The name of the entry for a degraded image: the SHA-256 of its size and pixels."""
        height, width = degraded.shape[:2]
        found = hashlib.sha256(f"{height} x {width} RGB uint8\n".encode())
        found.update(np.ascontiguousarray(degraded).data)
        return found.hexdigest()

    def path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"

    def has(self, record: Record) -> bool:
        """Whether a complete entry of this cache stands there for the image."""
        try:
            self.open(record)
        except (IrkdError, OSError):
            return False
        return True

    def write(self, key: str, restored: NDArray[np.float32]) -> None:
        """Keep the teacher's output for the image `key`: H x W x 3, [0, 1] but not clamped.

        Raises IrkdError where the output has values that the storage cannot hold, and OSError
        where the disk cannot.
        """
        largest = float(np.abs(restored).max(initial=0))
        if not largest <= float(np.finfo(np.float16).max):  # NaN is not
            raise IrkdError(
                "the teacher's output has values that are not finite, or beyond float16. Its"
                " weights do not fit this image or its declared value range."
            )
        if self.storage == "uint8":
            stored = np.rint(np.clip(restored, 0, 1) * 255).astype(np.uint8)
        else:
            stored = restored.astype(np.float16)
        metadata = {"identity": self.digest, "degraded_sha256": key}
        content = save({_TENSOR: np.ascontiguousarray(stored)}, metadata=metadata)
        write_bytes(self.path(key), content, overwrite=True)

    def open(self, record: Record) -> StoredOutput:
        """The entry for an image of this key and size.

        Raises FileNotFoundError when there is none, and IrkdError when the file is damaged or was
        made from something else.
        """
        path = self.path(record.key)
        with _entry(path) as file:
            metadata = file.metadata() or {}
            if _TENSOR not in file.keys():  # noqa: SIM118 (no mapping)
                raise IrkdError(f"{path} holds no output of a teacher.{_REMEDY}")
            part = file.get_slice(_TENSOR)
            shape, kind = tuple(part.get_shape()), part.get_dtype()
        expected = (record.height, record.width, 3)
        if (
            metadata.get("identity") != self.digest
            or metadata.get("degraded_sha256") != record.key
            or shape != expected
            or kind != _STORED_DTYPES[self.storage]
        ):
            raise IrkdError(
                f"{path} is the output of another teacher, for another image, or stored in"
                f" another way.{_REMEDY}"
            )
        return StoredOutput(path)

    def index(self) -> dict[str, dict[str, Record]]:
        """Records by pair, by data set. {} where there is no index.

        Raises IrkdError when the index is damaged or another cache's.
        """
        path = self.folder / _INDEX
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["identity"] != self.identity:
                raise IrkdError(f"{path} belongs to the outputs of another teacher.{_REMEDY}")
            return {
                data: {pair: Record(**record) for pair, record in pairs.items()}
                for data, pairs in content["data"].items()
            }
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise IrkdError(f"{path} is damaged.{_REMEDY}") from error

    def add_to_index(self, data: str, records: Mapping[str, Record]) -> None:
        """Note the entries of pairs of a data set, beside what is noted already.

        An index that cannot be read is replaced: it can be made again, and is being made.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with _locked(self.folder / ".lock"):
            try:
                index = self.index()
            except IrkdError:
                index = {}
            index.setdefault(data, {}).update(records)
            content = {
                "identity": self.identity,
                "data": {
                    name: {pair: vars(record) for pair, record in sorted(pairs.items())}
                    for name, pairs in index.items()
                },
            }
            write_json(self.folder / _INDEX, content, overwrite=True)


_REMEDY = " `--cache-teacher build` makes it again."


class StoredOutput:
    """A teacher's output on disk, read in parts: `output[rows, columns]` is h x w x 3."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __getitem__(self, window: tuple[slice, slice]) -> NDArray[Any]:
        with _entry(self._path) as file:
            part: NDArray[Any] = file.get_slice(_TENSOR)[window]
        return part


def entry_bytes(height: int, width: int, storage: Storage) -> int:
    """What an entry takes on disk, give or take a block."""
    return height * width * 3 * np.dtype(_DTYPES[storage]).itemsize + _HEADER_BYTES


class CachedPairs(PairsOver):
    """Pairs with what the teacher made of each degraded image, read from a cache.

    The pixels that are loaded find the entry, so that an image that has changed since is noticed.
    """

    def __init__(self, source: PairSource, cache: TeacherCache) -> None:
        super().__init__(source)
        self._cache = cache

    def load(self, index: int, epoch: int = 0) -> Pair:
        pair = self._source.load(index, epoch)
        try:
            stored = self._cache.open(record_of(pair))
        except FileNotFoundError:
            raise IrkdError(
                f"{pair.name}: no output of the teacher is kept for this image in"
                f" {self._cache.folder}; it has changed since they were made."
                " `--cache-teacher build` makes what is missing."
            ) from None
        return replace(pair, teacher_restored=stored)


def record_of(pair: Pair) -> Record:
    height, width = pair.degraded.shape[:2]
    return Record(TeacherCache.key(pair.degraded), height, width)


@contextlib.contextmanager
def _entry(path: Path) -> Iterator[Any]:
    """An entry opened for reading, or IrkdError when it is damaged."""
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except SafetensorError as error:
        raise IrkdError(f"{path} is damaged ({error}).{_REMEDY}") from error


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as lock:
        if os.name == "posix":
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
