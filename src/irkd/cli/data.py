"""`irkd data`: look into a folder of pairs, or make one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from irkd.cli.common import progress, stderr, stdout, write_json_result
from irkd.errors import IrkdError, PartialFailure

if TYPE_CHECKING:
    from irkd.data.inspection import Inspection, Listing

app = typer.Typer(help="Look into a folder of pairs, or write synthetic pairs.")

_SHOWN = 5


@app.command()
def inspect(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of image pairs.")],
    layout: Annotated[
        str,
        typer.Option(help="How it is arranged: auto, clean, or a name of `irkd data layouts`."),
    ] = "auto",
    against: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Look for clean images that this folder has as well."),
    ] = None,
    pixels: Annotated[
        bool,
        typer.Option(
            "--pixels",
            help="Compare clean images by decoded pixels: slower, and finds copies in another"
            " format.",
        ),
    ] = False,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the result as JSON; - is stdout.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing JSON file.")
    ] = False,
) -> None:
    """Show what a folder is taken for: its pairs, what has no partner, what does not fit.

    Reads names, headers, and clean images of training and test pairs that may be equal. Exit code 1
    when some pairs cannot be used as they are.
    """
    from irkd.data.inspection import inspect_folder

    with progress() as bar:
        task = bar.add_task("headers", total=None)
        report = inspect_folder(
            folder,
            layout=layout,
            against=against,
            pixels=pixels,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if str(json) != "-":
        _print_report(report, pixels)
    write_json_result(json, _as_json(report), overwrite=overwrite)
    if report.faults:
        raise PartialFailure(
            f"{folder}: {report.faults} of the {_images(report)} cannot be used as they are, "
            "see the report. Fix or remove them."
        )


@app.command()
def layouts() -> None:
    """List the arrangements of folders that are known, and what their test images are scored by."""
    from rich.table import Table

    from irkd.data.data_sets import DATA_SETS
    from irkd.data.layouts import CLEAN
    from irkd.data.layouts import layouts as known

    table = Table("layout", "how files are arranged", "default protocol")
    for name, layout in known().items():
        data_set = DATA_SETS[layout.data_set] if layout.data_set else None
        table.add_row(name, layout.description, (data_set and data_set.protocol) or "the task's")
    table.add_row(CLEAN, "images of any names, degraded on the fly for a task", "the task's")
    stdout().print(table)


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


def _print_report(report: Inspection, pixels: bool) -> None:
    from rich.markup import escape

    console = stdout()
    console.print(f"[bold]{escape(report.folder)}[/]: layout {report.layout}{_told(report)}")
    for name, split in report.splits.items():
        sizes = ""
        if split.sizes:
            (low_height, low_width), (high_height, high_width) = split.sizes
            sizes = f", {low_width} x {low_height} to {high_width} x {high_height} pixels"
            if split.sizes[0] == split.sizes[1]:
                sizes = f", {low_width} x {low_height} pixels"
        other = f" (layout {split.layout})" if split.layout != report.layout else ""
        console.print(f"{name}: {split.count} {_images(report)}{sizes}{other}")
        for pair in split.first:
            console.print("  " + " <- ".join(pair.values()), markup=False)
    word = report.counterpart
    for title, listing in (
        (f"degraded images without {_article(word)} {word}", report.unmatched_degraded),
        (f"{word}s without a degraded image", report.unmatched_reference),
        ("listed files that are not there", report.missing),
        ("files with the same stem", report.same_stem),
        ("pairs of different sizes", report.size_mismatches),
        ("unreadable files", report.unreadable),
    ):
        _print_listing(title, listing)
    for shared in report.shared_clean:
        if shared.count:
            names = " and ".join((shared.first, shared.second))
            console.print(
                f"[yellow]{shared.count} clean images are the same in {escape(names)}[/]:"
            )
            for pair_of in shared.examples:
                console.print("  " + " = ".join(pair_of), markup=False)
        elif shared.compared:
            console.print(
                f"no clean image of {shared.first} is also in {shared.second} "
                f"(compared by {shared.by})",
                markup=False,
            )
        if shared.skipped:
            hint = "unreadable" if pixels else "no files of their own; --pixels compares them"
            console.print(f"{shared.skipped} clean images were not compared: {hint}")
    for remark in report.remarks:
        console.print(f"note: {remark}", markup=False)


def _told(report: Inspection) -> str:
    told = f", {' and '.join(report.data_sets)}" if report.data_sets else ""
    task = f", task {report.task}" if report.task else ""
    return told + task + (f", protocol {report.protocol}" if report.protocol else "")


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _print_listing(title: str, listing: Listing) -> None:
    if not listing.count:
        return
    console = stdout()
    console.print(f"[yellow]{listing.count} {title}[/]:")
    for entry in listing.first[:_SHOWN]:
        console.print(f"  {_line(entry)}", markup=False)
    if listing.count > _SHOWN:
        console.print(f"  ... and {listing.count - _SHOWN} more (with --json)")


def _line(entry: Any) -> str:
    if isinstance(entry, tuple):
        return " and ".join(entry)
    if isinstance(entry, str):
        return entry
    return str(entry["message"]) if "message" in entry else _mismatch(entry)


def _images(report: Inspection) -> str:
    return "pairs" if report.has_references and report.layout != "clean" else "images"


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

    from irkd.data.inspection import Listing
    from irkd.environment import describe_environment

    result = asdict(report)
    for name in list(result):
        listing = getattr(report, name)
        if isinstance(listing, Listing):
            # The first thousand; the number beside them counts all.
            result[name] = listing.first
            result[f"{name}_count"] = listing.count
    for entry in result["splits"].values():
        sizes = entry.pop("sizes")
        entry["smallest_size"] = sizes[0] if sizes else None
        entry["largest_size"] = sizes[-1] if sizes else None
    result["faults"] = report.faults
    result["environment"] = describe_environment()
    return result
