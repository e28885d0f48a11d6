"""`irkd presets`: what there is, what it resolves to, whether a file is right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from irkd.cli.common import stderr, stdout, write_check, write_json_result
from irkd.cli.run_options import JsonOption, SetOption, TaskOption

if TYPE_CHECKING:
    from rich.table import Table

app = typer.Typer(help="List, show and check presets.", no_args_is_help=True)


@app.command("list")
def list_presets(json: JsonOption = None) -> None:
    """The presets that ship with irkd: networks, tasks, methods, cost, the teacher's weights.

    GMAC are billions of multiply-adds of one 512x512 image.
    """
    from irkd.presets import load

    write_check(json)
    # The table shows the students' costs alone; the teachers' take seconds to count.
    roles = ("student",) if json is None else ("teacher", "student")
    rows = [_describe(name, roles) for name in load.list_presets()]
    console = stderr() if str(json) == "-" else stdout()
    console.print(_table(rows))
    console.print(
        "M: the student's parameters in millions. GMAC: its multiply-adds for one 512x512 image, in"
        " billions.\nweights: the teacher's for each task, from its authors or irkd's own;"
        " `irkd presets show NAME --task TASK` says more.",
        markup=False,
    )
    write_json_result(json, {"presets": rows})


def _describe(name: str, roles: tuple[str, ...]) -> dict[str, Any]:
    """A preset with what all its tasks have in common, and what each has of its own."""
    from irkd.presets import load
    from irkd.training.plan import network_rows

    preset = load.load_preset(name)
    tasks = []
    for task in load.preset_tasks(name):
        variant = load.load_preset(name, task=task)
        teacher, releases = variant.teacher, variant.releases
        tasks.append(
            {
                "task": task,
                "protocol": variant.evaluation.protocol,
                "steps": variant.training.steps,
                "teacher_weights": None if teacher is None else teacher.weights,
                "releases": None
                if releases is None
                else [release.model_dump(mode="json") for release in releases],
            }
        )
    return {
        "name": name,
        "title": preset.title,
        "task": preset.task,
        "tasks": tasks,
        "teacher": None if preset.teacher is None else preset.teacher.arch,
        "student": preset.student.arch,
        "methods": [method.name for method in preset.methods],
        "networks": network_rows(preset, roles),
    }


def _table(rows: list[dict[str, Any]]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
    for column in ("preset", "networks", "method", "M", "GMAC", "task", "weights"):
        table.add_column(
            column,
            overflow="fold",
            no_wrap=column not in ("networks", "method"),
            justify="right" if column in ("M", "GMAC") else "left",
        )
    for row in rows:
        student = next(each for each in row["networks"] if each["network"] == "student")
        networks = row["student"]
        if row["teacher"] is None:
            networks = f"{networks} alone"
        elif row["teacher"] != row["student"]:
            networks = f"{row['teacher']} to {networks}"
        for number, task in enumerate(row["tasks"]):
            first = number == 0
            cells = (
                row["name"] if first else "",
                networks if first else "",
                ", ".join(row["methods"]) if first else "",
                f"{student['params_m']:.2f}" if first else "",
                f"{student['macs_g_512']:.1f}" if first else "",
                task["task"],
                _weights(row, task),
            )
            table.add_row(*(Text(cell) for cell in cells))
    return table


def _weights(row: dict[str, Any], task: dict[str, Any]) -> str:
    """The teacher's weights for a task, in a word."""
    if row["teacher"] is None:
        return "-"
    if task["teacher_weights"] is not None:
        return str(task["teacher_weights"])
    if task["releases"]:
        return str(task["releases"][0]["file"])
    return "none released" if task["releases"] is not None else "-"


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A preset's name, or a .yaml file.")],
    task: TaskOption = None,
    settings: SetOption = None,
    json: JsonOption = None,
) -> None:
    """Print the resolved preset and what its networks cost.

    The preset is YAML with parents and the task's settings merged, defaults filled in and --set
    applied; the costs are comments in it. GMAC are billions of multiply-adds of one 512x512 image.
    """
    from irkd.presets import load
    from irkd.training.plan import network_rows

    preset = load.load_preset(name, settings or [], task=task)
    networks = network_rows(preset)
    write_check(json)
    result = {**preset.model_dump(mode="json"), "networks": networks}
    if str(json) != "-":
        typer.echo(load.dump(preset), nl=False)
        for row in networks:
            typer.echo(
                f"# {row['network']}: {row['arch']}, {row['params_m']:.3f} M parameters,"
                f" {row['macs_g_512']:.2f} GMAC at 512x512"
            )
        others = [other for other in load.preset_tasks(name) if other != preset.task]
        if others:
            typer.echo(f"# other tasks (--task): {', '.join(others)}")
    write_json_result(json, result)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="A preset's .yaml file.")],
) -> None:
    """Say whether a preset file is right, for every task it has settings for."""
    from irkd.presets import load

    presets = [load.load_preset(file, task=task) for task in load.preset_tasks(file)]
    for preset in presets or [load.load_preset(file)]:
        stdout().print(
            f"{file} is a valid preset: {preset.task},"
            f" {preset.student.arch} student, {', '.join(m.name for m in preset.methods)}",
            markup=False,
        )
