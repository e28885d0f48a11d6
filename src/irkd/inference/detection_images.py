"""The image files that belong to a ground truth of objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from irkd.data.reading import image_size, is_image_name
from irkd.errors import IrkdError
from irkd.inference.image_sets import ResultFolder
from irkd.metrics.detection_files import shortened
from irkd.metrics.detection_sets import GroundTruth


class FolderSizes(Mapping[str, tuple[int, int]]):
    """(height, width) of the images in a folder by relative name, read when asked for."""

    def __init__(self, folder: ResultFolder) -> None:
        self._files = {file.relative_to(folder.path).as_posix(): file for file in folder.files}
        self._size = cache(image_size)

    def __getitem__(self, name: str) -> tuple[int, int]:
        return self._size(self._files[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def images_beside(annotations: Path) -> Path | None:
    """Where VOC (`JPEGImages`) and YOLO (`images`, or among the labels) keep images, if there."""
    if not annotations.is_dir():
        return None
    places = [annotations / "JPEGImages"]
    if annotations.name == "Annotations":
        places.append(annotations.parent / "JPEGImages")
    parts = annotations.resolve().parts
    if "labels" in parts:
        last = len(parts) - 1 - parts[::-1].index("labels")
        places.append(Path(*parts[:last], "images", *parts[last + 1 :]))
    for place in places:
        if place.is_dir() and any(is_image_name(file.name) for file in place.rglob("*")):
            return place
    return annotations if any(is_image_name(file.name) for file in annotations.iterdir()) else None


def images_there(truth: GroundTruth, pictures: ResultFolder | None, notes: list[str]) -> list[int]:
    """The indices of the images that `pictures` holds, with a note on others; all without it."""
    everything = list(range(len(truth.images)))
    if pictures is None:
        return everything
    kept = [index for index in everything if pictures.find(truth.images[index].name) is not None]
    if not kept:
        raise IrkdError(
            f"{pictures.path} holds no image of the ground truth, whose images are called "
            f"{shortened([image.name for image in truth.images], 3)}."
        )
    missing = len(everything) - len(kept)
    if missing:
        notes.append(
            f"{missing} of {len(everything)} images of the ground truth are not in "
            f"{pictures.path}; they are left out of all rows."
        )
    return kept


def misfit(folder: ResultFolder, truth: GroundTruth) -> tuple[str, str] | None:
    """The first image of `truth` that `folder` lacks or has damaged or in another size, and why."""
    for image in truth.images:
        path = folder.find(image.name)
        if path is None:
            return image.name, f"{folder.path} holds no image of this name."
        try:
            height, width = image_size(path)
        except IrkdError as error:
            return image.name, str(error)
        if image.height is not None and (height, width) != (image.height, image.width):
            return image.name, (
                f"{path} has {width} x {height} pixels; the annotations are for "
                f"{image.width} x {image.height}."
            )
    return None
