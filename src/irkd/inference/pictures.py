"""The pictures of a report: of the images that are worth a look, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from irkd.inference.scoring import REFERENCE, Restoration
from irkd.metrics.protocols import quantized
from irkd.report.evaluation import ImageScore
from irkd.report.selection import Chooser, Selection
from irkd.report.strips import Strip, make_strip


class ReportPictures:
    """Strips of the images that `selection` chooses, `budget` bytes each.

    `keep`: compress an image as soon as it is chosen, and drop it when others take its place; about
    k (1 + ln(n/k)) of n images are, for k of a kind. Otherwise, and where not every row was
    restored (its score stood already), the chosen ones are restored once more at the end.
    """

    def __init__(self, selection: Selection, budget: int, *, keep: bool) -> None:
        self.selection = selection
        self._chooser = Chooser(selection)
        self._budget, self._keep = budget, keep
        self._strips: dict[int, Strip] = {}

    def offer(self, item: Restoration, scores: Mapping[str, ImageScore]) -> None:
        """An image that was scored, with its scores by row."""
        name = self.selection.metric.field
        found = {label: score.scores[name] for label, score in scores.items()}
        if not self._chooser.add(item.index, found) or not self._keep:
            return
        if scores.keys() <= item.restored.keys():
            self._strips[item.index] = self._compress(item, scores)
        for index in self._strips.keys() - set(self._chooser.chosen()):
            del self._strips[index]

    def missing(self) -> list[int]:
        """The images that are chosen, but were not kept."""
        return [index for index in self._chooser.chosen() if index not in self._strips]

    def finish(self, restore: Callable[[int], Restoration]) -> tuple[Strip, ...]:
        """The strips, that of the worst score first; `restore` makes what was not kept."""
        for index in self.missing():
            item = restore(index)
            if item.restored:
                self._strips[index] = self._compress(item, item.restored)
        return tuple(
            self._strips[index] for index in self._chooser.chosen() if index in self._strips
        )

    def _compress(self, item: Restoration, labels: Iterable[str]) -> Strip:
        pictures = {
            label: quantized(restored)
            for label, restored in item.restored.items()
            if label in labels
        }
        if item.reference is not None:
            pictures[REFERENCE] = item.reference
        return make_strip(item.name, pictures, self._budget)
