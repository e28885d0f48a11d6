"""Files that are either complete or absent, and never overwrite anything unasked."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from irkd.errors import IrkdError


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raise unless `path` is free or may be replaced."""
    if path.exists() and not overwrite:
        raise IrkdError(f"{path} exists already. Choose another name, or add --overwrite.")


@contextlib.contextmanager
def atomic_path(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it into place when the block ends well.

    The temporary file has the same suffix, so that writers that choose a format by suffix work.
    Bytes reach the disk before the move: after a power cut, `path` is the old file or the new one.
    """
    path = Path(path)
    refuse_existing(path, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not all of a long name: with what is added the temporary one would be too long.
    name = f".{path.stem[:40]}.{secrets.token_hex(8)}{path.suffix}"
    temporary = path.with_name(name)
    try:
        temporary.touch(exist_ok=False)  # here, or Ctrl-C just after it would leave it
        yield temporary
        refuse_existing(path, overwrite)
        move_into_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def move_into_place(temporary: Path, path: Path) -> None:
    """Replace `path` by the complete file `temporary` beside it, once its bytes are safe."""
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    # Some writers make files private; give them the mode any other new file would get.
    umask = os.umask(0)
    os.umask(umask)
    temporary.chmod(0o666 & ~umask)
    os.replace(temporary, path)
    _fsync_directory(path.parent)


def write_bytes(path: str | Path, data: bytes, *, overwrite: bool = False) -> None:
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | Path, text: str, *, overwrite: bool = False) -> None:
    write_bytes(path, text.encode("utf-8"), overwrite=overwrite)


def write_json(path: str | Path, value: Any, *, overwrite: bool = False) -> None:
    """Write strict JSON; infinities and NaN must be turned into strings or null before."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n", overwrite=overwrite)


def sha256_file(path: str | Path) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fsync_directory(directory: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
