"""What an evaluation by object detection found, and how it is shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rich.table import Table
from rich.text import Text

from irkd.metrics.detection import COUNTED, AveragePrecision
from irkd.report.evaluation import Failure
from irkd.report.tables import number, versions_line

Kind = Literal["degraded", "model", "restored", "detections"]

_DIGITS = 4


@dataclass(frozen=True)
class DetectionRow:
    """The detections on one version of the images. `source`: what the user named.

    `detections`: how many there were, of classes that the ground truth has.
    """

    label: str
    kind: Kind
    source: str | None
    detections: int
    precision: AveragePrecision


@dataclass(frozen=True)
class DetectionEvaluation:
    """Rows over the same images and objects. `objects`: those that count, by class.

    `detector`: what found them, where irkd ran it.
    """

    ground_truth: str
    n: int
    objects: Mapping[str, int]
    ignored: int
    rows: tuple[DetectionRow, ...]
    detector: Mapping[str, Any] | None
    settings: Mapping[str, Any]
    environment: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    command: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON; unknown precision stands as NaN."""
        return {
            "ground_truth": self.ground_truth,
            "n": self.n,
            "objects": sum(self.objects.values()),
            "objects_ignored": self.ignored,
            "objects_per_class": dict(self.objects),
            "max_detections": COUNTED,
            "detector": self.detector,
            **self.settings,
            **self.environment,
            "command": self.command,
            "notes": list(self.notes),
            "failures": [vars(failure) for failure in self.failures],
            "rows": [
                {
                    **self._summary(row),
                    "ap50_per_class": dict(row.precision.ap50_per_class),
                }
                for row in self.rows
            ],
        }

    def summary_records(self) -> Iterator[dict[str, Any]]:
        """One flat record a row, for CSV; `ap50_NAME` is that of one class."""
        versions = self.environment.get("versions", {})
        for row in self.rows:
            yield {
                **self._summary(row),
                **{f"ap50_{name}": value for name, value in row.precision.ap50_per_class.items()},
                "ground_truth": self.ground_truth,
                "detector": self.detector and self.detector["source"],
                "versions": " ".join(f"{name}={version}" for name, version in versions.items()),
            }

    def _summary(self, row: DetectionRow) -> dict[str, Any]:
        return {
            "label": row.label,
            "kind": row.kind,
            "source": row.source,
            "n": self.n,
            "detections": row.detections,
            "ap50": row.precision.ap50,
            "ap": row.precision.ap,
            "ap75": row.precision.ap75,
        }


def detection_table(evaluation: DetectionEvaluation) -> Table:
    """One column a row of the evaluation, side by side: the means, then each class at 0.5."""
    table = Table()
    table.add_column("average precision", overflow="fold")
    table.add_column("objects", justify="right", style="dim")
    for row in evaluation.rows:
        table.add_column(Text(row.label), justify="right", overflow="fold")

    def line(title: str, objects: int, values: list[float], *, last: bool = False) -> None:
        shown = [number(value, _DIGITS) for value in values]
        table.add_row(Text(title), str(objects), *shown, end_section=last)

    total = sum(evaluation.objects.values())
    precisions = [row.precision for row in evaluation.rows]
    line("AP50", total, [each.ap50 for each in precisions])
    line("AP (0.50 to 0.95)", total, [each.ap for each in precisions])
    line("AP75", total, [each.ap75 for each in precisions], last=True)
    for name, objects in evaluation.objects.items():
        line(f"AP50 {name}", objects, [each.ap50_per_class[name] for each in precisions])
    return table


def detection_notes(evaluation: DetectionEvaluation) -> list[str]:
    """Sentences that the table's numbers mean little without."""
    total = sum(evaluation.objects.values())
    ignored = f", {evaluation.ignored} more ignored" if evaluation.ignored else ""
    lines = [
        f"Ground truth: {evaluation.ground_truth}, {_count(evaluation.n, 'image')}, "
        f"{_count(total, 'object')}{ignored}.",
        "AP50: the mean over classes of the average precision (COCO, 101 points) at an "
        "intersection over union of 0.5; what Darknet calls mAP@0.50. 0 to 1; at most "
        f"{COUNTED} detections of an image and class count.",
    ]
    if evaluation.detector is not None:
        found = evaluation.detector
        lines.append(
            f"Detector: {found['source']}, layout {found['layout']}, input {found['height']} x "
            f"{found['width']}, confidence from {found['confidence']:g}, overlaps above "
            f"{found['nms']:g} suppressed by class."
        )
    return [*lines, *evaluation.notes, versions_line(evaluation.environment)]


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' if count != 1 else ''}"
