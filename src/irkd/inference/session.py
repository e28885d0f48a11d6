"""Models and metrics that are ready, and the sets of images that they score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

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
)
from irkd.inference.kept_scores import KeptScores, network_hash
from irkd.inference.pictures import ReportPictures
from irkd.inference.restorations import KnownScores, restore_image
from irkd.inference.scoring import (
    REFERENCE,
    Judge,
    Restoration,
    Scoring,
    choose_workers,
    score_all,
)
from irkd.metrics.catalogue import Metric, open_metrics
from irkd.metrics.protocols import Choice, Protocol, choose_protocol
from irkd.report.evaluation import DEGRADED, Evaluation, Failure, ImageScore, Kind, Row
from irkd.report.selection import Selection
from irkd.report.strips import Strip, strip_budget

Progress = Callable[[int, int, str], None]

_PAPER_SIZE = (512, 512)


@dataclass(frozen=True)
class Job:
    """One set of images to be scored, and every choice that it needs."""

    images: ImageSet
    count: int
    folders: Mapping[str, ResultFolder]
    choice: Choice | None
    """The protocol and why it is this one; None where no metric of it is asked for."""
    names: list[str]
    """The labels of the rows."""
    baseline: str | None
    shown: str
    """The row that a report's pictures are chosen by."""
    notes: tuple[str, ...]

    @property
    def protocol(self) -> Protocol | None:
        return self.choice.protocol if self.choice else None


@dataclass(frozen=True)
class Session:
    """Models and metrics that are ready: they serve one set of images after the other."""

    candidates: list[Candidate]
    metrics: tuple[Metric, ...]
    brisque_model: str | None
    device: str
    tile: Literal["auto", "off"] | int
    overlap: int | None
    precision: str
    limit: int | None
    strips: int
    strips_of: str | None
    workers: int | None
    command: str | None

    @classmethod
    def open(
        cls,
        models: Model | Sequence[Model] | Mapping[str, Model],
        *,
        anything: bool,
        metrics: Sequence[str],
        brisque_model: str | Path | None,
        task: str | None = None,
        limit: int | None = None,
        backend: str = "auto",
        device: str = "auto",
        tile: Literal["auto", "off"] | int = "auto",
        overlap: int | None = None,
        precision: Literal["fp32", "fp16", "bf16"] = "fp32",
        options: Mapping[str, object] | None = None,
        strips: int = 0,
        strips_of: str | None = None,
        workers: int | None = 0,
        command: str | None = None,
    ) -> Session:
        if limit is not None and limit < 1:
            raise IrkdError(f"limit must be at least 1, not {limit}.")
        if strips < 0:
            raise IrkdError(f"strips must be 0 or more, not {strips}.")
        if workers is not None and workers < 0:
            raise IrkdError(f"workers must be 0 or more, not {workers}.")
        if not anything:
            raise IrkdError("nothing to score: name a MODEL, or --restored DIR.")
        chosen = str(choose_device(device))
        opened = open_metrics(metrics, chosen, brisque_model=brisque_model)
        candidates = open_models(
            models,
            backend=backend,
            device=chosen,
            tile=tile,
            overlap=overlap,
            precision=precision,
            task=task,
            options=options,
        )
        return cls(
            candidates,
            opened,
            None if brisque_model is None else str(brisque_model),
            chosen,
            tile,
            overlap,
            precision,
            limit,
            strips,
            strips_of,
            workers,
            command,
        )

    def job(
        self,
        data: str | Path | PairSource | None,
        images: str | Path | None,
        folders: Mapping[str, ResultFolder],
        task: str | None,
        layout: str,
        protocol_name: str | None,
        baseline: str | None,
    ) -> Job:
        """Open the images and settle what is to be scored; nothing is scored yet."""
        if images is not None:
            _refuse_needy(self.metrics)
        scored, notes = _choose_data(data, images, folders, self.candidates, task, layout)
        notes += [
            f"{candidate.label}: {why}"
            for candidate in self.candidates
            for why in getattr(candidate.restorer.network, "assumptions", ())
        ]
        labels = [candidate.label for candidate in self.candidates]
        names = [*([DEGRADED] if scored.has_degraded else []), *labels, *folders]
        return Job(
            scored,
            scored.count if self.limit is None else min(self.limit, scored.count),
            folders,
            _choose_protocol(protocol_name, scored, self.metrics),
            names,
            _check_labels(names, baseline),
            self._shown(names, [*labels, *folders]),
            tuple(notes),
        )

    def run(
        self, job: Job, kept: KeptScores | None, progress: Progress | None, *, sets: int = 1
    ) -> Evaluation:
        """Score the images of `job`, one of so many `sets` that share a report."""
        environment = _environment(self.device, self.metrics)
        known = None if kept is None else self._known(job, kept, environment)
        scoring = Scoring(
            job.protocol.name if job.protocol else None,
            tuple(metric.name for metric in self.metrics),
            self.device,
            self.brisque_model,
        )
        judge = Judge(scoring, job.protocol, self.metrics)
        on_processor = bool(self.candidates) and self.device == "cpu"
        workers = choose_workers(self.workers, job.count, self.metrics, beside_network=on_processor)
        results: dict[str, list[ImageScore]] = {name: [] for name in job.names}
        failures: list[Failure] = []
        pictures = self._pictures(job, sets, keep=on_processor) if self.strips else None
        sizes: Counter[tuple[int, int]] = Counter()
        taken = kept.taken if kept is not None else 0
        items = (
            restore_image(job.images, index, self.candidates, job.folders, known)
            for index in range(job.count)
        )
        # On the CPU, scoring beside the network would only slow it down and blur its latency.
        with score_all(judge, scoring, items, workers, apart=not on_processor) as verdicts:
            for done, (item, verdict) in enumerate(verdicts, start=1):
                failures += verdict.failures
                if verdict.size is not None:
                    sizes[verdict.size] += 1
                for label, score in verdict.scores.items():
                    results[label].append(score)
                    if kept is not None and label in verdict.keys:
                        kept.add(verdict.keys[label], label, score)
                if pictures is not None:
                    pictures.offer(item, verdict.scores)
                if progress is not None:
                    progress(done, job.count, verdict.name)
        by_label = {candidate.label: candidate for candidate in self.candidates}
        asked_for = [*by_label, *job.folders] or job.names
        if not any(results[label] for label in asked_for):
            first = failures[0]
            raise IrkdError(
                f"nothing could be scored. {first.label} on {first.image}: {first.reason}"
            )
        strips: tuple[Strip, ...] = ()
        if pictures is not None:

            def restore(index: int) -> Restoration:
                if progress is not None:
                    name = job.images.image_name(index)
                    progress(job.count, job.count, f"pictures of {name}")
                return restore_image(job.images, index, self.candidates, job.folders)

            strips = pictures.finish(restore)
        notes = job.notes
        if kept is not None and kept.taken > taken:
            count = kept.taken - taken
            scores = "1 score was" if count == 1 else f"{count} scores were"
            notes += (f"{scores} taken from {kept.path}.",)
        size = _typical_size(sizes)
        return Evaluation(
            data=job.images.name,
            task=job.images.task,
            n=job.count,
            protocol=job.protocol,
            protocol_reason=job.choice.reason if job.choice else "",
            metrics=self.metrics,
            rows=_rows(results, by_label, job.folders, size),
            baseline=job.baseline,
            size=size,
            settings={"tile": self.tile, "precision": self.precision, "limit": self.limit},
            environment=environment,
            notes=notes,
            failures=tuple(failures),
            command=self.command,
            strips=strips,
            selection=pictures.selection if pictures is not None else None,
        )

    def _pictures(self, job: Job, sets: int, *, keep: bool) -> ReportPictures:
        """`keep`: restoring an image once more costs more than compressing it in time."""
        limit = max(1, self.strips // sets)
        selection = Selection.of(job.shown, job.baseline, self.metrics[0], job.count, limit)
        return ReportPictures(selection, strip_budget(min(job.count, limit) * sets), keep=keep)

    def _shown(self, names: list[str], scored: list[str]) -> str:
        if self.strips_of is None:
            return (scored or names)[0]
        return _known_row(self.strips_of, names)

    def _known(self, job: Job, kept: KeptScores, environment: Mapping[str, Any]) -> KnownScores:
        facts = {
            "data": job.images.name,
            "protocol": job.protocol and (job.protocol.name, job.protocol.description),
            "metrics": [(metric.name, metric.package, metric.detail) for metric in self.metrics],
            "tile": self.tile,
            "overlap": self.overlap,
            "precision": self.precision,
            "device": self.device,
            "versions": environment["versions"],
        }
        networks = {each.label: network_hash(each) for each in self.candidates}
        return KnownScores(kept, facts, networks)


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
            "Choose one that needs none (piqe, brisque, niqe, ...), or give pairs with --data."
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
    return _known_row(baseline, names)


def _known_row(label: str, names: list[str]) -> str:
    if label not in names:
        raise IrkdError(f"no row is called {label!r}. The rows: {', '.join(names)}.")
    return label


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
