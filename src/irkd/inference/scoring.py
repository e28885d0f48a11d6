"""Scoring restored images: here, in threads, or in processes of their own; always in order.

Processes are started afresh (spawn), and import neither torch nor a network unless one of the
metrics needs it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irkd.errors import IrkdError
from irkd.metrics.catalogue import Metric, open_metrics
from irkd.metrics.protocols import PROTOCOLS, Protocol, quantized
from irkd.report.evaluation import Failure, ImageScore

REFERENCE = "reference"

_MANY_IMAGES = 32
_MOST_WORKERS = 8


@dataclass(frozen=True)
class Scoring:
    """What is computed of every image, in words that another process can read."""

    protocol: str | None
    metrics: tuple[str, ...]
    device: str
    brisque_model: str | None = None


@dataclass
class Restoration:
    """One image of every row, still to be scored. `known`: rows whose scores stand already."""

    index: int
    name: str
    size: tuple[int, int] | None = None
    reference: NDArray[np.uint8] | None = None
    restored: dict[str, NDArray[Any]] = field(default_factory=dict)
    latency_ms: dict[str, float] = field(default_factory=dict)
    known: dict[str, ImageScore] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)


@dataclass
class Verdict:
    """The scores of one image by row; `keys` name those that are new where scores are kept."""

    name: str
    size: tuple[int, int] | None
    scores: dict[str, ImageScore]
    keys: dict[str, str]
    failures: list[Failure]


class Judge:
    """Scores one image of every row."""

    def __init__(
        self,
        scoring: Scoring,
        protocol: Protocol | None = None,
        metrics: tuple[Metric, ...] | None = None,
    ) -> None:
        """`protocol` and `metrics` are those that `scoring` names, where they are open already."""
        if metrics is None:
            metrics = open_metrics(
                scoring.metrics, scoring.device, brisque_model=scoring.brisque_model
            )
        if protocol is None and scoring.protocol is not None:
            protocol = PROTOCOLS[scoring.protocol]
        self._protocol, self._metrics = protocol, metrics
        self._own = tuple(metric.name for metric in metrics if metric.function is None)

    def __call__(self, item: Restoration) -> Verdict:
        verdict = Verdict(item.name, item.size, dict(item.known), {}, item.failures)
        for label, restored in item.restored.items():
            picture = quantized(restored)
            try:
                scores = self._score(restored, picture, item.reference)
            except IrkdError as error:
                verdict.failures.append(Failure(label, item.name, str(error)))
                continue
            height, width = picture.shape[:2]
            verdict.scores[label] = ImageScore(
                item.name, height, width, scores, item.latency_ms.get(label)
            )
            if label in item.keys:
                verdict.keys[label] = item.keys[label]
        return verdict

    def _score(
        self,
        restored: NDArray[Any],
        picture: NDArray[np.uint8],
        reference: NDArray[np.uint8] | None,
    ) -> dict[str, float]:
        scores: dict[str, float] = {}
        if self._protocol is not None and reference is not None:
            scores = self._protocol.score(restored, reference, self._own)
        for metric in self._metrics:
            if metric.function is not None:
                other = reference if metric.needs_reference else None
                scores[metric.field] = metric.function(picture, other)
        return {metric.field: scores[metric.field] for metric in self._metrics}


def choose_workers(
    workers: int | None, count: int, metrics: Iterable[Metric], *, beside_network: bool
) -> int:
    """How many processes score `count` images; 0 is none but this one.

    Unless `workers` says so, there are none where a network runs on the same processor
    (`beside_network`), for few images, and for metrics of pyiqa, which every process would load
    again.
    """
    if workers is not None:
        if workers < 0:
            raise IrkdError(f"workers must be 0 or more, not {workers}.")
        return min(workers, count)
    foreign = any(metric.package is not None for metric in metrics)
    if beside_network or foreign or count < _MANY_IMAGES:
        return 0
    processors = _processors()
    return min(_MOST_WORKERS, processors) if processors > 1 else 0


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def score_all(
    judge: Judge, scoring: Scoring, items: Iterator[Restoration], workers: int, *, apart: bool
) -> Iterator[Iterator[tuple[Restoration, Verdict]]]:
    """`items` in their order, each with its verdict, with few images held at a time.

    In `workers` processes; with none, in threads of this one where `apart`, since NumPy and OpenCV
    work outside the interpreter's lock, or else between one image and the next.
    """
    if not workers and not apart:
        yield ((item, judge(item)) for item in items)
        return
    pool: Executor
    task: Callable[[Restoration], Verdict]
    if workers:
        pool = ProcessPoolExecutor(
            workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_process,
            initargs=(scoring,),
        )
        task, held = _judge_here, 2 * workers
    else:
        held = min(_MOST_WORKERS, _processors())
        pool, task = ThreadPoolExecutor(held), judge

    def verdicts() -> Iterator[tuple[Restoration, Verdict]]:
        waiting: deque[tuple[Restoration, Future[Verdict]]] = deque()
        try:
            for item in items:
                waiting.append((item, pool.submit(task, item)))
                if len(waiting) > held:
                    first, verdict = waiting.popleft()
                    yield first, verdict.result()
            while waiting:
                first, verdict = waiting.popleft()
                yield first, verdict.result()
        except BrokenProcessPool as error:
            raise IrkdError(
                f"a process that scores images ended by itself; with {workers} of them memory may "
                "not do. Use fewer --workers."
            ) from error

    try:
        yield verdicts()
    finally:
        pool.shutdown(cancel_futures=True)


_process_judge: Judge | None = None


def _start_process(scoring: Scoring) -> None:
    """In a new process: every processor has a process already, so each keeps to one thread."""
    import cv2

    global _process_judge
    # Ctrl-C reaches the whole group; the parent says what is to be said.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    _process_judge = Judge(scoring)


def _judge_here(item: Restoration) -> Verdict:
    assert _process_judge is not None
    return _process_judge(item)
