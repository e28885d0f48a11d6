"""YOLO's text files: one line an object, its box as shares of the image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from irkd.errors import IrkdError
from irkd.metrics.class_names import read_classes
from irkd.metrics.detection_files import Sizes, counted_noun, image_key, read_text, shortened
from irkd.metrics.detection_sets import AnnotatedImage, Gathered, GroundTruth

CLASS_FILES = ("classes.txt", "obj.names", "names.txt", "data.yaml")
"""What the names of YOLO's classes are found in, in the labels' folder or the two above it."""


def read_yolo(folder: Path, classes: str | Path | None, sizes: Sizes | None) -> GroundTruth:
    files = yolo_files(folder)
    if not files:
        raise IrkdError(
            f"{folder} holds neither .xml nor .txt annotations, nor an Annotations folder. "
            "Ground truth is COCO's JSON, or a folder of VOC's XML or YOLO's text files."
        )
    names, found = yolo_classes(folder, classes)
    if sizes is None or not len(sizes):
        raise IrkdError(
            f"{folder}: YOLO's labels are relative to their images. Give the folder of the images "
            "with --images DIR."
        )
    by_key = {image_key(name): name for name in sizes}
    if len(by_key) < len(sizes):
        raise IrkdError("two images differ in their suffix alone, so that labels fit both.")
    orphans = [key for key in files if key not in by_key]
    if orphans:
        raise IrkdError(
            f"{files[orphans[0]]} has no image of its name "
            f"({counted_noun(len(orphans), 'such label file')} of {len(files)}). "
            "Give the folder of the images with --images DIR."
        )
    gathered = Gathered(folder)
    if found is not None:
        gathered.notes.append(f"class names from {found}")
    images = []
    for index, (key, name) in enumerate(sorted(by_key.items())):
        height, width = sizes[name]
        image = AnnotatedImage(index + 1, name, width, height)
        images.append(image)
        # An image without a file of labels is one without objects.
        lines = yolo_lines(files[key], 5, names) if key in files else []
        for kind, values in lines:
            gathered.add(index, image, kind, from_relative(values, width, height))
    return gathered.ground_truth("yolo", images, names)


def yolo_classes(
    folder: Path, classes: str | Path | None = None
) -> tuple[dict[int, str], Path | None]:
    """The names of YOLO's classes, and the file beside the labels that they were found in."""
    if classes is not None:
        return read_classes(Path(classes)), None
    for place in (folder, *list(folder.resolve().parents)[:2]):
        for name in CLASS_FILES:
            if (place / name).is_file():
                return read_classes(place / name), place / name
    raise IrkdError(
        f"{folder}: YOLO's labels number their classes. Name them with --classes FILE "
        "(one name a line, or a data.yaml)."
    )


def yolo_files(folder: Path) -> dict[str, Path]:
    """The text files below `folder` by the key of their images; lists of class names left out."""
    files: dict[str, Path] = {}
    for file in sorted(folder.rglob("*.txt")):
        if file.name in CLASS_FILES or file.name.startswith("."):
            continue
        # Only ".txt" goes: names of images may hold dots.
        files[file.relative_to(folder).as_posix()[:-4].lower()] = file
    return files


def yolo_lines(file: Path, columns: int, names: Mapping[int, str]) -> list[tuple[int, list[float]]]:
    """Class numbers and the values after them. `columns`: 5, or 6 with a confidence at the end."""
    expected = "class x y width height" + (" confidence" if columns == 6 else "")
    result = []
    for position, line in enumerate(read_text(file).splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        where = f"{file}, line {position}"
        if len(words) != columns:
            advice = ""
            if columns == 6 and len(words) == 5:
                advice = " Have the detector write confidences, without which there is no ranking."
            raise IrkdError(
                f"{where}: {len(words)} values; expected {columns}: {expected}.{advice}"
            )
        try:
            values = [float(word) for word in words]
        except ValueError as error:
            raise IrkdError(f"{where}: {line.strip()!r}; expected numbers: {expected}.") from error
        if not all(map(math.isfinite, values)):
            raise IrkdError(f"{where}: {line.strip()!r}; expected finite numbers.")
        if values[0] not in names:
            raise IrkdError(
                f"{where}: class {words[0]} is not among the {len(names)} that are named "
                f"({shortened(list(names.values()))})."
            )
        if max(map(abs, values[1:5])) > 2:
            raise IrkdError(
                f"{where}: {line.strip()!r}; expected x, y, width and height as shares of the "
                "image, 0 to 1, not in pixels."
            )
        result.append((int(values[0]), values[1:]))
    return result


def from_relative(values: list[float], width: int, height: int) -> list[float]:
    """Centre and size as shares of the image, as x, y, width, height in pixels."""
    x, y, w, h = values[:4]
    return [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]
