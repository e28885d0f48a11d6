"""From a folder to its pairs: finding out its layout, or saying why there are none."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from irkd import registry
from irkd.data.layouts.base import Degraded, FoundPair, Layout, Reference
from irkd.data.layouts.glance import Glance, look_at
from irkd.data.layouts.matching import Matches, PairTable
from irkd.data.layouts.paired import PAIRED
from irkd.data.layouts.side_folders import (
    DEGRADED_FOLDERS,
    REFERENCE_FOLDERS,
    SideFolders,
    listed_folders,
)
from irkd.data.layouts.walking import check_folder, images_below, plain, split_folders
from irkd.data.pairs import Split
from irkd.errors import IrkdError
from irkd.registry import suggestion

AUTO = "auto"
CLEAN = "clean"
_SPLITS: tuple[Split, ...] = ("train", "test")
# Names that are tried when several stem rules could hold.
_SAMPLE_FOLDERS = 50
_SAMPLE_NAMES = 1000


@dataclass
class Found:
    """What a folder turned out to hold."""

    root: Path
    folder: Path  # the root, or its folder of one split
    layout: Layout
    pairs: PairTable
    unmatched_degraded: list[str] = field(default_factory=list)
    unmatched_reference: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    clashes: list[tuple[str, str]] = field(default_factory=list)


def layouts() -> dict[str, Layout]:
    """All layouts by name: those of this package's modules, and of `irkd.data.layouts` plug-ins."""
    return registry.collect("irkd.data.layouts", "LAYOUTS")


def check_layout(layout: str) -> None:
    known = [AUTO, *layouts(), CLEAN]
    if layout not in known:
        raise IrkdError(
            f"unknown layout {layout!r}.{suggestion(layout, known)} Known: {', '.join(known)}."
        )


def find_pairs(root: Path, *, layout: str = AUTO, split: Split = "test") -> Found:
    """The pairs of `split` below `root`.

    Raises IrkdError when the folder is missing, empty, one-sided, has no references, or nothing in
    it matches.
    """
    chosen = choose_layout(root, layout, split)
    if not chosen.has_references:
        raise IrkdError(
            f"{root} (layout {chosen.name}) holds degraded images without references. Score them "
            "with metrics that need none (irkd evaluate --images DIR --metrics piqe), or by what a "
            "detector finds (--ground-truth)."
        )
    part, place = chosen.place(root, split)
    matches = open_matches(root, chosen, part)
    try:
        # Names tell the split only where they tell of both.
        both = matches.count("train") and matches.count("test")
        return Found(
            root,
            place if place.is_dir() else root,
            chosen,
            PairTable(matches.pairs(split if both else None)),
            list(matches.unmatched_degraded()),
            list(matches.unmatched_reference()),
            list(matches.missing()),
            list(matches.clashes()),
        )
    finally:
        matches.close()


def open_matches(root: Path, layout: Layout, split: Split | None) -> Matches:
    """The matched images of `split` (None: of all), at least one pair; IrkdError says why not."""
    matches = Matches(layout.entries(root, split))
    if next(matches.pairs(), None) is None and layout.has_references:
        (folder, *others) = layout.places(root, split)
        alone = folder.is_dir() and not others
        raise _no_pairs(root, folder if alone else root, layout, matches)
    return matches


def choose_layout(root: Path, layout: str = AUTO, split: Split | None = None) -> Layout:
    """The layout called `layout`, or with "auto" the one that the folder is arranged by."""
    return known_layout(root, layout) or best_rule(root, split)


def known_layout(root: Path, layout: str = AUTO) -> Layout | None:
    """The layout called `layout`, or with "auto" the one whose signature the folder has, if any."""
    check_layout(layout)
    check_folder(root)
    if layout != AUTO:
        return layouts()[layout]
    known = recognised(root)
    if len(known) > 1:
        names = " and ".join(each.name for each in known)
        raise IrkdError(
            f"{root} holds what layouts {names} describe. Name a folder that has only one of them, "
            f"or choose: layout {known[0].name}."
        )
    return known[0] if known else None


def splits_of(root: Path, layout: Layout | None) -> list[Split | None]:
    """The splits that the folder tells apart, or None alone where it holds one heap."""
    parts = (layout or PAIRED).parts(root)
    return [split for split in _SPLITS if split in parts] or [None]


def recognised(root: Path) -> list[Layout]:
    """The layouts whose signature the folder has."""
    glance: Glance = look_at(root)
    return [layout for layout in layouts().values() if layout.signature(glance)]


def best_rule(root: Path, split: Split | None) -> Layout:
    """The generic layout that matches most of a sample of files; `paired` where none does."""
    folder = PAIRED.place(root, split)[1] if split else root
    rules = _generic()
    hits: Counter[str] = Counter()
    left = _SAMPLE_NAMES
    for degraded, reference in islice(PAIRED.pair_folders(folder), _SAMPLE_FOLDERS):
        sample = set(islice(images_below(degraded), left))
        left -= len(sample)
        for rule in rules:
            hits[rule.name] += _hits(rule, degraded, reference, sample)
        if left <= 0:
            break
    if not hits.total():
        # The sample may have missed the few that match.
        for rule in rules:
            matches = Matches(rule.entries(root, None))
            hits[rule.name] = matches.count()
            matches.close()
    return max(rules, key=lambda rule: hits[rule.name])


def _generic() -> list[SideFolders]:
    rules = [rule for rule in layouts().values() if isinstance(rule, SideFolders) and rule.generic]
    # Equal names on both sides are the plainest reading.
    return sorted(rules, key=lambda rule: rule is not PAIRED)


def _hits(rule: SideFolders, degraded: Path, reference: Path, sample: set[str]) -> int:
    """How many of the `sample` of degraded images have a reference by `rule`."""
    wanted: Counter[str] = Counter()
    found = 0
    top = degraded.parent
    prefix = f"{degraded.name}/"
    for entry in rule.entries_of(top, degraded, reference):
        if isinstance(entry, Degraded) and entry.path.removeprefix(prefix) in sample:
            wanted[entry.key] += 1
    for entry in rule.entries_of(top, degraded, reference):
        if isinstance(entry, Reference) and entry.key in wanted:
            found += wanted.pop(entry.key)
    return found


def _no_pairs(root: Path, folder: Path, layout: Layout, matches: Matches) -> IrkdError:
    missing = next(matches.missing(), None)
    if missing is not None:
        return IrkdError(
            f"{root}: none of the pairs that its lists name is there, {missing} for one. Unpack "
            "the images beside the lists."
        )
    if isinstance(layout, SideFolders):
        sides = next(layout.pair_folders(folder), None)
        if sides is None and layout is PAIRED:
            return _no_pair_folders(folder)
        for side in sides or ():
            if next(images_below(side), None) is None:
                return IrkdError(f"{side}: no images in it.")
    degraded, references = (matches.examples(side, 4) for side in ("degraded", "reference"))
    if degraded or references:
        return IrkdError(
            f"{folder}: no degraded image has a reference by layout {layout.name!r}. Degraded: "
            f"{_examples(degraded)}; references: {_examples(references)}. Expected "
            f"{layout.description} (known layouts: {', '.join(layouts())})."
        )
    if next(images_below(folder), None) is None:
        return IrkdError(f"{folder}: no images in it or the folders below it.")
    others = [each.name for each in recognised(root) if each is not layout]
    hint = f" It looks like layout {others[0]!r}." if others else ""
    return IrkdError(
        f"{folder}: nothing in it is arranged as layout {layout.name!r}: expected "
        f"{layout.description}.{hint}"
    )


def _no_pair_folders(folder: Path) -> IrkdError:
    names: list[str] = []
    lone: set[str] = set()
    count = 0
    for name in images_below(folder):
        count += 1
        lone.update(name.split("/")[:-1])
        if len(names) < 4:
            names.append(name)
    if not count:
        return IrkdError(f"{folder}: no images in it or the folders below it.")
    degraded = sorted(name for name in lone if plain(name) in DEGRADED_FOLDERS)
    references = sorted(name for name in lone if plain(name) in REFERENCE_FOLDERS)
    if degraded:
        return IrkdError(
            f"{folder} has degraded images in {listed_folders(degraded)} but no references beside "
            f"it. Expected one of: {', '.join(REFERENCE_FOLDERS)}."
        )
    if references:
        return IrkdError(
            f"{folder} has references in {listed_folders(references)} but no degraded images "
            f"beside it. Expected one of: {', '.join(DEGRADED_FOLDERS)}. To degrade the clean "
            "images themselves, choose layout 'clean' and a task."
        )
    return IrkdError(
        f"{folder} holds {count} images ({_examples(names)}) but no folders of pairs. "
        "Expected, for example, input/ and target/. To degrade clean images on the fly, choose "
        "layout 'clean' and a task."
    )


def _examples(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") or "none"


def split_folder(root: Path, split: Split) -> Path:
    """The folder of `split` below `root`: train/ or test/ (or an alias), else `root` itself."""
    return PAIRED.place(root, split)[1]


__all__ = [
    "AUTO",
    "CLEAN",
    "Found",
    "FoundPair",
    "best_rule",
    "check_folder",
    "check_layout",
    "choose_layout",
    "find_pairs",
    "known_layout",
    "layouts",
    "open_matches",
    "recognised",
    "split_folder",
    "split_folders",
    "splits_of",
]
