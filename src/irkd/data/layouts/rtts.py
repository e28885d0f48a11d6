"""RTTS of RESIDE: hazy photographs of traffic with boxes around objects, and no references."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from irkd.data.layouts.base import Degraded, Entry, FoundPair, Layout, PairReader, Reference, Size
from irkd.data.layouts.glance import Glance
from irkd.data.layouts.walking import files_below, images_below, stem_of
from irkd.data.pairs import Image, Split
from irkd.errors import IrkdError

IMAGES, ANNOTATIONS = "JPEGImages", "Annotations"


class ImagesAlone(PairReader):
    def load(self, root: Path, pair: FoundPair) -> tuple[Image, Image]:
        raise IrkdError(f"{root / pair.degraded} has no reference image.")

    def reference_size(self, root: Path, pair: FoundPair) -> Size:
        return self.degraded_size(root, pair)

    def reference_file(self, root: Path, pair: FoundPair) -> None:
        return None


def _signature(glance: Glance) -> bool:
    return any({IMAGES, ANNOTATIONS} <= set(folder.folders) for folder in glance.folders.values())


@dataclass(frozen=True, kw_only=True)
class AnnotatedImages(Layout):
    """JPEGImages/NAME with the boxes of Annotations/NAME.xml, as in Pascal VOC."""

    reader: ClassVar[PairReader] = ImagesAlone()

    def parts(self, root: Path) -> dict[Split, Path]:
        return {}

    def entries(self, root: Path, split: Split | None) -> Iterator[Entry]:
        base = next((base for base in (root, root / "RTTS") if (base / IMAGES).is_dir()), None)
        if base is None:
            raise IrkdError(f"{root}: expected {IMAGES}/ and {ANNOTATIONS}/ in it.")
        prefix = "" if base == root else f"{base.name}/"
        for name in images_below(base / IMAGES):
            path = f"{prefix}{IMAGES}/{name}"
            yield Degraded(stem_of(name), path, stem_of(path))
        if (base / ANNOTATIONS).is_dir():
            for name in files_below(base / ANNOTATIONS):
                if name.lower().endswith(".xml"):
                    yield Reference(stem_of(name), f"{prefix}{ANNOTATIONS}/{name}")


LAYOUTS = (
    AnnotatedImages(
        name="rtts",
        description="JPEGImages/NAME and boxes in Annotations/NAME.xml, no references (RTTS)",
        data_set="rtts",
        signature=_signature,
        has_references=False,
        counterpart="annotation",
    ),
)
