"""`irkd distill`: train a student from a teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from irkd.cli import run_options as options
from irkd.cli.common import print_table, stderr, stdout, write_check, write_json_result
from irkd.errors import IrkdError

if TYPE_CHECKING:
    from pathlib import Path

    from irkd.presets.schema import Preset
    from irkd.training.experiment import RunResult


def distill(
    preset: options.PresetOption = None,
    data: options.DataOption = None,
    layout: options.LayoutOption = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            "--teacher", help="The teacher's weights: a released .pth, a .safetensors, a run."
        ),
    ] = None,
    train_teacher: Annotated[
        bool,
        typer.Option(
            "--train-teacher",
            help="Train the teacher first, on the same data, into OUT-teacher; resumes by itself.",
        ),
    ] = False,
    fetch: Annotated[
        bool,
        typer.Option(
            "--fetch",
            help="Fetch the teacher's released weights without asking, where a program can.",
        ),
    ] = False,
    task: options.TaskOption = None,
    method: Annotated[
        list[str] | None,
        typer.Option("--method", help="Replace the preset's methods; repeat to stack several."),
    ] = None,
    settings: options.SetOption = None,
    steps: options.StepsOption = None,
    epochs: options.EpochsOption = None,
    max_time: options.MaxTimeOption = None,
    out: options.OutOption = None,
    resume: options.ResumeOption = None,
    device: options.DeviceOption = "auto",
    precision: options.PrecisionOption = None,
    seed: options.SeedOption = None,
    dry_run: options.DryRunOption = False,
    audit: Annotated[
        bool,
        typer.Option("--audit", help="Print what each loss term asks of the student, then stop."),
    ] = False,
    ablate: Annotated[
        bool,
        typer.Option(
            "--ablate",
            help="Run every row of the preset's ablation with every seed into OUT; goes on where it"
            " stopped, and shares the work when started twice.",
        ),
    ] = False,
    cache_teacher: Annotated[
        str | None,
        typer.Option(
            "--cache-teacher",
            metavar="build|use|off",
            help="Keep the teacher's outputs for full images on disk and learn from those: build"
            " makes what is missing first, use expects them all.",
        ),
    ] = None,
    allow_teacher_change: Annotated[
        bool,
        typer.Option("--allow-teacher-change", help="Resume although the teacher is another."),
    ] = False,
    json: options.JsonOption = None,
) -> None:
    """Train a small student network from a large teacher."""
    limit = options.seconds(max_time)
    methods = None if method is None else [{"name": name} for name in method]
    resolved, directory = options.resolve_preset(
        preset,
        resume,
        {
            "methods": methods,
            "data.train": data,
            "data.layout": layout,
            "teacher.weights": teacher,
            "task": task,
            **options.length(steps, epochs),
            "training.precision": precision,
            "training.seed": seed,
            **options.teacher_cache(cache_teacher),
        },
        settings,
    )
    write_check(json)
    if not (dry_run or train_teacher):
        from irkd.cli.fetching import fetcher
        from irkd.training.teachers import with_teacher_weights

        resolved = with_teacher_weights(
            resolved, lambda text: stderr().print(text, markup=False), fetcher(fetch)
        )
    if ablate:
        if directory is not None or train_teacher or audit or seed is not None:
            raise IrkdError(
                "--ablate goes with --out DIR alone to go on, and takes its seeds from the preset:"
                " leave out --resume, --train-teacher, --audit and --seed."
            )
        _ablate(resolved, out, device, limit, dry_run, json)
    elif dry_run:
        _print_plan(resolved, json)
    elif audit:
        _print_audit(resolved, device, json)
    else:
        from irkd.cli.observer import ConsoleObserver
        from irkd.training.distill import distill as run

        if train_teacher:
            trained = _trained_teacher(resolved, directory or out, device, limit)
            if trained is None:
                return
            resolved = trained
        result = run(
            resolved,
            out=directory or out,
            resume=directory is not None,
            device=device,
            max_seconds=limit,
            allow_teacher_change=allow_teacher_change,
            observer=ConsoleObserver(),
        )
        print_result(result, json)


def _trained_teacher(
    preset: Preset, out: Path | None, device: str, limit: float | None
) -> Preset | None:
    """The preset with a teacher trained beside `out`; None when that was stopped."""
    from irkd.cli.observer import ConsoleObserver
    from irkd.presets.load import apply_overrides, validate
    from irkd.training.distill import train_teacher

    if out is None:
        raise IrkdError("--train-teacher needs --out DIR: the teacher is kept in DIR-teacher.")
    folder = out.with_name(f"{out.name}-teacher")
    result = train_teacher(
        preset, folder, device=device, max_seconds=limit, observer=ConsoleObserver()
    )
    if result.stopped is not None:
        stdout().print(
            f"the teacher stands at step {result.step} of {result.steps}; the same command goes on",
            markup=False,
        )
        return None
    content = apply_overrides(preset.model_dump(mode="json"), {"teacher.weights": str(folder)})
    return validate(content, preset.name)


def print_result(result: RunResult, json: Path | None, command: str = "distill") -> None:
    """How the run of `irkd {command}` ended and what to do with it."""
    console = stdout()
    if result.stopped is not None:
        why = "the time is up" if result.stopped == "time" else "stopped"
        console.print(
            f"{why} after step {result.step} of {result.steps}; go on with:"
            f" irkd {command} --resume {result.directory}",
            markup=False,
        )
    else:
        if result.scores:
            console.print(
                f"PSNR {result.scores['psnr_db']:.2f} dB, SSIM {result.scores['ssim']:.4f}"
                f" after {result.step} steps"
            )
        console.print(f"student: {result.directory / 'student.safetensors'}", markup=False)
    write_json_result(
        json,
        {
            "directory": str(result.directory),
            "step": result.step,
            "steps": result.steps,
            "stopped": result.stopped,
            **result.scores,
        },
    )


def _ablate(
    preset: Preset,
    out: Path | None,
    device: str,
    limit: float | None,
    dry_run: bool,
    json: Path | None,
) -> None:
    from irkd.cli.observer import ConsoleObserver
    from irkd.presets.ablation import ablation_of, row_presets
    from irkd.report.ablation import write_ablation
    from irkd.report.runs_table import groups_record, groups_rows
    from irkd.training.ablation import run_ablation

    ablation = ablation_of(preset)
    presets = row_presets(preset, ablation.seeds[0])
    if dry_run:
        for name, row in presets.items():
            methods = " + ".join(method.name for method in row.methods)
            stdout().print(f"{name}: {methods}, {row.training.steps} steps", markup=False)
        count = len(presets) * len(ablation.seeds) * len(ablation.equal)
        stdout().print(
            f"{count} runs: {len(presets)} rows, seeds {', '.join(map(str, ablation.seeds))},"
            f" equal {' and '.join(ablation.equal)}"
        )
        return
    if out is None:
        raise IrkdError("--ablate needs --out DIR: its runs and results are kept there.")
    done = run_ablation(preset, out, device=device, max_seconds=limit, observer=ConsoleObserver())
    title = preset.title or preset.name
    page = write_ablation(out, title, done.groups, done.runs, done.missing)
    for equal, groups in done.groups.items():
        if groups:
            stdout().print(f"equal {equal}:")
            print_table(*groups_rows(groups, groups[0].name))
    if done.missing:
        stdout().print(
            f"{len(done.missing)} runs are not finished; the same command goes on", markup=False
        )
    stdout().print(f"results: {page}", markup=False)
    results = {e: groups_record(g, g[0].name) if g else [] for e, g in done.groups.items()}
    write_json_result(json, {"results": results, "missing": done.missing})


def _print_plan(preset: Preset, json: Path | None) -> None:
    from rich.table import Table

    from irkd.training.distill import describe_plan

    plan = describe_plan(preset)
    console = stdout()
    table = Table("network", "arch", "parameters (M)", "GMAC at 512x512")
    for row in plan["networks"]:
        table.add_row(
            row["network"], row["arch"], f"{row['params_m']:.3f}", f"{row['macs_g_512']:.2f}"
        )
    console.print(table)
    for method in plan["methods"]:
        given = ", ".join(f"{key}={value}" for key, value in method.items() if key != "name")
        console.print(f"method {method['name']}: {given}", markup=False)
    console.print(
        f"{plan['steps']} steps of {plan['batch_size']} crops of {plan['patch']}x{plan['patch']}"
        f" = {plan['epochs']:.2f} epochs of {plan['training_pairs']} pairs",
        markup=False,
    )
    console.print(f"memory of a step, estimated: {plan['memory_estimate_mib']:.0f} MiB")
    if kept := plan["teacher_cache"]:
        console.print(
            f"teacher's outputs for {kept['images']} full images, {kept['storage']}:"
            f" {kept['estimated_bytes'] / 1e9:.3f} GB in {kept['folder']}",
            markup=False,
        )
    write_json_result(json, plan)


def _print_audit(preset: Preset, device: str, json: Path | None) -> None:
    from rich.table import Table

    from irkd.training.distill import audit_preset

    rows = audit_preset(preset, device)
    table = Table(
        "term", "value", "weight", "gradient at output", "at taps", "at parameters", "share"
    )
    for row in rows:
        table.add_row(
            row["term"],
            *(
                f"{row[key]:.4g}"
                for key in (
                    "value",
                    "weight",
                    "gradient_at_output",
                    "gradient_at_taps",
                    "gradient_at_parameters",
                )
            ),
            f"{100 * row['share']:.1f} %",
        )
    stdout().print(table)
    result: dict[str, Any] = {"preset": preset.name, "terms": rows}
    write_json_result(json, result)
