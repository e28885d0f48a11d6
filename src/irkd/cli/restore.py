"""`irkd restore`: restored images and videos beside the degraded ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from irkd.cli.common import stderr, stdout, write_check, write_json_result
from irkd.cli.network_options import NetworkSetOption, network_options, print_assumptions
from irkd.cli.restore_progress import RestoreProgress, print_summary
from irkd.cli.restore_report import earlier_records, records_of, refuse_report_in
from irkd.errors import IrkdError

if TYPE_CHECKING:
    from rich.console import Console

    from irkd.inference.restore_files import Outcome


def restore(
    images: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="IMAGE|VIDEO|DIR",
            help="Images, videos, or folders of images, whose tree is mirrored.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="A run directory, .safetensors, .pth, .onnx or OpenVINO .xml file, or the name of"
            " a model that ships with irkd.",
            show_default="the task's, or by what each image shows",
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="derain, deblur, dehaze or denoise: picks a shipped model, and what released"
            " weights do not tell. general or auto: by what each image shows, as without a task.",
        ),
    ] = None,
    settings: NetworkSetOption = None,
    output: Annotated[
        str | None,  # a Path loses the slash at its end
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="A file (its suffix chooses the format), or a folder, as with a / at its end.",
            show_default="NAME_restored beside the image",
        ),
    ] = None,
    tile: Annotated[
        str, typer.Option(metavar="auto|off|N", help="Restore in tiles of N pixels a side.")
    ] = "auto",
    overlap: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Pixels that neighbouring tiles share.",
            show_default="64, or what the network states",
        ),
    ] = None,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Also write NAME_compare.png: before and after (of a video: its middle frame).",
        ),
    ] = False,
    strength: Annotated[
        float,
        typer.Option(
            metavar="0..1", help="Blend with the input: 0 gives it back, 1 is fully restored."
        ),
    ] = 1.0,
    sure: Annotated[
        bool,
        typer.Option(
            "--sure",
            help="With --task dehaze: there is haze, whatever the image seems to show.",
        ),
    ] = False,
    backend: Annotated[
        str, typer.Option(help="What runs the model: auto, torch, onnxruntime or openvino.")
    ] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace results that are there already.")
    ] = False,
    json_path: Annotated[
        Path | None,
        typer.Option(
            "--json",
            metavar="FILE",
            help="What was done; - is standard output. Of several files the same command goes on.",
        ),
    ] = None,
    list_models: Annotated[
        bool, typer.Option("--list-models", help="List the models that ship with irkd.")
    ] = False,
) -> None:
    """Restore images and videos: remove rain, blur, haze or noise with a trained network.

    Format, bit depth, transparency, EXIF and colour profile are kept; of videos the sound, the
    number of frames and their times. Of several files, those whose result exists are skipped.

    [dim]irkd restore photo.jpg --compare[/]
    """
    # Results go to standard output, unless the JSON does.
    console = stderr() if str(json_path) == "-" else stdout()
    if list_models:
        _list_models(console, json_path, overwrite)
        return
    if not images:
        raise IrkdError("no image given. Name one or more images, or a folder.")

    from irkd.environment import describe_environment
    from irkd.inference.jobs import plan_jobs
    from irkd.inference.restore_files import raise_failures, refuse_strength, restore_files
    from irkd.inference.specialists import OneModel, open_chooser

    alone = len(images) == 1 and not images[0].is_dir()
    if alone:
        write_check(json_path, overwrite=overwrite)
    earlier = earlier_records(json_path, overwrite=overwrite)
    refuse_strength(strength)
    jobs, passed_over = plan_jobs(images, output, compare=compare, overwrite=overwrite)
    refuse_report_in(jobs, json_path)
    chooser = open_chooser(
        model,
        task=task,
        tile=_parse_tile(tile),
        overlap=overlap,
        backend=backend,
        device=device,
        options=network_options(settings),
        sure=sure,
    )
    name = None
    if isinstance(chooser, OneModel):
        name = chooser.model
        print_assumptions(chooser.restorer.network, name)
    elif model is None and task not in (None, "auto", "general"):
        stderr().print(f"no model for {task} ships with irkd; each image is judged.")
    _print_passed_over(passed_over)
    outcomes: list[Outcome] = []
    try:
        with RestoreProgress(console, len(jobs)) as shown:
            for outcome in restore_files(
                jobs,
                chooser,
                strength=strength,
                overwrite=overwrite,
                skip_existing=not alone,
                watch=shown.within,
            ):
                outcomes.append(outcome)
                shown.finished(outcome)
    except KeyboardInterrupt:
        if not alone:
            stderr().print(
                f"{len(outcomes)} of {len(jobs)} files are done; the same command goes on."
            )
        raise
    finally:
        write_json_result(
            json_path,
            {
                "model": name,
                "strength": strength,
                "files": records_of(outcomes, earlier),
                "environment": describe_environment(chooser.device),
            },
            overwrite=overwrite or not alone,
        )
    if not alone:
        print_summary(console, outcomes)
    raise_failures(outcomes)


def _print_passed_over(found: Mapping[str, set[Path]]) -> None:
    suffixes = ", ".join(sorted({path.suffix.lower() for path in found.get("unread", ())}))
    says = {
        "videos": "videos in folders passed over: {}. Name them to restore them.",
        "results": "results of earlier runs passed over: {}. Name them alone to restore them.",
        "unread": f"files that irkd does not read ({suffixes}) passed over: {{}}.",
        "folders": "linked folders passed over: {}. Name them to restore them.",
    }
    for kind, text in says.items():
        if found.get(kind):
            stderr().print(text.format(len(found[kind])), markup=False)


def _parse_tile(tile: str) -> Any:
    if tile in ("auto", "off"):
        return tile
    if not tile.isdecimal():
        raise IrkdError(f"--tile is auto, off or a number of pixels, not {tile!r}.")
    return int(tile)


def _list_models(console: Console, json_path: Path | None, overwrite: bool) -> None:
    from irkd.inference.specialists import describe_shipped

    rows = describe_shipped()
    write_json_result(json_path, {"models": rows}, overwrite=overwrite)
    if not rows:
        console.print("no model ships with this irkd. Name one with --model.")
        return
    from rich.table import Table

    table = Table("name", "task", "network", box=None)
    table.add_column("parameters / M", justify="right")
    table.add_column("file / MB", justify="right")
    for row in rows:
        table.add_row(
            row["name"],
            row["task"] or "",
            row["arch"] or "",
            f"{row['params_m']:.2f}",
            f"{row['file_mb']:.1f}",
        )
    console.print(table)
