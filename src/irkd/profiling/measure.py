"""Measuring one network in a process of its own.

A fresh process makes peak memory mean something, keeps one network's caches and threads out of the
next one's times, and lets a network that does not fit in memory fail alone.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import torch

from irkd.errors import IrkdError
from irkd.export.runtimes import open_onnx, open_openvino
from irkd.models.base import build_network, family
from irkd.profiling.latency import measure_latency, summarize, synchronizer, timed
from irkd.profiling.macs import round_up
from irkd.profiling.memory import available_bytes, peak_memory

Backend = Literal["torch", "onnxruntime", "openvino"]
BACKENDS: tuple[Backend, ...] = ("torch", "onnxruntime", "openvino")

# A side that networks run quickly at: what a large image takes is estimated from it first.
SMALL_SIDE = 128


@dataclass(frozen=True)
class Request:
    """What to measure: a torch network by its spec, or an exported file by its path."""

    backend: Backend
    height: int
    width: int
    in_channels: int
    size_multiple: int
    spec: dict[str, Any] | None = None
    path: str | None = None
    device: str = "cpu"
    threads: int | None = None
    runs: int = 20
    budget_s: float = 30.0


@dataclass(frozen=True)
class Measurement:
    """What a forward pass took, and how that is known.

    how: `measured` (several runs after a warm-up), `once` (one run: more did not fit the budget),
    `estimated` (from a small image, by the number of pixels: one run would not fit the budget or
    the memory; `note` says which), `failed` (`note` says why; no figures).
    Peak memory leaves out weights and input; it is estimated when the latency is.
    """

    how: Literal["measured", "once", "estimated", "failed"]
    latency_ms: float | None = None
    latency_first_quartile_ms: float | None = None
    latency_third_quartile_ms: float | None = None
    runs: int = 0
    peak_memory_mib: float | None = None
    note: str | None = None


def measure_apart(request: Request) -> Measurement:
    """Measure in a fresh process. A network that breaks or is killed there is `failed`."""
    command = [sys.executable, "-m", "irkd.profiling.measure"]
    done = subprocess.run(
        command, input=json.dumps(asdict(request)), capture_output=True, text=True, check=False
    )
    if done.returncode < 0:
        note = f"its process was ended by signal {-done.returncode}"
        if done.returncode == -9:
            note += ", most likely for want of memory"
        return Measurement("failed", note=note)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["its process failed without a word"])[-1]
        return Measurement("failed", note=last)
    return Measurement(**json.loads(done.stdout))


def measure_here(request: Request) -> Measurement:
    """Measure in this process, which should have done nothing else."""
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    device = torch.device(request.device)
    run_on = _runner(request, device)
    multiple = request.size_multiple
    sides = round_up(request.height, multiple), round_up(request.width, multiple)
    small = tuple(min(side, round_up(SMALL_SIDE, multiple)) for side in sides)
    scale = math.prod(sides) / math.prod(small)

    run_small = run_on(small)
    synchronize = synchronizer(device)
    with torch.inference_mode():
        if request.backend == "torch":
            # The first pass loads kernels, which is neither the network's time nor its memory.
            timed(run_small, synchronize)
            expected_s = timed(run_small, synchronize) * scale
            small_peak = peak_memory(run_small, device)
        else:
            # The runtimes keep what their first pass took: a second one shows no growth.
            small_peak = peak_memory(run_small, device) if _memory_is_visible(request) else None
            expected_s = timed(run_small, synchronize) * scale
    del run_small
    expected_bytes = None if small_peak is None else small_peak * scale

    def estimate(note: str) -> Measurement:
        return Measurement(
            "estimated", expected_s * 1e3, peak_memory_mib=_mib(expected_bytes), note=note
        )

    if scale > 1 and expected_bytes is not None:
        room = available_bytes(device)
        if expected_bytes > room:
            return estimate(
                f"needs about {expected_bytes / 2**30:.1f} GiB of memory; {room / 2**30:.1f} free"
            )
    if scale > 1 and expected_s > request.budget_s:
        return estimate(f"one run would take more than the budget of {request.budget_s:g} s")

    run = run_on(sides)
    seconds: list[float] = []
    # The pass that tells memory is the warm-up, or the only timed pass where time is short.
    peak = peak_memory(lambda: seconds.append(timed(run, synchronize)), device)
    if not _memory_is_visible(request):
        peak = None
    latency = (
        summarize(seconds)
        if seconds[0] * 3 > request.budget_s
        else measure_latency(
            run,
            device=device,
            runs=request.runs,
            warm_up=1,
            budget_s=request.budget_s - seconds[0],
        )
    )
    return Measurement(
        "once" if latency.runs == 1 else "measured",
        latency.median_ms,
        latency.first_quartile_ms,
        latency.third_quartile_ms,
        latency.runs,
        _mib(peak),
    )


def _mib(size: float | None) -> float | None:
    return None if size is None else size / 2**20


def _memory_is_visible(request: Request) -> bool:
    """Other runtimes' GPU memory is not in torch's counters."""
    return request.backend == "torch" or request.device == "cpu"


def _runner(
    request: Request, device: torch.device
) -> Callable[[tuple[int, ...]], Callable[[], object]]:
    """A function that, for an image's sides, returns a forward pass without arguments."""
    generator = torch.Generator().manual_seed(0)

    def image(sides: tuple[int, ...]) -> torch.Tensor:
        return torch.rand(1, request.in_channels, *sides, generator=generator)

    if request.backend == "torch":
        assert request.spec is not None
        spec = family(request.spec["arch"]).spec.model_validate(request.spec)
        network = build_network(spec).eval().to(device)

        def run_torch(sides: tuple[int, ...]) -> Callable[[], object]:
            images = image(sides).to(device)
            return lambda: network(images)

        return run_torch
    opener = open_onnx if request.backend == "onnxruntime" else open_openvino

    def run_file(sides: tuple[int, ...]) -> Callable[[], object]:
        assert request.path is not None
        # Opened anew for every size, without the memory that another size has left behind.
        runtime = opener(request.path, device=request.device, threads=request.threads)
        images = image(sides).numpy()
        return lambda: runtime.run(images)

    return run_file


def _main() -> None:
    # Libraries may print; the result has standard output for itself.
    result = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    content = json.load(sys.stdin)
    request = Request(**{field.name: content[field.name] for field in fields(Request)})
    try:
        measurement = measure_here(request)
    except IrkdError as error:
        measurement = Measurement("failed", note=str(error))
    except (torch.OutOfMemoryError, MemoryError):
        measurement = Measurement("failed", note="not enough memory")
    with result:
        json.dump(asdict(measurement), result)


if __name__ == "__main__":
    _main()
