"""What a run tells whoever watches it; the command line draws bars, a notebook may stay silent."""

from __future__ import annotations

from typing import Any


class Observer:
    """Receives a run's progress. This one says nothing."""

    def note(self, text: str) -> None:
        """Something worth a line."""

    def table(self, title: str, rows: list[dict[str, Any]]) -> None:
        """A small table; every row has the same keys."""

    def prepared(self, what: str, done: int, total: int) -> None:
        """`done` of `total` pieces of work before training are done; `what` names the work."""

    def started(self, step: int, steps: int) -> None:
        """Training begins after `step` of `steps`."""

    def stepped(self, step: int, entry: dict[str, Any] | None) -> None:
        """`step` steps are done; `entry` is the log's line, where one was written."""

    def finished(self) -> None:
        """No more steps, or no more of the work before training."""
