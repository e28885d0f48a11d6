"""Names of object classes: read from files, and one detector's numbers turned into another's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import yaml
from numpy.typing import NDArray

from irkd.errors import IrkdError

Integers = NDArray[np.int64]

# fmt: off
COCO_CLASSES: tuple[str, ...] = (
    "person", "bicycle", "car", "motorbike", "aeroplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog",
    "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella",
    "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite",
    "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange",
    "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "sofa", "pottedplant",
    "bed", "diningtable", "toilet", "tvmonitor", "laptop", "mouse", "remote", "keyboard",
    "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase",
    "scissors", "teddy bear", "hair drier", "toothbrush",
)
# fmt: on
"""The 80 classes of COCO as Darknet orders and spells them, which most detectors are trained on."""

# What COCO calls some of VOC's classes; Darknet and RTTS keep VOC's words.
_SAME = {"motorcycle": "motorbike", "airplane": "aeroplane", "couch": "sofa", "tv": "tvmonitor"}


class ClassMap:
    """Translates a detector's class numbers into indices of the ground truth's classes, by name.

    Names agree when they differ in case, spaces, hyphens and underscores alone, or are COCO's and
    VOC's words for one thing (motorcycle, motorbike). Raises IrkdError when no name agrees.
    """

    def __init__(self, names: Mapping[int, str], classes: Sequence[str], source: str) -> None:
        self.names = dict(names)
        exact = {_plain(name): index for index, name in enumerate(classes)}
        if len(exact) < len(classes):
            raise IrkdError(f"two classes of the ground truth have one name: {', '.join(classes)}.")
        loose: dict[str, int | None] = {}
        for index, name in enumerate(classes):
            loose[_loose(name)] = None if _loose(name) in loose else index
        self._to: dict[int, int | None] = {}
        renamed = []
        for number, name in self.names.items():
            found = exact.get(_plain(name))
            if found is None:
                found = loose.get(_loose(name))
                if found is not None:
                    renamed.append(f"{name} as {classes[found]}")
            self._to[number] = found
        reached = {index for index in self._to.values() if index is not None}
        if not reached:
            raise IrkdError(
                f"{source}: none of the classes ({_shortened(list(self.names.values()))}) is one "
                f"of the ground truth's ({_shortened(classes)}). If they have other names, name "
                "the detector's classes with --detector-classes FILE."
            )
        self.notes: list[str] = [f"taken: {', '.join(renamed)}"] if renamed else []
        absent = [name for index, name in enumerate(classes) if index not in reached]
        if absent:
            self.notes.append(f"nothing is called {', '.join(absent)}: average precision 0 there")

    def translate(self, numbers: Integers) -> Integers:
        """Indices of the ground truth's classes; -1 for classes that it does not have."""
        distinct, which = np.unique(numbers, return_inverse=True)
        found = [self._to[number] for number in distinct.tolist()]
        indices = np.array([-1 if index is None else index for index in found], np.int64)
        translated: Integers = indices[which]
        return translated


def read_classes(path: Path) -> dict[int, str]:
    """The names in `path` by number.

    A text file (one name a line, counted from 0: Darknet's .names, classes.txt), a YAML file with
    `names` (data.yaml), or JSON: a list, a mapping from numbers, or COCO's annotations.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise IrkdError(f"{path}: no such file. Give the file with the class names.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise IrkdError(f"{path} cannot be read as text.") from error
    if path.suffix.lower() in (".json", ".yaml", ".yml"):
        names = _structured(path, text)
    else:
        lines = [line.strip() for line in text.rstrip().splitlines()]
        if "" in lines:
            raise IrkdError(
                f"{path}: line {lines.index('') + 1} is empty; expected one class name a line."
            )
        names = dict(enumerate(lines))
    return check_classes(names, str(path))


def is_number(value: object) -> TypeGuard[int]:
    """Whether `value` can be an id: a whole number, not negative, and not beyond all reason."""
    return type(value) is int and 0 <= value < 1 << 53


def check_classes(names: Mapping[int, str], source: str) -> dict[int, str]:
    """`names`, or an IrkdError where there are none, or one comes twice."""
    if not names:
        raise IrkdError(f"{source} holds no class names.")
    seen: dict[str, int] = {}
    for number, name in names.items():
        if _plain(name) in seen:
            raise IrkdError(
                f"{source}: classes {seen[_plain(name)]} and {number} are both called {name!r}."
            )
        seen[_plain(name)] = number
    return dict(names)


def _structured(path: Path, text: str) -> dict[int, str]:
    try:
        # JSON is YAML, and much faster to read as such.
        content = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
        return _numbered(content)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise IrkdError(
            f"{path}: expected a list of class names, a mapping from numbers to names, `names:` "
            "with either, or COCO's categories."
        ) from error


def _numbered(content: Any) -> dict[int, str]:
    if isinstance(content, dict):
        if "categories" in content:
            return _numbered(
                {int(entry["id"]): entry["name"] for entry in _entries(content["categories"])}
            )
        if "names" in content:
            content = content["names"]
    if isinstance(content, list):
        content = dict(enumerate(content))
    if not isinstance(content, dict):
        raise ValueError
    if any(isinstance(name, dict | list) or name is None for name in content.values()):
        raise ValueError
    names = {int(number): str(name).strip() for number, name in content.items()}
    if any(not is_number(number) or not name for number, name in names.items()):
        raise ValueError
    return names


def _entries(categories: Any) -> list[dict[str, Any]]:
    if not isinstance(categories, list):
        raise ValueError
    if not all(isinstance(entry, dict) and {"id", "name"} <= set(entry) for entry in categories):
        raise ValueError
    return categories


def _plain(name: str) -> str:
    return name.strip().casefold()


def _loose(name: str) -> str:
    joined = "".join(letter for letter in _plain(name) if letter not in " _-")
    return _SAME.get(joined, joined)


def _shortened(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f", {len(names) - 5} more" if len(names) > 5 else "")
