"""Random generators that depend on named numbers only, never on global state."""

from __future__ import annotations

import numpy as np

# What a generator is for. Two streams never share a draw, whatever the other numbers are.
PROCEDURAL = 1
DEGRADATION = 2
PERMUTATION = 3
CROP = 4
METHOD = 5
SCENES = 6
RAMP = 7
SURFACES = 8
STREETS = 9
DAYLIGHT = 10
SUNLIGHT = 11
FABRICS = 12
TONES = 13


def generator(stream: int, *numbers: int) -> np.random.Generator:
    """The generator of `stream` for these non-negative numbers (seed, epoch, index, ...).

    PCG64 seeded through SeedSequence: the same draws on every platform, in every process.
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((stream, *numbers))))


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A positive number whose logarithm is uniform between those of `low` and `high`."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
