"""Timing a forward pass: median and quartiles after a warm-up, within a time budget."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Latency:
    """Times of one forward pass, in milliseconds: the median, and the middle half of the runs."""

    median_ms: float
    first_quartile_ms: float
    third_quartile_ms: float
    runs: int


def synchronizer(device: torch.device) -> Callable[[], None]:
    """What must be called before reading the clock, so that queued work is in the time."""
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    if device.type == "mps":
        return torch.mps.synchronize
    return lambda: None


def timed(run: Callable[[], object], synchronize: Callable[[], None]) -> float:
    """Seconds that one call of `run` takes."""
    synchronize()
    start = time.perf_counter()
    run()
    synchronize()
    return time.perf_counter() - start


def measure_latency(
    run: Callable[[], object],
    *,
    device: torch.device,
    runs: int = 20,
    warm_up: int = 2,
    budget_s: float = float("inf"),
) -> Latency:
    """Time `run` up to `runs` times after `warm_up` calls, and stop once `budget_s` is used up.

    At least one call is timed, whatever the budget.
    """
    synchronize = synchronizer(device)
    with torch.inference_mode():
        start = time.perf_counter()
        for _ in range(warm_up):
            timed(run, synchronize)
        seconds: list[float] = []
        while not seconds or (
            len(seconds) < runs
            and time.perf_counter() - start + float(np.median(seconds)) <= budget_s
        ):
            seconds.append(timed(run, synchronize))
    return summarize(seconds)


def summarize(seconds: list[float]) -> Latency:
    """The median and quartiles of some times in seconds."""
    quarter, half, three_quarters = np.percentile(np.asarray(seconds) * 1e3, (25, 50, 75)).tolist()
    return Latency(half, quarter, three_quarters, len(seconds))
