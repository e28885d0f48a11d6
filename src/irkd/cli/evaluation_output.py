"""What `irkd evaluate` shows and writes of its findings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irkd.cli.common import stderr, stdout, write_json_result
from irkd.errors import PartialFailure

if TYPE_CHECKING:
    from rich.console import Console

    from irkd.report.evaluation import Evaluation
    from irkd.report.sets import SetsEvaluation

REPORT = "report.html"
REPORT_IMAGES = 24
MOST_REPORT_IMAGES = 100
_FAILURES_SHOWN = 10


def show(
    found: Evaluation | SetsEvaluation,
    *,
    json_path: Path | None,
    csv_path: Path | None,
    csv_images: Path | None,
    report: Path | None,
    worst: int | None,
    overwrite: bool,
) -> None:
    """Print the table, write the files, and end with code 1 where scores are missing."""
    # JSON on standard output must not be mixed with the table.
    console = stderr() if str(json_path) == "-" else stdout()
    if not console.is_terminal:
        console.width = 240
    sets = _sets(found)
    _print(console, found)
    record = found.to_dict()
    if worst is not None:
        record["worst"] = _print_worst(console, sets, worst)
    write_json_result(json_path, record, overwrite=overwrite)
    _write_csv(csv_path, found.summary_records(), overwrite)
    _write_csv(csv_images, found.image_records(), overwrite)
    if report is not None:
        from irkd.report.page import write_report

        curves = _curves(next(iter(sets.values())))
        path = write_report(report, found, curves, overwrite=overwrite)
        stderr().print(f"Report: {path}", markup=False, soft_wrap=True)
    _complain(found)


def _sets(found: Evaluation | SetsEvaluation) -> dict[str, Evaluation]:
    """The evaluation of each data set by its name."""
    from irkd.report.sets import SetsEvaluation

    return dict(found.sets) if isinstance(found, SetsEvaluation) else {found.data: found}


def _print(console: Console, found: Evaluation | SetsEvaluation) -> None:
    from irkd.report.sets import SetsEvaluation
    from irkd.report.sets_table import sets_notes, sets_table
    from irkd.report.tables import evaluation_notes, evaluation_table

    if isinstance(found, SetsEvaluation):
        table, notes = sets_table(found), sets_notes(found)
    else:
        table, notes = evaluation_table(found), evaluation_notes(found)
    console.print(table)
    for line in notes:
        console.print(line, markup=False, style="dim")


def _print_worst(
    console: Console, sets: dict[str, Evaluation], count: int
) -> dict[str, dict[str, list[str]]]:
    """Print the worst images of every data set; their names by data set and row."""
    from irkd.report.tables import worst_table

    for name, evaluation in sets.items():
        if len(sets) > 1:
            console.print(name, markup=False)
        console.print(worst_table(evaluation, count))
    return {
        name: {
            row.label: [image.name for image in evaluation.worst(row, count)]
            for row in evaluation.rows
        }
        for name, evaluation in sets.items()
    }


def _write_csv(path: Path | None, records: Iterator[dict[str, Any]], overwrite: bool) -> None:
    if path is None:
        return
    from irkd.files import write_text
    from irkd.report.tables import csv_text

    write_text(path, csv_text(records), overwrite=overwrite)


def _curves(evaluation: Evaluation) -> dict[str, list[dict[str, Any]]]:
    """The training logs of the models that are run directories, by label."""
    from irkd.report.run_directory import LOG, RunDirectory

    curves = {}
    for row in evaluation.rows:
        if row.kind == "model" and row.source is not None:
            path = Path(row.source)
            directory = path if path.is_dir() else path.parent
            if (directory / LOG).is_file() and (path.is_dir() or path.stem == "student"):
                curves[row.label] = RunDirectory.open(directory).log()
    return curves


def _complain(evaluation: Evaluation | SetsEvaluation) -> None:
    if not evaluation.failures:
        return
    from irkd.report.tables import failures_line

    shown = [
        f"{failure.label}: {failure.image}: {failure.reason}"
        for failure in evaluation.failures[:_FAILURES_SHOWN]
    ]
    more = len(evaluation.failures) - len(shown)
    if more:
        shown.append(f"... and {more} more (all with --json)")
    raise PartialFailure("\n".join([failures_line(evaluation), *shown]))
