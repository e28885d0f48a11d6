"""`irkd data`: look into a folder of pairs, or make one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from irkd.cli.common import progress, stderr, stdout, write_json_result
from irkd.errors import IrkdError, PartialFailure

if TYPE_CHECKING:
    from irkd.data.inspection import Inspection

app = typer.Typer(help="Look into a folder of pairs, or write synthetic pairs.")

_SHOWN = 5


@app.command()
def inspect(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of image pairs.")],
    layout: Annotated[
        str,
        typer.Option(help="How it is arranged: auto, paired, rain1400, reside, or clean."),
    ] = "auto",
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the result as JSON; - is stdout.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing JSON file.")
    ] = False,
) -> None:
    """Show what a folder is taken for: its pairs, what has no partner, what does not fit.

    Reads names and headers only. Exit code 1 when some pairs cannot be used as they are.
    """
    from irkd.data.inspection import inspect_folder

    with progress() as bar:
        task = bar.add_task("headers", total=None)
        report = inspect_folder(
            folder,
            layout=layout,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if str(json) != "-":
        _print_report(report)
    write_json_result(json, _as_json(report), overwrite=overwrite)
    if report.faults:
        raise PartialFailure(
            f"{folder}: {report.faults} of the {_images(report)} cannot be used as they are, "
            "see the report. Fix or remove them."
        )


@app.command()
def make(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write the pairs.")],
    task: Annotated[
        str,
        typer.Option(help="derain, deblur, dehaze, denoise, jpeg, or general."),
    ],
    count: Annotated[
        int | None,
        typer.Option(min=1, help="Pairs to write; with --from, one per photograph by default."),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            min=16, help="Side in pixels: 256 for procedural images, whole photographs otherwise."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed makes other pairs.")] = 0,
    photographs: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="Degrade the clean photographs of this folder."),
    ] = None,
    layout: Annotated[
        str, typer.Option(help="paired (input/, target/), or rain1400 (14 rains per image).")
    ] = "paired",
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace the pairs that an earlier run made differently."),
    ] = False,
) -> None:
    """Write synthetic pairs: procedural images, or photographs of yours, degraded for a task.

    The same command always writes the same files, and goes on where an interrupted one stopped.
    """
    from irkd.data.make import DEFAULT_SIZE, Recipe, make_pairs, photograph_count

    if photographs is None:
        size = DEFAULT_SIZE if size is None else size
    elif count is None:
        count = photograph_count(photographs)
    if count is None:
        raise IrkdError("how many pairs? Add --count N.")
    source = None if photographs is None else str(photographs.resolve())
    recipe = Recipe(task, size, seed, layout, source)
    done = 0
    with progress() as bar:
        row = bar.add_task(f"{task} pairs", total=count)

        def show(written: int, total: int) -> None:
            nonlocal done
            done = written
            bar.update(row, completed=written, total=total)

        try:
            made = make_pairs(folder, recipe, count, overwrite=overwrite, progress=show)
        except KeyboardInterrupt:
            stderr().print(
                f"{done} of {count} pairs are in {folder}; the same command makes the rest.",
                soft_wrap=True,
            )
            raise
    kept = f" ({count - made} were there already)" if made < count else ""
    stdout().print(f"{folder}: {count} pairs for {task}{kept}", markup=False)


def _print_report(report: Inspection) -> None:
    from rich.markup import escape

    console = stdout()
    console.print(f"[bold]{escape(report.folder)}[/]: layout {report.layout}")
    for name, split in report.splits.items():
        sizes = ""
        if split.sizes:
            (low_height, low_width), (high_height, high_width) = split.sizes
            sizes = f", {low_width} x {low_height} to {high_width} x {high_height} pixels"
            if split.sizes[0] == split.sizes[1]:
                sizes = f", {low_width} x {low_height} pixels"
        console.print(f"{name}: {split.count} {_images(report)}{sizes}")
        for pair in split.first:
            console.print("  " + " <- ".join(pair.values()), markup=False)
    for title, lines in (
        ("degraded images without a reference", report.unmatched_degraded),
        ("references without a degraded image", report.unmatched_reference),
        ("files with the same stem", [" and ".join(clash) for clash in report.same_stem]),
        ("pairs of different sizes", [_mismatch(entry) for entry in report.size_mismatches]),
        ("unreadable files", [entry["message"] for entry in report.unreadable]),
    ):
        if lines:
            console.print(f"[yellow]{len(lines)} {title}[/]:")
            for line in lines[:_SHOWN]:
                console.print(f"  {line}", markup=False)
            if len(lines) > _SHOWN:
                console.print(f"  ... and {len(lines) - _SHOWN} more (all of them with --json)")


def _images(report: Inspection) -> str:
    return "images" if report.layout == "clean" else "pairs"


def _mismatch(entry: dict[str, object]) -> str:
    def size(value: object) -> str:
        assert isinstance(value, list)
        return f"{value[1]} x {value[0]}"

    return (
        f"{entry['degraded']} is {size(entry['degraded_size'])}, "
        f"{entry['reference']} is {size(entry['reference_size'])}"
    )


def _as_json(report: Inspection) -> dict[str, object]:
    from dataclasses import asdict

    from irkd.environment import describe_environment

    result = asdict(report)
    for name, split in report.splits.items():
        entry = result["splits"][name]
        sizes = entry.pop("sizes")
        entry["smallest_size"] = sizes[0] if sizes else None
        entry["largest_size"] = sizes[-1] if split.sizes else None
    result["faults"] = report.faults
    result["environment"] = describe_environment()
    return result
