"""Evaluations on several data sets, and the averages over them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from irkd.metrics.catalogue import Metric
from irkd.report.evaluation import Evaluation, Failure, Row
from irkd.report.intervals import mean_interval

Average = Literal["macro", "images"]
AVERAGES: dict[str, str] = {
    "macro": "the unweighted mean of the data sets' means",
    "images": "the mean over the images of all data sets",
}


@dataclass(frozen=True)
class SetsEvaluation:
    """An evaluation of the same rows for each data set by its name, and how they are averaged."""

    sets: Mapping[str, Evaluation]
    average: Average

    @cached_property
    def first(self) -> Evaluation:
        return next(iter(self.sets.values()))

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return self.first.metrics

    @property
    def baseline(self) -> str | None:
        return self.first.baseline

    @property
    def failures(self) -> tuple[Failure, ...]:
        return tuple(
            Failure(failure.label, f"{name}/{failure.image}", failure.reason)
            for name, evaluation in self.sets.items()
            for failure in evaluation.failures
        )

    @cached_property
    def labels(self) -> list[str]:
        """The rows of any data set, in their order."""
        return list(dict.fromkeys(label for each in self.sets.values() for label in each.by_label))

    def rows(self, label: str) -> list[Row]:
        """The row of each data set; none where one data set has no such row."""
        found = [evaluation.by_label.get(label) for evaluation in self.sets.values()]
        return [] if None in found else [row for row in found if row is not None]

    def mean(self, label: str, field: str) -> float:
        """The average score of a row; NaN where a data set has none, infinite where its mean is."""
        rows = self.rows(label)
        if not rows:
            return math.nan
        if self.average == "macro":
            return statistics.fmean(row.mean(field) for row in rows)
        finite = [value for row in rows for value in row.finite(field)]
        if any(row.n == 0 for row in rows):
            return math.nan
        return statistics.fmean(finite) if finite else math.inf

    def difference(self, label: str, field: str) -> float:
        """The average of a row minus the baseline's; NaN for the baseline itself."""
        if self.baseline is None or label == self.baseline:
            return math.nan
        return self.mean(label, field) - self.mean(self.baseline, field)

    def interval(self, label: str, field: str) -> tuple[float, float]:
        """The 95 % bootstrap interval of `difference`, images drawn within each data set."""
        rows = self.rows(label)
        groups = tuple(
            evaluation.paired_differences(row, field)
            for evaluation, row in zip(self.sets.values(), rows, strict=bool(rows))
        )
        if self.average == "images":
            groups = (tuple(value for group in groups for value in group),)
        return mean_interval(groups)

    def to_dict(self) -> dict[str, Any]:
        """The averages as `rows`, and each data set as `Evaluation.to_dict` has it."""
        protocol = self.first.protocol
        return {
            "average": self.average,
            "data": list(self.sets),
            "n": sum(evaluation.n for evaluation in self.sets.values()),
            "protocol": protocol and protocol.name,
            "metrics": [metric.field for metric in self.metrics],
            "baseline": self.baseline,
            "command": self.first.command,
            "rows": list(self._averages()),
            "sets": {name: evaluation.to_dict() for name, evaluation in self.sets.items()},
        }

    def summary_records(self) -> Iterator[dict[str, Any]]:
        """A flat record for each data set and row, then for each row's average, for CSV."""
        columns: list[str] = []
        for name, evaluation in self.sets.items():
            for record in evaluation.summary_records():
                named = {"set": name, **record}
                columns = columns or list(named)
                yield named
        for record in self._averages():
            named = {"set": self.average, **record}
            yield {column: named.get(column) for column in columns}

    def image_records(self) -> Iterator[dict[str, Any]]:
        """A flat record for each data set, row and image, for CSV."""
        for name, evaluation in self.sets.items():
            for record in evaluation.image_records():
                yield {"set": name, **record}

    def _averages(self) -> Iterator[dict[str, Any]]:
        protocol = self.first.protocol
        for label in self.labels:
            rows = self.rows(label)
            record: dict[str, Any] = {
                "label": label,
                "kind": rows[0].kind if rows else None,
                "n": sum(row.n for row in rows) if rows else None,
                "protocol": protocol and protocol.name,
            }
            for metric in self.metrics:
                field = metric.field
                low, high = self.interval(label, field)
                record[field] = self.mean(label, field)
                record[f"{field}_difference"] = self.difference(label, field)
                record[f"{field}_difference_low"] = low
                record[f"{field}_difference_high"] = high
            yield record
