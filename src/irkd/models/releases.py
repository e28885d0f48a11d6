"""Where the weights that a network's authors released are kept, once somebody has them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from irkd.files import sha256_file
from irkd.models.weights_cache import cache_directory, cached_path
from irkd.presets.schema import Release

_SUFFIXES = (".pth", ".pt", ".ckpt", ".safetensors")


def release_path(release: Release, arch: str, task: str) -> Path:
    """Where the file of `release` is looked for: the folder is its alone, whatever it is called."""
    if release.url is not None and release.sha256 is not None:
        return cached_path(release.url, release.sha256)
    parts = [arch, task, release.trained_on or ""]
    folder = "-".join(slug for part in parts if (slug := _slug(part)))
    return cache_directory() / "weights" / folder / release.file


def find_release(releases: Iterable[Release], arch: str, task: str) -> tuple[Release, Path] | None:
    """The first of `releases` that is in the cache, and its file; None when none is.

    A file that was put there by hand may have another name, when it is the only one in its folder.
    One with a known checksum counts only if it has it.
    """
    for release in releases:
        path = release_path(release, arch, task)
        if release.sha256 is not None:
            if path.is_file() and sha256_file(path) == release.sha256.lower():
                return release, path
            continue
        if path.is_file():
            return release, path
        others = [file for file in path.parent.glob("*") if file.suffix.lower() in _SUFFIXES]
        if len(others) == 1 and others[0].is_file():
            return release, others[0]
    return None


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
