"""DID-MDN's data (Test1200, DID-Data): Zhang and Patel, CVPR 2018. One file holds both sides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from irkd.data.layouts.base import Degraded, Entry, FoundPair, Layout, PairReader, Reference, Size
from irkd.data.layouts.glance import Glance
from irkd.data.layouts.side_folders import joined, relative
from irkd.data.layouts.walking import (
    images_below,
    plain,
    split_folders,
    stem_of,
    subfolders,
    unwrapped,
)
from irkd.data.pairs import Image, Split
from irkd.data.reading import image_size, read_image
from irkd.errors import IrkdError

_PARTS: dict[str, Split] = {
    "did_mdn_training": "train",
    "did_mdn_train": "train",
    "did_mdn_test": "test",
    "did_mdn_testing": "test",
}
_DENSITIES = ("rain_heavy", "rain_medium", "rain_light")
_SIZE = (512, 1024)
_SAMPLE = 8


class Halves(PairReader):
    """The left half of a file is rainy, the right half clean."""

    def load(self, root: Path, pair: FoundPair) -> tuple[Image, Image]:
        both = read_image(root / pair.degraded)
        width = both.shape[1]
        if width % 2:
            raise IrkdError(
                f"{root / pair.degraded} is {width} pixels wide; expected an even width, the left "
                "half rainy and the right half clean. Remove it, or choose another layout."
            )
        return both[:, : width // 2].copy(), both[:, width // 2 :].copy()

    def degraded_size(self, root: Path, pair: FoundPair) -> Size:
        height, width = image_size(root / pair.degraded)
        return height, width // 2

    def reference_size(self, root: Path, pair: FoundPair) -> Size:
        height, width = image_size(root / pair.degraded)
        return height, width - width // 2

    def reference_file(self, root: Path, pair: FoundPair) -> None:
        return None


def _signature(glance: Glance) -> bool:
    names = {plain(name) for folder in glance.folders.values() for name in folder.folders}
    if not names.isdisjoint({*_PARTS, *_DENSITIES}):
        return True
    if glance.name in {*_PARTS, *_DENSITIES}:
        return True
    # The test folder under another name: 1.jpg, 2.jpg, ..., all 1024 x 512.
    root = glance.folders[""]
    if root.folders or not root.images:
        return False
    if not all(stem_of(name).isdigit() and name.endswith(".jpg") for name in root.images):
        return False
    try:
        return all(image_size(glance.root / name) == _SIZE for name in root.images[:_SAMPLE])
    except IrkdError:
        return False


@dataclass(frozen=True, kw_only=True)
class SideBySide(Layout):
    """Every image below the root is a pair."""

    reader: ClassVar[PairReader] = Halves()

    def parts(self, root: Path) -> dict[Split, Path]:
        parts = split_folders(root)
        root = unwrapped(root)
        for name in subfolders(root):
            if plain(name) in _PARTS:
                parts[_PARTS[plain(name)]] = root / name
        return parts

    def entries(self, root: Path, split: Split | None) -> Iterator[Entry]:
        for folder in self.places(root, split):
            for name in images_below(folder):
                path = joined(relative(folder, root), name)
                yield Degraded(path, path, stem_of(path))
                yield Reference(path, path)

    def shown(self, pair: FoundPair) -> tuple[str, str]:
        return f"{pair.degraded} (left half)", f"{pair.reference} (right half)"


LAYOUTS = (
    SideBySide(
        name="did-mdn",
        description="one file a pair: the left half rainy, the right half clean (Test1200)",
        data_set="did-data",
        signature=_signature,
    ),
)
