"""One self-contained HTML page of an evaluation: scores, plots, and pictures to look at."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from irkd.files import write_text
from irkd.metrics.catalogue import Metric
from irkd.report.evaluation import Evaluation, Row
from irkd.report.plots import quality_against_macs, row_colours, training_curves
from irkd.report.strips import Strip
from irkd.report.tables import UNKNOWN, evaluation_notes, failures_line, number

FILE_NAME = "report.html"

Curves = Mapping[str, Sequence[Mapping[str, Any]]]


def write_report(
    directory: str | Path,
    evaluation: Evaluation,
    curves: Curves | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Write report.html into `directory`, which is made where missing; returns its path.

    The page needs no network and no other file. `curves` maps the labels of rows to the entries of
    their training logs (`RunDirectory.log`). Pictures are those of `evaluation.strips`.
    """
    path = Path(directory) / FILE_NAME
    write_text(path, render(evaluation, curves), overwrite=overwrite)
    return path


def render(evaluation: Evaluation, curves: Curves | None = None) -> str:
    """The page as HTML. Everything a user named is escaped."""
    parts = resources.files("irkd.report")
    task = f", {evaluation.task}" if evaluation.task else ""
    heading = f"{evaluation.data}{task}"
    notes = evaluation_notes(evaluation)
    return Template((parts / "page.html").read_text("utf-8")).substitute(
        title=escape(f"irkd: {heading}"),
        style=(parts / "page.css").read_text("utf-8"),
        script=(parts / "page.js").read_text("utf-8"),
        heading=escape(heading),
        summary=escape(_summary(evaluation)),
        table=_table(evaluation),
        notes=_paragraphs("notes", notes[:-1]),
        failures=_failures(evaluation),
        plots=_plots(evaluation, curves or {}),
        photographs=_photographs(evaluation),
        provenance=_provenance(evaluation, notes[-1]),
    )


def _summary(evaluation: Evaluation) -> str:
    count = f"{evaluation.n} image{'' if evaluation.n == 1 else 's'}"
    scored = sum(row.kind != "degraded" for row in evaluation.rows)
    models = f"{scored} {'model' if scored == 1 else 'models'}"
    protocol = f", protocol {evaluation.protocol.name}" if evaluation.protocol else ""
    return f"{models} on {count}{protocol}"


# The table.


def _table(evaluation: Evaluation) -> str:
    head = ["<th>model</th>"]
    different = len({row.n for row in evaluation.rows}) > 1
    if different:
        head.append("<th>images</th>")
    for metric in evaluation.metrics:
        head.append(f"<th>{escape(metric.title)}</th>")
        if evaluation.baseline is not None:
            head.append(f"<th>against<br>{escape(evaluation.baseline)}</th>")
    head += [f"<th>{title}</th>" for title in ("parameters (M)", "MACs (G)", "latency (ms)")]
    best = {metric.field: _best(evaluation, metric) for metric in evaluation.metrics}
    lines = []
    for row in evaluation.rows:
        cells = [f'<th scope="row">{escape(row.label)}</th>']
        if different:
            cells.append(f"<td>{_data('n', row.n, 0)}</td>")
        for metric in evaluation.metrics:
            kind = ' class="best"' if row.label in best[metric.field] else ""
            value = _data(metric.field, row.mean(metric.field), metric.digits)
            spread = number(row.std(metric.field), metric.digits)
            shown = f' <span class="spread">± {spread}</span>' if spread != UNKNOWN else ""
            cells.append(f"<td{kind}>{value}{shown}</td>")
            if evaluation.baseline is not None:
                cells.append(_difference_cell(evaluation, row, metric))
        for name, digits in (("params_m", 2), ("macs_g", 1), ("latency_ms", 1)):
            cells.append(f"<td>{_data(name, getattr(row, name), digits)}</td>")
        lines.append(f'<tr data-label="{escape(row.label)}">{"".join(cells)}</tr>')
    return (
        f'<div class="scroll"><table><thead><tr>{"".join(head)}</tr></thead>\n'
        f"<tbody>\n{chr(10).join(lines)}\n</tbody></table></div>"
    )


def _difference_cell(evaluation: Evaluation, row: Row, metric: Metric) -> str:
    difference = evaluation.difference(row, metric.field)
    value = _data(f"{metric.field}_difference", difference, metric.digits, sign=True)
    if math.isnan(difference) or difference == 0:
        return f"<td>{value}</td>"
    better = (difference > 0) == metric.higher_is_better
    return f'<td class="{"better" if better else "worse"}">{value}</td>'


def _best(evaluation: Evaluation, metric: Metric) -> set[str]:
    """The labels of the best rows; none where there is nothing to choose from."""
    values = {
        row.label: row.mean(metric.field) for row in evaluation.rows if row.kind != "degraded"
    }
    values = {label: value for label, value in values.items() if not math.isnan(value)}
    if len(values) < 2:
        return set()
    top = (max if metric.higher_is_better else min)(values.values())
    return {label for label, value in values.items() if value == top}


def _data(name: str, value: float | None, digits: int, *, sign: bool = False) -> str:
    """A number as people read it, with the full one beside it for programs."""
    exact = "" if value is None or math.isnan(value) else repr(value)
    return f'<data data-field="{name}" value="{exact}">{number(value, digits, sign=sign)}</data>'


def _paragraphs(kind: str, lines: Sequence[str]) -> str:
    return f'<div class="{kind}">{"".join(f"<p>{escape(line)}</p>" for line in lines)}</div>'


def _failures(evaluation: Evaluation) -> str:
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


# The plots.


def _plots(evaluation: Evaluation, curves: Curves) -> str:
    figures = []
    for metric in evaluation.metrics:
        if plot := quality_against_macs(evaluation, metric):
            figures.append((plot, f"{metric.title} against multiply-adds"))
    colours = row_colours(evaluation)
    known = {label: log for label, log in curves.items() if label in colours}
    for kind, name, title, caption in (
        ("train", "loss", "loss", "Training loss"),
        ("validation", "psnr_db", "PSNR (dB)", "Validation PSNR during training"),
    ):
        plot = training_curves(known, colours, kind=kind, field=name, title=title)
        if plot:
            figures.append((plot, caption))
    if not figures:
        return ""
    body = "\n".join(
        f"<figure>{plot}<figcaption>{escape(caption)}</figcaption></figure>"
        for plot, caption in figures
    )
    return (
        '<section id="plots">\n<h2>Quality and cost</h2>\n'
        f'<div class="plots">\n{body}\n</div>\n</section>'
    )


# The pictures.


def _photographs(evaluation: Evaluation) -> str:
    if not evaluation.strips:
        return ""
    shown = len(evaluation.strips)
    which = (
        "" if shown == evaluation.n else f" <small>(the first {shown} of {evaluation.n})</small>"
    )
    scores = {
        (row.label, image.name): image.scores for row in evaluation.rows for image in row.images
    }
    body = "\n".join(_photograph(strip, evaluation, scores) for strip in evaluation.strips)
    return f'<section id="photographs">\n<h2>Pictures{which}</h2>\n{body}\n</section>'


def _photograph(
    strip: Strip, evaluation: Evaluation, scores: Mapping[tuple[str, str], Mapping[str, float]]
) -> str:
    top, left, height, width = strip.crop
    box = (
        f"top:{top / strip.height:.2%};left:{left / strip.width:.2%};"
        f"height:{height / strip.height:.2%};width:{width / strip.width:.2%}"
    )
    figures = []
    for label, picture in strip.pictures.items():
        found = scores.get((label, strip.name), {})
        lines = "<br>".join(
            f"<span>{escape(metric.title)} {number(found[metric.field], metric.digits)}</span>"
            for metric in evaluation.metrics
            if metric.field in found
        )
        name = escape(label)
        figures.append(
            f'<figure data-label="{name}"><div class="whole">'
            f'<img src="{_uri(picture)}" alt="{escape(strip.name)}, {name}" loading="lazy">'
            f'<i style="{box}"></i></div>'
            f'<img class="crop" src="{_uri(strip.crops[label])}" alt="a part of it, enlarged" '
            f'loading="lazy"><figcaption><b>{name}</b>{lines}</figcaption></figure>'
        )
    return (
        f'<article class="photograph" style="--ratio:{strip.width / strip.height:.4f}">'
        f"<header><h3>{escape(strip.name)}</h3>"
        f"<span>{strip.width} x {strip.height} pixels</span></header>\n"
        f'<div class="strip">{"".join(figures)}</div></article>'
    )


def _uri(webp: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(webp).decode("ascii")


def _provenance(evaluation: Evaluation, versions: str) -> str:
    command = f"<pre>{escape(evaluation.command)}</pre>" if evaluation.command else ""
    return f"<p>{escape(versions)}</p>{command}"
