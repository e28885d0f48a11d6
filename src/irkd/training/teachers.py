"""The teacher's weights: given, found where released files are kept, or fetched when allowed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import nn

from irkd.errors import IrkdError
from irkd.files import sha256_file
from irkd.models.base import build_network, family
from irkd.models.releases import find_release, release_path
from irkd.models.weights import load_weights, read_metadata, resolve_model
from irkd.presets.schema import Preset, Release, teacher_with
from irkd.training.plan import needs_teacher

# Fetches a release that has a url; None when the user does not want it.
Fetch = Callable[[Release], Path | None]


def with_teacher_weights(
    preset: Preset, note: Callable[[str], None], fetch: Fetch | None = None
) -> Preset:
    """The preset, its teacher's weights named.

    Weights that the preset names stay. Else the first of its releases that is in the cache is
    taken, with the options of the teacher that belong to it, or one that `fetch` brings; `note` is
    told which. Raises IrkdError that says how to come by weights where there are none.
    """
    teacher = preset.teacher
    if teacher is None or teacher.weights is not None or not needs_teacher(preset):
        return preset
    releases = preset.releases or ()
    found = find_release(releases, teacher.arch, preset.task)
    if found is None and fetch is not None:
        for release in releases:
            if release.url is not None and (path := fetch(release)) is not None:
                found = release, path
                break
    if found is None:
        raise IrkdError(missing_weights(preset))
    release, path = found
    changed = "".join(f", {key} {value}" for key, value in release.options.items())
    note(f"teacher: {_described(release)}{changed}, from {path}")
    teacher = teacher_with(teacher, {**release.options, "weights": str(path)})
    return preset.model_copy(update={"teacher": teacher})


def missing_weights(preset: Preset) -> str:
    """What to do for a teacher without weights, for a person to read."""
    teacher, task = preset.teacher, preset.task
    title = family(teacher.arch).title
    lines = [f"the {title} teacher of preset {preset.name} has no weights here for {task}."]
    releases = preset.releases or ()
    for number, release in enumerate(releases):
        path = release_path(release, teacher.arch, task)
        lines.append(f"{'Released' if number == 0 else 'Or'}: {_described(release)}")
        if release.note:
            lines.append(f"  {release.note}")
        lines.append(f"  from {release.page}")
        if release.url is not None:
            lines.append(f"  --fetch fetches it from {release.url}")
        lines.append(f"  to   {path}")
        _make_room(path)
    if any(release.url is None for release in releases):
        lines.append(
            "No program can fetch from such a page: download the file there, put it at the path"
            " under it, and give the same command again, which finds it."
        )
    elif preset.releases is not None and not releases:
        lines.append(f"Its authors released none for {task}.")
    train = "--train-teacher --out DIR trains this teacher first, on the same data"
    lines.append(
        f"{'Otherwise ' if releases else ''}--teacher FILE names weights (a released .pth, a"
        f" .safetensors, or a run directory); {train}."
    )
    return "\n".join(lines)


def load_teacher(preset: Preset, note: Callable[[str], None]) -> tuple[nn.Module, str]:
    """The preset's teacher with its weights, and their file's SHA-256.

    `note` is told what the file does not say of the network, and the preset therefore must.
    """
    spec = preset.teacher
    if spec is None:
        raise IrkdError(f"preset {preset.name} names no teacher, but its methods need one.")
    if spec.weights is None:
        raise IrkdError(missing_weights(preset))
    path = resolve_model(spec.weights).path
    teacher = build_network(spec)
    load_weights(teacher, path)
    if "spec" not in read_metadata(path):
        given = spec.model_dump()
        for assumption in family(spec.arch).assume(given, preset.task):
            values = ", ".join(f"{key} {given[key]}" for key in assumption.options if key in given)
            note(f"teacher: {path.name} does not tell {values}; the preset says so")
    return teacher, sha256_file(path)


def _described(release: Release) -> str:
    trained_on = f" (trained on {release.trained_on})" if release.trained_on else ""
    return f"{release.file}{trained_on}"


def _make_room(path: Path) -> None:
    """The folder that a person is told to put a file into; where it cannot be made, so be it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
