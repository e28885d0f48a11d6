"""`irkd methods`: the distillation methods, their equations, sources and parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from irkd.cli import run_options as options
from irkd.cli.common import stdout, write_check, write_json_result

if TYPE_CHECKING:
    from irkd.methods.base import MethodEntry


def methods(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One method, with its parameters.")
    ] = None,
    json: options.JsonOption = None,
) -> None:
    """List the distillation methods, or show one: its equation, source and parameters."""
    from irkd import registry
    from irkd.methods.base import methods as registered

    write_check(json)
    if name is None:
        found = registered()
        _print_list(found)
        write_json_result(json, {"methods": {key: entry.title for key, entry in found.items()}})
        return
    entry = registry.lookup("irkd.methods", "METHODS", name, "method")
    parameters = _parameters(entry)
    _print_method(entry, parameters)
    result = {"name": entry.name, "title": entry.title, "description": _description(entry)}
    for parameter in parameters:
        if parameter["default"] is ...:
            del parameter["default"]
    write_json_result(json, {**result, "parameters": parameters})


def _print_list(found: dict[str, MethodEntry]) -> None:
    from rich.table import Table

    table = Table("method", "what it does")
    for name, entry in sorted(found.items()):
        table.add_row(name, entry.title)
    console = stdout()
    console.print(table)
    console.print(
        "`irkd methods NAME` shows one; `--method NAME` or a preset's `methods:` uses it."
    )


def _print_method(entry: MethodEntry, parameters: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    console = stdout()
    console.print(Text(f"{entry.name}: {entry.title}", style="bold"))
    console.print(_description(entry), markup=False)
    table = Table("parameter", "default", "meaning")
    for parameter in parameters:
        default = parameter["default"]
        table.add_row(
            Text(parameter["name"]),
            Text("(needed)" if default is ... else str(default)),
            Text(parameter["description"]),
        )
    console.print(table)


def _description(entry: MethodEntry) -> str:
    """What the module and the parameters say of themselves."""
    import inspect
    import sys

    module = inspect.getdoc(sys.modules[entry.parameters.__module__]) or ""
    return f"{module}\n\n{inspect.getdoc(entry.parameters) or ''}".strip()


def _parameters(entry: MethodEntry) -> list[dict[str, Any]]:
    found = []
    for name, field in entry.parameters.model_fields.items():
        if name == "name":
            continue
        default = ... if field.is_required() else field.get_default(call_default_factory=True)
        found.append(
            {
                "name": name,
                "default": default,
                "description": field.description or "",
            }
        )
    return found
