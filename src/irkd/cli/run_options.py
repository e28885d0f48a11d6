"""The options that `distill` and `train` share, and how they change a preset."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from irkd.errors import IrkdError

if TYPE_CHECKING:
    from irkd.presets.schema import Preset

PresetOption = Annotated[
    str | None, typer.Option("--preset", help="A preset's name, or a .yaml file.")
]
DataOption = Annotated[
    str | None,
    typer.Option("--data", help="A folder of pairs. Without it: the built-in procedural set."),
]
LayoutOption = Annotated[
    str | None,
    typer.Option(
        "--layout",
        help="How the folder is arranged: auto (found out), or a name of `irkd data layouts`.",
    ),
]
TaskOption = Annotated[
    str | None,
    typer.Option(
        "--task",
        help="derain, deblur, dehaze, denoise, jpeg or general; chooses the preset's settings for"
        " it, where it has some.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any key of the preset: student.dim=32, training.lr=1e-4."),
]
StepsOption = Annotated[int | None, typer.Option("--steps", min=0, help="Optimizer steps.")]
EpochsOption = Annotated[float | None, typer.Option("--epochs", help="Passes over the data.")]
MaxTimeOption = Annotated[
    str | None, typer.Option("--max-time", help="Stop after this long: 45m, 2h, 90s.")
]
OutOption = Annotated[
    Path | None, typer.Option("--out", help="The run directory. Default: a new one under runs/.")
]
ResumeOption = Annotated[
    str | None,
    typer.Option(
        "--resume", metavar="[DIR]", help="Go on with the run in DIR, or with the newest one."
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]
PrecisionOption = Annotated[
    str | None, typer.Option("--precision", help="auto, fp32, bf16 or fp16.")
]
SeedOption = Annotated[int | None, typer.Option("--seed", min=0)]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Print the plan and its costs; train nothing.")
]
JsonOption = Annotated[
    Path | None, typer.Option("--json", help="Write the result as JSON; - for standard output.")
]

NEWEST = "newest"

# Stands for "set this key to nothing", where None means "leave it as the preset has it".
UNSET: Any = object()


def resolve_preset(
    preset: str | None,
    resume: str | None,
    assignments: dict[str, Any],
    settings: list[str] | None,
) -> tuple[Preset, Path | None]:
    """The preset of a new run, or of the run that is resumed with its directory.

    `assignments` are the command's own options as dotted keys, None where not given.
    """
    from irkd.presets.load import apply_overrides, parse_overrides, read_resolved, validate
    from irkd.report.run_directory import PRESET, RunDirectory

    given = {
        key: None if value is UNSET else value
        for key, value in assignments.items()
        if value is not None
    }
    directory = None
    if resume is not None:
        if preset is not None:
            raise IrkdError("--resume goes on with the run's own preset; leave out --preset.")
        run = RunDirectory.latest() if resume == NEWEST else RunDirectory.open(Path(resume))
        directory = run.path
        preset = str(directory / PRESET)
    if preset is None:
        raise IrkdError("give --preset NAME (see `irkd presets list`), or --resume [DIR].")
    changes = parse_overrides(settings or [])
    task = next((value for key, value in reversed(changes) if key == "task"), given.get("task"))
    content = read_resolved(preset, task)
    if "data.train" in given:
        # Another folder brings its own validation pairs, unless the user names some.
        content.setdefault("data", {})["validation"] = "auto"
    content = apply_overrides(apply_overrides(content, given), dict(changes))
    return validate(content, str(preset)), directory


def seconds(text: str | None) -> float | None:
    """The seconds of 90s, 45m, 2h or 1h30m; a bare number is seconds."""
    if text is None:
        return None
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?", text)
    if match is None or not any(match.groups()):
        raise IrkdError(f"--max-time {text!r}: expected a time such as 2h, 45m or 90s.")
    hours, minutes, rest = (float(part) if part else 0.0 for part in match.groups())
    return hours * 3600 + minutes * 60 + rest


def length(steps: int | None, epochs: float | None) -> dict[str, Any]:
    """Either length replaces the preset's, whichever that gave."""
    if steps is not None and epochs is not None:
        raise IrkdError("give --steps or --epochs, not both.")
    if epochs is not None:
        return {"training.epochs": epochs, "training.steps": UNSET}
    return {"training.steps": steps}


def teacher_cache(mode: str | None) -> dict[str, Any]:
    """A cache holds the teacher's outputs in the full context, and a run without one the crop's."""
    if mode is None:
        return {}
    if mode not in ("build", "use", "off"):
        raise IrkdError(f"--cache-teacher {mode!r}: expected build, use or off.")
    context = "crop" if mode == "off" else "full"
    return {"data.teacher_cache": mode, "data.teacher_context": context}
