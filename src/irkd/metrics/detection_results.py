"""Detections that other tools wrote: COCO's results JSON, Darknet's result.json, YOLO's text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irkd.errors import IrkdError
from irkd.metrics.class_names import ClassMap, is_number, read_classes
from irkd.metrics.detection_files import counted_noun, numbers, read_json, shortened
from irkd.metrics.detection_sets import Collector, Detections, GroundTruth
from irkd.metrics.detection_yolo import from_relative, yolo_files, yolo_lines

Boxes = dict[int, list[tuple[int, list[float], float]]]
"""By image index: class number, box in pixels, confidence."""


def read_detections(
    path: str | Path, ground_truth: GroundTruth, *, classes: str | Path | None = None
) -> Detections:
    """The detections in `path`, translated to the images and classes of `ground_truth`.

    A JSON file of COCO's results or Darknet's `-out result.json`, or a folder of YOLO's text files
    with confidences. `classes`: the file that names what class numbers mean (see
    `class_names.read_classes`). Without it COCO's category ids are those of a ground truth in COCO
    JSON, and YOLO's numbers those of a ground truth in YOLO's format; Darknet writes names itself.

    Detections on images and of classes that the ground truth does not have are left out, and the
    result's notes say so. Raises IrkdError where none belong to it, or the file makes no sense.
    """
    path = Path(path)
    given = read_classes(Path(classes)) if classes is not None else None
    names: Mapping[int, str]
    reader = _Reader(path, ground_truth)
    if path.is_dir():
        names = given or _own_classes(path, ground_truth, "yolo")
        reader.read_yolo(names)
    else:
        content = read_json(path)
        if isinstance(content, dict):
            what = "ground truth" if "annotations" in content else "an object"
            raise IrkdError(
                f"{path} is {what}; detections are a list: COCO's results or Darknet's result.json."
            )
        if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
            raise IrkdError(f"{path}: expected a list of detections.")
        if not content:
            return Collector(_identity(ground_truth)).detections()
        if "objects" in content[0] or "filename" in content[0]:
            names = reader.read_darknet(content, given)
        else:
            names = given or _own_classes(path, ground_truth, "coco")
            reader.read_coco(content, names)
    return reader.finished(names)


def _own_classes(path: Path, ground_truth: GroundTruth, kind: str) -> Mapping[int, str]:
    if ground_truth.format != kind:
        what = "category ids" if kind == "coco" else "class numbers"
        raise IrkdError(
            f"{path}: what its {what} mean is not known, since the ground truth has none of its "
            "own in that form. Name the detector's classes with --detector-classes FILE."
        )
    return dict(zip(ground_truth.category_ids, ground_truth.classes, strict=True))


def _identity(ground_truth: GroundTruth) -> ClassMap:
    classes = ground_truth.classes
    return ClassMap(dict(enumerate(classes)), classes, ground_truth.source)


class _Reader:
    """Boxes by image, and what was strange about them."""

    def __init__(self, path: Path, ground_truth: GroundTruth) -> None:
        self.path, self.ground_truth = path, ground_truth
        self._boxes: Boxes = {}
        self._elsewhere: dict[Any, int] = {}
        self._total = self._outside = 0

    def read_coco(self, content: list[dict[str, Any]], names: Mapping[int, str]) -> None:
        found: dict[Any, int | None] = {}
        for position, entry in enumerate(content):
            where = f"{self.path}: entry {position}"
            for key in ("image_id", "category_id", "bbox", "score"):
                if key not in entry:
                    raise IrkdError(f"{where} has no `{key}`, which COCO's results have.")
            number = entry["image_id"]
            if type(number) not in (int, str):
                raise IrkdError(f"{where}: image_id {number!r}; expected a number or a name.")
            kind = self._class_number(where, entry["category_id"], names)
            box = numbers(entry["bbox"], 4)
            if box is None:
                raise IrkdError(f"{where}: bbox {entry['bbox']!r}; expected four finite numbers.")
            if number not in found:
                found[number] = self.ground_truth.find_number(number)
            self._add(where, found[number], number, kind, box, entry["score"])

    def read_darknet(
        self, content: list[dict[str, Any]], names: Mapping[int, str] | None
    ) -> dict[int, str]:
        """Returns the names by class number: those given or, without, those in the file."""
        written: dict[int, str] = dict(names or {})
        seen: dict[int, str] = {}
        for entry in content:
            name, objects = entry.get("filename"), entry.get("objects")
            if not isinstance(name, str) or not isinstance(objects, list):
                raise IrkdError(
                    f"{self.path}: an entry has no `filename` or no `objects`; expected the file "
                    "that Darknet writes with -out result.json."
                )
            index = self.ground_truth.find(name)
            if index is not None and index in seen:
                raise IrkdError(f"{self.path} holds image {name} twice. Remove one.")
            if index is not None:
                seen[index] = name
            size = self._size(index)
            for thing in objects:
                where = f"{self.path}: {name}"
                kind = thing.get("class_id") if isinstance(thing, dict) else None
                place = thing.get("relative_coordinates") if isinstance(thing, dict) else None
                if not isinstance(place, dict) or "confidence" not in thing:
                    raise IrkdError(
                        f"{where}: an object has no `class_id`, `relative_coordinates` or "
                        "`confidence`, which Darknet's result.json has."
                    )
                label = thing.get("name")
                if is_number(kind) and names is None and isinstance(label, str):
                    written.setdefault(kind, label)
                number = self._class_number(where, kind, written)
                if names is None and label not in (None, written[number]):
                    raise IrkdError(
                        f"{where}: class {kind} is called {label!r} here and {written[number]!r} "
                        "elsewhere."
                    )
                parts = [place.get(key) for key in ("center_x", "center_y", "width", "height")]
                values = numbers(parts, 4)
                if values is None or max(map(abs, values)) > 2:
                    raise IrkdError(
                        f"{where}: relative_coordinates {parts}; expected shares of the image."
                    )
                box = from_relative(values, *size)
                self._add(where, index, name, number, box, thing["confidence"])
        if not written:
            # Images without any object: which classes there were does not matter.
            written = dict(enumerate(self.ground_truth.classes))
        return written

    def read_yolo(self, names: Mapping[int, str]) -> None:
        files = yolo_files(self.path)
        if not files:
            raise IrkdError(f"{self.path} holds no .txt files of detections.")
        seen: dict[int, Path] = {}
        for key, file in files.items():
            index = self.ground_truth.find(key)
            if index is not None and index in seen:
                raise IrkdError(f"{seen[index]} and {file} are both of one image. Remove one.")
            lines = yolo_lines(file, 6, names)
            if index is None:
                self._elsewhere[key] = len(lines)
                self._total += len(lines)
                continue
            seen[index] = file
            size = self._size(index)
            for kind, values in lines:
                self._add(str(file), index, key, kind, from_relative(values, *size), values[4])
        if not seen:
            self._refuse_elsewhere()

    def finished(self, names: Mapping[int, str]) -> Detections:
        inside = sum(len(boxes) for boxes in self._boxes.values())
        if self._total and not inside:
            self._refuse_elsewhere()
        if self._outside * 2 > inside > 0:
            raise IrkdError(
                f"{self.path}: {self._outside} of {inside} boxes lie outside their images. "
                "Expected x, y, width and height in pixels of the original image."
            )
        collector = Collector(ClassMap(names, self.ground_truth.classes, str(self.path)))
        for index, boxes in self._boxes.items():
            kinds: NDArray[np.int64] = np.array([kind for kind, _, _ in boxes], np.int64)
            collector.add(
                index,
                kinds,
                np.array([box for _, box, _ in boxes], np.float64),
                np.array([score for _, _, score in boxes], np.float64),
            )
        result = collector.detections()
        notes = list(result.notes)
        if self._elsewhere:
            many = counted_noun(len(self._elsewhere), "image")
            notes.append(
                f"detections on {many} that the ground truth does not have left out "
                f"({shortened(sorted(map(str, self._elsewhere)), 3)})"
            )
        if self._outside:
            notes.append(f"{self._outside} of {inside} boxes lie outside their images")
        return Detections(
            result.image_index, result.class_index, result.boxes, result.scores, tuple(notes)
        )

    def _add(
        self, where: str, index: int | None, name: Any, kind: int, box: list[float], score: Any
    ) -> None:
        checked = numbers([score], 1)
        if checked is None:
            raise IrkdError(f"{where}: confidence {score!r}; expected a finite number.")
        x, y, width, height = box
        if width < 0 or height < 0:
            raise IrkdError(
                f"{where}: a box with width {width:g} and height {height:g}; expected x, y, width "
                "and height, of the upper left corner, none of the last two negative."
            )
        self._total += 1
        if index is None:
            self._elsewhere[name] = self._elsewhere.get(name, 0) + 1
            return
        image = self.ground_truth.images[index]
        if image.width is not None and image.height is not None:
            beyond = x >= image.width or y >= image.height or x + width <= 0 or y + height <= 0
            self._outside += beyond and width > 0 and height > 0
        self._boxes.setdefault(index, []).append((kind, box, checked[0]))

    def _class_number(self, where: str, kind: Any, names: Mapping[int, str]) -> int:
        if not is_number(kind) or kind not in names:
            known = shortened([f"{number} {name}" for number, name in names.items()])
            raise IrkdError(
                f"{where}: class {kind!r} is not among those that are named ({known}). If the "
                "numbers are another detector's, name them with --detector-classes FILE."
            )
        return kind

    def _size(self, index: int | None) -> tuple[int, int]:
        """Width and height in pixels; of an image that is left out any will do."""
        if index is None:
            return 1, 1
        image = self.ground_truth.images[index]
        if image.width is None or image.height is None:
            raise IrkdError(
                f"{self.path}: its boxes are relative, and the size of {image.name} is not known. "
                "Give the folder of the images with --images DIR."
            )
        return image.width, image.height

    def _refuse_elsewhere(self) -> None:
        theirs = shortened(list(self._elsewhere), 3)
        ours = shortened([image.name for image in self.ground_truth.images], 3)
        raise IrkdError(
            f"{self.path}: no detection is on an image of the ground truth. Its images: {theirs}; "
            f"the ground truth's: {ours}. Images are matched by file name without suffix, or id."
        )
