"""An object detector from an ONNX file, run with onnxruntime on whole images."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from irkd.errors import IrkdError
from irkd.export.runtimes import open_session, require
from irkd.inference.detector_layouts import Picture, find_layout, fit
from irkd.metrics.class_names import COCO_CLASSES, read_classes

CONFIDENCE = 0.001
"""Boxes below it are dropped: average precision ranks all others, however unsure."""

OVERLAP = 0.5
"""Of two boxes of one class that overlap by more (intersection over union), the surer one stays."""

_CANDIDATES = 30_000
_KEPT = 300


class Detector:
    """Finds objects in images with the network in an ONNX file.

    `layout`: one of those in `detector_layouts`; "auto" reads it from the shapes of the outputs.
    `classes`: the file of the class names; by default the names in the file's metadata or, of 80
    classes, COCO's. `size`: the side of the input in pixels, for files that leave it open.

    At most 30,000 candidates of an image go through the suppression of overlaps, class by class,
    and at most 300 come out, the surest first.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        layout: str = "auto",
        classes: str | Path | None = None,
        size: int | None = None,
        overlap: float = OVERLAP,
        confidence: float = CONFIDENCE,
        device: str = "auto",
    ) -> None:
        self.path = Path(path)
        if not 0 < overlap <= 1:
            raise IrkdError(f"--detector-nms {overlap:g}: expected a share above 0, at most 1.")
        if self.path.suffix.lower() != ".onnx":
            raise IrkdError(f"{path}: a detector is an .onnx file; export it with its own tool.")
        if not self.path.is_file():
            raise IrkdError(f"{path}: no such file.")
        runtime = require("onnxruntime", "running a detector", "detect")
        self._session = open_session(runtime, path, device="cpu" if device == "auto" else device)
        metadata = self._session.get_modelmeta().custom_metadata_map
        self._overlap, self._confidence = overlap, confidence
        self._read_input(size, metadata)
        # An empty image tells the shapes that a file leaves open.
        shapes = [output.shape for output in self._run(np.zeros((*self.size, 3), np.uint8))]
        self.layout = find_layout(layout, shapes, self.size, str(path))
        count = self.layout.classes(shapes, self.size)
        assert count is not None
        self.classes = self._class_names(classes, metadata, count)

    def __call__(
        self, picture: Picture
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Objects in H x W x 3 uint8 RGB: class numbers, boxes x, y, width, height, scores.

        Boxes are in pixels of `picture` and inside it. Raises IrkdError when the network's output
        has values that no detector of its layout gives.
        """
        fitted = fit(picture, self.size, self.layout.grey)
        corners, scores = self.layout.decode(self._run(fitted.pixels), self.size)
        if not (np.isfinite(corners).all() and np.isfinite(scores).all()):
            raise IrkdError(f"{self.path}: its output has values that are not finite.")
        if scores.size and (scores.min() < -1e-3 or scores.max() > 1 + 1e-3):
            raise IrkdError(
                f"{self.path}: its scores go from {scores.min():.3g} to {scores.max():.3g}; "
                f"{self.layout.name} gives 0 to 1. Is it another layout, or without its sigmoid?"
            )
        corners, scores, kinds = self._distinct(corners, scores)
        height, width = picture.shape[:2]
        corners = np.clip(fitted.corners_in_picture(corners), 0, [width, height] * 2)
        boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)
        inside = (boxes[:, 2] > 0) & (boxes[:, 3] > 0)
        return kinds[inside], boxes[inside].astype(np.float64), scores[inside].astype(np.float64)

    def _distinct(self, corners: Any, scores: Any) -> tuple[Any, Any, NDArray[np.int64]]:
        """The sure ones that do not overlap, each box once for every class that it may be."""
        from torchvision.ops import batched_nms

        rows, kinds = np.nonzero(scores >= self._confidence)
        chosen = scores[rows, kinds]
        if len(chosen) > _CANDIDATES:
            surest = np.sort(np.argpartition(-chosen, _CANDIDATES)[:_CANDIDATES])
            rows, kinds, chosen = rows[surest], kinds[surest], chosen[surest]
        kept = batched_nms(
            torch.from_numpy(np.ascontiguousarray(corners[rows], np.float32)),
            torch.from_numpy(np.ascontiguousarray(chosen, np.float32)),
            torch.from_numpy(kinds),
            self._overlap,
        )[:_KEPT].numpy()
        return corners[rows[kept]], chosen[kept], kinds[kept]

    def _run(self, pixels: Picture) -> list[NDArray[np.float32]]:
        """One pass: height x width x 3 in the size of the input."""
        values = np.divide(pixels, 255, dtype=np.float32)[None]
        if self._channels_first:
            values = values.transpose(0, 3, 1, 2)
        values = np.ascontiguousarray(values, self._dtype)
        try:
            outputs = self._session.run(None, {self._input: values})
        except Exception as error:
            raise IrkdError(f"{self.path} does not run: {str(error).splitlines()[0]}") from error
        return [np.asarray(output, np.float32) for output in outputs]

    def _read_input(self, size: int | None, metadata: Mapping[str, str]) -> None:
        inputs = self._session.get_inputs()
        shape = list(inputs[0].shape)
        kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
        if len(inputs) != 1 or len(shape) != 4 or 3 not in (shape[1], shape[3]):
            raise IrkdError(
                f"{self.path}: expected one input of images, batch x 3 x height x width or batch x "
                f"height x width x 3; it has {len(inputs)}, the first of shape {shape}."
            )
        if inputs[0].type not in kinds:
            raise IrkdError(f"{self.path}: its input is {inputs[0].type}; expected floats.")
        if isinstance(shape[0], int) and shape[0] > 1:
            raise IrkdError(f"{self.path} takes {shape[0]} images at a time; expected one.")
        self._input, self._dtype = inputs[0].name, kinds[inputs[0].type]
        self._channels_first = shape[1] == 3
        sides = shape[2:] if self._channels_first else shape[1:3]
        stated = _literal(metadata.get("imgsz"))
        fixed = all(isinstance(side, int) and side > 0 for side in sides)
        if fixed:
            self.size = (sides[0], sides[1])
            if size is not None and self.size != (size, size):
                raise IrkdError(
                    f"{self.path} takes images of {sides[0]} x {sides[1]} alone, "
                    f"not --detector-size {size}."
                )
        elif size is not None:
            self.size = (size, size)
        elif (
            isinstance(stated, list)
            and len(stated) == 2
            and all(type(side) is int and side > 0 for side in stated)
        ):
            self.size = (stated[0], stated[1])
        else:
            raise IrkdError(
                f"{self.path} takes images of any size. Say which it was trained for: "
                "--detector-size 416, for example."
            )

    def _class_names(
        self, classes: str | Path | None, metadata: Mapping[str, str], count: int
    ) -> dict[int, str]:
        stored = _literal(metadata.get("names"))
        if classes is not None:
            names, source = read_classes(Path(classes)), str(classes)
        elif isinstance(stored, dict) and all(type(number) is int for number in stored):
            names = {number: str(name) for number, name in stored.items()}
            source = f"the metadata of {self.path}"
        elif count == len(COCO_CLASSES):
            return dict(enumerate(COCO_CLASSES))
        else:
            raise IrkdError(
                f"{self.path} knows {count} classes. Name them with --detector-classes FILE "
                "(one a line, or a data.yaml)."
            )
        if sorted(names) != list(range(count)):
            raise IrkdError(
                f"{self.path} knows {count} classes, numbered from 0; {source} names {len(names)}, "
                f"numbered {min(names)} to {max(names)}."
            )
        return names


def _literal(text: str | None) -> Any:
    """What Python's notation in a file's metadata says; None where it says nothing."""
    try:
        return ast.literal_eval(text) if text else None
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
