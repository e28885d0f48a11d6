"""Objects annotated in images, objects found in them, and how both are put together.

Boxes are x, y, width, height in pixels, x and y of the upper left corner, as in COCO.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irkd.errors import IrkdError
from irkd.metrics.class_names import ClassMap
from irkd.metrics.detection_files import counted_noun, image_key, shortened

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_NOTHING = (np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0))


@dataclass(frozen=True)
class AnnotatedImage:
    """One image of the ground truth. `number`: its id in COCO files; sizes in pixels or None."""

    number: int
    name: str
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True)
class GroundTruth:
    """Annotated images, those without objects among them.

    Arrays have one entry an object: `image_index` and `class_index` count from 0 in `images` and
    `classes`; `boxes` is M x 4; `ignored` objects (COCO's crowds, VOC's difficult ones) count
    neither when found nor when missed. `category_ids`: the number of each class in COCO files.
    """

    source: str
    format: str
    images: tuple[AnnotatedImage, ...]
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    image_index: Integers
    class_index: Integers
    boxes: Floats
    ignored: NDArray[np.bool_]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        keys: dict[str, str] = {}
        for image in self.images:
            key = image_key(image.name)
            if key in keys:
                raise IrkdError(
                    f"{self.source}: two images are called {image.name!r} and {keys[key]!r}; "
                    "names without their suffixes must differ. Remove one."
                )
            keys[key] = image.name

    @property
    def counted(self) -> Integers:
        """Objects of each class that are not ignored."""
        kept = self.class_index[~self.ignored]
        return np.bincount(kept, minlength=len(self.classes)).astype(np.int64)

    def find(self, name: str) -> int | None:
        """The index of the image called `name`: the same path or, failing that, the same stem.

        Suffixes, case and leading folders do not count. None where there is none, or where several
        have that stem and leading folders do not decide.
        """
        key = image_key(name)
        if key in self._by_key:
            return self._by_key[key]
        alike = self._by_stem.get(key.rpartition("/")[2], [])
        if len(alike) > 1:
            alike = [
                index
                for index in alike
                if f"/{key}".endswith(f"/{image_key(self.images[index].name)}")
            ]
        return alike[0] if len(alike) == 1 else None

    def find_number(self, number: int | str) -> int | None:
        """The index of the image that a COCO results file calls `number`.

        Its id or, where the ground truth has none of its own, the number that its name is.
        """
        if isinstance(number, str):
            return self.find(number)
        if self.format == "coco":
            return self._by_number.get(number)
        return self._by_numeric_stem.get(number)

    def subset(self, kept: Sequence[int]) -> GroundTruth:
        """The images at the indices `kept` alone, with their objects."""
        position = np.full(len(self.images), -1, np.int64)
        position[list(kept)] = np.arange(len(kept))
        chosen = position[self.image_index] >= 0
        return replace(
            self,
            images=tuple(self.images[index] for index in kept),
            image_index=position[self.image_index[chosen]],
            class_index=self.class_index[chosen],
            boxes=self.boxes[chosen],
            ignored=self.ignored[chosen],
        )

    def to_coco(self) -> dict[str, Any]:
        """COCO's annotation JSON; annotation ids count from 1, since 0 reads as unmatched."""
        return {
            "images": [
                {
                    "id": image.number,
                    "file_name": image.name,
                    "width": image.width,
                    "height": image.height,
                }
                for image in self.images
            ],
            "annotations": [
                {
                    "id": position + 1,
                    "image_id": self.images[image].number,
                    "category_id": self.category_ids[kind],
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": int(ignored),
                }
                for position, (image, kind, box, ignored) in enumerate(
                    zip(
                        self.image_index.tolist(),
                        self.class_index.tolist(),
                        self.boxes.tolist(),
                        self.ignored.tolist(),
                        strict=True,
                    )
                )
            ],
            "categories": [
                {"id": number, "name": name}
                for number, name in zip(self.category_ids, self.classes, strict=True)
            ],
        }

    @cached_property
    def _by_key(self) -> dict[str, int]:
        return {image_key(image.name): index for index, image in enumerate(self.images)}

    @cached_property
    def _by_stem(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for key, index in self._by_key.items():
            found.setdefault(key.rpartition("/")[2], []).append(index)
        return found

    @cached_property
    def _by_number(self) -> dict[int, int]:
        return {image.number: index for index, image in enumerate(self.images)}

    @cached_property
    def _by_numeric_stem(self) -> dict[int, int]:
        numbers = {
            int(stem): found[0]
            for stem, found in self._by_stem.items()
            if stem.isdecimal() and len(found) == 1
        }
        clashes = [stem for stem in self._by_stem if stem.isdecimal()]
        return numbers if len(numbers) == len(clashes) else {}


@dataclass(frozen=True)
class Detections:
    """Boxes that a detector found, one entry a box; indices as in the ground truth."""

    image_index: Integers
    class_index: Integers
    boxes: Floats
    scores: Floats
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.scores)

    def subset(self, kept: Sequence[int], images: int) -> Detections:
        """Those on the images at the indices `kept` of `images`, numbered as in the subset."""
        position = np.full(images, -1, np.int64)
        position[list(kept)] = np.arange(len(kept))
        chosen = position[self.image_index] >= 0
        return replace(
            self,
            image_index=position[self.image_index[chosen]],
            class_index=self.class_index[chosen],
            boxes=self.boxes[chosen],
            scores=self.scores[chosen],
        )

    def to_coco(self, ground_truth: GroundTruth) -> list[dict[str, Any]]:
        """COCO's results JSON, with the image and category ids of `ground_truth.to_coco()`."""
        return [
            {
                "image_id": ground_truth.images[image].number,
                "category_id": ground_truth.category_ids[kind],
                "bbox": box,
                "score": score,
            }
            for image, kind, box, score in zip(
                self.image_index.tolist(),
                self.class_index.tolist(),
                self.boxes.tolist(),
                self.scores.tolist(),
                strict=True,
            )
        ]


@dataclass
class Collector:
    """Boxes of one detector gathered image by image, its classes translated by name.

    Those of classes that the ground truth does not have are counted and left out.
    """

    classes: ClassMap
    left_out: dict[str, int] = field(default_factory=dict)
    _parts: list[tuple[int, Integers, Floats, Floats]] = field(default_factory=list)

    def add(self, image: int, kinds: Integers, boxes: Floats, scores: Floats) -> None:
        """`kinds`: N numbers of the detector's classes; `boxes`: N x 4; `scores`: N."""
        translated = self.classes.translate(kinds)
        for kind in kinds[translated < 0].tolist():
            name = self.classes.names[kind]
            self.left_out[name] = self.left_out.get(name, 0) + 1
        kept = translated >= 0
        self._parts.append((image, translated[kept], boxes[kept], scores[kept]))

    def detections(self) -> Detections:
        parts = self._parts or [(0, *_NOTHING)]
        notes = list(self.classes.notes)
        if self.left_out:
            many = counted_noun(sum(self.left_out.values()), "detection")
            notes.append(
                f"{many} of classes that the ground truth does "
                f"not have left out ({shortened(sorted(self.left_out))})"
            )
        counts = [len(kinds) for _, kinds, _, _ in parts]
        return Detections(
            np.repeat([image for image, _, _, _ in parts], counts).astype(np.int64),
            np.concatenate([kinds for _, kinds, _, _ in parts]),
            np.concatenate([boxes for _, _, boxes, _ in parts]),
            np.concatenate([scores for _, _, _, scores in parts]),
            tuple(notes),
        )


class Gathered:
    """Objects of all images, and what was strange about them."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.notes: list[str] = []
        self._objects: list[tuple[int, int, list[float], bool]] = []
        self._flat = self._partly = 0

    def add(
        self, index: int, image: AnnotatedImage, kind: int, box: list[float], ignored: bool = False
    ) -> None:
        x, y, width, height = box
        if width < 0 or height < 0:
            raise IrkdError(
                f"{self.source}: image {image.name} has a box with width {width:g} and height "
                f"{height:g}. Correct or remove it."
            )
        if width == 0 or height == 0:
            self._flat += 1
            return
        if image.width is not None and image.height is not None:
            # One pixel of grace: annotation tools count from 0 or from 1.
            if x >= image.width + 1 or y >= image.height + 1 or x + width < -1 or y + height < -1:
                raise IrkdError(
                    f"{self.source}: image {image.name}, {image.width} x {image.height} pixels, "
                    f"has a box outside of it (x {x:g}, y {y:g}, width {width:g}, height "
                    f"{height:g}). Are the boxes of other images or another size?"
                )
            right, bottom = x + width - image.width, y + height - image.height
            self._partly += min(x, y) < -1 or max(right, bottom) > 1
        self._objects.append((index, kind, box, ignored))

    def ground_truth(
        self, kind: str, images: list[AnnotatedImage], categories: dict[int, str]
    ) -> GroundTruth:
        if self._flat:
            self.notes.append(f"{counted_noun(self._flat, 'box')} without area left out")
        if self._partly:
            self.notes.append(f"{counted_noun(self._partly, 'box')} partly outside the image")
        place = {number: index for index, number in enumerate(categories)}
        parts = list(zip(*self._objects, strict=True)) or [(), (), (), ()]
        return GroundTruth(
            str(self.source),
            kind,
            tuple(images),
            tuple(categories.values()),
            tuple(categories),
            np.array(parts[0], np.int64),
            np.array([place[number] for number in parts[1]], np.int64),
            np.array(parts[2], np.float64).reshape(-1, 4),
            np.array(parts[3], bool),
            tuple(self.notes),
        )
