"""Timing several ways to one result in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Effort:
    """How much to measure: each comparison for about `seconds`, but at least `rounds` rounds.

    `quick` leaves out what takes minutes.
    """

    seconds: float = 10.0
    rounds: int = 5
    quick: bool = False


@dataclass(frozen=True)
class Ratio:
    """`case` over `baseline`: the median ratio over the rounds, and the quartiles.

    `case_median` and `baseline_median` are in `unit`: CPU seconds, MiB, or so many
    a second.
    """

    topic: str
    case: str
    baseline: str
    median: float
    first_quartile: float
    third_quartile: float
    case_median: float
    baseline_median: float
    unit: str
    rounds: int


def ratio(
    topic: str,
    case: str,
    baseline: str,
    case_values: Sequence[float],
    baseline_values: Sequence[float],
    unit: str,
) -> Ratio:
    """What was measured of both, in turns."""
    taken, least = np.asarray(case_values), np.asarray(baseline_values)
    low, median, high = np.percentile(taken / least, (25, 50, 75)).tolist()
    medians = float(np.median(taken)), float(np.median(least))
    return Ratio(topic, case, baseline, median, low, high, *medians, unit, len(taken))


def take_turns(topic: str, cases: dict[str, Callable[[], object]], effort: Effort) -> list[Ratio]:
    """Time every case against the first one, round after round."""
    for run in cases.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in cases}
    end = time.perf_counter() + effort.seconds
    first, *others = cases
    while len(times[first]) < effort.rounds or time.perf_counter() < end:
        for name, run in cases.items():
            start = time.process_time()
            run()
            times[name].append(time.process_time() - start)
    return [ratio(topic, name, first, times[name], times[first], "s") for name in others]
