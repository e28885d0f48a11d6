"""Finding what can be named in a preset: every module of a package, plus entry points.

A new network family or distillation method is one new file; nothing else is edited.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import pkgutil
from collections.abc import Iterable
from functools import cache
from typing import Any

from irkd.errors import IrkdError


@cache
def collect(package: str, attribute: str) -> dict[str, Any]:
    """Gather the entries that the modules of `package` export under `attribute`.

    `attribute` is a tuple of objects with a `name`. The entry-point group is the package's own
    dotted name (`irkd.models`, `irkd.methods`): each entry point is a module of the same form.
    Two entries of one name are an error, whoever brings them.
    """
    modules = [
        importlib.import_module(f"{package}.{info.name}")
        for info in pkgutil.iter_modules(importlib.import_module(package).__path__)
        if not info.name.startswith("_")
    ]
    modules += [point.load() for point in importlib.metadata.entry_points(group=package)]
    entries: dict[str, Any] = {}
    for module in modules:
        for entry in getattr(module, attribute, ()):
            if entry.name in entries and entries[entry.name] is not entry:
                raise IrkdError(f"two entries of {package} are named {entry.name!r}.")
            entries[entry.name] = entry
    return dict(sorted(entries.items()))


def suggestion(word: str, known: Iterable[str]) -> str:
    """`" Did you mean 'dim'?"` where something known is close to `word`, else an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def lookup(package: str, attribute: str, name: str, kind: str) -> Any:
    """The entry called `name`, or an error that lists the names there are."""
    entries = collect(package, attribute)
    if name not in entries:
        known = ", ".join(entries)
        raise IrkdError(f"unknown {kind} {name!r}.{suggestion(name, entries)} Known: {known}.")
    return entries[name]
