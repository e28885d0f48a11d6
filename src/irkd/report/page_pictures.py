"""The pictures of the page: the images that were chosen, and why each is there."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from html import escape

from irkd.report.evaluation import Evaluation
from irkd.report.selection import Selection
from irkd.report.strips import Strip
from irkd.report.tables import number


def photographs(evaluation: Evaluation, level: int) -> str:
    """Every strip, each image below a heading of `level`."""
    scores = _scores_by_image(evaluation)
    standings = _standings(evaluation.selection, scores)
    return "\n".join(
        _photograph(
            strip, evaluation, scores.get(strip.name, {}), standings.get(strip.name, ""), level
        )
        for strip in evaluation.strips
    )


def choice_line(evaluation: Evaluation) -> str:
    """Which images these are, in one sentence."""
    selection = evaluation.selection
    if selection is None:
        return f"{len(evaluation.strips)} of {evaluation.n} images."
    by = f"by {selection.metric.title} of {selection.label}, from the worst to the best"
    if selection.everything:
        return f"All images, {by}."
    kinds = [f"the {selection.worst} worst", f"the {selection.best} best"]
    if selection.behind:
        kinds.append(f"the {selection.behind} with the worst difference to {selection.baseline}")
    listed = f"{', '.join(kinds[:-1])} and {kinds[-1]}"
    return f"Of {evaluation.n} images {listed}, {by}."


Scores = Mapping[str, Mapping[str, float]]
"""The scores of an image: by row, then by the metric's field."""


def _scores_by_image(evaluation: Evaluation) -> Mapping[str, Scores]:
    found: dict[str, dict[str, Mapping[str, float]]] = {}
    for row in evaluation.rows:
        for image in row.images:
            found.setdefault(image.name, {})[row.label] = image.scores
    return found


def _standings(selection: Selection | None, scores: Mapping[str, Scores]) -> dict[str, str]:
    """For each image its score in the row it was chosen by, and where that stands among all."""
    if selection is None:
        return {}
    metric, baseline = selection.metric, selection.baseline
    own = {
        name: {label: values[metric.field] for label, values in rows.items()}
        for name, rows in scores.items()
    }
    places = _places({name: selection.badness(values) for name, values in own.items()})
    behind = _places({name: selection.lag(values) for name, values in own.items()})
    found = {}
    for name, place in places.items():
        score = own[name][selection.label]
        text = f"{selection.label}: {metric.title} {number(score, metric.digits)}, {place}"
        if baseline is not None and name in behind:
            difference = number(score - own[name][baseline], metric.digits, sign=True)
            text += f"; difference to {baseline} {difference}, {behind[name]}"
        found[name] = text
    return found


def _places(badness: Mapping[str, float]) -> dict[str, str]:
    """Where each image stands, counted from the nearer end: "2nd worst of 100"."""
    known = {name: value for name, value in badness.items() if not math.isnan(value)}
    ordered = sorted(known, key=lambda name: -known[name])
    count = len(ordered)
    places = {}
    for position, name in enumerate(ordered):
        end, rank = ("worst", position) if 2 * position < count else ("best", count - 1 - position)
        places[name] = f"{_ordinal(rank + 1)}{end} of {count}"
    return places


def _ordinal(rank: int) -> str:
    """Before a superlative: nothing for the first, "2nd " for the second."""
    if rank == 1:
        return ""
    ending = (
        "th" if rank % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(rank % 10, "th")
    )
    return f"{rank}{ending} "


def _photograph(
    strip: Strip, evaluation: Evaluation, scores: Scores, standing: str, level: int
) -> str:
    top, left, height, width = strip.crop
    box = (
        f"top:{top / strip.height:.2%};left:{left / strip.width:.2%};"
        f"height:{height / strip.height:.2%};width:{width / strip.width:.2%}"
    )
    figures = []
    for label, picture in strip.pictures.items():
        found = scores.get(label, {})
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
    name = escape(strip.name)
    why = f'<p class="why">{escape(standing)}</p>' if standing else ""
    return (
        f'<article class="photograph" style="--ratio:{strip.width / strip.height:.4f}">'
        f"<header><h{level}>{name}</h{level}>"
        f"<span>{strip.width} x {strip.height} pixels</span>{why}</header>\n"
        f'<div class="strip" tabindex="0" role="region" aria-label="all pictures of {name}">'
        f"{''.join(figures)}</div></article>"
    )


def _uri(webp: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(webp).decode("ascii")
