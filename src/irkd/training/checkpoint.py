"""Checkpoints that are either complete or not there, and finding the newest valid one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from irkd.errors import IrkdError
from irkd.files import atomic_path, sha256_file, write_json


def save_checkpoint(directory: Path, step: int, state: dict[str, Any], keep: int) -> Path:
    """Write `state` as step-NNNNNNNN.pt, then its completeness marker; drop all but `keep` newest.

    The marker (size and SHA-256) is written last: a checkpoint without one is never loaded.
    """
    path = directory / f"step-{step:08d}.pt"
    with atomic_path(path, overwrite=True) as temporary:
        torch.save(state, temporary)
    marker = {"step": step, "bytes": path.stat().st_size, "sha256": sha256_file(path)}
    write_json(path.with_suffix(".json"), marker, overwrite=True)
    for old in sorted(directory.glob("step-*.pt"))[:-keep]:
        # The marker goes first, so that a half-removed checkpoint is not taken for a whole one.
        old.with_suffix(".json").unlink(missing_ok=True)
        old.unlink()
    return path


def load_newest(directory: Path) -> dict[str, Any]:
    """The state of the newest complete checkpoint. Raises IrkdError when there is none."""
    for path in _newest_first(directory):
        if _is_complete(path):
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            return state
    raise IrkdError(f"{directory} holds no complete checkpoint to resume from.")


def any_completed(directory: Path) -> bool:
    """Whether a checkpoint was ever completed in `directory`, valid or damaged since."""
    return any(directory.glob("step-*.json"))


def _newest_first(directory: Path) -> Iterator[Path]:
    yield from sorted(directory.glob("step-*.pt"), reverse=True)


def _is_complete(path: Path) -> bool:
    marker_path = path.with_suffix(".json")
    if not marker_path.is_file():
        return False
    try:
        marker = json.loads(marker_path.read_text(encoding="utf-8"))
    except json.JSONDecodeError:
        return False
    return marker["bytes"] == path.stat().st_size and marker["sha256"] == sha256_file(path)
