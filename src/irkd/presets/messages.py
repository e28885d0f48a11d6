"""Validation errors in a user's words."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from irkd.registry import suggestion

Known = dict[tuple[str, ...], list[str]]


def describe(
    error: ValidationError,
    what: str,
    known: Known | None = None,
    tags: frozenset[str] = frozenset(),
) -> str:
    """A message that names every wrong key, with what was expected.

    `known` maps the path of a section to the keys it accepts, for spelling suggestions; `()` is the
    top. `tags` are the names by which a union chose its member: pydantic puts them into the path of
    a key, where a user never wrote them.
    """
    lines = [_line(entry, known or {}, tags) for entry in error.errors()]
    message = f"{what}: " + "; ".join(dict.fromkeys(lines))
    return message if message.endswith("?") else f"{message}."


def _line(entry: Any, known: Known, tags: frozenset[str]) -> str:
    path = [str(part) for part in entry["loc"]]
    shown_path = [
        part
        for position, part in enumerate(path)
        if not (position > 0 and part in tags and position < len(path))
    ]
    key = ".".join(shown_path)
    if entry["type"] == "extra_forbidden":
        keys = known.get(tuple(path[:-1]), [])
        hint = suggestion(path[-1], keys)
        if hint:
            return f"unknown key {key!r}.{hint}"
        return f"unknown key {key!r}" + (f" (known: {', '.join(keys)})" if keys else "")
    message = entry["msg"].removeprefix("Value error, ")
    given = entry.get("input")
    bare = isinstance(given, dict | list) or hasattr(given, "model_fields")
    shown = "" if bare or entry["type"] == "missing" else f" (given: {given!r})"
    return f"{key}: {message}{shown}" if key else f"{message}{shown}"
