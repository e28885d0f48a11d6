"""Timing several ways to one result in turns."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ratio:
    """CPU time of `case` over that of `baseline`: the median over the rounds, and the quartiles."""

    topic: str
    case: str
    baseline: str
    median: float
    first_quartile: float
    third_quartile: float
    case_s: float
    baseline_s: float
    rounds: int


def take_turns(
    topic: str,
    cases: dict[str, Callable[[], object]],
    *,
    seconds: float,
    least_rounds: int = 3,
) -> list[Ratio]:
    """Time every case against the first one, round after round, for about `seconds`."""
    for run in cases.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in cases}
    end = time.perf_counter() + seconds
    first = next(iter(cases))
    while len(times[first]) < least_rounds or time.perf_counter() < end:
        for name, run in cases.items():
            start = time.process_time()
            run()
            times[name].append(time.process_time() - start)
    baseline = np.asarray(times[first])
    results = []
    for name in list(cases)[1:]:
        taken = np.asarray(times[name])
        low, median, high = np.percentile(taken / baseline, (25, 50, 75)).tolist()
        results.append(
            Ratio(
                topic,
                name,
                first,
                median,
                low,
                high,
                float(np.median(taken)),
                float(np.median(baseline)),
                len(taken),
            )
        )
    return results
