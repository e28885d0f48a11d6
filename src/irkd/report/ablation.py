"""The files an ablation leaves: a page in Markdown, its curves, and its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from irkd.environment import describe_environment
from irkd.files import write_bytes, write_json, write_text
from irkd.report.plots import curves_picture
from irkd.report.run_directory import command_line
from irkd.report.runs import Group, Run
from irkd.report.runs_table import groups_record, groups_rows, markdown_table

PAGE, CURVES, NUMBERS = "results.md", "curves.png", "results.json"

_EQUALITY = {
    "steps": "Equal steps",
    "time": "Equal time: as many steps as fit into the same computing time",
}


def write_ablation(
    directory: Path,
    title: str,
    groups: Mapping[str, Sequence[Group]],
    runs: Mapping[str, Sequence[Run]],
    missing: Sequence[str],
) -> Path:
    """Write results.md, curves.png (one run of every row) and results.json; returns the page.

    groups, runs: by equality. Earlier files of the same ablation are replaced.
    """
    lines = [f"# {title}", ""]
    first = next((group[0] for group in runs.values() if group), None)
    if first is not None:
        manifest = first.manifest
        lines += [
            f"Task: {manifest['task']}. Trained on {manifest['training_data']}, scored on"
            f" {manifest['validation_data']} under the protocol `{manifest['protocol']}`.",
            "",
        ]
    for equal, found in groups.items():
        lines += [f"## {_EQUALITY[equal]}", ""]
        if not found:
            lines += ["No row has all its seeds yet.", ""]
            continue
        baseline = found[0].name
        lines += [markdown_table(*groups_rows(found, baseline)), ""]
        lines += [f"Mean over {len(found[0].psnr_db)} seeds; ± is the standard deviation over"
                  f" seeds. Gain: over {baseline!r}, the same seeds compared. Cost of a step:"
                  f" relative to {baseline!r}.", ""]  # fmt: skip
    if missing:
        lines += [f"Not finished: {len(missing)} runs, {missing[0]!r} among them.", ""]
    pictured = next((equal for equal in ("steps", "time") if runs.get(equal)), None)
    if pictured is not None:
        curves = {run.name: run.log for run in runs[pictured]}
        picture = curves_picture(
            curves, [("validation", "psnr_db", "PSNR (dB)"), ("train", "loss", "training loss")]
        )
        write_bytes(directory / CURVES, picture, overwrite=True)
        lines += [f"![Scores and losses over steps]({CURVES})", ""]
    lines += [f"Made by `{command_line()}`.", ""]
    record = {
        "title": title,
        "results": {equal: groups_record(found, found[0].name) if found else []
                    for equal, found in groups.items()},
        "missing": list(missing),
        "command": command_line(),
        **describe_environment("cpu" if first is None else first.manifest.get("device", "cpu")),
    }  # fmt: skip
    write_json(directory / NUMBERS, _finite(record), overwrite=True)
    page = directory / PAGE
    write_text(page, "\n".join(lines), overwrite=True)
    return page


def _finite(value: Any) -> Any:
    """JSON has no infinity: a PSNR of identical images becomes "inf"."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and value == float("inf"):
        return "inf"
    return value
