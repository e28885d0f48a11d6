"""Which files to restore, and where each result goes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from irkd.errors import IrkdError
from irkd.inference.clips import ENCODERS, FALLBACK_SUFFIX, encoder_of, is_video
from irkd.inference.encoding import format_of
from irkd.inference.images import FORMATS


@dataclass(frozen=True)
class Job:
    """One image or video, its result, and the before/after picture where one is wanted."""

    source: Path
    target: Path
    compare: Path | None = None

    @property
    def is_done(self) -> bool:
        return self.target.exists() and (self.compare is None or self.compare.exists())


def plan_jobs(
    inputs: Iterable[str | Path], output: str | Path | None = None, *, compare: bool = False
) -> list[Job]:
    """The images among `inputs` (files and folders), each with a place for its result.

    Videos are taken where they are named, and passed over in folders: one can take hours.

    Results go beside their images as NAME_restored, those of a folder to FOLDER_restored, where
    its tree is mirrored; or to `output`: a file for a single image, else a folder. Hidden files,
    files that are no images by their name, and results of an earlier run inside the folder are
    passed over.

    Raises IrkdError when an input does not exist, a folder holds no image, or a result would
    replace the image it is made from.
    """
    paths = [Path(path) for path in inputs]
    if not paths:
        raise IrkdError("no image given. Name one or more images, or a folder.")
    output = None if output is None else Path(output)
    several = len(paths) > 1
    into_folder = output is not None and (several or paths[0].is_dir() or _is_folder(output))
    if into_folder and output is not None and output.exists() and not output.is_dir():
        raise IrkdError(f"{output} is a file; several images need a folder.")
    if output is not None and output.suffix.lower() in (*FORMATS, *ENCODERS) and several:
        raise IrkdError(f"{output} names one file; several images need a folder.")
    found: list[tuple[Path, Path]] = []
    for path in paths:
        if path.is_dir():
            # Not resolved: results of a linked folder go beside the link.
            folder = Path(os.path.abspath(path))
            root = output or folder.with_name(folder.name + "_restored")
            root = root / folder.name if several and output is not None else root
            found += [(path / name, root / name) for name in _images_below(path, root)]
        elif output is None:
            found.append((path, path.with_name(path.stem + "_restored" + path.suffix)))
        else:
            found.append((path, output / path.name if into_folder else output))
    return _without_collisions(found, compare)


def videos_below(folder: Path) -> list[Path]:
    """The videos of a folder's tree, which `plan_jobs` passes over."""
    return [
        Path(here, name)
        for here, _, names in os.walk(folder)
        for name in names
        if is_video(Path(name))
        and not any(part.startswith(".") for part in Path(here, name).relative_to(folder).parts)
    ]


def _is_folder(output: Path) -> bool:
    return output.is_dir() or (not output.exists() and not output.suffix)


def _images_below(folder: Path, results: Path) -> list[Path]:
    """Relative paths of the images in a folder's tree, sorted."""

    def fail(error: OSError) -> None:
        raise error

    results = results.resolve()
    found = []
    for name, folders, names in os.walk(folder, onerror=fail):
        here = Path(name)
        folders[:] = sorted(
            inner
            for inner in folders
            if not inner.startswith(".") and (here / inner).resolve() != results
        )
        found += [
            (here / file).relative_to(folder)
            for file in sorted(names)
            if not file.startswith(".") and Path(file).suffix.lower() in FORMATS
        ]
    if not found:
        known = ", ".join(FORMATS)
        raise IrkdError(f"{folder} holds no images. Images are files with a name in {known}.")
    return found


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
        if target.resolve() == source.resolve():
            raise IrkdError(f"{target} would replace the image it is made from. Choose another -o.")
        if target in taken:
            raise IrkdError(
                f"two images would both be written to {target}. Restore them one after the other, "
                "each with its own -o."
            )
        beside = None
        if compare:
            beside = target.with_name(target.stem.removesuffix("_restored") + "_compare.png")
            if beside in taken:
                beside = target.with_name(target.name + "_compare.png")
            taken.add(beside)
        taken.add(target)
        jobs.append(Job(source, target, beside))
    return jobs
