"""Evaluations on several data sets as one table, with the averages at its end."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from irkd.report.sets import AVERAGES, SetsEvaluation
from irkd.report.tables import (
    difference_cell,
    evaluation_notes,
    interval_cell,
    mean_cell,
    number,
)


def sets_table(found: SetsEvaluation) -> Table:
    """A section for each data set, then one for the averages of the rows over them."""
    table = Table()
    table.add_column("data", overflow="fold")
    table.add_column("model", overflow="fold")
    table.add_column("images", justify="right")
    for metric in found.metrics:
        table.add_column(metric.title, justify="right")
        table.add_column("±", justify="right", style="dim")
        if found.baseline is not None:
            table.add_column("diff.", justify="right")
            table.add_column("95 %", justify="right", style="dim", no_wrap=True)
    for name, evaluation in found.sets.items():
        for row in evaluation.rows:
            cells: list[str | Text] = [Text(name), Text(row.label), str(row.n)]
            for metric in found.metrics:
                cells += [mean_cell(row, metric), number(row.std(metric.field), metric.digits)]
                if found.baseline is not None:
                    cells.append(difference_cell(evaluation, row, metric))
                    cells.append(interval_cell(evaluation.interval(row, metric.field), metric))
            table.add_row(*cells)
        table.add_section()
    for label in found.labels:
        cells = [Text(f"{found.average} average"), Text(label)]
        cells.append(str(sum(row.n for row in found.rows(label))) if found.rows(label) else "-")
        for metric in found.metrics:
            cells += [number(found.mean(label, metric.field), metric.digits), "-"]
            if found.baseline is not None:
                difference = found.difference(label, metric.field)
                cells.append(number(difference, metric.digits, sign=True))
                cells.append(interval_cell(found.interval(label, metric.field), metric))
        table.add_row(*cells, style="bold")
    return table


def sets_notes(found: SetsEvaluation) -> list[str]:
    """What the averages are, then what belongs under the table of each data set, once."""
    lines = [
        f"Average ({found.average}): {AVERAGES[found.average]}; a row without a score on one of "
        "them has none."
    ]
    shared = [evaluation_notes(evaluation) for evaluation in found.sets.values()]
    for line in dict.fromkeys(line for notes in shared for line in notes):
        everywhere = all(line in notes for notes in shared)
        owners = [name for name, notes in zip(found.sets, shared, strict=True) if line in notes]
        alone = everywhere or line.startswith("Data: ")
        lines.append(line if alone else f"{', '.join(owners)}: {line}")
    # What made it comes last.
    last = shared[-1][-1]
    return [*(line for line in lines if line != last), last]
