"""Scoring models, the degraded input, and folders of results in one table."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from irkd.data.pairs import PairSource
from irkd.environment import choose_device, describe_environment
from irkd.errors import IrkdError
from irkd.inference.candidates import Candidate, Model, open_models
from irkd.inference.image_sets import (
    ImageSet,
    ResultFolder,
    folder_of_images,
    open_image_set,
    pairs_of,
    read_image,
    result_folders,
)
from irkd.metrics.catalogue import Metric, open_metrics
from irkd.metrics.protocols import Choice, Protocol, choose_protocol, quantized
from irkd.report.evaluation import DEGRADED, Evaluation, Failure, ImageScore, Kind, Row
from irkd.report.strips import Strip, make_strip, strip_budget

__all__ = ["Evaluation", "evaluate"]

REFERENCE = "reference"

Progress = Callable[[int, int, str], None]

_PAPER_SIZE = (512, 512)


def evaluate(
    models: Model | Sequence[Model] | Mapping[str, Model] = (),
    data: str | Path | PairSource | None = None,
    *,
    images: str | Path | None = None,
    restored: str | Path | Sequence[str | Path] | Mapping[str, str | Path] = (),
    task: str | None = None,
    layout: str = "auto",
    protocol: str | None = None,
    metrics: Sequence[str] | None = None,
    baseline: str | None = None,
    limit: int | None = None,
    backend: str = "auto",
    device: str = "auto",
    tile: Literal["auto", "off"] | int = "auto",
    overlap: int | None = None,
    precision: Literal["fp32", "fp16", "bf16"] = "fp32",
    options: Mapping[str, object] | None = None,
    strips: int = 0,
    command: str | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Score `models` and the degraded input on the pairs of `data`.

    Args:
        models: what `irkd.load_network` takes, or networks; one, several, or a mapping from labels.
        data: a folder of pairs, "procedural", "photographs", or a source of pairs.
        images: instead of `data`, a folder of images without references (for metrics that need
            none).
        restored: folders of results to score against the references of `data`, matched by name.
        task: what the built-in sets and folders of clean images are degraded for; by default the
            task that the models were trained for.
        protocol: a name in `irkd.metrics.protocols.PROTOCOLS`; by default that of the data set's
            published figures, that of the task's papers for data of one's own, and "rgb" for
            built-in sets and unknown tasks.
        metrics: "psnr", "ssim", "piqe", or names that pyiqa knows; ("psnr", "ssim") by default,
            ("piqe",) for `images`.
        baseline: the label of the row that differences are taken to; the degraded input by default.
        limit: score the first so many images only.
        options: what released weights do not tell of their networks (`img_size`, `arch`, ...): for
            all models, or, as `LABEL.NAME`, for one. By default what releases for `task` have.
        strips: keep pictures of the first so many images, for a report.
        command: what made it, to be shown in reports.
        progress: called with images done, images in all, and the name of the last one.

    Raises IrkdError when there is nothing to score, or no row can be scored on any image. Images on
    which some row fails are listed in the result's `failures`.
    """
    if (data is None) == (images is None):
        raise IrkdError(
            "name what to score on: --data DIR (pairs), --data photographs, or --images DIR "
            "(no references), one of them."
        )
    if limit is not None and limit < 1:
        raise IrkdError(f"limit must be at least 1, not {limit}.")
    folders = result_folders(restored)
    if not models and not folders:
        raise IrkdError("nothing to score: name a MODEL, or --restored DIR.")
    chosen_device = str(choose_device(device))
    if metrics is None:
        metrics = ("piqe",) if images is not None else ("psnr", "ssim")
    chosen_metrics = open_metrics(metrics, chosen_device)
    if images is not None:
        _refuse_needy(chosen_metrics)
    candidates = open_models(
        models,
        backend=backend,
        device=chosen_device,
        tile=tile,
        overlap=overlap,
        precision=precision,
        task=task,
        options=options,
    )
    scored, notes = _choose_data(data, images, folders, candidates, task, layout)
    notes += [
        f"{candidate.label}: {why}"
        for candidate in candidates
        for why in getattr(candidate.restorer.network, "assumptions", ())
    ]
    choice = _choose_protocol(protocol, scored, chosen_metrics)
    chosen_protocol = choice.protocol if choice else None
    by_label = {candidate.label: candidate for candidate in candidates}
    names = [*([DEGRADED] if scored.has_degraded else []), *by_label, *folders]
    baseline = _check_labels(names, baseline)

    count = scored.count if limit is None else min(limit, scored.count)
    judge = _Judge(chosen_protocol, chosen_metrics, strips, strip_budget(min(count, strips)))
    results: dict[str, list[ImageScore]] = {name: [] for name in names}
    failures: list[Failure] = []
    kept: list[Strip] = []
    sizes: Counter[tuple[int, int]] = Counter()
    # On the CPU, scoring beside the network would only slow it down and blur its latency.
    apart = not candidates or chosen_device != "cpu"
    restorations = (_restore(scored, index, candidates, folders) for index in range(count))
    with _mapping(judge, restorations, apart) as verdicts:
        for done, verdict in enumerate(verdicts, start=1):
            failures += verdict.failures
            if verdict.size is not None:
                sizes[verdict.size] += 1
            for label, score in verdict.scores.items():
                results[label].append(score)
            if verdict.strip is not None:
                kept.append(verdict.strip)
            if progress is not None:
                progress(done, count, verdict.name)
    if not any(results[label] for label in (*by_label, *folders)):
        first = failures[0]
        raise IrkdError(f"nothing could be scored. {first.label} on {first.image}: {first.reason}")

    size = _typical_size(sizes)
    return Evaluation(
        data=scored.name,
        task=scored.task,
        n=count,
        protocol=chosen_protocol,
        protocol_reason=choice.reason if choice else "",
        metrics=chosen_metrics,
        rows=_rows(results, by_label, folders, size),
        baseline=baseline,
        size=size,
        settings={"tile": tile, "precision": precision, "limit": limit},
        environment=_environment(chosen_device, chosen_metrics),
        notes=tuple(notes),
        failures=tuple(failures),
        command=command,
        strips=tuple(kept),
    )


def _choose_data(
    data: str | Path | PairSource | None,
    images: str | Path | None,
    folders: Mapping[str, ResultFolder],
    candidates: Sequence[Candidate],
    task: str | None,
    layout: str,
) -> tuple[ImageSet, list[str]]:
    trained_for = {candidate.label: candidate.task for candidate in candidates if candidate.task}
    tasks = set(trained_for.values())
    likely_task = task or (tasks.pop() if len(tasks) == 1 else None)
    notes: list[str] = []
    if images is not None:
        if folders:
            raise IrkdError("--restored is scored against references: give --data, not --images.")
        scored = folder_of_images(Path(images), likely_task)
    elif isinstance(data, str | Path):
        references_do = bool(folders) and not candidates
        scored, notes = open_image_set(
            data,
            task=task,
            likely_task=likely_task,
            layout=layout,
            references_do=references_do,
        )
    else:
        assert data is not None
        scored = pairs_of(data)
    if scored.count == 0:
        raise IrkdError(f"{scored.name} holds no images to score.")
    for label, trained in trained_for.items():
        if scored.task is not None and trained != scored.task:
            notes.append(f"{label} was trained for {trained}; this data is for {scored.task}.")
    return scored, notes


def _refuse_needy(metrics: Sequence[Metric]) -> None:
    needy = [metric.name for metric in metrics if metric.needs_reference]
    if needy:
        raise IrkdError(
            f"{', '.join(needy)}: to be compared with a reference, and --images has none. "
            "Choose --metrics piqe, or give pairs with --data."
        )


def _choose_protocol(
    name: str | None, scored: ImageSet, metrics: Sequence[Metric]
) -> Choice | None:
    chosen = choose_protocol(
        name, task=scored.task, built_in=scored.built_in, published=scored.published
    )
    return chosen if any(metric.function is None for metric in metrics) else None


def _check_labels(names: list[str], baseline: str | None) -> str | None:
    taken = Counter([*names, REFERENCE])
    double = [name for name, times in taken.items() if times > 1]
    if double:
        raise IrkdError(
            f"two rows would be called {double[0]!r}. Name one yourself: --name LABEL=MODEL."
        )
    if baseline is None:
        return DEGRADED if DEGRADED in names else None
    if baseline not in names:
        raise IrkdError(f"no row is called {baseline!r}. The rows: {', '.join(names)}.")
    return baseline


# One image.


@dataclass
class _Restoration:
    """One image of every row, still to be scored."""

    index: int
    name: str
    size: tuple[int, int] | None
    reference: NDArray[np.uint8] | None
    restored: dict[str, NDArray[Any]]
    latency_ms: dict[str, float]
    failures: list[Failure]


@dataclass
class _Verdict:
    name: str
    size: tuple[int, int] | None
    scores: dict[str, ImageScore]
    failures: list[Failure]
    strip: Strip | None


def _restore(
    scored: ImageSet,
    index: int,
    candidates: Sequence[Candidate],
    folders: Mapping[str, ResultFolder],
) -> _Restoration:
    name = scored.image_name(index)
    try:
        degraded, reference = scored.load(index)
    except IrkdError as error:
        failure = Failure(scored.name, name, str(error))
        return _Restoration(index, name, None, None, {}, {}, [failure])
    known = degraded if degraded is not None else reference
    assert known is not None
    size = (known.shape[0], known.shape[1])
    result = _Restoration(index, name, size, reference, {}, {}, [])
    if degraded is not None:
        result.restored[DEGRADED] = degraded
        inputs = np.divide(degraded, 255, dtype=np.float32)
    for candidate in candidates:
        started = time.perf_counter()
        try:
            result.restored[candidate.label] = candidate.restorer(inputs)
        except IrkdError as error:
            result.failures.append(Failure(candidate.label, name, str(error)))
            continue
        result.latency_ms[candidate.label] = (time.perf_counter() - started) * 1e3
    for label, folder in folders.items():
        try:
            result.restored[label] = _find_result(folder, name, size)
        except IrkdError as error:
            result.failures.append(Failure(label, name, str(error)))
    return result


def _find_result(folder: ResultFolder, name: str, size: tuple[int, int]) -> NDArray[np.uint8]:
    path = folder.find(name)
    if path is None:
        raise IrkdError(f"{folder.path} holds no result of this name.")
    picture = read_image(path)
    if picture.shape[:2] != size:
        raise IrkdError(
            f"{path} has {picture.shape[0]} x {picture.shape[1]} pixels; "
            f"the reference has {size[0]} x {size[1]}."
        )
    return picture


class _Judge:
    """Scores one image of every row and keeps its pictures where they are wanted."""

    def __init__(
        self, protocol: Protocol | None, metrics: Sequence[Metric], strips: int, budget: int
    ) -> None:
        self._protocol, self._metrics = protocol, metrics
        self._own = tuple(metric.name for metric in metrics if metric.function is None)
        self._strips, self._budget = strips, budget

    def __call__(self, item: _Restoration) -> _Verdict:
        verdict = _Verdict(item.name, item.size, {}, item.failures, None)
        pictures: dict[str, NDArray[np.uint8]] = {}
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
            pictures[label] = picture
        if item.index < self._strips and pictures:
            if item.reference is not None:
                pictures[REFERENCE] = item.reference
            verdict.strip = make_strip(item.name, pictures, self._budget)
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


@contextmanager
def _mapping(
    judge: _Judge, items: Iterator[_Restoration], apart: bool
) -> Iterator[Iterator[_Verdict]]:
    """`map(judge, items)` in order; in threads where `apart`, with few images held at a time.

    NumPy and OpenCV work outside the interpreter's lock, so threads are enough.
    """
    if not apart:
        yield map(judge, items)
        return
    workers = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:

        def verdicts() -> Iterator[_Verdict]:
            waiting: list[Future[_Verdict]] = []
            for item in items:
                waiting.append(pool.submit(judge, item))
                if len(waiting) > workers:
                    yield waiting.pop(0).result()
            for future in waiting:
                yield future.result()

        try:
            yield verdicts()
        finally:
            pool.shutdown(cancel_futures=True)


# The table.


def _environment(device: str, metrics: Sequence[Metric]) -> dict[str, Any]:
    environment = describe_environment(device)
    packages = {metric.package for metric in metrics if metric.package is not None}
    environment["versions"] |= {package: version(package) for package in sorted(packages)}
    return environment


def _typical_size(sizes: Counter[tuple[int, int]]) -> tuple[int, int]:
    """The size that most images have or, where none is that common, the papers' 512 x 512."""
    ((size, times),) = sizes.most_common(1)
    return size if times * 2 > sizes.total() else _PAPER_SIZE


def _rows(
    results: Mapping[str, list[ImageScore]],
    candidates: Mapping[str, Candidate],
    folders: Mapping[str, ResultFolder],
    size: tuple[int, int],
) -> tuple[Row, ...]:
    rows = []
    for label, images in results.items():
        kind: Kind = "degraded"
        row = Row(label, kind, None, tuple(images))
        if label in candidates:
            candidate = candidates[label]
            params, macs = candidate.cost(*size)
            row = replace(row, kind="model", source=candidate.source, params_m=params, macs_g=macs)
        elif label in folders:
            row = replace(row, kind="restored", source=str(folders[label].path))
        rows.append(row)
    return tuple(rows)
