"""What `irkd restore` shows: a bar with throughput on a terminal, one line for each file."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from irkd.cli.common import stderr

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar

    from irkd.inference.jobs import Job
    from irkd.inference.restore_files import Outcome, Progress

# Of a long video without a terminal, a line is printed now and then.
_EVERY_S = 30.0


class RestoreProgress:
    """Follows the files of one run. A context: the bar stands while it is open."""

    def __init__(self, console: Console, count: int) -> None:
        self._count = count
        self._started = time.perf_counter()
        self._passed = self._worked = 0
        self._megapixels = 0.0
        self._file_started = self._said = self._started
        self._bar = _bar()
        # The bar makes room for what is printed through its own console; lines for a file or a pipe
        # go there.
        shares_terminal = not self._bar.disable and console.is_terminal
        self._lines = self._bar.console if shares_terminal else console
        self._task = self._bar.add_task("", total=count, rate="", left="")

    def __enter__(self) -> RestoreProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def within(self, job: Job, now: Progress) -> None:
        """A tile or a frame is done."""
        time_now = time.perf_counter()
        seconds = max(time_now - self._started, 1e-9)
        rate = f"{(self._megapixels + now.megapixels) / seconds:.2f} MP/s"
        if now.frames is not None:
            of = "" if now.of_frames is None else f" of {now.of_frames}"
            speed = now.frames / max(time_now - self._file_started, 1e-9)
            rate = f"{now.frames}{of} frames, {speed:.2f} frames/s"
        if self._bar.disable:
            if now.frames is not None and time_now - self._said > _EVERY_S:
                self._said = time_now
                self._bar.console.print(f"{job.source.name}: {rate}", markup=False)
            return
        done = self._worked + now.share
        left = seconds / done * (self._count - self._passed - now.share) if done else None
        self._bar.update(
            self._task,
            description=job.source.name,
            completed=self._passed + now.share,
            rate=rate,
            left="" if left is None else f"{_duration(left)} left",
        )

    def finished(self, outcome: Outcome) -> None:
        """A file is done: print its line. Failures are listed at the end of the run."""
        self._passed += 1
        self._file_started = self._said = time.perf_counter()
        if outcome.status == "restored":
            self._worked += 1
            self._megapixels += outcome.megapixels
            self._lines.print("  ".join(_line(outcome)), markup=False)
        for note in outcome.notes:
            self._bar.console.print(f"  {outcome.job.source.name}: {note}", markup=False)
        self._bar.update(self._task, completed=self._passed)


def _bar() -> Bar:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = stderr()
    columns: list[Any] = [TextColumn("{task.description}", markup=False), BarColumn()]
    columns += [MofNCompleteColumn(), TextColumn("{task.fields[rate]}")]
    columns += [TextColumn("{task.fields[left]}")]
    return Progress(
        *columns,
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _line(outcome: Outcome) -> list[str]:
    parts = [
        str(outcome.job.target),
        f"{outcome.width} x {outcome.height}",
        f"{outcome.megapixels:.2f} MP",
        f"{outcome.time_s:.2f} s",
    ]
    if outcome.frames is not None:
        parts[2] = f"{outcome.frames} frames"
        parts.append(f"{outcome.frames / max(outcome.time_s, 1e-9):.2f} frames/s")
    if outcome.tile is not None:
        parts.append(f"tiles of {outcome.tile[1]} x {outcome.tile[0]}")
    if outcome.reason is not None:
        by = f"{', '.join(outcome.models)}: " if outcome.models else ""
        parts.append(f"{by}{outcome.reason}")
    return parts


def print_summary(console: Console, outcomes: list[Outcome]) -> None:
    counts = {
        status: sum(outcome.status == status for outcome in outcomes)
        for status in ("restored", "skipped", "failed")
    }
    text = f"{counts['restored']} restored"
    if counts["skipped"]:
        text += f", {counts['skipped']} skipped (their results exist; --overwrite makes them again)"
    if counts["failed"]:
        text += f", {counts['failed']} failed"
    console.print(text + ".")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
