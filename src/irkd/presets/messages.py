"""Validation errors in a user's words."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from irkd.registry import suggestion

Known = dict[tuple[str, ...], list[str]]


def describe(error: ValidationError, what: str, known: Known | None = None) -> str:
    """A message that names every wrong key, with what was expected.

    `known` maps the path of a section to the keys it accepts, for spelling suggestions; `()` is the
    top.
    """
    lines = [_line(entry, known or {}) for entry in error.errors()]
    return f"{what}: " + "; ".join(dict.fromkeys(lines)) + "."


def _line(entry: Any, known: Known) -> str:
    parts = [str(part) for part in entry["loc"]]
    key = ".".join(parts)
    if entry["type"] == "extra_forbidden":
        keys = known.get(tuple(parts[:-1]), [])
        hint = suggestion(parts[-1], keys)
        listing = f" Known keys: {', '.join(keys)}" if keys and not hint else ""
        return f"unknown key {key!r}.{hint}{listing}".rstrip(".")
    message = entry["msg"].removeprefix("Value error, ")
    given = entry.get("input")
    shown = "" if isinstance(given, dict) or entry["type"] == "missing" else f" (given: {given!r})"
    return f"{key}: {message}{shown}" if key else f"{message}{shown}"
