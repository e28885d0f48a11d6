"""`irkd compare`: runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from irkd.cli import run_options as options
from irkd.cli.common import print_table, stdout, write_check, write_json_result


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Run directories; the first is compared with."),
    ],
    picture: Annotated[
        Path | None,
        typer.Option("--picture", help="Draw the runs' scores and losses into this .png."),
    ] = None,
    json: options.JsonOption = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that exist already.")
    ] = False,
) -> None:
    """Show training runs side by side: methods, steps, time, scores, and their curves."""
    from irkd.errors import IrkdError
    from irkd.report.runs import differences, read_runs
    from irkd.report.runs_table import runs_record, runs_rows

    if picture is not None and picture.suffix.lower() != ".png":
        raise IrkdError(f"--picture {picture}: the curves are drawn as .png.")
    write_check(json, overwrite=overwrite)
    write_check(picture, overwrite=overwrite)
    found = read_runs(runs)
    print_table(*runs_rows(found))
    console = stdout()
    for sentence in differences(found):
        console.print(f"Note: {sentence}", markup=False)
    if picture is not None:
        from irkd.files import write_bytes
        from irkd.report.plots import curves_picture

        drawn = curves_picture(
            {run.name: run.log for run in found},
            [("validation", "psnr_db", "PSNR (dB)"), ("train", "loss", "training loss")],
        )
        write_bytes(picture, drawn, overwrite=overwrite)
        console.print(f"curves: {picture}", markup=False)
    write_json_result(
        json, {"runs": runs_record(found), "notes": differences(found)}, overwrite=overwrite
    )
