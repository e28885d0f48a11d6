"""An evaluation as a table on the screen, as CSV, and the facts that belong under either."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from irkd.metrics.catalogue import Metric
from irkd.report.evaluation import Evaluation, Row
from irkd.report.sets import SetsEvaluation

UNKNOWN = "-"


def evaluation_table(evaluation: Evaluation) -> Table:
    """One line a row: mean, spread and difference of each metric, and what the network costs."""
    table = Table()
    table.add_column("model", overflow="fold")
    different = len({row.n for row in evaluation.rows}) > 1
    if different:
        table.add_column("images", justify="right")
    for metric in evaluation.metrics:
        table.add_column(metric.title, justify="right")
        table.add_column("±", justify="right", style="dim")
        if evaluation.baseline is not None:
            table.add_column("diff.", justify="right")
            table.add_column("95 %", justify="right", style="dim", no_wrap=True)
    costs = any(row.kind == "model" for row in evaluation.rows)
    if costs:
        for title in ("params (M)", "MACs (G)", "latency (ms)"):
            table.add_column(title, justify="right")
    for row in evaluation.rows:
        cells: list[str | Text] = [Text(row.label)]
        if different:
            cells.append(str(row.n))
        for metric in evaluation.metrics:
            cells += [mean_cell(row, metric), number(row.std(metric.field), metric.digits)]
            if evaluation.baseline is not None:
                cells.append(difference_cell(evaluation, row, metric))
                cells.append(interval_cell(evaluation.interval(row, metric.field), metric))
        if costs:
            cells += [
                number(row.params_m, 2),
                number(row.macs_g, 1),
                number(row.latency_ms, 1),
            ]
        table.add_row(*cells)
    return table


def evaluation_notes(evaluation: Evaluation) -> list[str]:
    """Sentences that the table's numbers mean little without."""
    count = f"{evaluation.n} image{'s' if evaluation.n != 1 else ''}"
    task = f", {evaluation.task}" if evaluation.task else ""
    lines = [f"Data: {evaluation.data}{task}, {count}; ± is the standard deviation over images."]
    if evaluation.protocol is not None:
        chosen = evaluation.protocol
        why = f"; {evaluation.protocol_reason}" if evaluation.protocol_reason else ""
        lines.append(f"Protocol: {chosen.name} ({chosen.description}){why}.")
    if evaluation.baseline is not None:
        lines.append(f"Difference (diff.): mean score minus that of {evaluation.baseline}.")
        lines += interval_notes(evaluation)
    for metric in evaluation.metrics:
        infinite = {row.label: row.infinite(metric.field) for row in evaluation.rows}
        for label, times in infinite.items():
            if times:
                lines.append(
                    f"{label}: {times} of {evaluation.by_label[label].n} images have an infinite "
                    f"{metric.name.upper()} and are left out of its mean."
                )
    models = [row for row in evaluation.rows if row.kind == "model"]
    if models:
        height, width = evaluation.size
        lines.append(
            f"MACs: multiply-adds of one {height} x {width} image. Latency: median over the "
            "images, each restored once, whole call."
        )
    if any(not metric.higher_is_better for metric in evaluation.metrics):
        names = [metric.title for metric in evaluation.metrics if not metric.higher_is_better]
        lines.append(f"{', '.join(names)}: lower is better.")
    lines += [f"{each.title}: model {each.detail}." for each in evaluation.metrics if each.detail]
    lines += evaluation.notes
    lines.append(versions_line(evaluation.environment))
    return lines


def interval_notes(evaluation: Evaluation) -> list[str]:
    """What the intervals of differences are, and where they say little."""
    if evaluation.n < 2 or len(evaluation.rows) < 2:
        return []
    line = "95 %: bootstrap interval of the difference over paired images"
    lines = [f"{line}; with so few of them it is too narrow." if evaluation.n < 10 else f"{line}."]
    for metric in evaluation.metrics:
        for row in evaluation.rows:
            paired = len(evaluation.paired_differences(row, metric.field))
            if row.label != evaluation.baseline and paired < evaluation.n:
                lines.append(
                    f"{row.label}: the interval of {metric.title} is of the {paired} images that "
                    "both have a finite score of."
                )
    return lines


def worst_table(evaluation: Evaluation, count: int) -> Table:
    """The images with the worst scores of the first metric, row by row."""
    metric = evaluation.metrics[0]
    table = Table(title=f"worst images by {metric.title}", title_justify="left")
    table.add_column("model", overflow="fold")
    table.add_column("image", overflow="fold")
    table.add_column(metric.title, justify="right")
    if evaluation.baseline is not None:
        table.add_column("diff.", justify="right")
    other: dict[str, float] = {}
    if evaluation.baseline is not None:
        images = evaluation.by_label[evaluation.baseline].images
        other = {image.name: image.scores[metric.field] for image in images}
    for row in evaluation.rows:
        for image in evaluation.worst(row, count):
            score = image.scores[metric.field]
            cells: list[str | Text] = [Text(row.label), Text(image.name)]
            cells.append(number(score, metric.digits))
            if evaluation.baseline is not None:
                unknown = row.label == evaluation.baseline or image.name not in other
                difference = math.nan if unknown else score - other[image.name]
                cells.append(number(difference, metric.digits, sign=True))
            table.add_row(*cells)
        table.add_section()
    return table


def failures_line(evaluation: Evaluation | SetsEvaluation) -> str:
    count = len(evaluation.failures)
    missing = "1 score is missing" if count == 1 else f"{count} scores are missing"
    return f"{missing}; the means leave {'it' if count == 1 else 'them'} out."


def versions_line(environment: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {found}" for name, found in environment["versions"].items())
    device = environment.get("gpu") or environment.get("device", "cpu")
    threads = environment.get("threads")
    plural = "" if threads == 1 else "s"
    where = f"{device}, {threads} thread{plural}" if device == "cpu" and threads else device
    return f"Made with {versions}, Python {environment['python']}, on {where}."


def mean_cell(row: Row, metric: Metric) -> str:
    return number(row.mean(metric.field), metric.digits)


def difference_cell(evaluation: Evaluation, row: Row, metric: Metric) -> str:
    return number(evaluation.difference(row, metric.field), metric.digits, sign=True)


def interval_cell(interval: tuple[float, float], metric: Metric) -> str:
    low, high = (number(end, metric.digits, sign=True) for end in interval)
    return UNKNOWN if UNKNOWN in (low, high) else f"{low} to {high}"


def number(value: float | None, digits: int, *, sign: bool = False) -> str:
    """A number for people: "-" where there is none, "∞" for infinity."""
    if value is None or math.isnan(value):
        return UNKNOWN
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"


def csv_text(records: Iterable[Mapping[str, Any]]) -> str:
    """Flat records as CSV with a header; unknown numbers are empty, infinite ones `inf`."""
    records = list(records)
    buffer = io.StringIO()
    if records:
        writer = csv.DictWriter(buffer, list(records[0]), lineterminator="\n")
        writer.writeheader()
        for record in records:
            writer.writerow({key: _plain(value) for key, value in record.items()})
    return buffer.getvalue()


def _plain(value: Any) -> Any:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value
