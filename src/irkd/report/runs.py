"""Run directories side by side: what each trained, how long, and how well it scored."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from irkd.errors import IrkdError
from irkd.report.run_directory import PRESET, RunDirectory


@dataclass(frozen=True)
class Run:
    """One finished or stopped run, read from its directory."""

    name: str
    path: Path
    preset: dict[str, Any]
    manifest: dict[str, Any]
    log: list[dict[str, Any]] = field(repr=False)

    @property
    def methods(self) -> str:
        return " + ".join(method["name"] for method in self.preset["methods"])

    @property
    def steps(self) -> int:
        """Steps taken so far."""
        return max((entry["step"] for entry in self.log), default=0)

    @property
    def seconds(self) -> float | None:
        """Training time over all resumes."""
        times = [entry["elapsed_s"] for entry in self.log if "elapsed_s" in entry]
        return max(times, default=None)

    @property
    def finished(self) -> bool:
        """Whether all its steps are taken and scored."""
        last = self.last_scores
        return last is not None and last["step"] >= self.manifest["steps"]

    @property
    def last_scores(self) -> dict[str, Any] | None:
        """The newest validation entry: step, psnr_db, ssim."""
        scored = [entry for entry in self.log if entry["kind"] == "validation"]
        return scored[-1] if scored else None


def read_run(path: Path, name: str | None = None) -> Run:
    """The run in directory `path`; IrkdError when there is none, or it never began."""
    directory = RunDirectory.open(path)
    preset = yaml.safe_load((path / PRESET).read_text(encoding="utf-8"))
    return Run(name or path.name, path, preset, directory.manifest(), directory.log())


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """The runs, named by the parts of their paths that tell them apart."""
    if len({path.resolve() for path in paths}) < len(paths):
        raise IrkdError("a run is named twice.")
    return [read_run(path, name) for path, name in zip(paths, _short_names(paths), strict=True)]


def differences(runs: Iterable[Run]) -> list[str]:
    """What makes the runs' scores hard to compare, one sentence each."""
    runs = list(runs)
    facts: dict[str, list[Any]] = {
        "validation data": [run.manifest.get("validation_data") for run in runs],
        "protocol": [run.manifest.get("protocol") for run in runs],
        "task": [run.manifest.get("task") for run in runs],
        "training data": [run.manifest.get("training_data") for run in runs],
        "student": [_network(run.preset.get("student")) for run in runs],
        "teacher": [(run.manifest.get("teacher") or {}).get("sha256") for run in runs],
        "steps": [run.manifest.get("steps") for run in runs],
    }
    sentences = []
    for what, values in facts.items():
        known = [str(value) for value in values if value is not None]
        if len(set(known)) > 1:
            shown = "" if what in ("student", "teacher") else f": {', '.join(dict.fromkeys(known))}"
            sentences.append(f"the runs differ in their {what}{shown}.")
    sentences += [f"{run.name} is not finished." for run in runs if not run.finished]
    return sentences


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone, and what they scored."""

    name: str
    psnr_db: tuple[float, ...]
    ssim: tuple[float, ...]
    steps: int
    seconds_per_step: float | None = None

    @property
    def mean_psnr_db(self) -> float:
        return statistics.fmean(self.psnr_db)

    @property
    def mean_ssim(self) -> float:
        return statistics.fmean(self.ssim)

    @property
    def spread_psnr_db(self) -> float | None:
        """Standard deviation over seeds; None for a single one."""
        return statistics.stdev(self.psnr_db) if len(self.psnr_db) > 1 else None


def gain(group: Group, baseline: Group) -> tuple[float, float | None]:
    """Mean and standard deviation, over seeds, of the PSNR gained over `baseline` (dB).

    Paired by seed: both groups list the same seeds in the same order, and runs of one seed share
    their data and first weights.
    """
    gained = [a - b for a, b in zip(group.psnr_db, baseline.psnr_db, strict=True)]
    return statistics.fmean(gained), statistics.stdev(gained) if len(gained) > 1 else None


def _network(spec: Mapping[str, Any] | None) -> Any:
    return None if spec is None else sorted((k, str(v)) for k, v in spec.items() if k != "weights")


def _short_names(paths: Sequence[Path]) -> list[str]:
    """The last parts of the paths, as many as tell them apart."""
    parts = [path.resolve().parts for path in paths]
    for count in range(1, max(map(len, parts), default=1) + 1):
        names = ["/".join(each[-count:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]
