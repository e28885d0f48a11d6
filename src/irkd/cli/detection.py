"""`irkd evaluate --ground-truth`: its options, and the table side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from irkd.cli.common import stderr, stdout, write_json_result
from irkd.errors import IrkdError, PartialFailure

if TYPE_CHECKING:
    from irkd.report.detection import DetectionEvaluation

_PANEL = "Object detection"

GroundTruthOption = Annotated[
    Path | None,
    typer.Option(
        "--ground-truth",
        metavar="PATH",
        help="Score by detection instead: COCO's JSON, or a folder of VOC's XML (RTTS) or YOLO's"
        " text files.",
        rich_help_panel=_PANEL,
    ),
]
DetectionsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--detections",
        metavar="LABEL=PATH",
        help="What a detector found: COCO's results, Darknet's result.json, or a folder of YOLO's"
        " text files with confidences.",
        rich_help_panel=_PANEL,
    ),
]
ClassesOption = Annotated[
    Path | None,
    typer.Option(
        "--classes",
        metavar="FILE",
        help="Class names of a YOLO ground truth, one a line, or a data.yaml.",
        rich_help_panel=_PANEL,
    ),
]
DetectorOption = Annotated[
    Path | None,
    typer.Option(
        "--detector",
        metavar="FILE.onnx",
        help="Run this detector on --images, on --restored folders, and on what models restore.",
        rich_help_panel=_PANEL,
    ),
]
DetectorLayoutOption = Annotated[
    str,
    typer.Option(
        "--detector-layout",
        metavar="NAME",
        help="yolov4-zoo, boxes-confs, yolov8; auto reads it from the outputs' shapes.",
        rich_help_panel=_PANEL,
    ),
]
DetectorClassesOption = Annotated[
    Path | None,
    typer.Option(
        "--detector-classes",
        metavar="FILE",
        help="What the detector's class numbers mean: names, a data.yaml, or COCO's JSON.",
        rich_help_panel=_PANEL,
    ),
]
DetectorSizeOption = Annotated[
    int | None,
    typer.Option(
        "--detector-size",
        min=32,
        metavar="N",
        help="The side of the detector's input, where its file leaves it open.",
        rich_help_panel=_PANEL,
    ),
]
DetectorNmsOption = Annotated[
    float,
    typer.Option(
        "--detector-nms",
        metavar="IOU",
        help="Of boxes of a class that overlap by more, the surest stays.",
        rich_help_panel=_PANEL,
    ),
]
SaveDetectionsOption = Annotated[
    Path | None,
    typer.Option(
        "--save-detections",
        metavar="DIR",
        help="Write each row's detections as COCO's results JSON, and ground_truth.json.",
        rich_help_panel=_PANEL,
    ),
]


def label_detections(values: list[str]) -> dict[str, str]:
    """`LABEL=PATH` options as a mapping; a path alone is called by its name."""
    result: dict[str, str] = {}
    for value in values:
        label, equals, path = value.partition("=")
        if not equals or Path(value).exists():
            label, path = Path(value).stem, value
        if not label.strip() or not path:
            raise IrkdError(f"--detections {value!r}: expected LABEL=PATH.")
        if label.strip() in result:
            raise IrkdError(f"two --detections are called {label.strip()!r}; give another label.")
        result[label.strip()] = path
    return result


def refuse_others(given: dict[str, Any]) -> None:
    """An error for options that detection has no use for; `given`: their values by name."""
    for option, value in given.items():
        if value:
            raise IrkdError(
                f"{option} has no part in scoring by detection (--ground-truth). Leave it out, or "
                "run a second evaluation with it."
            )


def show_detection(
    evaluation: DetectionEvaluation,
    *,
    json_path: Path | None,
    csv_path: Path | None,
    overwrite: bool,
) -> None:
    """Print the table and write the files asked for; end with code 1 where rows are missing."""
    from irkd.files import write_text
    from irkd.report.detection import detection_notes, detection_table
    from irkd.report.tables import csv_text

    console = stderr() if str(json_path) == "-" else stdout()
    if not console.is_terminal:
        console.width = 200
    console.print(detection_table(evaluation))
    for line in detection_notes(evaluation):
        console.print(line, markup=False, style="dim")
    write_json_result(json_path, evaluation.to_dict(), overwrite=overwrite)
    if csv_path is not None:
        write_text(csv_path, csv_text(evaluation.summary_records()), overwrite=overwrite)
    if evaluation.failures:
        lines = ["rows are missing; precision over fewer images would not be comparable:"]
        lines += [f"{each.label}: {each.image}: {each.reason}" for each in evaluation.failures]
        raise PartialFailure("\n".join(lines))
