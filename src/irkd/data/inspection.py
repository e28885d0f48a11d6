"""What a folder of pairs holds, and what is wrong with it, from names and headers alone.

Memory does not grow with the folder: names are sorted on disk, and of long lists the first entries
are kept with their number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from heapq import nsmallest
from itertools import islice
from pathlib import Path
from typing import Any

from irkd.data.data_sets import DataSet, combined, sets_in
from irkd.data.folders import reference_border
from irkd.data.layouts import (
    CLEAN,
    FoundPair,
    Layout,
    best_rule,
    check_folder,
    images_below,
    known_layout,
    open_matches,
    split_folders,
    splits_of,
)
from irkd.data.layouts.base import Size
from irkd.data.layouts.matching import Matches
from irkd.data.layouts.walking import natural
from irkd.data.leaks import CleanImages, SharedImages
from irkd.data.pairs import Split
from irkd.data.reading import image_size
from irkd.errors import IrkdError

Progress = Callable[[int, int | None], None]  # pairs done, pairs in all where that is known
_EXAMPLES = 3
KEPT = 1000
# Folders whose names are remembered to find out which data set this is.
_FOLDERS = 10_000


@dataclass
class Listing:
    """How many there are, and the first of them."""

    count: int = 0
    first: list[Any] = field(default_factory=list)

    def add(self, entry: Any) -> None:
        self.count += 1
        if len(self.first) < KEPT:
            self.first.append(entry)

    def extend(self, entries: Iterable[Any]) -> None:
        for entry in entries:
            self.add(entry)


@dataclass
class SplitReport:
    """One split; `sizes` are (height, width) of the smallest and the largest image by area."""

    folder: str
    layout: str
    count: int
    first: list[dict[str, str]]
    sizes: list[Size] = field(default_factory=list)
    jpeg: int = 0  # pairs with JPEG on both sides

    def note_size(self, size: Size) -> None:
        both = sorted([*self.sizes, size], key=lambda shape: (shape[0] * shape[1], shape))
        self.sizes = [both[0], both[-1]]


@dataclass
class Inspection:
    """`remarks`: what users of this data should know."""

    folder: str
    layout: str
    data_sets: list[str] = field(default_factory=list)
    task: str | None = None
    protocol: str | None = None
    has_references: bool = True
    counterpart: str = "reference"
    splits: dict[str, SplitReport] = field(default_factory=dict)
    unmatched_degraded: Listing = field(default_factory=Listing)
    unmatched_reference: Listing = field(default_factory=Listing)
    missing: Listing = field(default_factory=Listing)
    same_stem: Listing = field(default_factory=Listing)
    size_mismatches: Listing = field(default_factory=Listing)
    unreadable: Listing = field(default_factory=Listing)
    shared_clean: list[SharedImages] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def faults(self) -> int:
        """Pairs that cannot be used as they are."""
        return self.same_stem.count + self.size_mismatches.count + self.unreadable.count


@dataclass(frozen=True)
class _Part:
    """The matched images of one split, or of a folder whose names may tell the splits."""

    layout: Layout
    folder: Path
    split: Split | None
    matches: Matches

    def splits(self) -> Iterator[tuple[str, Split | None]]:
        """Names of splits to show, and what to ask `matches` for."""
        if self.both_by_name:
            yield from (("train", "train"), ("test", "test"))
        else:
            yield self.split or "all", None

    @property
    def both_by_name(self) -> bool:
        return self.matches.count("train") > 0 and self.matches.count("test") > 0


def inspect_folder(
    root: Path,
    *,
    layout: str = "auto",
    against: Path | None = None,
    pixels: bool = False,
    progress: Progress | None = None,
) -> Inspection:
    """List the pairs of `root` and check the sizes of both sides.

    Clean images that training and test pairs share are looked for by their files, with `pixels` by
    their decoded values; `against` names another folder to compare with in the same way.

    Raises IrkdError when there is nothing to inspect: a missing or empty folder, no pairs.
    """
    if layout == CLEAN:
        check_folder(root)
        return _inspect_clean(root, progress)
    parts = list(_open_parts(root, layout))
    try:
        chosen = parts[0].layout
        report = Inspection(str(root), chosen.name)
        report.has_references, report.counterpart = chosen.has_references, chosen.counterpart
        crossing = CleanImages("train", "test", pixels=pixels)
        folders: set[str] = set()
        follow = _follower(progress, sum(part.matches.count() for part in parts))
        for part in parts:
            _inspect_part(root, part, report, crossing, folders, follow)
        _describe(root, chosen, report, folders)
        if {"train", "test"} <= report.splits.keys():
            report.shared_clean.append(crossing.shared())
        crossing.close()
        if against is not None:
            report.shared_clean.append(_compare(root, parts, against, pixels))
        return report
    finally:
        for part in parts:
            part.matches.close()


def _open_parts(root: Path, layout: str) -> Iterator[_Part]:
    known = known_layout(root, layout)
    for split in splits_of(root, known):
        chosen = known or best_rule(root, split)
        (folder, *others) = chosen.places(root, split)
        matches = open_matches(root, chosen, split)
        part = _Part(chosen, root if others or not folder.is_dir() else folder, split, matches)
        yield part
        if part.both_by_name:
            return


def _inspect_part(
    root: Path,
    part: _Part,
    report: Inspection,
    crossing: CleanImages,
    folders: set[str],
    follow: Callable[[], None],
) -> None:
    for name, split in part.splits():
        first = [
            dict(zip(("degraded", "reference"), part.layout.shown(pair), strict=True))
            for pair in islice(part.matches.pairs(split), _EXAMPLES)
        ]
        count = part.matches.count(split)
        shown = SplitReport(str(part.folder), part.layout.name, count, first)
        report.splits[name] = shown
        known: tuple[str, Size] = ("", (0, 0))
        for pair in part.matches.pairs(split):
            known = _check_pair(root, pair, part.layout, shown, report, known)
            if len(folders) < _FOLDERS:
                folders.add(pair.degraded.rpartition("/")[0])
            if name in ("train", "test"):
                crossing.add(("train", "test").index(name), root, pair, part.layout.reader)
            follow()
    report.unmatched_degraded.extend(part.matches.unmatched_degraded())
    report.unmatched_reference.extend(part.matches.unmatched_reference())
    report.missing.extend(part.matches.missing())
    report.same_stem.extend(part.matches.clashes())


def _check_pair(
    root: Path,
    pair: FoundPair,
    layout: Layout,
    split: SplitReport,
    report: Inspection,
    known: tuple[str, Size],
) -> tuple[str, Size]:
    """Check one pair; return the reference's path and size, which the next may share."""
    try:
        size = layout.reader.degraded_size(root, pair)
        if known[0] != pair.reference:
            known = (pair.reference, layout.reader.reference_size(root, pair))
    except IrkdError as error:
        report.unreadable.add({"degraded": pair.degraded, "message": str(error)})
        return "", (0, 0)
    split.note_size(size)
    split.jpeg += _is_jpeg(pair.degraded) and _is_jpeg(pair.reference)
    full = known[1]
    if reference_border(size, full, layout.reference_border) is None:
        report.size_mismatches.add(
            {
                "degraded": pair.degraded,
                "degraded_size": list(size),
                "reference": pair.reference,
                "reference_size": list(full),
            }
        )
    return known


def _describe(root: Path, layout: Layout, report: Inspection, folders: set[str]) -> None:
    """Which published set this is, and what is known of it."""
    sets = sets_in(root, layout, folders)
    report.data_sets = [each.title for each in sets]
    one = combined(sets)
    if one is not None:
        report.task, report.protocol = one.task, one.protocol
    report.remarks += [remark for each in sets for remark in each.remarks]
    if len(sets) == 1:
        report.remarks += _counts(sets[0], report)
    pairs = sum(split.count for split in report.splits.values())
    if 2 * sum(split.jpeg for split in report.splits.values()) > pairs:
        report.remarks.append(
            "Both sides are JPEG: the references hold artefacts of compression, which a network "
            "learns and scores reward."
        )
    if report.protocol is None and len({each.protocol for each in sets if each.protocol}) > 1:
        report.remarks.append(
            f"{' and '.join(report.data_sets)} are published under different protocols: score them "
            "one by one."
        )


def _counts(data_set: DataSet, report: Inspection) -> list[str]:
    return [
        f"{split}: {report.splits[split].count} pairs here; {data_set.title} as published has "
        f"{published}."
        for split, published in data_set.counts.items()
        if split in report.splits and report.splits[split].count != published
    ]


def _compare(root: Path, parts: list[_Part], against: Path, pixels: bool) -> SharedImages:
    images = CleanImages(str(root), str(against), pixels=pixels)
    others = list(_open_parts(against, "auto"))
    try:
        for side, folder, several in ((0, root, parts), (1, against, others)):
            for part in several:
                for pair in part.matches.pairs():
                    images.add(side, folder, pair, part.layout.reader)
        return images.shared()
    finally:
        images.close()
        for part in others:
            part.matches.close()


def _follower(progress: Progress | None, total: int | None) -> Callable[[], None]:
    done = 0

    def follow() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, total)

    return follow


def _inspect_clean(root: Path, progress: Progress | None) -> Inspection:
    folders: dict[str, Path] = {str(name): folder for name, folder in split_folders(root).items()}
    report = Inspection(str(root), CLEAN)
    follow = _follower(progress, None)
    for name, folder in (folders or {"all": root}).items():
        names = nsmallest(_EXAMPLES, images_below(folder), key=natural)
        prefix = "" if folder == root else f"{folder.relative_to(root).as_posix()}/"
        first = [{"reference": prefix + image} for image in names]
        split = SplitReport(str(folder), CLEAN, 0, first)
        for image in images_below(folder):
            split.count += 1
            try:
                split.note_size(image_size(folder / image))
            except IrkdError as error:
                report.unreadable.add({"reference": prefix + image, "message": str(error)})
            follow()
        if split.count:
            report.splits[name] = split
    if not report.splits:
        raise IrkdError(f"{root}: no images in it or the folders below it.")
    return report


def _is_jpeg(path: str) -> bool:
    return path.lower().endswith((".jpg", ".jpeg"))
