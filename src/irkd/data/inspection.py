"""What a folder of pairs holds, and what is wrong with it, from names and headers alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from irkd.data.folders import reference_border
from irkd.data.layouts import (
    CLEAN,
    Found,
    check_folder,
    check_layout,
    find_pairs,
    list_images,
    split_folders,
)
from irkd.data.pairs import Split
from irkd.data.reading import image_size
from irkd.errors import IrkdError

Progress = Callable[[int, int], None]  # pairs done, pairs in all
_EXAMPLES = 3


@dataclass
class SplitReport:
    """One split; `sizes` are (height, width) of the smallest and the largest image by area."""

    folder: str
    count: int
    first: list[dict[str, str]]
    sizes: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class Inspection:
    folder: str
    layout: str
    splits: dict[str, SplitReport] = field(default_factory=dict)
    unmatched_degraded: list[str] = field(default_factory=list)
    unmatched_reference: list[str] = field(default_factory=list)
    same_stem: list[tuple[str, str]] = field(default_factory=list)
    size_mismatches: list[dict[str, Any]] = field(default_factory=list)
    unreadable: list[dict[str, str]] = field(default_factory=list)

    @property
    def faults(self) -> int:
        """Pairs that cannot be used as they are."""
        return len(self.same_stem) + len(self.size_mismatches) + len(self.unreadable)


def inspect_folder(
    root: Path, *, layout: str = "auto", progress: Progress | None = None
) -> Inspection:
    """List the pairs of `root` and check the sizes of both sides.

    Raises IrkdError when there is nothing to inspect: a missing or empty folder, no pairs.
    """
    check_layout(layout)
    check_folder(root)
    if layout == CLEAN:
        return _inspect_clean(root, progress)
    found = _find_splits(root, layout)
    report = Inspection(str(root), next(iter(found.values())).layout.name)
    total = sum(len(part.pairs) for part in found.values())
    done = 0
    for name, part in found.items():
        first = [
            {"degraded": pair.degraded, "reference": pair.reference}
            for pair in part.pairs[:_EXAMPLES]
        ]
        split = SplitReport(str(part.folder), len(part.pairs), first)
        report.splits[name] = split
        # Two splits of one folder have the same files left over.
        for mine, theirs in (
            (report.unmatched_degraded, part.unmatched_degraded),
            (report.unmatched_reference, part.unmatched_reference),
        ):
            mine += sorted(set(theirs) - set(mine))
        report.same_stem += [clash for clash in part.clashes if clash not in report.same_stem]
        for pair in part.pairs:
            _check_pair(root, pair.degraded, pair.reference, part, split, report)
            done += 1
            if progress:
                progress(done, total)
    return report


def _find_splits(root: Path, layout: str) -> dict[str, Found]:
    found = {
        name: find_pairs(root, layout=layout, split=split) for name, split in _splits(root).items()
    }
    if len(found) == 2 and found["train"].pairs == found["test"].pairs:
        return {"all": found["test"]}
    return found


def _splits(root: Path) -> dict[str, Split]:
    """The splits to look for, by the name to show them under."""
    folders = split_folders(root)
    if not folders:
        return {"train": "train", "test": "test"}
    return {split: split for split in folders}


def _check_pair(
    root: Path,
    degraded: str,
    reference: str,
    part: Found,
    split: SplitReport,
    report: Inspection,
) -> None:
    try:
        size, full = image_size(root / degraded), image_size(root / reference)
    except IrkdError as error:
        report.unreadable.append({"degraded": degraded, "message": str(error)})
        return
    _note_size(split, size)
    if reference_border(size, full, part.layout.reference_border) is None:
        report.size_mismatches.append(
            {
                "degraded": degraded,
                "degraded_size": list(size),
                "reference": reference,
                "reference_size": list(full),
            }
        )


def _inspect_clean(root: Path, progress: Progress | None) -> Inspection:
    folders: dict[str, Path] = {str(name): folder for name, folder in split_folders(root).items()}
    folders = folders or {"all": root}
    images = {
        name: [folder / image for image in list_images(folder)] for name, folder in folders.items()
    }
    total = sum(map(len, images.values()))
    if total == 0:
        raise IrkdError(f"{root}: no images in it or the folders below it.")
    report = Inspection(str(root), CLEAN)
    done = 0
    for name, paths in images.items():
        first = [{"reference": path.relative_to(root).as_posix()} for path in paths[:_EXAMPLES]]
        split = report.splits[name] = SplitReport(str(folders[name]), len(paths), first)
        for path in paths:
            try:
                _note_size(split, image_size(path))
            except IrkdError as error:
                relative = path.relative_to(root).as_posix()
                report.unreadable.append({"reference": relative, "message": str(error)})
            done += 1
            if progress:
                progress(done, total)
    return report


def _note_size(split: SplitReport, size: tuple[int, int]) -> None:
    both = sorted([*split.sizes, size], key=lambda shape: (shape[0] * shape[1], shape))
    split.sizes = [both[0], both[-1]]
