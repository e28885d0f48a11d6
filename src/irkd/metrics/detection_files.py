"""What the readers of annotations and detections share: names, sizes, JSON, numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from irkd.errors import IrkdError
from irkd.metrics.class_names import is_number

Sizes = Mapping[str, tuple[int, int]]
"""Names of image files, relative to their folder, and their (height, width)."""

_SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".jp2", ".avif")
)


def image_key(name: str) -> str:
    """What an image is matched by: its path in lower case, without the suffix of an image."""
    # Lists made on Windows use backslashes, which no name of an image elsewhere holds.
    path = PurePosixPath(PureWindowsPath(name).as_posix())
    text = path.as_posix().lower()
    suffix = path.suffix.lower()
    return text.removesuffix(suffix) if suffix in _SUFFIXES else text


def read_json(path: Path) -> Any:
    """The JSON in `path`. Raises IrkdError for what is missing, empty or damaged."""
    text = read_text(path)
    if not text.strip():
        raise IrkdError(f"{path} is empty.")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise IrkdError(f"{path} is damaged or no JSON: {error}.") from error


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise IrkdError(f"{path}: no such file.") from error
    except UnicodeDecodeError as error:
        raise IrkdError(f"{path} is no text file.") from error
    except OSError as error:
        raise IrkdError(f"{path} cannot be read: {error.strerror}.") from error


def numbers(values: Any, count: int) -> list[float] | None:
    """`values` as `count` finite numbers, or None."""
    if not isinstance(values, list) or len(values) != count:
        return None
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        return None
    try:
        result = [float(value) for value in values]
    except OverflowError:
        return None
    return result if all(map(math.isfinite, result)) else None


def shortened(names: Sequence[Any], most: int = 5) -> str:
    """Names with commas; of many the first few and how many more."""
    shown = [str(name) for name in names[:most]]
    if len(names) > most:
        shown.append(f"{len(names) - most} more")
    return ", ".join(shown)


def stated_size(height: Any, width: Any) -> tuple[int, int] | None:
    """A size that is one; None where a file leaves it out or writes 0."""
    if is_number(height) and is_number(width) and height > 0 and width > 0:
        return height, width
    return None


def size_finder(sizes: Sizes | None) -> Any:
    """What gives the size of an image by its name, or by its stem; (None, None) if unknown."""
    by_key = {image_key(name): name for name in sizes or ()}
    by_stem: dict[str, str | None] = {}
    for key, name in by_key.items():
        stem = key.rpartition("/")[2]
        by_stem[stem] = None if stem in by_stem else name

    def known(name: str) -> tuple[int | None, int | None]:
        key = image_key(name)
        found = by_key.get(key) or by_stem.get(key.rpartition("/")[2])
        return sizes[found] if sizes is not None and found is not None else (None, None)

    return known


def counted_noun(count: int, noun: str) -> str:
    plural = noun + ("es" if noun.endswith("x") else "s")
    return f"{count} {noun if count == 1 else plural}"
