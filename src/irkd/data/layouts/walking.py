"""Listing folders as streams: names one at a time, however many there are."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from irkd.data.pairs import Split
from irkd.data.reading import is_image_name
from irkd.errors import IrkdError

SPLIT_FOLDERS: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "test": ("test", "testing", "val", "validation"),
}
_ALIASES = {alias for aliases in SPLIT_FOLDERS.values() for alias in aliases}
# Deeper folders are not searched; a loop of symbolic links ends here.
DEEPEST = 4


def files_below(top: Path, folder: str = "", depth: int = 0) -> Iterator[str]:
    """Files below `top`, in no order: paths relative to it, with forward slashes.

    Hidden files and folders are passed over.
    """
    with listed(top / folder) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            path = f"{folder}/{entry.name}" if folder else entry.name
            if not entry.is_dir():
                yield path
            elif depth < DEEPEST:
                yield from files_below(top, path, depth + 1)


def images_below(top: Path, folder: str = "") -> Iterator[str]:
    """The images among `files_below`, by their names."""
    return filter(is_image_name, files_below(top, folder))


def list_images(folder: Path) -> list[str]:
    """All images below `folder`: paths relative to it, with forward slashes, sorted."""
    return sorted(images_below(folder))


def subfolders(folder: Path) -> list[str]:
    with listed(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and is_shown(entry.name))


@contextmanager
def listed(folder: Path) -> Iterator[Iterator[os.DirEntry[str]]]:
    """The entries of a folder as a stream, or IrkdError where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            yield entries
    except (PermissionError, NotADirectoryError, FileNotFoundError) as error:
        raise IrkdError(f"{error.filename}: cannot be listed ({error.strerror}).") from error


def split_folders(root: Path) -> dict[Split, Path]:
    """The folders of splits that `root` has; the first alias counts where there are several."""
    root = unwrapped(root)
    names = {plain(name): name for name in subfolders(root)}
    return {
        split: root / next(names[alias] for alias in aliases if alias in names)
        for split, aliases in SPLIT_FOLDERS.items()
        if not names.keys().isdisjoint(aliases)
    }


def unwrapped(root: Path) -> Path:
    """The folder in which there is more than one other folder: archives bring their own around it.

    A folder of one split is not looked into.
    """
    for _ in range(DEEPEST):
        names = subfolders(root)
        if len(names) != 1 or plain(names[0]) in _ALIASES or not subfolders(root / names[0]):
            break
        root = root / names[0]
    return root


def check_folder(root: Path) -> None:
    if not root.exists():
        raise IrkdError(f"{root}: no such folder.")
    if not root.is_dir():
        raise IrkdError(f"{root} is a file; expected a folder of images.")


def is_hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX"))


def is_shown(name: str) -> bool:
    return not is_hidden(name)


def plain(name: str) -> str:
    """A folder's name as it is compared: `Ground Truth`, `ground-truth` and `ground_truth`."""
    return name.casefold().replace(" ", "_").replace("-", "_")


def stem_of(name: str) -> str:
    """The name without its last ending: names may hold several dots."""
    return name.rpartition(".")[0] or name


def natural(name: str) -> str:
    """A text that sorts as people count: 2 before 10."""
    return re.sub("[0-9]+", _counted, name)


def _counted(match: re.Match[str]) -> str:
    # Numbers sort by their lengths, then by their digits; before anything else in their place.
    digits = match[0].lstrip("0") or "0"
    return f"\x01{len(digits):05d}{digits}"
