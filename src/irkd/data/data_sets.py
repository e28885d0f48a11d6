"""What is known of published data sets: task, protocol of published figures, counts, pitfalls.

A layout that only one set has names it; sets that come repackaged as plain folders are known by a
folder's name. Adding a set is an entry of `DATA_SETS`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from irkd.data.layouts.base import Layout
from irkd.data.layouts.choosing import Found
from irkd.data.layouts.walking import plain
from irkd.data.pairs import Split


@dataclass(frozen=True)
class DataSet:
    """A published set.

    `folders`: a pattern of names that folders of it have, as `walking.plain` writes them.
    `protocol`: what published figures on its test images follow (`metrics.protocols`).
    `counts`: pairs of each split as published. `remarks`: what its users should know.
    """

    name: str
    title: str
    task: str
    protocol: str | None = None
    folders: str | None = None
    counts: dict[Split, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


_RAIN13K = (
    "Rain13K, which the released MPRNet and Restormer were trained on, holds 11,200 of Rain1400's "
    "14,000 pairs: "
)

_ENTRIES = (
    DataSet(
        "rain1400",
        "Rain1400",
        "derain",
        "y-matlab-float-ds",
        r"rain1(?:4|26)00|rain14000|ddn_data|rainy_image_dataset",
        {"train": 12_600, "test": 1_400},
        (
            _RAIN13K + "they have seen test images of this split. Their papers' figures are on"
            " Test2800, the other 2,800.",
        ),
    ),
    DataSet(
        "rain13k",
        "Rain13K",
        "derain",
        folders="rain13k",
        counts={"train": 13_712},
        remarks=(
            _RAIN13K + "a network trained on it must not be scored on Rain1400's own test split.",
        ),
    ),
    DataSet(
        "test2800",
        "Test2800",
        "derain",
        "y-matlab",
        "test2800",
        {"test": 2_800},
        ("Test2800 is part of Rain1400: do not train on Rain1400 and score on it.",),
    ),
    DataSet("test1200", "Test1200", "derain", "y-matlab", "test1200", {"test": 1_200}),
    DataSet("test100", "Test100", "derain", "y-matlab", "test100"),
    DataSet(
        "did-data",
        "DID-Data",
        "derain",
        "y-matlab-float-ds",
        "did_data|did_mdn.*",
        {"train": 12_000, "test": 1_200},
        ("MPRNet and Restormer score these test images as Test1200, with protocol y-matlab.",),
    ),
    DataSet(
        "rain100h",
        "Rain100H",
        "derain",
        "y-matlab",
        "rain100h",
        remarks=(
            "Rain100H's re-released training set overlaps its test set: 546 training images show "
            "test scenes (README of PReNet). Leave them out of training.",
        ),
    ),
    DataSet("rain100l", "Rain100L", "derain", "y-matlab", "rain100l"),
    DataSet("rain200h", "Rain200H", "derain", "y-matlab", "rain200h"),
    DataSet("rain200l", "Rain200L", "derain", "y-matlab", "rain200l"),
    DataSet("spa", "SPA-Data", "derain", "y-matlab", "spa|spa_data", {"test": 1_000}),
    DataSet(
        "gopro",
        "GoPro",
        "deblur",
        "rgb-matlab3d",
        "gopro|gopro_large",
        {"train": 2_103, "test": 1_111},
        (
            "GoPro has two blurs: blur/ is what MPRNet, Restormer and NAFNet are scored on, "
            "blur_gamma/ what Nah et al. used (layout gopro-gamma). Their figures are not "
            "comparable.",
        ),
    ),
    DataSet(
        "gopro-gamma",
        "GoPro (gamma)",
        "deblur",
        "rgb-matlab3d",
        counts={"train": 2_103, "test": 1_111},
        remarks=(
            "blur_gamma/ is what Nah et al. used; MPRNet, Restormer and NAFNet are scored on blur/ "
            "(layout gopro).",
        ),
    ),
    DataSet(
        "hide",
        "HIDE",
        "deblur",
        "rgb-matlab3d",
        "hide|hide_dataset",
        {"train": 6_397, "test": 2_025},
    ),
    *(
        DataSet(
            f"realblur-{letter}",
            f"RealBlur-{letter.upper()}",
            "deblur",
            "realblur-ecc",
            f"realblur_{letter}.*",
            {"test": 980},
            ("Blurred and sharp images are not aligned to the pixel: protocol realblur-ecc is.",),
        )
        for letter in "jr"
    ),
    DataSet("its", "ITS", "dehaze", folders="its"),
    DataSet(
        "ots",
        "OTS",
        "dehaze",
        folders="ots|ots_(?:beta|alpha)",
        remarks=(
            "There are two OTS: 72,135 pairs of 2,061 clear images (beta), and 313,950 of 8,970.",
        ),
    ),
    DataSet(
        "sots",
        "SOTS",
        "dehaze",
        "dehaze-ffa",
        "sots",
        remarks=("Indoor and outdoor images of SOTS are reported apart: score them one by one.",),
    ),
    DataSet("sots-indoor", "SOTS indoor", "dehaze", "dehaze-ffa", "sots_indoor", {"test": 500}),
    DataSet("sots-outdoor", "SOTS outdoor", "dehaze", "dehaze-ffa", "sots_outdoor", {"test": 500}),
    DataSet(
        "rtts",
        "RTTS",
        "dehaze",
        counts={"test": 4_322},
        remarks=(
            "RTTS has no references: PSNR and SSIM cannot be computed. Score it with metrics that "
            "need none (irkd evaluate --images), or by what a detector finds in it.",
        ),
    ),
    DataSet(
        "sidd",
        "SIDD",
        "denoise",
        "rgb-matlab3d-float",
        r"sidd(?:_.*)?",
        {"test": 1_280},
        ("Published figures on SIDD are those of the 1,280 validation blocks, from .mat files.",),
    ),
)

DATA_SETS = {entry.name: entry for entry in _ENTRIES}


def identify(found: Found) -> DataSet | None:
    """The published set that a folder holds, by its layout or by folders' names."""
    if found.layout.data_set:
        return DATA_SETS[found.layout.data_set]
    folders = {pair.degraded.rpartition("/")[0] for pair in found.pairs}
    return combined(named(found.root, folders))


def sets_in(root: Path, layout: Layout, folders: Iterable[str]) -> list[DataSet]:
    """All published sets that the folders' names or the layout tell of."""
    return [DATA_SETS[layout.data_set]] if layout.data_set else named(root, folders)


def named(root: Path, folders: Iterable[str]) -> list[DataSet]:
    """Sets whose names the root, the folder above it, or one of the folders below it has."""
    # Farther above, names say where somebody keeps data, not what it is.
    above = "/".join(root.resolve().parts[1:][-2:])
    names = _sets_of(above).union(*map(_sets_of, folders))
    return [DATA_SETS[name] for name in DATA_SETS if name in names]


def published(source: object) -> tuple[str, str] | None:
    """Title of the set that `source` holds, and the protocol of its published figures, if any."""
    data_set: DataSet | None = getattr(source, "data_set", None)
    if data_set is None or data_set.protocol is None:
        return None
    return data_set.title, data_set.protocol


def combined(sets: list[DataSet]) -> DataSet | None:
    """One set for several that are scored alike; None where they are not, or there are none.

    Sets that only train have no say in it.
    """
    sets = [each for each in sets if each.protocol] or sets
    if len({(each.task, each.protocol) for each in sets}) != 1:
        return None
    return sets[0] if len(sets) == 1 else replace(sets[0], name="", title=_titles(sets))


def _titles(sets: list[DataSet]) -> str:
    titles = [each.title for each in sets]
    return f"{', '.join(titles[:-1])} and {titles[-1]}"


@lru_cache(maxsize=4096)
def _sets_of(path: str) -> frozenset[str]:
    names = [plain(part) for part in path.split("/")]
    return frozenset(
        entry.name
        for entry in _ENTRIES
        if entry.folders and any(re.fullmatch(entry.folders, name) for name in names)
    )
