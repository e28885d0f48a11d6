"""From a preset to a run: what `irkd distill` and `irkd train` do, and their door."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from irkd.errors import IrkdError
from irkd.presets.load import load_preset, validate
from irkd.presets.schema import Preset
from irkd.report.run_directory import PRESET
from irkd.training.audit import audit, require_gradients
from irkd.training.experiment import Experiment, RunResult
from irkd.training.observer import Observer
from irkd.training.plan import memory_estimate_mib, network_rows, plan_steps
from irkd.training.sources import open_training_pairs
from irkd.training.step_cost import step_seconds
from irkd.training.teacher_outputs import cache_plan


def distill(
    preset: str | Path | Preset,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    device: str = "auto",
    max_seconds: float | None = None,
    allow_teacher_change: bool = False,
    observer: Observer | None = None,
    check_first: bool = True,
) -> RunResult:
    """Train the student of `preset` by its methods, and leave a run directory.

    `out` names the directory (a new one under runs/ otherwise); with `resume` the run in `out`
    goes on where its newest checkpoint stands. `check_first` scores the teacher and the untouched
    student before the first step. Raises IrkdError for everything a user can mend.
    """
    if not isinstance(preset, Preset):
        preset = load_preset(preset)
    experiment = Experiment(preset, device, observer or Observer())
    return experiment.run(
        None if out is None else Path(out), resume, max_seconds, allow_teacher_change, check_first
    )


def student_preset(preset: Preset) -> Preset:
    """The preset that trains the student of `preset` alone.

    A method `none` of the preset's own keeps its options; others learn from a teacher, and go.
    """
    if all(method.name == "none" for method in preset.methods):
        return preset
    content = preset.model_dump(mode="json")
    return validate({**content, "methods": _without_teacher(content["methods"])}, preset.name)


def teacher_preset(preset: Preset) -> Preset:
    """The preset that trains the teacher of `preset` alone, from nothing, on the same data."""
    if preset.teacher is None:
        raise IrkdError(f"preset {preset.name} has no teacher to train.")
    content = preset.model_dump(mode="json")
    content["name"] = f"{preset.name}-teacher"
    content["student"], content["teacher"] = {**content["teacher"], "weights": None}, None
    content["methods"] = _without_teacher(content["methods"])
    content["releases"], content["specialists"] = None, {}
    return validate(content, content["name"])


def _without_teacher(methods: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [method for method in methods if method["name"] == "none"] or [{"name": "none"}]


def train_teacher(
    preset: Preset,
    out: Path,
    *,
    device: str = "auto",
    max_seconds: float | None = None,
    observer: Observer | None = None,
) -> RunResult:
    """Train the teacher of `preset` into `out`, or go on where an earlier call stopped."""
    resume = (out / PRESET).is_file()
    return distill(
        load_preset(out / PRESET) if resume else teacher_preset(preset),
        out=out,
        resume=resume,
        device=device,
        max_seconds=max_seconds,
        observer=observer,
    )


def describe_plan(preset: Preset) -> dict[str, Any]:
    """What `--dry-run` prints: networks, terms, steps, memory; nothing is trained or written."""
    train, _ = open_training_pairs(preset.data, preset.task, preset.training.seed)
    steps, epochs = plan_steps(preset, len(train))
    return {
        "preset": preset.name,
        "task": preset.task,
        "networks": network_rows(preset),
        "methods": [method.model_dump(mode="json") for method in preset.methods],
        "training_pairs": len(train),
        "steps": steps,
        "epochs": epochs,
        "batch_size": preset.training.batch_size,
        "patch": preset.training.patch,
        "memory_estimate_mib": memory_estimate_mib(preset),
        "teacher_cache": cache_plan(preset.data, train),
    }


def audit_preset(preset: Preset, device: str = "auto") -> list[dict[str, Any]]:
    """The loss audit of the first batch (see training.audit); raises when a term is dead."""
    experiment = Experiment(preset, device, Observer())
    rows = audit(experiment.task, **experiment.first_batch())
    require_gradients(rows)
    return rows


def preset_step_seconds(preset: Preset, device: str = "auto") -> float:
    """Seconds of one training step of `preset` (see training.step_cost)."""
    experiment = Experiment(preset, device, Observer())
    batch = experiment.first_batch()
    return step_seconds(experiment.task, preset.training, batch["degraded"], batch["reference"])
