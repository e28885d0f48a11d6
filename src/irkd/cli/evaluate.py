"""`irkd evaluate`: scores of models, and of results found elsewhere, in one table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from irkd.cli.common import progress, stderr, stdout, write_json_result
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
from irkd.errors import IrkdError, PartialFailure

if TYPE_CHECKING:
    from irkd.report.evaluation import Evaluation

_REPORT = "report.html"
_REPORT_IMAGES = 100
_FAILURES_SHOWN = 10


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
        str | None,
        typer.Option(
            metavar="DIR|procedural|photographs", help="Pairs to score on, or a built-in set."
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
            metavar="[LABEL=]DIR", help="Results of any tool, matched to the references by name."
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
    layout: Annotated[str, typer.Option(help="How the folder of pairs is arranged.")] = "auto",
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Which pixels and which SSIM, by name; `list` shows all. By default that of the"
            " task's papers, and rgb for built-in images."
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated: psnr, ssim, piqe, or pyiqa's names. Default: psnr,ssim."
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
        typer.Option(metavar="DIR", help=f"Write {_REPORT}: table, plots and pictures."),
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
    is named under it; scores of different protocols must not be compared.

    With --ground-truth they are scored by what an object detector finds in them instead.
    """
    if protocol == "list":
        _list_protocols()
        return
    if ground_truth is None and (detections or detector or classes or save_detections):
        raise IrkdError(
            "detections are scored against annotations: name them, --ground-truth PATH."
        )
    _check_outputs([json_path, csv_path, csv_images, report and report / _REPORT], overwrite)

    from irkd.inference import evaluate as engine
    from irkd.inference.candidates import label_models
    from irkd.presets.load import parse_overrides
    from irkd.report.run_directory import command_line

    labelled = _merge(label_models(models or []), _labelled(name or [], "--name", "LABEL=MODEL"))
    shared: dict[str, Any] = {
        "images": images,
        "restored": _restored(restored or []),
        "task": task,
        "limit": limit,
        "backend": backend,
        "device": device,
        "tile": _parse_tile(tile),
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
                "--baseline": baseline,
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
                progress=follow,
                **shared,
            )
        show_detection(found, json_path=json_path, csv_path=csv_path, overwrite=overwrite)
        return
    with _following() as follow:
        evaluation = engine.evaluate(
            labelled,
            data,
            layout=layout,
            protocol=protocol,
            metrics=metrics.split(",") if metrics is not None else None,
            baseline=baseline,
            strips=_REPORT_IMAGES if report is not None else 0,
            progress=follow,
            **shared,
        )
    _print(evaluation, aside=str(json_path) == "-")
    write_json_result(json_path, evaluation.to_dict(), overwrite=overwrite)
    _write_csv(csv_path, evaluation.summary_records(), overwrite)
    _write_csv(csv_images, evaluation.image_records(), overwrite)
    if report is not None:
        from irkd.report.page import write_report

        path = write_report(report, evaluation, _curves(evaluation), overwrite=overwrite)
        stderr().print(f"Report: {path}", soft_wrap=True)
    _complain(evaluation)


def _list_protocols() -> None:
    from rich.table import Table

    from irkd.metrics.protocols import PROTOCOLS

    table = Table("protocol", "what is compared", "published figures that follow it")
    for entry in PROTOCOLS.values():
        table.add_row(entry.name, entry.description, entry.used_for)
    stdout().print(table)


def _check_outputs(paths: list[Path | None], overwrite: bool) -> None:
    """Refuse before the work what would be refused after it."""
    from irkd.files import refuse_existing

    for path in paths:
        if path is not None and str(path) != "-":
            if path.is_dir():
                raise IrkdError(f"{path} is a folder; name a file to write.")
            refuse_existing(path, overwrite)


def _labelled(values: list[str], option: str, form: str) -> dict[str, str]:
    result: dict[str, str] = {}
    for value in values:
        label, equals, rest = value.partition("=")
        if not (label.strip() and equals and rest):
            raise IrkdError(f"{option} {value!r}: expected {form}.")
        result = _merge(result, {label.strip(): rest})
    return result


def _restored(values: list[str]) -> dict[str, str] | list[str]:
    """Folders with labels where any has one, else as they stand."""
    labelled = [value for value in values if "=" in value and not Path(value).exists()]
    if labelled and len(labelled) < len(values):
        raise IrkdError("--restored: give all folders a label (LABEL=DIR), or none.")
    return _labelled(values, "--restored", "LABEL=DIR") if labelled else values


def _merge(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    for label in second:
        if label in first:
            raise IrkdError(f"two rows would be called {label!r}. Give one another label.")
    return {**first, **second}


def _parse_tile(text: str) -> Any:
    if text in ("auto", "off"):
        return text
    if not text.isdecimal() or int(text) < 1:
        raise IrkdError(f"--tile {text!r}: expected auto, off, or a number of pixels.")
    return int(text)


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


def _print(evaluation: Evaluation, *, aside: bool) -> None:
    from irkd.report.tables import evaluation_notes, evaluation_table

    # JSON on standard output must not be mixed with the table.
    console = stderr() if aside else stdout()
    if not console.is_terminal:
        console.width = 200
    console.print(evaluation_table(evaluation))
    for line in evaluation_notes(evaluation):
        console.print(line, markup=False, style="dim")


def _write_csv(path: Path | None, records: Iterator[dict[str, Any]], overwrite: bool) -> None:
    if path is None:
        return
    from irkd.files import write_text
    from irkd.report.tables import csv_text

    write_text(path, csv_text(records), overwrite=overwrite)


def _curves(evaluation: Evaluation) -> dict[str, list[dict[str, Any]]]:
    """The training logs of the models that are run directories, by label."""
    from irkd.report.run_directory import LOG, RunDirectory

    curves = {}
    for row in evaluation.rows:
        if row.kind == "model" and row.source is not None:
            path = Path(row.source)
            directory = path if path.is_dir() else path.parent
            if (directory / LOG).is_file() and (path.is_dir() or path.stem == "student"):
                curves[row.label] = RunDirectory.open(directory).log()
    return curves


def _complain(evaluation: Evaluation) -> None:
    if not evaluation.failures:
        return
    from irkd.report.tables import failures_line

    shown = [
        f"{failure.label}: {failure.image}: {failure.reason}"
        for failure in evaluation.failures[:_FAILURES_SHOWN]
    ]
    more = len(evaluation.failures) - len(shown)
    if more:
        shown.append(f"... and {more} more (all with --json)")
    raise PartialFailure("\n".join([failures_line(evaluation), *shown]))
