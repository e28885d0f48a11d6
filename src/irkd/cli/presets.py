"""`irkd presets`: what there is, what it resolves to, whether a file is right."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from irkd.cli.common import stdout, write_json_result
from irkd.cli.run_options import JsonOption, SetOption

app = typer.Typer(help="List, show and check presets.", no_args_is_help=True)


@app.command("list")
def list_presets(json: JsonOption = None) -> None:
    """The presets that ship with irkd."""
    from rich import box
    from rich.table import Table

    from irkd.presets import load

    table = Table(box=box.SIMPLE)
    for column in ("preset", "task", "teacher", "student", "methods"):
        table.add_column(column, no_wrap=True)
    rows = []
    for name in load.list_presets():
        preset = load.load_preset(name)
        row = {
            "name": name,
            "task": preset.task,
            "teacher": None if preset.teacher is None else preset.teacher.arch,
            "student": preset.student.arch,
            "methods": [method.name for method in preset.methods],
            "title": preset.title,
        }
        rows.append(row)
        table.add_row(
            name,
            preset.task,
            row["teacher"] or "-",
            preset.student.arch,
            ", ".join(row["methods"]),
        )
    stdout().print(table)
    write_json_result(json, {"presets": rows})


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A preset's name, or a .yaml file.")],
    settings: SetOption = None,
    json: JsonOption = None,
) -> None:
    """Print the resolved preset: parents merged, defaults filled in, --set applied."""
    from irkd.presets import load

    preset = load.load_preset(name, settings or [])
    if str(json) == "-":
        write_json_result(json, preset.model_dump(mode="json"))
        return
    typer.echo(load.dump(preset), nl=False)
    write_json_result(json, preset.model_dump(mode="json"))


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="A preset's .yaml file.")],
) -> None:
    """Say whether a preset file is right, and what it comes to."""
    from irkd.presets import load

    preset = load.load_preset(file)
    stdout().print(
        f"{file} is a valid preset: {preset.task},"
        f" {preset.student.arch} student, {', '.join(m.name for m in preset.methods)}",
        markup=False,
    )
