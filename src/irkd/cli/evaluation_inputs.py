"""What `irkd evaluate` is given on the command line, as the engine takes it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from irkd.errors import IrkdError

if TYPE_CHECKING:
    from irkd.report.sets import Average


def check_outputs(paths: list[Path | None], overwrite: bool) -> None:
    """Refuse before the work what would be refused after it."""
    from irkd.files import refuse_existing

    for path in paths:
        if path is not None and str(path) != "-":
            if path.is_dir():
                raise IrkdError(f"{path} is a folder; name a file to write.")
            refuse_existing(path, overwrite)


def labelled_values(values: list[str], option: str, form: str) -> dict[str, str]:
    result: dict[str, str] = {}
    for value in values:
        label, equals, rest = value.partition("=")
        if not (label.strip() and equals and rest):
            raise IrkdError(f"{option} {value!r}: expected {form}.")
        result = merge(result, {label.strip(): rest})
    return result


def read_restored(values: list[str], sets: int) -> dict[str, Any] | list[str]:
    """Folders with labels where any has one, else as they stand.

    With several data sets a label may come several times: a folder for each of them.
    """
    labelled = [value for value in values if "=" in value and not Path(value).exists()]
    if labelled and len(labelled) < len(values):
        raise IrkdError("--restored: give all folders a label (LABEL=DIR), or none.")
    if not labelled:
        return values
    if sets < 2:
        return labelled_values(values, "--restored", "LABEL=DIR")
    result: dict[str, list[str]] = {}
    for value in values:
        for label, folder in labelled_values([value], "--restored", "LABEL=DIR").items():
            result.setdefault(label, []).append(folder)
    return result


def read_average(text: str | None, data: list[str]) -> Average:
    if text is None:
        return "macro"
    if len(data) < 2:
        raise IrkdError(f"--average {text} is over data sets: give --data several times.")
    if text == "macro":
        return "macro"
    if text == "images":
        return "images"
    raise IrkdError(f"--average {text!r}: expected macro or images.")


def merge(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    for label in second:
        if label in first:
            raise IrkdError(f"two rows would be called {label!r}. Give one another label.")
    return {**first, **second}


def parse_tile(text: str) -> Any:
    if text in ("auto", "off"):
        return text
    if not text.isdecimal() or int(text) < 1:
        raise IrkdError(f"--tile {text!r}: expected auto, off, or a number of pixels.")
    return int(text)
