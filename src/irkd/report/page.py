"""One self-contained HTML page of an evaluation: scores, plots, and pictures to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from irkd.files import write_text
from irkd.report.evaluation import Evaluation
from irkd.report.page_pictures import choice_line, photographs
from irkd.report.page_tables import averages_table, failures, paragraphs, score_table
from irkd.report.plots import (
    quality_against_macs,
    row_colours,
    score_distribution,
    training_curves,
)
from irkd.report.sets import SetsEvaluation
from irkd.report.sets_table import sets_notes
from irkd.report.tables import evaluation_notes

FILE_NAME = "report.html"

Curves = Mapping[str, Sequence[Mapping[str, Any]]]
Plot = tuple[str, str]
"""An SVG and its caption."""

_BOX = (
    "the box holds the middle half, with a line at the median and a diamond at the mean; the lines "
    "beside it reach to the 5th and the 95th percentile"
)


def write_report(
    directory: str | Path,
    evaluation: Evaluation | SetsEvaluation,
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


def render(evaluation: Evaluation | SetsEvaluation, curves: Curves | None = None) -> str:
    """The page as HTML. Everything a user named is escaped."""
    if isinstance(evaluation, SetsEvaluation):
        heading, body = ", ".join(evaluation.sets), _sets(evaluation, curves or {})
        notes, command = sets_notes(evaluation), evaluation.first.command
        protocol = evaluation.first.protocol
        models = len([row for row in evaluation.first.rows if row.kind != "degraded"])
        images = sum(each.n for each in evaluation.sets.values())
    else:
        heading, body = _heading(evaluation), _one(evaluation, curves or {})
        notes, command = evaluation_notes(evaluation), evaluation.command
        protocol = evaluation.protocol
        models = len([row for row in evaluation.rows if row.kind != "degraded"])
        images = evaluation.n
    parts = resources.files("irkd.report")
    summary = f"{_count(models, 'model')} on {_count(images, 'image')}"
    return Template((parts / "page.html").read_text("utf-8")).substitute(
        title=escape(f"irkd: {heading}"),
        style=(parts / "page.css").read_text("utf-8"),
        script=(parts / "page.js").read_text("utf-8"),
        heading=escape(heading),
        summary=escape(summary + (f", protocol {protocol.name}" if protocol else "")),
        body=body,
        # What made it is the last of the notes.
        provenance=f"<p>{escape(notes[-1])}</p>{_command(command)}",
    )


def _one(evaluation: Evaluation, curves: Curves) -> str:
    """The sections of one data set."""
    notes = paragraphs("notes", evaluation_notes(evaluation)[:-1])
    table = "\n".join([score_table(evaluation), notes, failures(evaluation)])
    plots = [*_score_plots(evaluation, ""), *_training_plots(evaluation, curves)]
    return "\n".join(
        [
            _section("Scores", table, 2),
            _section("Plots", _figures(plots), 2),
            _section("Pictures", _pictures(evaluation, 3), 2),
        ]
    )


def _sets(found: SetsEvaluation, curves: Curves) -> str:
    """The averages, then the sections of each data set."""
    names = list(found.sets)
    links = "".join(
        f'<a href="#set-{number}">{escape(name)}</a>' for number, name in enumerate(names, 1)
    )
    notes = paragraphs("notes", sets_notes(found)[:-1])
    table = "\n".join([averages_table(found), notes, failures(found)])
    training = _figures(_training_plots(found.first, curves))
    parts = [
        f'<nav aria-label="data sets">{links}</nav>',
        _section("Averages", table, 2),
        _section("Training", training, 2),
    ]
    for number, (name, evaluation) in enumerate(found.sets.items(), 1):
        parts += [
            f'<section class="set" id="set-{number}">\n<h2>{escape(name)}</h2>',
            _section("Scores", score_table(evaluation), 3),
            _section("Plots", _figures(_score_plots(evaluation, str(number))), 3),
            _section("Pictures", _pictures(evaluation, 4), 3),
            "</section>",
        ]
    return "\n".join(parts)


def _section(title: str, content: str, level: int) -> str:
    """Nothing where there is no content."""
    if not content:
        return ""
    return f"<section>\n<h{level}>{title}</h{level}>\n{content}\n</section>"


def _heading(evaluation: Evaluation) -> str:
    return f"{evaluation.data}, {evaluation.task}" if evaluation.task else evaluation.data


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _command(command: str | None) -> str:
    if not command:
        return ""
    return f'<pre tabindex="0" role="region" aria-label="the command">{escape(command)}</pre>'


def _score_plots(evaluation: Evaluation, salt: str) -> list[Plot]:
    figures = []
    for metric in evaluation.metrics:
        if plot := quality_against_macs(evaluation, metric, salt=salt):
            figures.append((plot, f"{metric.title} against multiply-adds"))
    for metric in evaluation.metrics:
        if plot := score_distribution(evaluation, metric, salt=salt):
            figures.append((plot, f"{metric.title} over the images: {_BOX}"))
    return figures


def _training_plots(evaluation: Evaluation, curves: Curves) -> list[Plot]:
    figures = []
    colours = row_colours(evaluation)
    known = {label: log for label, log in curves.items() if label in colours}
    for kind, name, title, caption in (
        ("train", "loss", "loss", "Training loss"),
        ("validation", "psnr_db", "PSNR (dB)", "Validation PSNR during training"),
    ):
        plot = training_curves(known, colours, kind=kind, field=name, title=title)
        if plot:
            figures.append((plot, caption))
    return figures


def _figures(plots: Sequence[Plot]) -> str:
    if not plots:
        return ""
    body = "\n".join(_figure(plot, escape(caption)) for plot, caption in plots)
    return f'<div class="plots">\n{body}\n</div>'


def _figure(plot: str, caption: str) -> str:
    svg = plot.replace("<svg", f'<svg role="img" aria-label="{caption}"', 1)
    return f"<figure>{svg}<figcaption>{caption}</figcaption></figure>"


def _pictures(evaluation: Evaluation, level: int) -> str:
    if evaluation.selection is not None and not evaluation.strips:
        return f"<p>None: {escape(evaluation.selection.label)} has no score to choose them by.</p>"
    if not evaluation.strips:
        return ""
    return (
        f'<p class="choice">{escape(choice_line(evaluation))}</p>\n{photographs(evaluation, level)}'
    )
