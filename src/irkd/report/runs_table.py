"""Runs and ablations as tables: on the screen, as Markdown, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from irkd.report.runs import Group, Run, gain
from irkd.report.tables import UNKNOWN, number

Rows = list[list[str]]


def runs_rows(runs: Sequence[Run]) -> tuple[list[str], Rows]:
    """Header and cells of `irkd compare`."""
    header = ["run", "methods", "seed", "steps", "time (s)", "PSNR (dB)", "SSIM", "diff. (dB)"]
    first = runs[0].last_scores
    rows = []
    for run in runs:
        scores = run.last_scores
        psnr = None if scores is None else scores["psnr_db"]
        difference = None
        if run is not runs[0] and psnr is not None and first is not None:
            difference = psnr - first["psnr_db"]
        rows.append(
            [
                run.name,
                run.methods,
                str(run.manifest.get("seed", UNKNOWN)),
                f"{run.steps} of {run.manifest['steps']}",
                number(run.seconds, 0),
                number(psnr, 2),
                number(None if scores is None else scores["ssim"], 4),
                number(difference, 2, sign=True),
            ]
        )
    return header, rows


def runs_record(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The same for JSON."""
    return [
        {
            "run": str(run.path),
            "name": run.name,
            "methods": run.methods,
            "seed": run.manifest.get("seed"),
            "step": run.steps,
            "steps": run.manifest["steps"],
            "finished": run.finished,
            "seconds": run.seconds,
            "protocol": run.manifest.get("protocol"),
            "validation_data": run.manifest.get("validation_data"),
            "psnr_db": (run.last_scores or {}).get("psnr_db"),
            "ssim": (run.last_scores or {}).get("ssim"),
        }
        for run in runs
    ]


def groups_rows(groups: Sequence[Group], baseline: str) -> tuple[list[str], Rows]:
    """Header and cells of an ablation: means over seeds with their standard deviations.

    The last column is the mean gain over `baseline`, paired by seed, with its deviation.
    """
    header = ["row", "steps", "cost of a step", "PSNR (dB)", "±", "SSIM", "gain (dB)", "± "]
    base = next((group for group in groups if group.name == baseline), None)
    rows = []
    for group in groups:
        gained, spread = (None, None) if base is None else gain(group, base)
        if group is base:
            gained = spread = None
        cost = None
        if group.seconds_per_step and base is not None and base.seconds_per_step:
            cost = group.seconds_per_step / base.seconds_per_step
        rows.append(
            [
                group.name,
                str(group.steps),
                number(cost, 2),
                number(group.mean_psnr_db, 2),
                number(group.spread_psnr_db, 2),
                number(group.mean_ssim, 4),
                number(gained, 2, sign=True),
                number(spread, 2),
            ]
        )
    return header, rows


def groups_record(groups: Sequence[Group], baseline: str) -> list[dict[str, Any]]:
    """The same for JSON, with every seed's scores."""
    base = next((group for group in groups if group.name == baseline), None)
    records = []
    for group in groups:
        gained, spread = (None, None) if base is None else gain(group, base)
        records.append(
            {
                "row": group.name,
                "steps": group.steps,
                "seconds_per_step": group.seconds_per_step,
                "psnr_db": group.mean_psnr_db,
                "psnr_std_db": group.spread_psnr_db,
                "ssim": group.mean_ssim,
                "gain_db": gained,
                "gain_std_db": spread,
                "psnr_db_by_seed": list(group.psnr_db),
                "ssim_by_seed": list(group.ssim),
            }
        )
    return records


def markdown_table(header: Sequence[str], rows: Rows) -> str:
    """A table for a .md file; the first column is text, the others are numbers."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).strip().replace("|", "\\|") for cell in line) + " |"
        for line in lines
    )
