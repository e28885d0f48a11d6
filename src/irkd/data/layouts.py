"""How folders of pairs are arranged on disk, and finding out which way a given one is.

A folder of pairs has, somewhere below it, a folder of degraded images beside a folder of
references (`input` and `target`, `rainy_image` and `ground_truth`, ...). Files pair by stem, never
by order. A layout says how the stem of a reference follows from that of a degraded image: adding a
layout is adding an entry to `LAYOUTS`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from irkd.data.pairs import Split
from irkd.data.reading import is_image_name
from irkd.errors import IrkdError
from irkd.registry import suggestion

DEGRADED_FOLDERS = (
    *("input", "lq", "degraded", "rain", "rainy", "rainy_image"),
    *("blur", "blurry", "hazy", "haze", "noisy"),
)
REFERENCE_FOLDERS = (
    *("target", "gt", "hq", "reference", "clean", "clear", "sharp"),
    *("ground_truth", "groundtruth", "norain"),
)
SPLIT_FOLDERS: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "test": ("test", "testing", "val", "validation"),
}
CLEAN = "clean"
# Deeper folders are not searched for pairs; a loop of symbolic links ends here.
_DEEPEST = 4


@dataclass(frozen=True)
class Layout:
    """An arrangement of pairs.

    `reference_stem` turns the stem of a degraded image into that of its reference.
    `official_split` says to which split a reference stem belongs, where the data set's authors or
    the field fixed that by name and the folders do not tell.
    `reference_border`: pixels by which the reference may exceed the degraded image on each side;
    they are cut off.
    """

    name: str
    description: str
    reference_stem: Callable[[str], str]
    official_split: Callable[[str], Split] | None = None
    reference_border: int = 0


def _rain1400_split(stem: str) -> Split:
    # 900 clean images for training and 100 for testing, as in PReNet, RCDNet and DRSformer.
    return "test" if stem.isdigit() and int(stem) > 900 else "train"


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout(
            "paired",
            "input/NAME and target/NAME, with the same stem on both sides",
            lambda stem: stem,
        ),
        Layout(
            "rain1400",
            "rainy_image/ID_TYPE and ground_truth/ID, several degraded images of each reference",
            lambda stem: stem.rpartition("_")[0],
            official_split=_rain1400_split,
        ),
        Layout(
            "reside",
            "hazy/ID_AIRLIGHT_BETA and clear/ID (RESIDE: ITS, OTS, SOTS)",
            lambda stem: stem.partition("_")[0],
            reference_border=10,
        ),
    )
}


@dataclass(frozen=True)
class FoundPair:
    """Paths relative to the searched folder, with forward slashes."""

    name: str
    degraded: str
    reference: str


@dataclass
class Found:
    """What a folder turned out to hold."""

    root: Path
    folder: Path  # the root, or its folder of one split
    layout: Layout
    pairs: list[FoundPair] = field(default_factory=list)
    unmatched_degraded: list[str] = field(default_factory=list)
    unmatched_reference: list[str] = field(default_factory=list)
    clashes: list[tuple[str, str]] = field(default_factory=list)


def check_layout(layout: str) -> None:
    known = ["auto", *LAYOUTS, CLEAN]
    if layout not in known:
        raise IrkdError(
            f"unknown layout {layout!r}.{suggestion(layout, known)} Known: {', '.join(known)}."
        )


def check_folder(root: Path) -> None:
    if not root.exists():
        raise IrkdError(f"{root}: no such folder.")
    if not root.is_dir():
        raise IrkdError(f"{root} is a file; expected a folder of images.")


def split_folder(root: Path, split: Split) -> Path:
    """The folder of `split` below `root`: train/ or test/ (or an alias), else `root` itself.

    A folder with train/ alone has no test images of its own; its train/ stands for both, and the
    caller decides what to hold out.
    """
    folders = split_folders(root)
    if split in folders or not folders:
        return folders.get(split, root)
    (only,) = folders.values()
    if split == "train":
        raise IrkdError(
            f"{root} has {only.name}/ but no train/ folder. To train on {only.name}/ all the same, "
            f"name it: {only}."
        )
    return only


def split_folders(root: Path) -> dict[Split, Path]:
    """The folders of splits that `root` has; the first alias counts where there are several."""
    names = {_plain(name): name for name in _subfolders(root)}
    return {
        split: root / next(names[alias] for alias in aliases if alias in names)
        for split, aliases in SPLIT_FOLDERS.items()
        if not names.keys().isdisjoint(aliases)
    }


def find_pairs(root: Path, *, layout: str = "auto", split: Split = "test") -> Found:
    """The pairs below `root`; with "auto", by the layout that matches most files.

    Raises IrkdError when the folder is missing, empty, one-sided, or nothing in it matches.
    """
    check_layout(layout)
    check_folder(root)
    folder = split_folder(root, split)
    sides = [_list_sides(root, *node) for node in _pair_folders(folder)]
    if not sides:
        raise _no_pair_folders(folder)
    candidates = LAYOUTS.values() if layout == "auto" else [LAYOUTS[layout]]
    found = max(
        (_match(root, folder, sides, candidate) for candidate in candidates),
        key=lambda result: len(result.pairs),
    )
    if not found.pairs:
        raise _no_matches(folder, sides, layout)
    return _official_part(found, split) if folder == root else found


def list_images(folder: Path) -> list[str]:
    """All images below `folder`: paths relative to it, with forward slashes, sorted."""
    return sorted(_walk(folder, folder, 0))


@dataclass
class _Side:
    """The images of one folder by stem path, and those whose stem another file has already."""

    folder: Path
    images: dict[str, str] = field(default_factory=dict)
    clashes: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class _Sides:
    where: str  # of the folder that holds both, relative to the root
    degraded: _Side
    reference: _Side


def _match(root: Path, folder: Path, sides: list[_Sides], layout: Layout) -> Found:
    found = Found(root, folder, layout)
    for both in sides:
        references = both.reference.images
        used = set()
        for key, path in both.degraded.images.items():
            parent, slash, stem = key.rpartition("/")
            wanted = parent + slash + layout.reference_stem(stem)
            if wanted in references:
                used.add(wanted)
                name = f"{both.where}/{key}" if both.where else key
                found.pairs.append(FoundPair(name, path, references[wanted]))
            else:
                found.unmatched_degraded.append(path)
        found.unmatched_reference += [path for key, path in references.items() if key not in used]
        found.clashes += both.degraded.clashes + both.reference.clashes
    found.pairs.sort(key=lambda pair: _natural(pair.name))
    return found


def _official_part(found: Found, split: Split) -> Found:
    """Only the pairs of `split`, where their names tell and both splits are there."""
    side_of = found.layout.official_split
    if side_of is None:
        return found
    mine = [pair for pair in found.pairs if side_of(Path(pair.reference).stem) == split]
    if mine and len(mine) < len(found.pairs):
        found.pairs = mine
    return found


def _pair_folders(folder: Path, depth: int = 0) -> Iterator[tuple[Path, Path]]:
    """Folders of degraded images and of references that stand side by side at or below `folder`."""
    names = _subfolders(folder)
    degraded = [name for name in names if _plain(name) in DEGRADED_FOLDERS]
    references = [name for name in names if _plain(name) in REFERENCE_FOLDERS]
    for several in (degraded, references):
        if len(several) > 1 and degraded and references:
            raise IrkdError(
                f"{folder} holds {_listed(several)}, which could all be the same side of the "
                "pairs. Keep one of them there, or name a folder that has only one."
            )
    if degraded and references:
        yield folder / degraded[0], folder / references[0]
    elif depth < _DEEPEST:
        for name in names:
            yield from _pair_folders(folder / name, depth + 1)


def _list_sides(root: Path, degraded: Path, reference: Path) -> _Sides:
    where = degraded.parent.relative_to(root).as_posix()
    return _Sides("" if where == "." else where, _side(root, degraded), _side(root, reference))


def _side(root: Path, folder: Path) -> _Side:
    side = _Side(folder)
    prefix = folder.relative_to(root).as_posix()
    for name in list_images(folder):
        key, path = name[: -len(Path(name).suffix)], f"{prefix}/{name}"
        if key in side.images:
            side.clashes.append((side.images[key], path))
        else:
            side.images[key] = path
    return side


def _walk(top: Path, folder: Path, depth: int) -> Iterator[str]:
    for entry in os.scandir(folder):
        if entry.is_dir():
            if depth < _DEEPEST and not _is_hidden(entry.name):
                yield from _walk(top, Path(entry.path), depth + 1)
        elif is_image_name(entry.name):
            yield Path(entry.path).relative_to(top).as_posix()


def _subfolders(folder: Path) -> list[str]:
    names = (entry.name for entry in os.scandir(folder) if entry.is_dir())
    return sorted(name for name in names if not _is_hidden(name))


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX"))


def _plain(name: str) -> str:
    return name.casefold().replace(" ", "_").replace("-", "_")


def _natural(name: str) -> list[Any]:
    """A sort key that puts 2 before 10."""
    # Splitting by digits alternates text and number, so that like is compared with like.
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if number % 2 else part for number, part in enumerate(parts)]


def _no_pair_folders(folder: Path) -> IrkdError:
    images = list_images(folder)
    if not images:
        return IrkdError(f"{folder}: no images in it or the folders below it.")
    lone = sorted({part for name in images for part in Path(name).parts[:-1]})
    degraded = [name for name in lone if _plain(name) in DEGRADED_FOLDERS]
    references = [name for name in lone if _plain(name) in REFERENCE_FOLDERS]
    if degraded:
        return IrkdError(
            f"{folder} has degraded images in {_listed(degraded)} but no references beside it. "
            f"Expected one of: {', '.join(REFERENCE_FOLDERS)}."
        )
    if references:
        return IrkdError(
            f"{folder} has references in {_listed(references)} but no degraded images beside it. "
            f"Expected one of: {', '.join(DEGRADED_FOLDERS)}. To degrade the clean images "
            "themselves, choose layout 'clean' and a task."
        )
    return IrkdError(
        f"{folder} holds {len(images)} images ({_examples(images)}) but no folders of pairs. "
        "Expected, for example, input/ and target/. To degrade clean images on the fly, choose "
        "layout 'clean' and a task."
    )


def _no_matches(folder: Path, sides: list[_Sides], layout: str) -> IrkdError:
    for both in sides:
        for side in (both.degraded, both.reference):
            if not side.images:
                return IrkdError(f"{side.folder}: no images in it.")
    both = sides[0]
    rule = "any layout" if layout == "auto" else f"layout {layout!r}"
    return IrkdError(
        f"{folder}: no degraded image has a reference by {rule}. Degraded: "
        f"{_examples(list(both.degraded.images.values()))}; references: "
        f"{_examples(list(both.reference.images.values()))}. Files pair by equal stems "
        f"(known layouts: {', '.join(LAYOUTS)})."
    )


def _examples(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _listed(names: list[str]) -> str:
    return " and ".join(f"{name}/" for name in names)
