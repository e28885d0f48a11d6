"""The JSON of `irkd restore`: what was done to each file, by this run or those it goes on from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irkd.errors import IrkdError

if TYPE_CHECKING:
    from irkd.inference.jobs import Job
    from irkd.inference.restore_files import Outcome

Records = Mapping[str, Mapping[str, Any]]


def earlier_records(path: Path | None, *, overwrite: bool) -> Records:
    """What an earlier run wrote of its results, by their paths; nothing where the report is to be
    made anew. Raises IrkdError when `path` is taken by something else."""
    if path is None or str(path) == "-" or overwrite or not path.exists():
        return {}
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
        return {str(each["target"]): each for each in files if each["status"] == "restored"}
    except (OSError, ValueError, KeyError, TypeError):
        raise IrkdError(
            f"{path} exists already, and is no report of irkd restore. Choose another name, or add"
            " --overwrite."
        ) from None


def refuse_report_in(jobs: Iterable[Job], path: Path | None) -> None:
    """Raise where the report would replace an image of this run, or its result."""
    if path is None or str(path) == "-":
        return
    place = path.resolve()
    for job in jobs:
        taken = (job.source, job.target, job.compare)
        if any(each is not None and each.resolve() == place for each in taken):
            raise IrkdError(f"{path} is an image of this run. Choose another name for --json.")


def records_of(outcomes: Iterable[Outcome], earlier: Records) -> list[Mapping[str, Any]]:
    """Of each file what was done; of one that was skipped what an earlier run did, if that is
    known."""
    return [
        earlier.get(str(outcome.job.target), outcome.as_json())
        if outcome.status == "skipped"
        else outcome.as_json()
        for outcome in outcomes
    ]
