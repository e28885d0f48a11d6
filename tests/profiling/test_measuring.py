"""Times and memory: what is measured, what is only estimated, and what a failure says."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import pytest
import torch

from irkd.models.base import family
from irkd.profiling import latency as latency_module
from irkd.profiling import measure as measure_module
from irkd.profiling.latency import measure_latency
from irkd.profiling.measure import Request, measure_apart, measure_here
from irkd.profiling.memory import available_bytes, peak_memory

CPU = torch.device("cpu")
TINY = {"width": 4, "enc_blk_nums": [1], "middle_blk_num": 1, "dec_blk_nums": [1]}


class Clock:
    """Stands in for the clock: only `work` lets time pass."""

    def __init__(self, seconds: list[float]) -> None:
        self.now, self.calls, self.seconds = 0.0, 0, seconds

    def perf_counter(self) -> float:
        return self.now

    def work(self) -> None:
        self.now += self.seconds[min(self.calls, len(self.seconds) - 1)]
        self.calls += 1


def test_median_and_quartiles_leave_out_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock([100.0, 50.0, 3.0, 1.0, 2.0, 5.0, 4.0])
    monkeypatch.setattr(latency_module, "time", clock)
    result = measure_latency(clock.work, device=CPU, runs=5, warm_up=2)
    assert (result.median_ms, result.runs) == (3000.0, 5)
    assert (result.first_quartile_ms, result.third_quartile_ms) == (2000.0, 4000.0)


def test_timing_ends_with_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock([1.0])
    monkeypatch.setattr(latency_module, "time", clock)
    assert measure_latency(clock.work, device=CPU, runs=50, warm_up=2, budget_s=6.5).runs == 4
    assert clock.now == 6.0
    assert measure_latency(clock.work, device=CPU, runs=50, warm_up=0, budget_s=0.1).runs == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets the peak start anew")
def test_peak_memory_is_what_a_pass_takes_beyond_what_was_there() -> None:
    mebibyte = 2**20
    held = torch.ones(32 * mebibyte, dtype=torch.uint8)
    found = peak_memory(lambda: held + 1, CPU)
    assert found is not None
    # The copy of 32 MiB; the kernel counts in batches of pages, and the process does more.
    assert 31 * mebibyte <= found < 48 * mebibyte
    # A larger peak in the past is forgotten.
    again = peak_memory(lambda: held[: 8 * mebibyte] + 1, CPU)
    assert again is not None
    assert again < 24 * mebibyte


def test_available_memory_is_plausible() -> None:
    assert 2**20 < available_bytes(CPU) < 2**50


def _request(side: int, **changes: Any) -> Request:
    spec = family("nafnet").spec.model_validate({"arch": "nafnet", **TINY}).model_dump(mode="json")
    request = Request("torch", side, side, in_channels=3, size_multiple=2, spec=spec, runs=4)
    return dataclasses.replace(request, **changes)


def test_a_network_is_measured_in_a_process_of_its_own() -> None:
    found = measure_apart(_request(255, threads=1))
    assert (found.how, found.runs, found.note) == ("measured", 4, None)
    assert found.latency_ms is not None
    assert found.latency_first_quartile_ms is not None
    assert found.latency_third_quartile_ms is not None
    assert 0 < found.latency_first_quartile_ms <= found.latency_ms
    assert found.latency_ms <= found.latency_third_quartile_ms
    assert found.peak_memory_mib is not None
    # Eight channels of 256x256 float32 are alive at the least.
    assert found.peak_memory_mib >= 8 * 256 * 256 * 4 / 2**20


def test_a_network_beyond_the_budget_is_estimated_and_says_so() -> None:
    found = measure_here(_request(1024, budget_s=1e-6))
    assert (found.how, found.runs, found.latency_first_quartile_ms) == ("estimated", 0, None)
    assert found.latency_ms is not None
    assert found.latency_ms > 0
    assert found.note is not None
    assert "budget" in found.note


def test_a_network_beyond_the_memory_is_estimated_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measure_module, "peak_memory", lambda run, device: 2**20)
    monkeypatch.setattr(measure_module, "available_bytes", lambda device: 2**24)
    found = measure_here(_request(1024))
    # A mebibyte at 128x128 is 64 at 1024x1024, and 16 are there.
    assert (found.how, found.peak_memory_mib) == ("estimated", 64.0)
    assert found.note is not None
    assert "memory" in found.note


def test_one_run_is_called_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock([1.0])

    def timed(run: object, synchronize: object) -> float:
        clock.work()
        return 1.0

    monkeypatch.setattr(measure_module, "timed", timed)
    found = measure_here(_request(64, budget_s=2.5))
    assert (found.how, found.runs, found.latency_ms) == ("once", 1, 1000.0)


def test_a_failure_is_told_and_not_hidden() -> None:
    found = measure_apart(_request(64, backend="onnxruntime", path="nowhere.onnx"))
    assert found.how == "failed"
    assert found.latency_ms is None
    assert found.note is not None
    assert "nowhere.onnx" in found.note
