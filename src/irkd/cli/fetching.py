"""Fetching a released file with the user's leave: asked on a terminal, or given by --fetch."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from irkd.cli.common import stderr

if TYPE_CHECKING:
    from irkd.models.weights_cache import Progress
    from irkd.presets.schema import Release
    from irkd.training.teachers import Fetch

_MIB = 2**20


def fetcher(allowed: bool) -> Fetch | None:
    """What fetches a release; None where nobody allowed it and nobody can be asked.

    Of several processes of one run none asks.
    """
    terminal = sys.stdin.isatty() and sys.stderr.isatty() and "LOCAL_RANK" not in os.environ
    if not (allowed or terminal):
        return None

    def fetch(release: Release) -> Path | None:
        return _fetch(release, allowed)

    return fetch


def _fetch(release: Release, allowed: bool) -> Path | None:
    import typer

    from irkd.models import weights_cache

    assert release.url is not None
    assert release.sha256 is not None
    path = weights_cache.cached_path(release.url, release.sha256)
    if not allowed:
        question = f"Fetch {release.file} from {release.url} into {path}?"
        if not typer.confirm(question, default=False, err=True):
            return None
    console = stderr()
    if not console.is_terminal:
        console.print(f"fetching {release.file} from {release.url}", markup=False)
        weights_cache.fetch(release.url, release.sha256, progress=_lines(release.file))
    else:
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
        with Bar(*columns, TransferSpeedColumn(), console=console) as bar:
            task = bar.add_task(release.file, total=None)
            weights_cache.fetch(
                release.url,
                release.sha256,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
    console.print(f"kept in {path}", markup=False)
    return path


def _lines(name: str) -> Progress:
    """A line for every tenth that has arrived, or for every 100 MiB of an unknown size."""
    shown = 0

    def report(done: int, total: int | None) -> None:
        nonlocal shown
        part = done * 10 // total if total else done // (100 * _MIB)
        if part > shown:
            shown = part
            of = f" of {total / _MIB:.1f}" if total else ""
            stderr().print(f"{name}: {done / _MIB:.1f}{of} MiB", markup=False)

    return report
