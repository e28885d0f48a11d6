"""How sure a mean difference is: bootstrap intervals over the images of test sets."""

from __future__ import annotations

import functools
import math

import numpy as np

RESAMPLES = 10_000
LEVEL = 0.95

_CHUNK = 1 << 20

Differences = tuple[float, ...]


@functools.lru_cache(maxsize=256)
def mean_interval(groups: tuple[Differences, ...]) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of the mean of the groups' means.

    `groups`: for each data set, a finite number an image, such as the difference of two models on
    it. Images are drawn with replacement within each set, 10,000 times, with a fixed seed. NaN for
    both ends where a group has fewer than two images: nothing can be said of its spread.

    Efron and Tibshirani, "An introduction to the bootstrap", 1993, section 13.3. With few images
    the interval is too narrow: by about a fifth for six, a tenth for ten.
    """
    if not groups or min(map(len, groups)) < 2:
        return math.nan, math.nan
    generator = np.random.default_rng(0)
    means = np.zeros(RESAMPLES)
    for group in groups:
        values = np.array(group)
        at_once = max(1, _CHUNK // len(values))
        for start in range(0, RESAMPLES, at_once):
            count = min(at_once, RESAMPLES - start)
            drawn = generator.integers(0, len(values), (count, len(values)))
            means[start : start + count] += values[drawn].mean(axis=1) / len(groups)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
