"""The images that an evaluation scores on, and results of other tools for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from irkd.data.data_sets import published
from irkd.data.opening import BUILT_IN, open_pairs
from irkd.data.pairs import PairSource
from irkd.data.reading import SUFFIXES, is_image_name, read_image
from irkd.errors import IrkdError
from irkd.inference.candidates import unique_labels

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class ImageSet:
    """Numbered images. `load(index)` gives degraded and reference, either of which may be None.

    `built_in`: one of irkd's own sets, which no paper's protocol belongs to.
    `published`: title of the data set and the protocol of its published figures, where known.
    """

    name: str
    task: str | None
    count: int
    image_name: Callable[[int], str]
    load: Callable[[int], tuple[Picture | None, Picture | None]]
    has_degraded: bool = True
    has_reference: bool = True
    built_in: bool = False
    published: tuple[str, str] | None = None


def open_image_set(
    data: str | Path, *, task: str | None, likely_task: str | None, layout: str, references_do: bool
) -> tuple[ImageSet, list[str]]:
    """The pairs of `data`, and notes for the user.

    `likely_task`: where `task` is not given, what images are degraded for, and what the pairs of a
    data set that is not a known one are for.
    `references_do`: a folder that holds no pairs is taken as one of references alone, which is all
    that results found elsewhere are scored against; a note says so.
    """
    try:
        source = open_pairs(data, task=task or likely_task, split="test", layout=layout)
    except IrkdError:
        if not references_do or layout != "auto" or not _images_below(Path(data)):
            raise
        note = f"{data} holds no pairs: its images were taken as the references."
        return folder_of_references(Path(data)), [note]
    unmatched = getattr(source, "unmatched", ())
    notes = [f"{len(unmatched)} files of {source.name} have no partner and were left out."]
    scored = pairs_of(source)
    known = getattr(source, "data_set", None)
    if task is None and known is not None:
        scored = replace(scored, task=known.task)
    return scored, notes if unmatched else []


def pairs_of(source: PairSource) -> ImageSet:
    def load(index: int) -> tuple[Picture, Picture]:
        pair = source.load(index)
        return pair.degraded, pair.reference

    return ImageSet(
        source.name,
        source.task,
        len(source),
        source.pair_name,
        load,
        built_in=source.name in BUILT_IN,
        published=published(source),
    )


def folder_of_images(folder: Path, task: str | None) -> ImageSet:
    """Degraded images that have no reference."""
    names, files = _named_images(folder)
    return ImageSet(
        str(folder),
        task,
        len(files),
        lambda index: names[index],
        lambda index: (read_image(files[index]), None),
        has_reference=False,
    )


def folder_of_references(folder: Path) -> ImageSet:
    """References whose degraded images are not at hand."""
    names, files = _named_images(folder)
    return ImageSet(
        str(folder),
        None,
        len(files),
        lambda index: names[index],
        lambda index: (None, read_image(files[index])),
        has_degraded=False,
    )


class ResultFolder:
    """Restored images in a folder, found by the name of the pair they belong to."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise IrkdError(f"{path}: no such folder. Give the folder that holds the results.")
        self.files = _images_below(self.path)
        if not self.files:
            raise IrkdError(f"{path} holds no images to score.")
        self._by_path = {_key(file.relative_to(self.path)): file for file in self.files}
        stems = Counter(file.stem.lower() for file in self.files)
        self._by_stem = {
            file.stem.lower(): file for file in self.files if stems[file.stem.lower()] == 1
        }

    def find(self, name: str) -> Path | None:
        """The result for the image called `name`: the same path or, failing that, the same name.

        Suffixes and case do not count. None where there is no such file, or several by name.
        """
        wanted = PurePath(name)
        return self._by_path.get(_key(wanted)) or self._by_stem.get(PurePath(_key(wanted)).name)


def result_folders(
    restored: str | Path | Sequence[str | Path] | Mapping[str, str | Path],
) -> dict[str, ResultFolder]:
    """Folders of results by label; those without one are called by what tells them apart."""
    if isinstance(restored, str | Path):
        restored = [restored]
    if not isinstance(restored, Mapping):
        paths = [Path(path) for path in restored]
        restored = dict(zip(unique_labels([path.resolve() for path in paths]), paths, strict=True))
    return {label: ResultFolder(path) for label, path in restored.items()}


def result_folders_of_sets(
    restored: Sequence[str | Path] | Mapping[str, str | Path | Sequence[str | Path]],
    names: Sequence[str],
) -> list[dict[str, ResultFolder]]:
    """Folders of results by label, for each of several data sets called `names`.

    A label with one folder has in it a folder of each data set's name; one with as many as there
    are data sets has them in their order.
    """
    if not isinstance(restored, Mapping):
        paths = [Path(path) for path in restored]
        labels = unique_labels([path.resolve() for path in paths])
        restored = dict(zip(labels, paths, strict=True))
    found: list[dict[str, ResultFolder]] = [{} for _ in names]
    for label, given in restored.items():
        several = [given] if isinstance(given, str | Path) else list(given)
        if len(several) == 1:
            parent = Path(several[0])
            several = [parent / name for name in names]
            missing = [name for name in names if not (parent / name).is_dir()]
            if missing:
                raise IrkdError(
                    f"{parent} holds no folder {missing[0]!r}. With several data sets, a folder of "
                    f"results holds one for each ({', '.join(names)}); or give --restored "
                    f"{label}=DIR once for each, in the order of --data."
                )
        if len(several) != len(names):
            raise IrkdError(
                f"{label} has {len(several)} folders of results for {len(names)} data sets."
            )
        for results, path in zip(found, several, strict=True):
            results[label] = ResultFolder(path)
    return found


def _named_images(folder: Path) -> tuple[list[str], list[Path]]:
    if not folder.is_dir():
        raise IrkdError(f"{folder}: no such folder.")
    files = _images_below(folder)
    if not files:
        raise IrkdError(f"{folder} holds no images.")
    return [file.relative_to(folder).with_suffix("").as_posix() for file in files], files


def _images_below(folder: Path) -> list[Path]:
    """All images below `folder`, sorted; hidden files and folders are passed over."""
    return sorted(
        file
        for file in folder.rglob("*")
        if is_image_name(file.name)
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
        and file.is_file()
    )


def _key(path: PurePath) -> str:
    # A pair's name has no suffix of its own, but may hold dots.
    text = path.as_posix().lower()
    suffix = path.suffix.lower()
    return text.removesuffix(suffix) if suffix in SUFFIXES else text
