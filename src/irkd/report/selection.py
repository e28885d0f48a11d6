"""Which images a report shows: the worst and the best of one row, and where it loses most."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from irkd.metrics.catalogue import Metric


@dataclass(frozen=True)
class Selection:
    """What images are chosen by: the scores of row `label`, first metric.

    `worst`, `best`: how many images with the worst and the best scores. `behind`: how many where
    the score lies furthest behind that of row `baseline`. `everything`: all images are shown.
    """

    label: str
    baseline: str | None
    metric: Metric
    worst: int
    best: int
    behind: int
    everything: bool

    @classmethod
    def of(
        cls, label: str, baseline: str | None, metric: Metric, count: int, limit: int
    ) -> Selection:
        """At most `limit` of `count` images: shared between the kinds, or all where they are few.

        `baseline` counts where it is another row than `label`.
        """
        other = baseline if baseline != label else None
        if count <= limit:
            return cls(label, other, metric, count, 0, 0, True)
        kinds = 2 if other is None else 3
        worst, best, behind = ((limit + kinds - 1 - kind) // kinds for kind in range(3))
        return cls(label, other, metric, worst, best, behind if other is not None else 0, False)

    def badness(self, scores: Mapping[str, float]) -> float:
        """How bad the row's score among an image's `scores` by row is; NaN where it has none."""
        score = scores.get(self.label, math.nan)
        return -score if self.metric.higher_is_better else score

    def lag(self, scores: Mapping[str, float]) -> float:
        """How much worse than the baseline's the row's score is; NaN where either is missing."""
        if self.baseline is None or self.baseline not in scores:
            return math.nan
        other = scores[self.baseline]
        return self.badness(scores) - (-other if self.metric.higher_is_better else other)


class Chooser:
    """Chooses images by a `Selection` while they are scored; it remembers the chosen ones only."""

    def __init__(self, selection: Selection) -> None:
        self.selection = selection
        self._kinds = [
            _Most(selection.worst),
            _Most(selection.best),
            _Most(selection.behind),
        ]

    def add(self, index: int, scores: Mapping[str, float]) -> bool:
        """Whether image `index` is chosen so far; `scores` are the selection's metric by row."""
        badness = self.selection.badness(scores)
        keys = (badness, -badness, self.selection.lag(scores))
        kept = [kind.add(key, index, badness) for kind, key in zip(self._kinds, keys, strict=True)]
        return any(kept)

    def chosen(self) -> list[int]:
        """The images chosen so far, those with the worst scores first."""
        found = {
            index: badness for kind in self._kinds for index, badness in kind.badness_by_index()
        }
        return sorted(found, key=lambda index: (-found[index], index))


class _Most:
    """The images with the largest keys, at most `size` of them; the earlier one of equals."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._heap: list[tuple[float, int, float]] = []

    def add(self, key: float, index: int, badness: float) -> bool:
        if self._size == 0 or math.isnan(key):
            return False
        entry = (key, -index, badness)
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, entry)
            return True
        return heapq.heappushpop(self._heap, entry) != entry

    def badness_by_index(self) -> Iterator[tuple[int, float]]:
        return ((-negative, badness) for _, negative, badness in self._heap)
