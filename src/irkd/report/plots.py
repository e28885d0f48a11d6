"""The report's plots, as SVG to be put into a page in light or dark colours."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter

from irkd.metrics.catalogue import Metric
from irkd.report.evaluation import DEGRADED, Evaluation

# Readable on white and on near-black.
COLOURS = (
    *("#3b82c4", "#e0812b", "#2f9e6e", "#c5508a"),
    *("#8b6fd6", "#b59a1f", "#4aa7b8", "#d1504a"),
)
# Stands for the page's text colour until the SVG is written.
_INK = "#010203"
_STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.18,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "grid.color"), _INK),
    **dict.fromkeys(("xtick.color", "ytick.color"), _INK),
}
# The degraded input's colour, which belongs to no model.
_SOFT = "#808a96"
_MOST_POINTS = 400
_MOST_DOTS = 60
_DASHES = ("-", "--", ":")

Log = Sequence[Mapping[str, Any]]


def quality_against_macs(evaluation: Evaluation, metric: Metric, *, salt: str = "") -> str | None:
    """Mean score over MACs, one point a model; None where no model's MACs are known.

    Plots in one page need a `salt` each where they are of the same metric.
    """
    points = [
        (row.label, row.macs_g, row.mean(metric.field))
        for row in evaluation.rows
        if row.macs_g and math.isfinite(row.mean(metric.field))
    ]
    if not points:
        return None
    with rc_context({**_STYLE, "svg.hashsalt": f"quality {metric.name} {salt}"}):
        figure, axes = _axes()
        colours = row_colours(evaluation)
        for label, macs, score in points:
            axes.plot(
                macs,
                score,
                "o",
                markersize=9,
                color=colours[label],
                label=_plain(_shortened(label, 40)),
            )
        degraded = evaluation.by_label.get(DEGRADED)
        if degraded is not None and math.isfinite(degraded.mean(metric.field)):
            axes.axhline(
                degraded.mean(metric.field), color=_INK, alpha=0.6, dashes=(4, 3), label=DEGRADED
            )
        if max(macs for _, macs, _ in points) > 3 * min(macs for _, macs, _ in points):
            axes.set_xscale("log")
            _plain_ticks(axes.xaxis)
        axes.margins(0.15)
        axes.set_xlabel(f"MACs (G) for {evaluation.size[0]} x {evaluation.size[1]} pixels")
        axes.set_ylabel(metric.title)
        if not metric.higher_is_better:
            axes.invert_yaxis()
        return _svg(figure, axes)


def score_distribution(evaluation: Evaluation, metric: Metric, *, salt: str = "") -> str | None:
    """The finite scores of the images, row by row; None where no row has two.

    A box from the lower to the upper quartile with a line at the median, whiskers to the 5th and
    95th percentile, and the mean as a diamond. Few images are dots, many a density, with a dot for
    the lowest and the highest.
    """
    scores = {row.label: np.array(row.finite(metric.field)) for row in evaluation.rows}
    if max(map(len, scores.values()), default=0) < 2:
        return None
    with rc_context({**_STYLE, "svg.hashsalt": f"distribution {metric.name} {salt}"}):
        figure, axes = _axes(height=0.8 + 0.6 * len(scores))
        colours = {DEGRADED: _SOFT, **row_colours(evaluation)}
        for position, (label, values) in enumerate(scores.items()):
            if len(values):
                _draw_distribution(axes, position, values, colours[label])
        axes.set_yticks(range(len(scores)), [_plain(_shortened(label, 22)) for label in scores])
        axes.set_ylim(len(scores) - 0.45, -0.55)
        axes.tick_params("y", length=0)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(metric.title)
        return _svg(figure, axes)


def _draw_distribution(axes: Axes, position: int, values: Any, colour: str) -> None:
    low, lower, median, upper, high = np.percentile(values, (5, 25, 50, 75, 95))
    dots = values
    if len(values) > _MOST_DOTS:
        dots = np.array([values.min(), values.max()])
        if dots[0] < dots[1]:
            shape: Any = axes.violinplot(
                values, [position], orientation="horizontal", widths=0.85, showextrema=False
            )
            shape["bodies"][0].set(facecolor=colour, alpha=0.35, linewidth=0)
    # Over the row's height by the golden ratio, so that equal scores are not one dot.
    spread = (np.arange(len(dots)) * 0.618034) % 1 - 0.5 if len(dots) > 2 else np.zeros(len(dots))
    size = 6 if len(dots) < 30 else 4
    axes.plot(dots, position + 0.5 * spread, "o", color=colour, ms=size, alpha=0.8, mew=0, zorder=2)
    line: Any = {"color": _INK, "linewidth": 1.2, "zorder": 3}
    for start, end in ((low, lower), (upper, high)):
        axes.plot([start, end], [position, position], **line)
    box = Rectangle((lower, position - 0.2), upper - lower, 0.4, zorder=3)
    box.set(facecolor=to_rgba(colour, 0.2), edgecolor=_INK, linewidth=1.2)
    axes.add_patch(box)
    axes.plot([median, median], [position - 0.2, position + 0.2], **{**line, "linewidth": 2.4})
    axes.plot(values.mean(), position, "D", color=_INK, ms=6, markerfacecolor="none", zorder=5)


def training_curves(
    curves: Mapping[str, Log], colours: Mapping[str, str], *, kind: str, field: str, title: str
) -> str | None:
    """A field of the training logs over steps, one line a run; None where no log has it."""
    with rc_context({**_STYLE, "svg.hashsalt": f"{kind} {field}"}):
        figure, axes = _axes()
        if not _draw_curves(axes, curves, colours, kind, field):
            return None
        axes.set_ylabel(title)
        return _svg(figure, axes)


def curves_picture(curves: Mapping[str, Log], panels: Sequence[tuple[str, str, str]]) -> bytes:
    """Training curves of several runs as one PNG, a panel for each (kind, field, title)."""
    colours = {label: COLOURS[i % len(COLOURS)] for i, label in enumerate(curves)}
    dashes = {label: _DASHES[i // len(COLOURS) % len(_DASHES)] for i, label in enumerate(curves)}
    style = {**_STYLE, "figure.facecolor": "white", "axes.facecolor": "white"}
    with rc_context(style):
        size = (6.4 * len(panels), 4.0 + 0.22 * -(-len(curves) // 4))
        figure = Figure(figsize=size, layout="constrained")
        for axes, (kind, field, title) in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
        ):
            _draw_curves(axes, curves, colours, kind, field, dashes)
            axes.set_ylabel(title)
            axes.set_title(f"{title} over steps", fontsize=11)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
        return buffer.getvalue()


def _draw_curves(
    axes: Axes,
    curves: Mapping[str, Log],
    colours: Mapping[str, str],
    kind: str,
    field: str,
    dashes: Mapping[str, str] | None = None,
) -> bool:
    """One line a run; False when no log has the field."""
    lowest, highest = math.inf, 0.0
    for label, log in curves.items():
        steps, values = _series(log, kind, field)
        if len(steps) == 0:
            continue
        lowest, highest = min(lowest, values.min()), max(highest, values.max())
        axes.plot(
            steps,
            values,
            color=colours[label],
            linestyle="-" if dashes is None else dashes[label],
            label=_plain(_shortened(label, 40)),
            marker="o" if len(steps) < 30 else None,
            markersize=4,
        )
    if kind == "train" and lowest > 0 and highest > 10 * lowest:
        axes.set_yscale("log")
        _plain_ticks(axes.yaxis)
    axes.set_xlabel("step")
    return bool(axes.lines)


def row_colours(evaluation: Evaluation) -> dict[str, str]:
    """One colour a row but the degraded input's, the same in every plot."""
    labels = [row.label for row in evaluation.rows if row.kind != "degraded"]
    return {label: COLOURS[index % len(COLOURS)] for index, label in enumerate(labels)}


def _series(log: Log, kind: str, field: str) -> tuple[Any, Any]:
    """Steps and finite values, averaged to so many points as a plot can show."""
    found = [
        (entry["step"], entry[field])
        for entry in log
        if entry.get("kind") == kind
        and isinstance(entry.get("step"), int | float)
        and isinstance(entry.get(field), int | float)
        and math.isfinite(entry[field])
    ]
    if not found:
        return np.empty(0), np.empty(0)
    points = np.array(found, float)
    bins = np.array_split(points, min(len(points), _MOST_POINTS))
    means = np.array([part.mean(axis=0) for part in bins])
    return means[:, 0], means[:, 1]


def _axes(height: float = 3.6) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.4, height), layout="constrained")
    return figure, figure.add_subplot()


def _plain_ticks(axis: Axis) -> None:
    """Numbers in full on a logarithmic axis, at 1, 2 and 5."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(
        FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    )


def _svg(figure: Figure, axes: Axes) -> str:
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        columns = max(1, min(3, 45 // (5 + max(map(len, labels)))))
        figure.set_figheight(figure.get_figheight() + 0.2 * ((len(labels) - 1) // columns))
        figure.legend(handles, labels, loc="outside upper left", ncols=columns)
    buffer = io.StringIO()
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=metadata, transparent=True)
    text = buffer.getvalue()
    # Inside a page, neither prolog nor metadata have a place, and the page sets the size.
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    # Groups are numbered anew in every plot; ids must be unique in the page. Nothing uses these.
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    return text.replace(_INK, "currentColor")


def _shortened(label: str, length: int) -> str:
    """The beginning and the end of a label that is longer than `length`."""
    half = (length - 1) // 2
    return label if len(label) <= length else f"{label[:half]}…{label[-half:]}"


def _plain(label: str) -> str:
    # A dollar sign would start a formula, and a leading underscore hides a legend's entry.
    label = label.replace("$", r"\$")
    return f" {label}" if label.startswith("_") else label
