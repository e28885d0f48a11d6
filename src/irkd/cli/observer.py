"""A training run on the screen: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from typing import Any

from irkd.cli.common import progress, stderr
from irkd.training.observer import Observer


class ConsoleObserver(Observer):
    """Writes to standard error, so that standard output holds results alone."""

    def __init__(self) -> None:
        self._console = stderr()
        self._progress = progress()
        self._bar: Any = None

    def note(self, text: str) -> None:
        console = self._progress.console if self._bar is not None else self._console
        console.print(text, markup=False)

    def table(self, title: str, rows: list[dict[str, Any]]) -> None:
        self.note(title)
        for row in rows:
            name, psnr, ssim = row["network"], row["psnr_db"], row["ssim"]
            self.note(f"  {name:<18} PSNR {psnr:6.2f} dB   SSIM {ssim:.4f}")

    def prepared(self, what: str, done: int, total: int) -> None:
        if self._console.is_terminal:
            if self._bar is None:
                self._progress.start()
                self._bar = self._progress.add_task(what, total=total)
            self._progress.update(self._bar, completed=done)
        # A line at every tenth.
        elif done * 10 // total > (done - 1) * 10 // total:
            self.note(f"{what}: {done} of {total}")

    def started(self, step: int, steps: int) -> None:
        if self._console.is_terminal:
            self._progress.start()
            self._bar = self._progress.add_task("training", total=steps, completed=step)

    def stepped(self, step: int, entry: dict[str, Any] | None) -> None:
        if self._bar is not None:
            self._progress.update(self._bar, completed=step)
            if entry is not None:
                self._progress.update(self._bar, description=f"loss {entry['loss']:.4f}")
        elif entry is not None:
            terms = " ".join(f"{name} {value:.4g}" for name, value in entry["terms"].items())
            self.note(
                f"step {step} loss {entry['loss']:.5g} ({terms}) lr {entry['lr']:.3g}"
                f" {entry['images_per_s']:.1f} images/s, {entry['data_wait_percent']:.0f} % waiting"
            )

    def finished(self) -> None:
        if self._bar is not None:
            self._progress.stop()
            self._progress.remove_task(self._bar)
            self._bar = None
