"""`irkd train`: train one network on its own, a teacher or a student without one."""

from __future__ import annotations

from typing import Annotated

import typer

from irkd.cli import run_options as options
from irkd.cli.common import write_check
from irkd.errors import IrkdError


def train(
    preset: options.PresetOption = None,
    role: Annotated[
        str, typer.Option("--role", help="Which of the preset's networks: teacher or student.")
    ] = "student",
    data: options.DataOption = None,
    layout: options.LayoutOption = None,
    task: options.TaskOption = None,
    settings: options.SetOption = None,
    steps: options.StepsOption = None,
    epochs: options.EpochsOption = None,
    max_time: options.MaxTimeOption = None,
    out: options.OutOption = None,
    resume: options.ResumeOption = None,
    device: options.DeviceOption = "auto",
    precision: options.PrecisionOption = None,
    seed: options.SeedOption = None,
    json: options.JsonOption = None,
) -> None:
    """Train one network without a teacher."""
    if role not in ("teacher", "student"):
        raise IrkdError(f"--role {role!r}: expected teacher or student.")
    limit = options.seconds(max_time)
    resolved, directory = options.resolve_preset(
        preset,
        resume,
        {
            "data.train": data,
            "data.layout": layout,
            "task": task,
            **options.length(steps, epochs),
            "training.precision": precision,
            "training.seed": seed,
        },
        settings,
    )
    write_check(json)

    from irkd.cli.distill import print_result
    from irkd.cli.observer import ConsoleObserver
    from irkd.training.distill import distill, student_preset, teacher_preset

    if resume is None:
        resolved = teacher_preset(resolved) if role == "teacher" else student_preset(resolved)
    result = distill(
        resolved,
        out=directory or out,
        resume=directory is not None,
        device=device,
        max_seconds=limit,
        observer=ConsoleObserver(),
    )
    print_result(result, json, "train")
