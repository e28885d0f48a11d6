"""What an evaluation found: per image, per row of the table, and what made it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from irkd.metrics.catalogue import Metric
from irkd.metrics.protocols import Protocol
from irkd.report.intervals import mean_interval
from irkd.report.selection import Selection
from irkd.report.strips import Strip

Kind = Literal["degraded", "model", "restored"]

DEGRADED = "degraded"
"""The label of the row for the input itself."""


@dataclass(frozen=True)
class ImageScore:
    """One image in one row: its size, its scores by field name, and how long restoring it took."""

    name: str
    height: int
    width: int
    scores: Mapping[str, float]
    latency_ms: float | None = None


@dataclass(frozen=True)
class Row:
    """One line of the table: the degraded input, a model, or a folder of results.

    `source`: what the user named. `params_m`: millions of parameters. `macs_g`: thousands of
    millions of multiply-adds for one image of the evaluation's `macs_size`.
    """

    label: str
    kind: Kind
    source: str | None
    images: tuple[ImageScore, ...]
    params_m: float | None = None
    macs_g: float | None = None

    @property
    def n(self) -> int:
        return len(self.images)

    @property
    def latency_ms(self) -> float | None:
        """The median over images, each restored once: the first one's start-up does not move it."""
        times = [image.latency_ms for image in self.images if image.latency_ms is not None]
        return statistics.median(times) if times else None

    def mean(self, name: str) -> float:
        """The mean over images of the score called `name`; infinite values are left out.

        Infinite when all are; NaN without images.
        """
        finite = self.finite(name)
        if finite:
            return statistics.fmean(finite)
        return math.inf if self.images else math.nan

    def std(self, name: str) -> float:
        """The sample standard deviation over images of the finite scores; NaN for fewer than 2."""
        finite = self.finite(name)
        return statistics.stdev(finite) if len(finite) > 1 else math.nan

    def infinite(self, name: str) -> int:
        """How many images were left out of the mean because their score is infinite."""
        return sum(math.isinf(image.scores[name]) for image in self.images)

    def finite(self, name: str) -> list[float]:
        """The finite scores called `name`, in the images' order."""
        values = (image.scores[name] for image in self.images)
        return [value for value in values if math.isfinite(value)]


@dataclass(frozen=True)
class Failure:
    """An image that one row could not be scored on, and why."""

    label: str
    image: str
    reason: str


@dataclass(frozen=True)
class Evaluation:
    """Rows over one set of images under one protocol.

    `protocol` is None when no metric of it was asked for; `protocol_reason` says why it is this
    one. `size` is the height and width that MACs
    were counted at. `baseline` is the label of the row that differences are taken to. `strips` are
    the pictures of the images that `selection` chose, those with the worst scores first.
    """

    data: str
    task: str | None
    n: int
    protocol: Protocol | None
    metrics: tuple[Metric, ...]
    rows: tuple[Row, ...]
    baseline: str | None
    size: tuple[int, int]
    settings: Mapping[str, Any]
    environment: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    command: str | None = None
    strips: tuple[Strip, ...] = field(default=(), repr=False)
    selection: Selection | None = None
    protocol_reason: str = ""

    @cached_property
    def by_label(self) -> dict[str, Row]:
        return {row.label: row for row in self.rows}

    def difference(self, row: Row, name: str) -> float:
        """The mean score of `row` minus the baseline's; NaN for the baseline itself."""
        if self.baseline is None or row.label == self.baseline:
            return math.nan
        return row.mean(name) - self.by_label[self.baseline].mean(name)

    def paired_differences(self, row: Row, name: str) -> tuple[float, ...]:
        """On each image that both have a finite score of, that of `row` minus the baseline's."""
        if self.baseline is None or row.label == self.baseline:
            return ()
        other = {image.name: image.scores[name] for image in self.by_label[self.baseline].images}
        differences = [
            image.scores[name] - other[image.name] for image in row.images if image.name in other
        ]
        return tuple(value for value in differences if math.isfinite(value))

    def interval(self, row: Row, name: str) -> tuple[float, float]:
        """The 95 % bootstrap interval of the mean difference to the baseline, image by image.

        NaN for the baseline itself, and for fewer than two images.
        """
        return mean_interval((self.paired_differences(row, name),))

    def worst(self, row: Row, count: int) -> list[ImageScore]:
        """The images of `row` with the worst scores of the first metric, the worst first."""
        metric = self.metrics[0]
        sign = 1 if metric.higher_is_better else -1
        ordered = sorted(row.images, key=lambda image: sign * image.scores[metric.field])
        return ordered[:count]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the pictures, for JSON. Infinite and unknown numbers stand as floats."""
        return {
            "data": self.data,
            "task": self.task,
            "n": self.n,
            "protocol": self.protocol and self.protocol.name,
            "protocol_description": self.protocol and self.protocol.description,
            "protocol_quantizes": self.protocol and self.protocol.quantize,
            "protocol_reason": self.protocol_reason or None,
            "metrics": [metric.field for metric in self.metrics],
            "metric_details": {each.field: each.detail for each in self.metrics if each.detail},
            "baseline": self.baseline,
            "macs_height": self.size[0],
            "macs_width": self.size[1],
            **self.settings,
            **self.environment,
            "command": self.command,
            "notes": list(self.notes),
            "failures": [vars(failure) for failure in self.failures],
            "rows": [
                {
                    **self._summary(row),
                    "images": [
                        {
                            "image": image.name,
                            "height": image.height,
                            "width": image.width,
                            **image.scores,
                            "latency_ms": image.latency_ms,
                        }
                        for image in row.images
                    ],
                }
                for row in self.rows
            ],
        }

    def summary_records(self) -> Iterator[dict[str, Any]]:
        """One flat record a row, for CSV."""
        for row in self.rows:
            yield {**self._summary(row), **self._provenance()}

    def image_records(self) -> Iterator[dict[str, Any]]:
        """One flat record a row and image, for CSV."""
        for row in self.rows:
            for image in row.images:
                yield {
                    "label": row.label,
                    "image": image.name,
                    "height": image.height,
                    "width": image.width,
                    **image.scores,
                    "latency_ms": image.latency_ms,
                    **self._provenance(),
                }

    def _summary(self, row: Row) -> dict[str, Any]:
        record: dict[str, Any] = {
            "label": row.label,
            "kind": row.kind,
            "source": row.source,
            "n": row.n,
        }
        for metric in self.metrics:
            name = metric.field
            record[name] = row.mean(name)
            record[f"{name}_std"] = row.std(name)
            record[f"{name}_infinite"] = row.infinite(name)
            record[f"{name}_difference"] = self.difference(row, name)
            low, high = self.interval(row, name)
            record[f"{name}_difference_low"], record[f"{name}_difference_high"] = low, high
        record["params_m"] = row.params_m
        record["macs_g"] = row.macs_g
        record["latency_ms"] = row.latency_ms
        return record

    def _provenance(self) -> dict[str, Any]:
        versions = self.environment.get("versions", {})
        return {
            "data": self.data,
            "protocol": self.protocol and self.protocol.name,
            "device": self.environment.get("device"),
            "versions": " ".join(f"{name}={version}" for name, version in versions.items()),
        }
