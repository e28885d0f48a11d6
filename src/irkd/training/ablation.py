"""Running every row of an ablation with every seed, and putting the results side by side."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from irkd.errors import IrkdError
from irkd.files import write_json
from irkd.presets.ablation import ablation_of, row_presets
from irkd.presets.load import apply_overrides, validate
from irkd.presets.schema import Preset
from irkd.report.run_directory import PRESET, Busy
from irkd.report.runs import Group, Run, read_run
from irkd.training.distill import distill, preset_step_seconds
from irkd.training.observer import Observer

COSTS = "step-seconds.json"

# Every run is scored this often, the last time at its end.
_VALIDATIONS = 2


@dataclass(frozen=True)
class Cell:
    """One run of an ablation: a row under one equality ("steps" or "time") with one seed."""

    row: str
    equal: str
    seed: int
    preset: Preset
    directory: Path


@dataclass
class Ablation:
    """The results so far. `groups` holds, by equality, a group for every row with all its seeds.

    missing: runs that are not finished, as "row, equal steps, seed 0".
    """

    preset: Preset
    directory: Path
    seconds_per_step: dict[str, float]
    groups: dict[str, list[Group]] = field(default_factory=dict)
    runs: dict[str, list[Run]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def run_ablation(
    preset: Preset,
    out: Path,
    *,
    device: str = "auto",
    max_seconds: float | None = None,
    observer: Observer | None = None,
    clock: Callable[[], float] | None = None,
) -> Ablation:
    """Train all rows of `preset.ablation` that are not finished under `out`, and read the results.

    Runs that stopped half-way go on; runs that another process is working on are passed over, so
    that the same command started twice shares the work. `max_seconds` ends the call after that long
    between two runs, and within one. A first row or seed does not wait for the last: seeds come in
    turn, so that a stopped ablation has whole rounds.
    """
    import time

    now = clock or time.monotonic
    begin = now()
    watcher = observer or Observer()
    if preset.data.validation == "none":
        raise IrkdError("an ablation compares scores: data.validation must not be none.")
    _keep_preset(preset, out)
    cells = plan_cells(preset, out, device, watcher)
    for number, cell in enumerate(cells, start=1):
        if _finished(cell.directory):
            continue
        left = None if max_seconds is None else max_seconds - (now() - begin)
        if left is not None and left <= 0:
            break
        name = f"[{number}/{len(cells)}] {_name(cell)}"
        resume = (cell.directory / PRESET).is_file()
        watcher.note(f"{name}: {cell.preset.training.steps} steps")
        try:
            result = distill(
                cell.preset,
                out=cell.directory,
                resume=resume,
                device=device,
                max_seconds=None if left is None else _elapsed(cell.directory) + left,
                observer=watcher,
                check_first=False,
            )
        except Busy:
            watcher.note(f"{name}: another process is at it")
            continue
        if result.stopped == "signal":
            break
    return collect(preset, out, cells)


def plan_cells(preset: Preset, out: Path, device: str, observer: Observer) -> list[Cell]:
    """All runs in the order in which they are made; measures the cost of steps where needed."""
    ablation = ablation_of(preset)
    by_seed = {seed: row_presets(preset, seed) for seed in ablation.seeds}
    steps = {"steps": dict.fromkeys((row.name for row in ablation.rows), _steps(preset))}
    if "time" in ablation.equal:
        costs = _costs(by_seed[ablation.seeds[0]], out, device, observer)
        budget = costs[ablation.time_of or ablation.rows[0].name] * _steps(preset)
        steps["time"] = {name: max(1, round(budget / cost)) for name, cost in costs.items()}
    cells = []
    for seed in ablation.seeds:
        for equal in ablation.equal:
            for name, row in by_seed[seed].items():
                count = steps[equal][name]
                # The row that sets the time takes as many steps either way: one run serves both.
                shared = equal == "time" and count == steps["steps"][name]
                folder = out / f"equal-{'steps' if shared else equal}" / _slug(name)
                cells.append(
                    Cell(name, equal, seed, _with_steps(row, count), folder / f"seed-{seed}")
                )
    return cells


def collect(preset: Preset, out: Path, cells: list[Cell]) -> Ablation:
    """Read what the runs have scored."""
    ablation = ablation_of(preset)
    costs = json.loads((out / COSTS).read_text()) if (out / COSTS).is_file() else {}
    result = Ablation(preset, out, costs)
    for equal in ablation.equal:
        groups, shown = [], []
        for row in ablation.rows:
            mine = [cell for cell in cells if (cell.row, cell.equal) == (row.name, equal)]
            done = [cell for cell in mine if _finished(cell.directory)]
            result.missing += [_name(cell) for cell in mine if cell not in done]
            if not done:
                continue
            runs = [read_run(cell.directory, row.name) for cell in done]
            shown.append(runs[0])
            if len(done) == len(mine):
                scores = [run.last_scores or {} for run in runs]
                groups.append(
                    Group(
                        row.name,
                        tuple(score["psnr_db"] for score in scores),
                        tuple(score["ssim"] for score in scores),
                        runs[0].manifest["steps"],
                        costs.get(row.name),
                    )
                )
        result.groups[equal], result.runs[equal] = groups, shown
    return result


def _keep_preset(preset: Preset, out: Path) -> None:
    """Remember what `out` was made for: results of two ablations must not be mixed."""
    path = out / "ablation.json"
    content = preset.model_dump(mode="json")
    if path.is_file():
        if json.loads(path.read_text(encoding="utf-8")) != content:
            raise IrkdError(
                f"{out} holds the runs of another ablation, or of this one with other settings."
                " Choose another folder with --out."
            )
        return
    if out.exists() and any(out.iterdir()):
        raise IrkdError(f"{out} is not empty. Choose another folder with --out.")
    write_json(path, content)


def _costs(rows: dict[str, Preset], out: Path, device: str, observer: Observer) -> dict[str, float]:
    """Seconds of a step of every row, measured once for the folder."""
    path = out / COSTS
    if not path.is_file():
        observer.note("measuring what a step of every row costs")
        costs = {name: preset_step_seconds(row, device) for name, row in rows.items()}
        write_json(path, costs)
    content: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _steps(preset: Preset) -> int:
    if preset.training.steps is None:
        raise IrkdError("an ablation counts in training.steps; give them, or --steps N.")
    return preset.training.steps


def _with_steps(preset: Preset, steps: int) -> Preset:
    changes: dict[str, Any] = {
        "training.steps": steps,
        "training.validate_every": max(1, -(-steps // _VALIDATIONS)),
        "training.log_every": max(1, min(preset.training.log_every, steps // 20)),
    }
    content = apply_overrides(preset.model_dump(mode="json"), changes)
    return validate(content, preset.name)


def _finished(directory: Path) -> bool:
    if not (directory / PRESET).is_file() or not (directory / "manifest.json").is_file():
        return False
    return read_run(directory).finished


def _elapsed(directory: Path) -> float:
    """A run's time limit counts over all resumes."""
    if not (directory / "manifest.json").is_file():
        return 0.0
    return read_run(directory).seconds or 0.0


def _name(cell: Cell) -> str:
    return f"{cell.row}, equal {cell.equal}, seed {cell.seed}"


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
