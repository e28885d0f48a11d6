"""Which files to restore, and where each result goes."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from irkd.errors import IrkdError
from irkd.inference.clips import ENCODERS, FALLBACK_SUFFIX, encoder_of, is_video
from irkd.inference.encoding import format_of
from irkd.inference.images import FORMATS

# Photographs that irkd does not read, by their names.
UNREAD = (
    *(".heic", ".heif", ".jxl", ".psd", ".exr", ".tga", ".svg"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2"),
)
RESTORED, COMPARE = "_restored", "_compare.png"


@dataclass(frozen=True)
class Job:
    """One image or video, its result, and the before/after picture where one is wanted."""

    source: Path
    target: Path
    compare: Path | None = None

    @property
    def is_done(self) -> bool:
        return self.target.is_file() and (self.compare is None or self.compare.is_file())


class Plan(NamedTuple):
    """What is to be done; `passed_over`: what a user may miss there, `videos`, photographs in
    formats that are `unread` and linked `folders` in folders, and `results` of earlier runs."""

    jobs: list[Job]
    passed_over: dict[str, set[Path]]


def plan_jobs(
    inputs: Iterable[str | Path],
    output: str | Path | None = None,
    *,
    compare: bool = False,
    overwrite: bool = False,
) -> Plan:
    """The images among `inputs` (files and folders), each with a place for its result.

    Videos are taken where they are named, and passed over in folders: one can take hours.

    Results go beside their images as NAME_restored, those of a folder to FOLDER_restored, where
    its tree is mirrored; or to `output`: a file for a single image, else a folder (as with a slash
    at its end). Hidden files, files that are no images by their name, and results of an earlier run
    are passed over; with `overwrite`, which replaces them, not where both are named.

    Raises IrkdError when an input does not exist, a folder holds no image, or a result would
    replace an image that is to be restored.
    """
    paths = [Path(path) for path in inputs]
    if not paths:
        raise IrkdError("no image given. Name one or more images, or a folder.")
    ends_as_folder = str(output).endswith(("/", os.sep))
    output = None if output is None else Path(output)
    several = len(paths) > 1
    into_folder = output is not None and (
        several or paths[0].is_dir() or ends_as_folder or _is_folder(output)
    )
    if into_folder and output is not None and output.exists() and not output.is_dir():
        raise IrkdError(f"{output} is a file; several images need a folder.")
    if output is not None and output.suffix.lower() in (*FORMATS, *ENCODERS) and several:
        raise IrkdError(f"{output} names one file; several images need a folder.")
    found: list[tuple[Path, Path]] = []
    left: defaultdict[str, set[Path]] = defaultdict(set)
    for path in paths:
        if path.is_dir():
            # Not resolved: results of a linked folder go beside the link.
            folder = Path(os.path.abspath(path))
            root = output or folder.with_name(folder.name + "_restored")
            root = root / folder.name if several and output is not None else root
            found += [(path / name, root / name) for name in _images_below(path, root, left)]
        elif output is None:
            found.append((path, path.with_name(path.stem + RESTORED + path.suffix)))
        else:
            found.append((path, output / path.name if into_folder else output))
    if output is None and not overwrite:
        named = found
        found = _without_results(found)
        left["results"] |= {source for source, _ in named} - {source for source, _ in found}
    jobs = _without_collisions(found, compare)
    sources = {job.source.resolve() for job in jobs}
    _refuse_replacing(jobs, sources)
    # What is in a folder may be named besides.
    missed = {kind: {path.resolve() for path in paths} - sources for kind, paths in left.items()}
    return Plan(jobs, missed)


def _is_folder(output: Path) -> bool:
    return output.is_dir() or (not output.exists() and not output.suffix)


def _images_below(folder: Path, results: Path, left: defaultdict[str, set[Path]]) -> list[Path]:
    """Relative paths of the images in a folder's tree, sorted; what is passed over is added to
    `left`, as in `Plan`."""

    def fail(error: OSError) -> None:
        raise error

    results = results.resolve()
    found = []
    for parent, folders, files in os.walk(folder, onerror=fail):
        here = Path(parent)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and (here / name).resolve() != results
        )
        left["folders"] |= {here / name for name in folders if (here / name).is_symlink()}
        names = {name for name in files if not name.startswith(".")}
        for name in sorted(names):
            path = here / name
            suffix = path.suffix.lower()
            if is_video(path):
                left["videos"].add(path)
            elif suffix in UNREAD:
                left["unread"].add(path)
            elif suffix not in FORMATS:
                continue
            elif _is_result(name, names):
                left["results"].add(path)
            elif path.is_file():  # a pipe would be waited for
                found.append(path.relative_to(folder))
    if not found:
        known = ", ".join(FORMATS)
        raise IrkdError(f"{folder} holds no images. Images are files with a name in {known}.")
    return found


def _is_result(name: str, names: set[str]) -> bool:
    """Whether it is what irkd makes of one of `names`, all of the same folder, when given no -o."""
    path = Path(name)
    if path.stem.endswith(RESTORED):
        base = path.stem.removesuffix(RESTORED)
        read_only = [suffix for suffix, stated in FORMATS.items() if stated is None]
        suffixes = [path.suffix, *(read_only if path.suffix == ".png" else ())]
        return any(base + suffix in names for suffix in suffixes)
    if name.endswith(COMPARE):
        base = name.removesuffix(COMPARE)
        return base in names or any(base + suffix in names for suffix in (*FORMATS, *ENCODERS))
    return False


def _without_results(found: list[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    """Without files beside the images they are the results of: `irkd restore *.jpg`, once more."""
    beside: dict[Path, set[str]] = {}
    for source, _ in found:
        beside.setdefault(source.parent, set()).add(source.name)
    return [each for each in found if not _is_result(each[0].name, beside[each[0].parent])]


def _refuse_replacing(jobs: Sequence[Job], sources: set[Path]) -> None:
    for job in jobs:
        for path in (job.target, job.compare):
            if path is None or (place := path.resolve()) not in sources:
                continue
            if place == job.source.resolve():
                raise IrkdError(
                    f"{path} would replace the image it is made from. Choose another -o."
                )
            raise IrkdError(
                f"{path} is an image to be restored, and would be replaced by what "
                f"{job.source} becomes. Choose another -o, or restore them apart."
            )


def _without_collisions(found: list[tuple[Path, Path]], compare: bool) -> list[Job]:
    """Give every result a name of its own, with a suffix that irkd writes."""
    jobs: list[Job] = []
    taken: set[Path] = set()
    plain = {target for _, target in found}
    for source, target in found:
        if is_video(source):
            if source.suffix.lower() not in ENCODERS and target.suffix == source.suffix:
                target = target.with_suffix(FALLBACK_SUFFIX)
            encoder_of(target)
        elif FORMATS.get(source.suffix.lower(), "") is None and target.suffix == source.suffix:
            target = target.with_suffix(".png")  # GIF and PBM are read only
            if target in plain or target in taken:
                target = target.with_name(source.name + ".png")
        elif source.suffix.lower() in FORMATS:
            format_of(target)
        if target in taken:
            raise IrkdError(
                f"two images would both be written to {target}. Restore them one after the other, "
                "each with its own -o."
            )
        beside = None
        if compare:
            beside = target.with_name(target.stem.removesuffix(RESTORED) + COMPARE)
            if beside in taken:
                beside = target.with_name(target.name + COMPARE)
            taken.add(beside)
        taken.add(target)
        jobs.append(Job(source, target, beside))
    return jobs
