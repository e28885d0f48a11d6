"""What detectors' ONNX files take and give, by layout: two of YOLOv4's exports, and YOLOv8's.

`yolov4-zoo`: the ONNX model zoo's file. Three heads of B x G x G x 3 x (5 + C), the confidences
past their sigmoid, the boxes relative to grid and anchors; letterboxed input, grey 128.
`boxes-confs`: pytorch-YOLOv4's export. Corners B x N x 1 x 4 as shares of the input and scores
B x N x C; input resized without regard to its proportions.
`yolov8`: B x (4 + C) x N, centres and sizes in pixels of the input; letterboxed, grey 114.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from irkd.errors import IrkdError

Floats = NDArray[np.float32]
Picture = NDArray[np.uint8]
Shapes = Sequence[tuple[int, ...]]
Decoded = tuple[Floats, Floats]
"""Corners x1, y1, x2, y2 in pixels of the input, N x 4, and scores, N x C."""

# YOLOv4 at any input size: width and height in pixels, three of each stride.
_ANCHORS = np.array(
    [
        [[12, 16], [19, 36], [40, 28]],
        [[36, 75], [76, 55], [72, 146]],
        [[142, 110], [192, 243], [459, 401]],
    ],
    np.float32,
)
_STRIDES = (8, 16, 32)
# How far a centre may leave its cell, by stride (`scale_x_y` of the network's cfg).
_REACH = (1.2, 1.1, 1.05)


@dataclass(frozen=True)
class Layout:
    """`grey`: what surrounds letterboxed images; None resizes without regard to proportions.

    `classes`: how many an output of these shapes has for an input of (height, width); None if it
    is of another layout. `decode`: one image's outputs and the input's (height, width).
    """

    name: str
    grey: int | None
    classes: Callable[[Shapes, tuple[int, int]], int | None]
    decode: Callable[[Sequence[Floats], tuple[int, int]], Decoded]


def find_layout(name: str, shapes: Shapes, size: tuple[int, int], source: str) -> Layout:
    """The layout called `name`, or with "auto" the one whose outputs have such shapes."""
    if name != "auto" and name not in LAYOUTS:
        raise IrkdError(f"unknown detector layout {name!r}. Known: auto, {', '.join(LAYOUTS)}.")
    tried = list(LAYOUTS.values()) if name == "auto" else [LAYOUTS[name]]
    for layout in tried:
        if layout.classes(shapes, size) is not None:
            return layout
    shown = ", ".join("x".join(map(str, shape)) for shape in shapes)
    raise IrkdError(
        f"{source}: its outputs ({shown} for an input of {size[0]} x {size[1]}) are not those of "
        f"{' or '.join(layout.name for layout in tried)}. Run the detector with its own tool, and "
        "give what it found with --detections."
    )


@dataclass(frozen=True)
class Fitted:
    """A picture in the size of a detector's input, and how to come back from there.

    `pixels`: height x width x 3. A point of it is `scale` times the picture's, plus `shift`; both
    are x, y.
    """

    pixels: Picture
    scale: tuple[float, float]
    shift: tuple[int, int]

    def corners_in_picture(self, corners: Floats) -> Floats:
        back: Floats = (corners - np.tile(self.shift, 2)) / np.tile(self.scale, 2)
        return back.astype(np.float32)


def fit(picture: Picture, size: tuple[int, int], grey: int | None) -> Fitted:
    """`picture`, H x W x 3, resized to (height, width); in proportion inside `grey` if given."""
    height, width = picture.shape[:2]
    across, down = size[1], size[0]
    if grey is not None:
        scale = min(size[0] / height, size[1] / width)
        across, down = max(round(width * scale), 1), max(round(height * scale), 1)
    pixels = cv2.resize(picture, (across, down), interpolation=cv2.INTER_LINEAR)
    left, top = (size[1] - across) // 2, (size[0] - down) // 2
    if grey is not None:
        framed = np.full((*size, 3), grey, np.uint8)
        framed[top : top + down, left : left + across] = pixels
        pixels = framed
    return Fitted(np.asarray(pixels, np.uint8), (across / width, down / height), (left, top))


def _zoo_classes(shapes: Shapes, size: tuple[int, int]) -> int | None:
    grids = sorted(((size[0] // stride, size[1] // stride) for stride in _STRIDES), reverse=True)
    if len(shapes) != 3 or any(len(shape) != 5 or shape[3] != 3 for shape in shapes):
        return None
    if sorted((shape[1:3] for shape in shapes), reverse=True) != grids:
        return None
    widths = {shape[4] for shape in shapes}
    return widths.pop() - 5 if len(widths) == 1 and min(widths) > 5 else None


def _decode_zoo(outputs: Sequence[Floats], size: tuple[int, int]) -> Decoded:
    corners, scores = [], []
    for head, anchors, stride, reach in zip(
        sorted(outputs, key=lambda output: -output.shape[1]),
        _ANCHORS,
        _STRIDES,
        _REACH,
        strict=True,
    ):
        rows, columns = head.shape[1:3]
        cells = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1)[:, :, None]
        centres = (expit(head[0, ..., :2]) * reach - (reach - 1) / 2 + cells) * stride
        # A side of e^20 anchors is beyond any image, and float32 ends at e^88.
        sides = np.exp(np.minimum(head[0, ..., 2:4], 20)) * anchors
        corners.append(
            np.concatenate([centres - sides / 2, centres + sides / 2], -1).reshape(-1, 4)
        )
        scores.append((head[0, ..., 4:5] * head[0, ..., 5:]).reshape(-1, head.shape[-1] - 5))
    return np.concatenate(corners).astype(np.float32), np.concatenate(scores)


def _confs_classes(shapes: Shapes, size: tuple[int, int]) -> int | None:
    if len(shapes) != 2:
        return None
    boxes = [shape for shape in shapes if len(shape) == 4 and shape[2:] == (1, 4)]
    confs = [shape for shape in shapes if len(shape) == 3]
    if len(boxes) != 1 or len(confs) != 1 or boxes[0][1] != confs[0][1]:
        return None
    return confs[0][2]


def _decode_confs(outputs: Sequence[Floats], size: tuple[int, int]) -> Decoded:
    boxes, confs = sorted(outputs, key=lambda output: -output.ndim)
    return boxes[0, :, 0] * np.array(size[::-1] * 2, np.float32), confs[0]


def _v8_classes(shapes: Shapes, size: tuple[int, int]) -> int | None:
    if len(shapes) != 1 or len(shapes[0]) != 3:
        return None
    values, boxes = shapes[0][1:]
    # Boxes before values is YOLOv5's form, whose fifth value is an objectness, or a final list.
    return values - 4 if 4 < values < boxes else None


def _decode_v8(outputs: Sequence[Floats], size: tuple[int, int]) -> Decoded:
    centres, sides = outputs[0][0, :2].T, outputs[0][0, 2:4].T
    return np.concatenate([centres - sides / 2, centres + sides / 2], 1), outputs[0][0, 4:].T


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout("yolov4-zoo", 128, _zoo_classes, _decode_zoo),
        Layout("boxes-confs", None, _confs_classes, _decode_confs),
        Layout("yolov8", 114, _v8_classes, _decode_v8),
    )
}
