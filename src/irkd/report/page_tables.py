"""The tables of the page: scores of one data set, averages over several, what is missing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from irkd.metrics.catalogue import Metric
from irkd.report.evaluation import Evaluation, Row
from irkd.report.sets import SetsEvaluation
from irkd.report.tables import UNKNOWN, failures_line, interval_cell, number


def score_table(evaluation: Evaluation) -> str:
    """One line a row: mean, spread and difference of each metric, and what the network costs."""
    different = len({row.n for row in evaluation.rows}) > 1
    head = ["model", *(["images"] if different else [])]
    head += _metric_heads(evaluation.metrics, evaluation.baseline)
    head += ["parameters (M)", "MACs (G)", "latency (ms)"]
    models = {row.label: row for row in evaluation.rows if row.kind != "degraded"}
    best = {
        metric.field: _best(
            metric, {label: row.mean(metric.field) for label, row in models.items()}
        )
        for metric in evaluation.metrics
    }
    lines = {}
    for row in evaluation.rows:
        cells = [f"<td>{_data('n', row.n, 0)}</td>"] if different else []
        for metric in evaluation.metrics:
            value = _data(metric.field, row.mean(metric.field), metric.digits)
            spread = number(row.std(metric.field), metric.digits)
            shown = f' <span class="spread">± {spread}</span>' if spread != UNKNOWN else ""
            cells.append(_cell(value + shown, "best" if row.label in best[metric.field] else ""))
            if evaluation.baseline is not None:
                cells.append(_difference_of_row(evaluation, row, metric))
        for name, digits in (("params_m", 2), ("macs_g", 1), ("latency_ms", 1)):
            cells.append(_cell(_data(name, getattr(row, name), digits)))
        lines[row.label] = cells
    return _table(f"Scores on {evaluation.data}", head, lines)


def averages_table(found: SetsEvaluation) -> str:
    """One line a row: its average over the data sets, and the difference to the baseline's."""
    head = ["model", "images", *_metric_heads(found.metrics, found.baseline)]
    kinds = {row.label: row.kind for each in found.sets.values() for row in each.rows}
    models = [label for label in found.labels if kinds[label] != "degraded"]
    lines = {}
    for label in found.labels:
        rows = found.rows(label)
        cells = [_cell(_data("n", sum(row.n for row in rows) if rows else None, 0))]
        for metric in found.metrics:
            best = _best(metric, {model: found.mean(model, metric.field) for model in models})
            value = _data(metric.field, found.mean(label, metric.field), metric.digits)
            cells.append(_cell(value, "best" if label in best else ""))
            if found.baseline is not None:
                difference = found.difference(label, metric.field)
                interval = found.interval(label, metric.field)
                cells.append(_difference(metric, difference, interval))
        lines[label] = cells
    return _table(f"Averages over {len(found.sets)} data sets", head, lines)


def failures(evaluation: Evaluation | SetsEvaluation) -> str:
    """What could not be scored, folded; nothing where all was."""
    if not evaluation.failures:
        return ""
    lines = "".join(
        f"<li>{escape(failure.label)}, {escape(failure.image)}: {escape(failure.reason)}</li>"
        for failure in evaluation.failures
    )
    return (
        '<details class="failures"><summary>'
        f"{failures_line(evaluation)}</summary><ul>{lines}</ul></details>"
    )


def paragraphs(kind: str, lines: Iterable[str]) -> str:
    return f'<div class="{kind}">{"".join(f"<p>{escape(line)}</p>" for line in lines)}</div>'


def _metric_heads(metrics: Sequence[Metric], baseline: str | None) -> list[str]:
    heads = []
    for metric in metrics:
        heads.append(metric.title)
        if baseline is not None:
            heads.append(f"diff. to {baseline}\n95 %")
    return heads


def _table(caption: str, head: Sequence[str], lines: Mapping[str, Sequence[str]]) -> str:
    titles = "".join(
        f'<th scope="col">{escape(title).replace(chr(10), "<br>")}</th>' for title in head
    )
    rows = "\n".join(
        f'<tr data-label="{label}"><th scope="row">{label}</th>{"".join(cells)}</tr>'
        for label, cells in ((escape(label), cells) for label, cells in lines.items())
    )
    # Focusable, so that arrow keys scroll it where the screen is narrow.
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<thead><tr>{titles}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>"
    )


def _cell(content: str, kind: str = "") -> str:
    return f'<td class="{kind}">{content}</td>' if kind else f"<td>{content}</td>"


def _difference_of_row(evaluation: Evaluation, row: Row, metric: Metric) -> str:
    interval = evaluation.interval(row, metric.field)
    return _difference(metric, evaluation.difference(row, metric.field), interval)


def _difference(metric: Metric, difference: float, interval: tuple[float, float]) -> str:
    """The difference over its interval, coloured where that lies on one side of zero."""
    name = f"{metric.field}_difference"
    content = _data(name, difference, metric.digits, sign=True)
    if interval_cell(interval, metric) != UNKNOWN:
        low, high = (
            _data(f"{name}_{end}", value, metric.digits, sign=True)
            for end, value in zip(("low", "high"), interval, strict=True)
        )
        content += f' <span class="interval">{low} to {high}</span>'
    if interval[0] > 0 or interval[1] < 0:
        better = (interval[0] > 0) == metric.higher_is_better
        return _cell(content, "better" if better else "worse")
    return _cell(content)


def _best(metric: Metric, means: Mapping[str, float]) -> set[str]:
    """The labels of the best rows; none where there is nothing to choose from."""
    values = {label: value for label, value in means.items() if not math.isnan(value)}
    if len(values) < 2:
        return set()
    top = (max if metric.higher_is_better else min)(values.values())
    return {label for label, value in values.items() if value == top}


def _data(name: str, value: float | None, digits: int, *, sign: bool = False) -> str:
    """A number as people read it, with the full one beside it for programs."""
    exact = "" if value is None or math.isnan(value) else repr(value)
    return f'<data data-field="{name}" value="{exact}">{number(value, digits, sign=sign)}</data>'
