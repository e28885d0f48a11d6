"""Detectors with known answers: they find red (class 0) and green (class 1) squares.

Their input is 64 x 64 pixels in cells of 8 x 8. Where the mean of red or green over a cell is above
a half, they find a box that is the cell, the surer the purer; the dimmed squares of a degraded
image they miss.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE, CELL = 64, 8
GRID = SIDE // CELL
CLASSES = ("red", "green")
COLOURS = ((255, 0, 0), (0, 255, 0))


def save_detector(
    path: Path, layout: str, *, open_size: bool = False, names: dict[int, str] | None = None
) -> Path:
    """Write the detector in one of the layouts that irkd reads."""
    nodes, constants = _probabilities(nhwc=layout == "yolov4-zoo")
    outputs = globals()[f"_{layout.replace('-', '_')}"](nodes, constants)
    sides: list[int | str] = ["height", "width"] if open_size else [SIDE, SIDE]
    shape = [1, *sides, 3] if layout == "yolov4-zoo" else [1, 3, *sides]
    graph = helper.make_graph(
        nodes,
        layout,
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    if names is not None:
        helper.set_model_props(model, {"names": repr(names), "imgsz": f"[{SIDE}, {SIDE}]"})
    onnx.save(model, path)
    return path


def _probabilities(*, nhwc: bool):
    constants = {
        "from": np.array([0]),
        "to": np.array([2]),
        "channels": np.array([1]),
        "two": np.float32(2),
        "one": np.float32(1),
        "none": np.float32(0),
    }
    nodes = [
        helper.make_node("Transpose", ["images"], ["planes"], perm=[0, 3, 1, 2])
        if nhwc
        else helper.make_node("Identity", ["images"], ["planes"]),
        helper.make_node(
            "AveragePool", ["planes"], ["means"], kernel_shape=[CELL] * 2, strides=[CELL] * 2
        ),
        helper.make_node("Slice", ["means", "from", "to", "channels"], ["colours"]),
        helper.make_node("Mul", ["colours", "two"], ["doubled"]),
        helper.make_node("Sub", ["doubled", "one"], ["above"]),
        helper.make_node("Clip", ["above", "none", "one"], ["classes"]),
    ]
    return nodes, constants


def _cells() -> np.ndarray:
    """Centres of the cells, x and y in pixels: 2 x 64."""
    down, across = np.mgrid[:GRID, :GRID].reshape(2, -1)
    return np.stack([across, down]).astype(np.float32) * CELL + CELL / 2


def _yolov4_zoo(nodes, constants):
    # The first anchor of the first head is 12 x 16; both other heads see nothing.
    box = np.array([0, 0, np.log(CELL / 12), np.log(CELL / 16), 1], np.float32)
    constants["box"] = np.tile(box, (1, GRID, GRID, 1, 1))
    constants["others"] = np.zeros((1, GRID, GRID, 2, 7), np.float32)
    constants["axis"] = np.array([3])
    nodes += [
        helper.make_node("Transpose", ["classes"], ["last"], perm=[0, 2, 3, 1]),
        helper.make_node("Unsqueeze", ["last", "axis"], ["anchored"]),
        helper.make_node("Concat", ["box", "anchored"], ["first"], axis=4),
        helper.make_node("Concat", ["first", "others"], ["head8"], axis=3),
    ]
    for stride in (16, 32):
        cells = SIDE // stride
        constants[f"nothing{stride}"] = np.zeros((1, cells, cells, 3, 7), np.float32)
        nodes.append(helper.make_node("Identity", [f"nothing{stride}"], [f"head{stride}"]))
    return ["head8", "head16", "head32"]


def _boxes_confs(nodes, constants):
    centres = _cells()
    corners = np.concatenate([centres - CELL / 2, centres + CELL / 2]) / SIDE
    constants["corners"] = corners.T[None, :, None].astype(np.float32)
    constants["flat"] = np.array([1, 2, GRID * GRID])
    nodes += [
        helper.make_node("Identity", ["corners"], ["boxes"]),
        helper.make_node("Reshape", ["classes", "flat"], ["rows"]),
        helper.make_node("Transpose", ["rows"], ["confs"], perm=[0, 2, 1]),
    ]
    return ["boxes", "confs"]


def _yolov8(nodes, constants):
    constants["places"] = np.concatenate(
        [_cells(), np.full((2, GRID * GRID), CELL, np.float32)]
    ).astype(np.float32)[None]
    constants["flat"] = np.array([1, 2, GRID * GRID])
    nodes += [
        helper.make_node("Reshape", ["classes", "flat"], ["rows"]),
        helper.make_node("Concat", ["places", "rows"], ["output0"], axis=1),
    ]
    return ["output0"]


def draw_squares(
    width: int, height: int, squares: list[tuple[int, int, int, int, int]], gain: float = 1.0
) -> np.ndarray:
    """Black H x W x 3 RGB with squares (class, x, y, width, height), at `gain` of their light."""
    picture = np.zeros((height, width, 3), np.uint8)
    for kind, x, y, across, down in squares:
        picture[y : y + down, x : x + across] = np.array(COLOURS[kind]) * gain
    return picture


def save_picture(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture[..., ::-1])
