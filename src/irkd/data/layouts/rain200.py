"""Rain100 and Rain200 (Yang et al., CVPR 2017), whose two sides have different names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from irkd.data.layouts.base import Degraded, Entry, Reference
from irkd.data.layouts.glance import Glance
from irkd.data.layouts.side_folders import SideFolders, StemKey, joined, relative
from irkd.data.layouts.walking import (
    images_below,
    plain,
    split_folders,
    stem_of,
    subfolders,
    unwrapped,
)
from irkd.data.pairs import Split

_SPLITS: tuple[Split, ...] = ("train", "test")
_CLEAN = re.compile(r"norain-?(\d+)")
# Rain of Rain200 is called norain-1x2.png; that of Rain100 rain-001.png.
_RAIN = re.compile(r"(?:rain-?(\d+)(?:x2)?|norain-?(\d+)x2)")


def _rain(stem: str) -> str | None:
    match = _RAIN.fullmatch(stem)
    return match and (match[1] or match[2])


def _clean(stem: str) -> str | None:
    match = _CLEAN.fullmatch(stem)
    return match and match[1]


def _some(stems: list[str], key: StemKey) -> bool:
    return any(key(stem) for stem in stems)


def _signature(glance: Glance) -> bool:
    for _, degraded, references in glance.sides(
        RAIN200.degraded_folders, RAIN200.reference_folders
    ):
        if _some(degraded, _rain) and _some(references, _clean):
            return True
    return any(
        _some(stems, _rain) and _some(stems, _clean)
        for stems in ([stem_of(name) for name in each.images] for each in glance.folders.values())
    )


@dataclass(frozen=True, kw_only=True)
class Rain200(SideFolders):
    """Two folders side by side, or both sides in one folder."""

    def parts(self, root: Path) -> dict[Split, Path]:
        """Also folders such as rain_data_train_Heavy/ and rain_data_test_Heavy/."""
        parts = split_folders(root)
        root = unwrapped(root)
        for name in [] if parts else subfolders(root):
            words = plain(name).split("_")
            for split in _SPLITS:
                if split in words:
                    parts.setdefault(split, root / name)
        return parts

    def entries(self, root: Path, split: Split | None) -> Iterator[Entry]:
        for folder in self.places(root, split):
            if next(self.pair_folders(folder), None) is not None:
                for degraded, reference in self.pair_folders(folder):
                    yield from self.entries_of(root, degraded, reference)
            else:
                yield from self._one_folder(root, folder)

    def _one_folder(self, root: Path, folder: Path) -> Iterator[Entry]:
        for path in images_below(folder):
            full = joined(relative(folder, root), path)
            parent, _, name = full.rpartition("/")
            stem = stem_of(name)
            if rain := _rain(stem):
                yield Degraded(joined(parent, rain), full, joined(parent, stem))
            elif clean := _clean(stem):
                yield Reference(joined(parent, clean), full)


RAIN200 = Rain200(
    name="rain200",
    description="rain/X2/norain-1x2 and norain/norain-1, or rain-001 and norain-001, also in one"
    " folder",
    signature=_signature,
    degraded_key=_rain,
    reference_key=_clean,
    within_subfolders=False,
)

LAYOUTS = (RAIN200,)
