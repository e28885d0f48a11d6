"""`irkd evaluate`: scores of models, and of results found elsewhere, in one table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from irkd.cli.common import progress, stderr, stdout
from irkd.cli.detection import (
    ClassesOption,
    DetectionsOption,
    DetectorClassesOption,
    DetectorLayoutOption,
    DetectorNmsOption,
    DetectorOption,
    DetectorSizeOption,
    GroundTruthOption,
    SaveDetectionsOption,
    label_detections,
    refuse_others,
    show_detection,
)
from irkd.cli.evaluation_inputs import (
    check_outputs,
    labelled_values,
    merge,
    parse_tile,
    read_average,
    read_restored,
)
from irkd.cli.evaluation_output import MOST_REPORT_IMAGES, REPORT, REPORT_IMAGES, show
from irkd.errors import IrkdError

if TYPE_CHECKING:
    from irkd.report.evaluation import Evaluation
    from irkd.report.sets import SetsEvaluation


def evaluate(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL",
            help="Run directories, .safetensors, .pth, .onnx or OpenVINO files, shipped names.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option("--name", metavar="LABEL=MODEL", help="A model under a label of your own."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIR|procedural|photographs",
            help="Pairs to score on, or a built-in set; several times for several data sets.",
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Images without references, for metrics that need none (piqe) or for a detector.",
        ),
    ] = None,
    restored: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[LABEL=]DIR",
            help="Results of any tool, matched to the references by name. With several --data, a"
            " folder of folders named like them, or LABEL=DIR once for each.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="[LABEL.]KEY=VALUE",
            help="What released weights do not tell of their network: img_size=256 (Uformer),"
            " arch=nafnet_local, value_range=[-1,1]; of one model with its label.",
        ),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="derain, deblur, dehaze or denoise; by default the models'.")
    ] = None,
    layout: Annotated[
        str,
        typer.Option(
            help="How the folder of pairs is arranged: auto (found out), or a name of `irkd data"
            " layouts`."
        ),
    ] = "auto",
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Which pixels and which SSIM, by name; `list` shows all. By default that of the"
            " data set's published figures, else of the task's papers; rgb for built-in images."
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated: psnr, ssim, piqe, brisque, or pyiqa's names. Default: psnr,ssim."
        ),
    ] = None,
    brisque_model: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR|FILE",
            help="Compute brisque with these files of its release: allmodel, and allrange beside.",
        ),
    ] = None,
    average: Annotated[
        str | None,
        typer.Option(
            help="Over several --data: macro, the mean of their means, or images. Default: macro."
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="LABEL", help="The row that differences are taken to. Default: degraded."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Score the first N images only.")
    ] = None,
    worst: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Name the N worst images of every row, too."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Processes that score beside this one; 0 is none. Default: several for large sets"
            " of results.",
        ),
    ] = None,
    resume_scores: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keep scores in this file as they are made, and go on from those it holds.",
        ),
    ] = None,
    json_path: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Everything, image by image; - is stdout."),
    ] = None,
    csv_path: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="The table as CSV.")
    ] = None,
    csv_images: Annotated[
        Path | None,
        typer.Option("--csv-images", metavar="FILE", help="The scores of every image as CSV."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help=f"Write {REPORT}: table, plots and pictures."),
    ] = None,
    report_images: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST_REPORT_IMAGES,
            metavar="N",
            help="How many images the report shows: the worst, the best, and those furthest behind"
            f" the baseline. Default: {REPORT_IMAGES}.",
        ),
    ] = None,
    report_row: Annotated[
        str | None,
        typer.Option(
            metavar="LABEL",
            help="The row whose scores choose the report's images. Default: the first model.",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    backend: Annotated[str, typer.Option(help="auto, torch, onnxruntime or openvino.")] = "auto",
    precision: Annotated[str, typer.Option(help="fp32, fp16 or bf16.")] = "fp32",
    tile: Annotated[
        str, typer.Option(help="auto, off, or the side of square tiles in pixels.")
    ] = "auto",
    overlap: Annotated[
        int | None, typer.Option(min=0, help="Pixels that neighbouring tiles share.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
    ground_truth: GroundTruthOption = None,
    detections: DetectionsOption = None,
    classes: ClassesOption = None,
    detector: DetectorOption = None,
    detector_layout: DetectorLayoutOption = "auto",
    detector_classes: DetectorClassesOption = None,
    detector_size: DetectorSizeOption = None,
    detector_nms: DetectorNmsOption = 0.5,
    save_detections: SaveDetectionsOption = None,
) -> None:
    """Score models on pairs of images: PSNR, SSIM and others, beside parameters, MACs and latency.

    The degraded input and every model are rows of one table. The protocol that the scores follow
    is named under it; scores of different protocols must not be compared. Differences to the
    baseline come with a 95 % bootstrap interval over the images.

    With --ground-truth they are scored by what an object detector finds in them instead.
    """
    if protocol == "list":
        _list_protocols()
        return
    if ground_truth is None and (detections or detector or classes or save_detections):
        raise IrkdError(
            "detections are scored against annotations: name them, --ground-truth PATH."
        )
    if report is None and (report_images or report_row):
        raise IrkdError("--report-images and --report-row are for a report: add --report DIR.")
    averaged = read_average(average, data or [])
    check_outputs([json_path, csv_path, csv_images, report and report / REPORT], overwrite)

    from irkd.inference import evaluate as engine
    from irkd.inference.candidates import label_models
    from irkd.presets.load import parse_overrides
    from irkd.report.run_directory import command_line

    labelled = merge(
        label_models(models or []), labelled_values(name or [], "--name", "LABEL=MODEL")
    )
    results = read_restored(restored or [], len(data or []))
    shared: dict[str, Any] = {
        "restored": results,
        "task": task,
        "limit": limit,
        "backend": backend,
        "device": device,
        "tile": parse_tile(tile),
        "overlap": overlap,
        "precision": precision,
        "options": dict(parse_overrides(settings or [])),
        "command": command_line(),
    }
    if ground_truth is not None:
        refuse_others(
            {
                "--data": data,
                "--layout": layout != "auto",
                "--protocol": protocol,
                "--metrics": metrics,
                "--brisque-model": brisque_model,
                "--average": average,
                "--baseline": baseline,
                "--worst": worst,
                "--workers": workers,
                "--resume-scores": resume_scores,
                "--csv-images": csv_images,
                "--report": report,
            }
        )
        from irkd.inference.detection import evaluate_detections

        with _following() as follow:
            found = evaluate_detections(
                ground_truth,
                label_detections(detections or []),
                detector=detector,
                models=labelled,
                classes=classes,
                detector_classes=detector_classes,
                detector_layout=detector_layout,
                detector_size=detector_size,
                nms=detector_nms,
                save_detections=save_detections,
                overwrite=overwrite,
                images=images,
                progress=follow,
                **shared,
            )
        show_detection(found, json_path=json_path, csv_path=csv_path, overwrite=overwrite)
        return
    shared |= {
        "layout": layout,
        "protocol": protocol,
        "metrics": metrics.split(",") if metrics is not None else None,
        "brisque_model": brisque_model,
        "baseline": baseline,
        "strips": (report_images or REPORT_IMAGES) if report is not None else 0,
        "strips_of": report_row,
        "workers": workers,
        "resume_scores": resume_scores,
    }
    evaluation: Evaluation | SetsEvaluation
    with _following() as follow, _going_on(resume_scores):
        if data is not None and len(data) > 1:
            if images is not None:
                raise IrkdError("--images is for one folder alone; leave out --data, or --images.")
            evaluation = engine.evaluate_sets(
                labelled, data, average=averaged, progress=follow, **shared
            )
        else:
            one = data[0] if data else None
            evaluation = engine.evaluate(labelled, one, images=images, progress=follow, **shared)
    show(
        evaluation,
        json_path=json_path,
        csv_path=csv_path,
        csv_images=csv_images,
        report=report,
        worst=worst,
        overwrite=overwrite,
    )


def _list_protocols() -> None:
    from rich.table import Table

    from irkd.metrics.protocols import PROTOCOLS

    table = Table("protocol", "what is compared", "published figures that follow it")
    for entry in PROTOCOLS.values():
        table.add_row(entry.name, entry.description, entry.used_for)
    stdout().print(table)


@contextmanager
def _following() -> Iterator[Any]:
    """A progress bar on a terminal; elsewhere a line now and then."""
    with progress() as bar:
        job = bar.add_task("scoring", total=None)
        console = stderr()

        def follow(done: int, total: int, image: str) -> None:
            bar.update(job, total=total, completed=done)
            if bar.disable and (done == total or done % max(1, total // 10) == 0):
                console.print(f"scored {done} of {total}: {image}", markup=False, soft_wrap=True)

        yield follow


@contextmanager
def _going_on(resume_scores: Path | None) -> Iterator[None]:
    """Where a run is stopped, say how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        if resume_scores is not None:
            stderr().print(
                f"The scores so far are in {resume_scores}; the same command goes on from them.",
                markup=False,
                soft_wrap=True,
            )
        raise
