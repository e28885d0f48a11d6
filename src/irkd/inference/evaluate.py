"""Scoring models, the degraded input, and folders of results in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal

from irkd.data.pairs import PairSource
from irkd.errors import IrkdError
from irkd.inference.candidates import Model, unique_labels
from irkd.inference.image_sets import result_folders, result_folders_of_sets
from irkd.inference.kept_scores import KeptScores
from irkd.inference.session import Progress, Session
from irkd.report.evaluation import Evaluation
from irkd.report.sets import Average, SetsEvaluation

__all__ = ["Evaluation", "SetsEvaluation", "evaluate", "evaluate_sets"]


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
    brisque_model: str | Path | None = None,
    baseline: str | None = None,
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
    resume_scores: str | Path | None = None,
    command: str | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Score `models` and the degraded input on the pairs of `data`.

    Args:
        models: what `irkd.load_network` takes, or networks; one, several, or a mapping from labels.
        data: a folder of pairs, "procedural", "photographs", or a source of pairs.
        images: instead of `data`, a folder of images without references (for metrics that need
            none).
        restored: folders of results, matched by name, to score against the references of `data`,
            or without one beside `images`.
        task: what the built-in sets and folders of clean images are degraded for; by default the
            task that the models were trained for.
        protocol: a name in `irkd.metrics.protocols.PROTOCOLS`; by default that of the data set's
            published figures, that of the task's papers for data of one's own, and "rgb" for
            built-in sets and unknown tasks.
        metrics: "psnr", "ssim", "piqe", "brisque", or names that pyiqa knows; ("psnr", "ssim") by
            default, ("piqe",) for `images`, and "brisque" too with a `brisque_model`.
        brisque_model: the folder of the BRISQUE release's `allmodel` and `allrange`.
        baseline: the label of the row that differences are taken to; the degraded input by default.
        limit: score the first so many images only.
        options: what released weights do not tell of their networks (`img_size`, `arch`, ...): for
            all models, or, as `LABEL.NAME`, for one. By default what releases for `task` have.
        strips: keep pictures of so many images, for a report: those with the worst and the best
            scores of the first metric, and those furthest behind the baseline.
        strips_of: the label of the row whose scores choose them; the first model's by default.
        workers: score in so many processes (a script needs `if __name__ == "__main__"` then); 0 is
            none but this one, None as many as are worth it.
        resume_scores: a file that scores are kept in as they are made, and taken from where they
            are of the same pixels, models, data set, protocol and versions.
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
    folders = result_folders(restored)
    session = Session.open(
        models,
        anything=bool(models or folders or images is not None),
        metrics=_metric_names(metrics, images is not None, brisque_model),
        brisque_model=brisque_model,
        task=task,
        limit=limit,
        backend=backend,
        device=device,
        tile=tile,
        overlap=overlap,
        precision=precision,
        options=options,
        strips=strips,
        strips_of=strips_of,
        workers=workers,
        command=command,
    )
    job = session.job(data, images, folders, task, layout, protocol, baseline)
    with _keeping(resume_scores) as kept:
        return session.run(job, kept, progress)


def evaluate_sets(
    models: Model | Sequence[Model] | Mapping[str, Model] = (),
    data: Sequence[str | Path] = (),
    *,
    restored: Sequence[str | Path] | Mapping[str, str | Path | Sequence[str | Path]] = (),
    average: Average = "macro",
    task: str | None = None,
    layout: str = "auto",
    protocol: str | None = None,
    metrics: Sequence[str] | None = None,
    brisque_model: str | Path | None = None,
    baseline: str | None = None,
    resume_scores: str | Path | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> SetsEvaluation:
    """Score `models` on several data sets, and average over them.

    Args:
        data: what `evaluate` takes as `data`, several times.
        restored: folders of results by label: for each label one folder that holds a folder of each
            data set's name, or as many as there are data sets, in their order.
        average: "macro", the unweighted mean of the data sets' means, as papers average; "images",
            the mean over all images.
        settings: `limit` (of each data set), `backend`, `device`, `tile`, `overlap`, `precision`,
            `options`, `strips` (of all data sets together, at least one of each), `strips_of`,
            `workers`, `command`; these and all others as `evaluate` has them.

    All data sets are opened before the first is scored, and follow one protocol.
    """
    paths = [Path(name).expanduser() for name in data]
    names = unique_labels([path.resolve() if path.exists() else path for path in paths])
    folders = result_folders_of_sets(restored, names)
    session = Session.open(
        models,
        anything=bool(models or folders[0]),
        metrics=_metric_names(metrics, False, brisque_model),
        brisque_model=brisque_model,
        task=task,
        **settings,
    )
    jobs = [
        session.job(each, None, results, task, layout, protocol, baseline)
        for each, results in zip(data, folders, strict=True)
    ]
    protocols = {
        job.protocol.name: name for job, name in zip(jobs, names, strict=True) if job.protocol
    }
    if len(protocols) > 1:
        raise IrkdError(
            "an average needs one protocol; "
            + ", ".join(f"{name} would follow {found}" for found, name in protocols.items())
            + ". Choose one: --protocol NAME."
        )
    total, before = sum(job.count for job in jobs), 0
    found = {}
    with _keeping(resume_scores) as kept:
        for name, job in zip(names, jobs, strict=True):

            def follow(
                done: int, _: int, image: str, name: str = name, before: int = before
            ) -> None:
                if progress is not None:
                    progress(before + done, total, f"{name}/{image}")

            found[name] = session.run(job, kept, follow, sets=len(jobs))
            before += job.count
    return SetsEvaluation(found, average)


def _metric_names(
    metrics: Sequence[str] | None, without_reference: bool, brisque_model: str | Path | None
) -> Sequence[str]:
    if metrics is not None:
        return metrics
    chosen = ("piqe",) if without_reference else ("psnr", "ssim")
    return (*chosen, "brisque") if brisque_model is not None else chosen


def _keeping(path: str | Path | None) -> AbstractContextManager[KeptScores | None]:
    return nullcontext() if path is None else KeptScores(path)
