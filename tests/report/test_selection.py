"""The images of a report are the extremes of all, though only they are remembered."""

from __future__ import annotations

import math

import numpy as np
import pytest

from irkd.metrics.catalogue import open_metrics
from irkd.report.selection import Chooser, Selection

PSNR, PIQE = open_metrics(["psnr", "piqe"])


@pytest.mark.parametrize("metric", [PSNR, PIQE], ids=lambda metric: metric.name)
def test_chooses_what_sorting_all_of_them_would(metric):
    sign = 1 if metric.higher_is_better else -1
    for seed in range(20):
        generator = np.random.default_rng(seed)
        # Of few values, so that there are equal ones.
        model, baseline = generator.integers(0, 40, (2, 200)).astype(float)
        model[generator.integers(0, 200, 3)] = math.inf
        model[generator.integers(0, 200, 3)] = math.nan
        chooser = Chooser(Selection.of("model", "baseline", metric, 200, 10))
        for index, scores in enumerate(zip(model, baseline, strict=True)):
            chooser.add(index, dict(zip(("model", "baseline"), scores, strict=True)))

        def extremes(values, count):
            known = [index for index in range(200) if not math.isnan(values[index])]
            return sorted(known, key=lambda index: (values[index], index))[:count]

        expected = {
            *extremes(sign * model, 4),
            *extremes(-sign * model, 3),
            *extremes(sign * (model - baseline), 3),
        }
        chosen = chooser.chosen()
        assert set(chosen) == expected
        assert len(chosen) <= 10
        shown = [sign * model[index] for index in chosen]
        assert shown == sorted(shown)


def test_says_at_once_whether_an_image_is_worth_keeping():
    chooser = Chooser(Selection.of("model", None, PSNR, 1000, 2))
    assert [chooser.add(i, {"model": s}) for i, s in enumerate((30, 40, 35, 29, 29, 41))] == [
        *(True, True, False, True, False, True)
    ]
    assert chooser.chosen() == [3, 5]


def test_few_images_are_all_chosen_but_those_without_a_score():
    selection = Selection.of("model", "other", PSNR, 4, 24)
    assert selection.everything
    chooser = Chooser(selection)
    for index, score in enumerate((30.0, math.inf, 20.0)):
        assert chooser.add(index, {"model": score})
    assert not chooser.add(3, {"other": 10.0})
    assert chooser.chosen() == [2, 0, 1]


@pytest.mark.parametrize(
    ("baseline", "limit", "kinds"),
    [
        ("other", 24, (8, 8, 8)),
        ("other", 1, (1, 0, 0)),
        ("other", 5, (2, 2, 1)),
        ("model", 24, (12, 12, 0)),
        (None, 3, (2, 1, 0)),
    ],
)
def test_the_kinds_share_the_limit(baseline, limit, kinds):
    selection = Selection.of("model", baseline, PSNR, 500, limit)
    assert (selection.worst, selection.best, selection.behind) == kinds
    assert not selection.everything
