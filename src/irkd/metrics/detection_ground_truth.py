"""Ground truth of object detection, as COCO JSON, VOC XML (RTTS) and YOLO text have it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from irkd.errors import IrkdError
from irkd.metrics.class_names import check_classes, is_number
from irkd.metrics.detection_files import Sizes, numbers, read_json, size_finder, stated_size
from irkd.metrics.detection_sets import AnnotatedImage, Gathered, GroundTruth
from irkd.metrics.detection_voc import read_voc
from irkd.metrics.detection_yolo import read_yolo


def read_ground_truth(
    path: str | Path, *, classes: str | Path | None = None, sizes: Sizes | None = None
) -> GroundTruth:
    """The annotations in `path`: COCO's JSON, or a folder of VOC's XML or YOLO's text files.

    `classes`: names of YOLO's classes (see `class_names.read_classes`); by default the file of them
    beside the labels. `sizes`: the images that there are. YOLO's labels, which are relative, need
    them; of the others they give the sizes that the annotations do not.

    VOC's boxes are taken as 1-based pixels, both ends included. Of a folder with `Annotations` and
    `ImageSets/Main/test.txt` the images in that list are taken. Boxes without area are left out.

    Raises IrkdError for what is missing, damaged, ambiguous, or without a single object.
    """
    path = Path(path)
    if path.is_dir():
        folder = path / "Annotations" if (path / "Annotations").is_dir() else path
        if any(folder.rglob("*.xml")):
            if classes is not None:
                raise IrkdError(f"{folder}: XML names its classes itself; leave out --classes.")
            return _checked(read_voc(path, folder, sizes))
        return _checked(read_yolo(path, classes, sizes))
    if classes is not None:
        raise IrkdError("--classes names the classes of YOLO labels; give their folder with it.")
    return _checked(_read_coco(path, sizes))


def _checked(ground_truth: GroundTruth) -> GroundTruth:
    if not ground_truth.counted.any():
        raise IrkdError(
            f"{ground_truth.source} has no objects in its {len(ground_truth.images)} images: "
            "average precision needs some."
        )
    return ground_truth


# COCO.


def _read_coco(path: Path, sizes: Sizes | None) -> GroundTruth:
    content = read_json(path)
    if isinstance(content, list):
        raise IrkdError(
            f"{path} is a list, as detections are. Ground truth has `images`, `annotations` and "
            "`categories`; give detections with --detections NAME=FILE."
        )
    categories: dict[int, str] = {}
    for entry in _entries(path, content, "categories", ("id", "name")):
        number = _identity(path, "category", entry["id"], categories)
        categories[number] = str(entry["name"])
    check_classes(categories, str(path))
    known = size_finder(sizes)
    images: list[AnnotatedImage] = []
    places: dict[int, int] = {}
    for entry in _entries(path, content, "images", ("id", "file_name")):
        number = _identity(path, "image", entry["id"], places)
        places[number] = len(images)
        name = str(entry["file_name"])
        height, width = stated_size(entry.get("height"), entry.get("width")) or known(name)
        images.append(AnnotatedImage(number, name, width, height))
    gathered = Gathered(path)
    seen: set[int] = set()
    for entry in _entries(
        path, content, "annotations", ("id", "image_id", "category_id", "bbox"), may_be_empty=True
    ):
        seen.add(_identity(path, "annotation", entry["id"], seen))
        where = f"{path}: annotation {entry['id']}"
        index = _known(places, entry["image_id"])
        if index is None:
            raise IrkdError(f"{where} is of image {entry['image_id']!r}, which is not listed.")
        if _known(categories, entry["category_id"]) is None:
            raise IrkdError(
                f"{where} is of category {entry['category_id']!r}, which is not listed."
            )
        box = numbers(entry["bbox"], 4)
        if box is None:
            raise IrkdError(f"{where}: its bbox is {entry['bbox']!r}; expected four numbers.")
        ignored = bool(entry.get("iscrowd"))
        gathered.add(index, images[index], entry["category_id"], box, ignored)
    return gathered.ground_truth("coco", images, categories)


def _known(found: Mapping[int, Any], number: Any) -> Any:
    return found.get(number) if type(number) is int else None


def _entries(
    path: Path, content: Any, key: str, fields: tuple[str, ...], *, may_be_empty: bool = False
) -> list[dict[str, Any]]:
    entries = content.get(key) if isinstance(content, dict) else None
    if not isinstance(entries, list) or not (entries or may_be_empty):
        raise IrkdError(
            f"{path} holds no `{key}`. COCO's ground truth is an object with `images`, "
            "`annotations` and `categories`."
        )
    for position, entry in enumerate(entries):
        missing = [name for name in fields if not isinstance(entry, dict) or name not in entry]
        if missing:
            raise IrkdError(f"{path}: {key}[{position}] has no `{missing[0]}`.")
    return entries


def _identity(path: Path, what: str, number: Any, taken: Any) -> int:
    if not is_number(number):
        raise IrkdError(f"{path}: {what} id {number!r}; expected a whole number.")
    if number in taken:
        raise IrkdError(f"{path}: {what} id {number} comes twice. Ids must differ; renumber them.")
    return number
