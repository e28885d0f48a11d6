"""Bootstrap intervals: SciPy's figures, the same every time, and honest about little data."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from irkd.report.intervals import mean_interval


def drawn(count: int, seed: int, mean: float = 0.3) -> tuple[float, ...]:
    return tuple(np.random.default_rng(seed).normal(mean, 1, count).tolist())


def test_is_scipys_percentile_bootstrap():
    values = drawn(40, 1)
    peer = scipy.stats.bootstrap((values,), np.mean, n_resamples=9999, method="percentile")
    low, high = mean_interval((values,))
    assert low == pytest.approx(peer.confidence_interval.low, abs=0.03)
    assert high == pytest.approx(peer.confidence_interval.high, abs=0.03)
    assert low < np.mean(values) < high


def test_several_sets_count_the_same_whatever_their_size():
    small, large = drawn(12, 2, mean=5), drawn(300, 3, mean=-5)
    peer = scipy.stats.bootstrap(
        (small, large),
        lambda first, second, axis: (first.mean(axis) + second.mean(axis)) / 2,
        n_resamples=9999,
        method="percentile",
        vectorized=True,
    )
    low, high = mean_interval((small, large))
    assert low == pytest.approx(peer.confidence_interval.low, abs=0.02)
    assert high == pytest.approx(peer.confidence_interval.high, abs=0.02)
    assert abs((low + high) / 2) < 0.5


def test_chunks_do_not_show(monkeypatch):
    groups = (drawn(50, 4),)
    whole = mean_interval(groups)
    mean_interval.cache_clear()
    monkeypatch.setattr("irkd.report.intervals._CHUNK", 1000)
    assert mean_interval(groups) == pytest.approx(whole, abs=1e-12)


@pytest.mark.parametrize("groups", [(), ((),), ((1.0,),), ((1.0, 2.0), (1.0,))])
def test_too_little_to_say_anything(groups):
    assert all(map(math.isnan, mean_interval(groups)))


def test_a_difference_that_is_the_same_everywhere_is_certain():
    assert mean_interval(((0.5, 0.5, 0.5),)) == (0.5, 0.5)
