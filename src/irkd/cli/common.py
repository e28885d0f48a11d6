"""What all commands share: consoles, progress bars, and the JSON beside every table."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


def stdout() -> Console:
    """For results: tables and paths."""
    from rich.console import Console

    return Console(soft_wrap=not sys.stdout.isatty(), highlight=False)


def stderr() -> Console:
    """For everything that is not a result: progress, notes, errors."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())


def progress() -> Progress:
    """A progress bar on a terminal; silent elsewhere, where commands print plain lines."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = stderr()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on standard output: the first column is text, the others are numbers."""
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for position, title in enumerate(header):
        table.add_column(
            title, justify="right" if position else "left", overflow="fold", no_wrap=False
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    stdout().print(table)


def write_check(path: Path | None, *, overwrite: bool = False) -> None:
    """Refuse a taken name before the work instead of after it."""
    if path is not None and str(path) != "-":
        from irkd.files import refuse_existing

        refuse_existing(path, overwrite)


def write_json_result(path: Path | None, value: dict[str, Any], *, overwrite: bool = False) -> None:
    """Write a command's result as JSON to `path`; `-` is standard output. None does nothing."""
    if path is None:
        return
    value = _finite(value)
    if str(path) == "-":
        sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")
        return
    from irkd.files import write_json

    write_json(path, value, overwrite=overwrite)


def _finite(value: Any) -> Any:
    """JSON has no infinity and no NaN: an infinite PSNR becomes "inf", an unknown number null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value
