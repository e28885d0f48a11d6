"""HIDE: Shen et al., ICCV 2019. One flat folder of references for both splits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from irkd.data.layouts.base import Degraded, Entry, Layout, Reference
from irkd.data.layouts.glance import Glance
from irkd.data.layouts.side_folders import REFERENCE_FOLDERS, joined, relative
from irkd.data.layouts.walking import (
    SPLIT_FOLDERS,
    images_below,
    plain,
    split_folders,
    stem_of,
    subfolders,
)
from irkd.data.pairs import Split

_REFERENCE = "gt"
_SPLITS = {alias for aliases in SPLIT_FOLDERS.values() for alias in aliases}


def _signature(glance: Glance) -> bool:
    for path, folder in glance.folders.items():
        names = {plain(name): name for name in folder.folders}
        if path.count("/") or _REFERENCE not in names or names.keys().isdisjoint(_SPLITS):
            continue
        splits = [names[split] for split in names.keys() & _SPLITS]
        if all(_one_sided(glance, joined(path, name)) for name in splits):
            return True
    return False


def _one_sided(glance: Glance, path: str) -> bool:
    below = [glance.folders[name] for name in glance.folders if f"{name}/".startswith(f"{path}/")]
    return not any(
        plain(name) in REFERENCE_FOLDERS for folder in below for name in folder.folders
    ) and any(folder.images for folder in below)


@dataclass(frozen=True, kw_only=True)
class OneReferenceFolder(Layout):
    """train/**/NAME and test/**/NAME, whose references are all in GT/NAME."""

    def parts(self, root: Path) -> dict[Split, Path]:
        return split_folders(self._base(root))

    def entries(self, root: Path, split: Split | None) -> Iterator[Entry]:
        # All splits, always: only then is it known which references belong to no image.
        base = self._base(root)
        references = {plain(name): name for name in subfolders(base)}.get(_REFERENCE)
        for name in images_below(base / references) if references else ():
            path = joined(relative(base, root), f"{references}/{name}")
            yield Reference(_stem(name), path)
        for part, folder in split_folders(base).items():
            for name in images_below(folder):
                path = joined(relative(folder, root), name)
                yield Degraded(_stem(name), path, stem_of(path), part)

    def _base(self, root: Path) -> Path:
        """The root, or the one folder in it that everything is in (HIDE_dataset/)."""
        for folder in (root, *(root / name for name in subfolders(root))):
            names = {plain(name) for name in subfolders(folder)}
            if _REFERENCE in names and not names.isdisjoint(_SPLITS):
                return folder
        return root


def _stem(path: str) -> str:
    return stem_of(path.rpartition("/")[2])


LAYOUTS = (
    OneReferenceFolder(
        name="hide",
        description="train/NAME, test/PART/NAME and GT/NAME, one GT folder for both",
        data_set="hide",
        signature=_signature,
    ),
)
