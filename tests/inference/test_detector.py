"""Detectors from ONNX files: three layouts, resizing, decoding, suppression."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_detectors import CLASSES, draw_squares, save_detector

from irkd.errors import IrkdError
from irkd.inference.detector import Detector
from irkd.inference.detector_layouts import LAYOUTS, find_layout, fit

# Pictures whose squares fall on cells of 8 x 8 once fitted: in proportion, or not.
PICTURES = {
    "yolov4-zoo": (128, 96, [(0, 16, 16, 16, 16), (1, 64, 32, 16, 16)]),
    "yolov8": (96, 128, [(0, 16, 16, 16, 16), (1, 64, 32, 16, 16)]),
    "boxes-confs": (128, 64, [(0, 16, 16, 16, 8), (1, 64, 32, 16, 8)]),
}


@pytest.fixture
def classes(tmp_path) -> Path:
    path = tmp_path / "classes.txt"
    path.write_text("\n".join(CLASSES))
    return path


def constant_detector(path: Path, *outputs: np.ndarray, inputs=(1, 3, 64, 64)) -> Path:
    """A file that finds the same in every image."""
    graph = helper.make_graph(
        [
            helper.make_node("Identity", [f"c{index}"], [f"o{index}"])
            for index in range(len(outputs))
        ],
        "constant",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, inputs)],
        [
            helper.make_tensor_value_info(f"o{index}", TensorProto.FLOAT, None)
            for index in range(len(outputs))
        ],
        [
            numpy_helper.from_array(value.astype(np.float32), f"c{index}")
            for index, value in enumerate(outputs)
        ],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path
    )
    return path


@pytest.mark.parametrize("layout", PICTURES)
@pytest.mark.parametrize("named", ["auto", "by name"])
def test_squares_are_found_where_they_are(tmp_path, classes, layout, named):
    file = save_detector(tmp_path / "d.onnx", layout)
    detector = Detector(
        file, layout="auto" if named == "auto" else layout, classes=classes, device="cpu"
    )
    assert detector.layout.name == layout
    width, height, squares = PICTURES[layout]
    kinds, boxes, scores = detector(draw_squares(width, height, squares))
    order = np.argsort(kinds)
    assert kinds[order].tolist() == [0, 1]
    np.testing.assert_allclose(boxes[order], [square[1:] for square in squares], atol=1e-3)
    np.testing.assert_allclose(scores, 1, atol=1e-6)
    assert len(detector(draw_squares(width, height, squares, 0.4))[0]) == 0
    # Half way between a half and all of the light: half as sure.
    half = detector(draw_squares(width, height, squares, 0.75))[2]
    np.testing.assert_allclose(half, 0.5, atol=0.01)


def test_names_and_size_from_the_file(tmp_path):
    file = save_detector(
        tmp_path / "d.onnx", "yolov8", open_size=True, names={0: "red", 1: "green"}
    )
    detector = Detector(file)
    assert detector.size == (64, 64)
    assert detector.classes == {0: "red", 1: "green"}


def test_open_size_must_be_said(tmp_path, classes):
    file = save_detector(tmp_path / "d.onnx", "yolov8", open_size=True)
    with pytest.raises(IrkdError, match="--detector-size"):
        Detector(file, classes=classes)
    assert Detector(file, classes=classes, size=64).size == (64, 64)
    fixed = save_detector(tmp_path / "f.onnx", "yolov8")
    with pytest.raises(IrkdError, match="64 x 64 alone, not --detector-size 32"):
        Detector(fixed, classes=classes, size=32)


def test_zoo_heads_are_decoded_as_published():
    # One sure cell in each head; centres reach beyond their cells, sides multiply anchors.
    heads = [np.full((1, cells, cells, 3, 7), -9.0, np.float32) for cells in (52, 26, 13)]
    for head in heads:
        head[..., 4:] = 0
    heads[1][0, 3, 5, 2] = [0.3, -0.2, 0.1, -0.4, 0.8, 0.5, 0.25]
    heads[2][0, 12, 0, 0] = [-1.0, 2.0, 0.0, 0.2, 1.0, 0.0, 0.5]
    # Whatever order the file gives its heads in.
    corners, scores = LAYOUTS["yolov4-zoo"].decode(heads[::-1], (416, 416))

    def sigmoid(value: float) -> float:
        return 1 / (1 + math.exp(-value))

    x, y = (sigmoid(0.3) * 1.1 - 0.05 + 5) * 16, (sigmoid(-0.2) * 1.1 - 0.05 + 3) * 16
    w, h = 72 * math.exp(0.1), 146 * math.exp(-0.4)
    found = np.flatnonzero(scores.max(1) > 0.1)
    assert len(found) == 2
    np.testing.assert_allclose(
        corners[found[0]], [x - w / 2, y - h / 2, x + w / 2, y + h / 2], rtol=1e-5
    )
    np.testing.assert_allclose(scores[found[0]], [0.4, 0.2], rtol=1e-5)
    x, y = (sigmoid(-1) * 1.05 - 0.025) * 32, (sigmoid(2) * 1.05 - 0.025 + 12) * 32
    w, h = 142.0, 110 * math.exp(0.2)
    np.testing.assert_allclose(
        corners[found[1]], [x - w / 2, y - h / 2, x + w / 2, y + h / 2], rtol=1e-5
    )


def test_layouts_are_told_apart_by_shapes():
    size = (416, 416)
    shapes = {
        "yolov4-zoo": [(1, 52, 52, 3, 85), (1, 26, 26, 3, 85), (1, 13, 13, 3, 85)],
        "boxes-confs": [(1, 10647, 1, 4), (1, 10647, 80)],
        "yolov8": [(1, 84, 3549)],
    }
    for name, known in shapes.items():
        assert find_layout("auto", known, size, "x").name == name
        assert find_layout("auto", known[::-1], size, "x").name == name
        assert LAYOUTS[name].classes(known, size) == 80
        for other in set(shapes) - {name}:
            with pytest.raises(IrkdError, match="are not those of"):
                find_layout(other, known, size, "x")
    for unknown in ([(1, 25200, 85)], [(1, 300, 6)], [(1, 116, 8400), (1, 32, 160, 160)]):
        with pytest.raises(IrkdError, match=r"not those of yolov4-zoo or .*--detections"):
            find_layout("auto", unknown, size, "x")
    with pytest.raises(IrkdError, match=r"unknown detector layout 'yolov9'\. Known: auto, yolov4"):
        find_layout("yolov9", shapes["yolov8"], size, "x")


@pytest.mark.parametrize("size", [(64, 64), (96, 64), (37, 53)])
@pytest.mark.parametrize("grey", [None, 114])
def test_fitting_comes_back(size, grey):
    picture = np.full((50, 80, 3), 200, np.uint8)
    fitted = fit(picture, size, grey)
    assert fitted.pixels.shape == (*size, 3)
    content = (fitted.pixels == 200).all(2)
    rows, columns = np.flatnonzero(content.any(1)), np.flatnonzero(content.any(0))
    corners = np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], np.float32)
    np.testing.assert_allclose(fitted.corners_in_picture(corners), [[0, 0, 80, 50]], atol=1e-4)
    if grey is not None:
        assert (fitted.pixels[~content] == grey).all()
        assert abs(np.diff(fitted.scale)[0]) < 0.5 / 50
    else:
        assert content.all()


def test_overlaps_are_suppressed_within_a_class_only(tmp_path, classes):
    #                 x   y   w   h
    boxes = np.array([[20, 20, 20, 20], [22, 20, 20, 20], [20, 20, 20, 20], [50, 50, 8, 8]])
    confs = np.array([[0.9, 0.0], [0.8, 0.0], [0.0, 0.7], [0.0005, 0.0]])
    padding = np.zeros((6, 10))
    output = np.concatenate([np.concatenate([boxes, confs], 1).T, padding], 1)[None]
    file = constant_detector(tmp_path / "d.onnx", output)
    picture = np.zeros((64, 64, 3), np.uint8)
    kinds, found, scores = Detector(file, classes=classes)(picture)
    assert kinds.tolist() == [0, 1]
    np.testing.assert_allclose(scores, [0.9, 0.7], rtol=1e-6)
    np.testing.assert_allclose(found, [[10, 10, 20, 20]] * 2)
    # Both first boxes share 18 of 22 columns.
    assert len(Detector(file, classes=classes, overlap=0.9)(picture)[0]) == 3
    assert len(Detector(file, classes=classes, overlap=0.8)(picture)[0]) == 2
    assert len(Detector(file, classes=classes, confidence=0.0001)(picture)[0]) == 3


def test_one_box_may_be_of_two_classes_and_none_leaves_the_image(tmp_path, classes):
    output = np.zeros((1, 6, 12))
    output[0, :, 0] = [0, 0, 20, 20, 0.6, 0.5]
    output[0, :, 1] = [-50, -50, 20, 20, 0.9, 0]
    file = constant_detector(tmp_path / "d.onnx", output)
    kinds, boxes, scores = Detector(file, classes=classes)(np.zeros((64, 64, 3), np.uint8))
    assert kinds.tolist() == [0, 1]
    np.testing.assert_allclose(boxes, [[0, 0, 10, 10]] * 2)
    np.testing.assert_allclose(scores, [0.6, 0.5], rtol=1e-6)


def test_many_candidates_are_bounded(tmp_path, classes, monkeypatch):
    monkeypatch.setattr("irkd.inference.detector._CANDIDATES", 1000)
    random = np.random.default_rng(0)
    output = np.concatenate([random.uniform(0, 64, (4, 5000)), random.random((2, 5000))])[None]
    output[0, 2:4] = 1e-3
    file = constant_detector(tmp_path / "d.onnx", output)
    _, _, scores = Detector(file, classes=classes)(np.zeros((64, 64, 3), np.uint8))
    assert len(scores) == 300
    expected = np.sort(output[0, 4:].ravel())[::-1][:300]
    np.testing.assert_allclose(scores, expected, rtol=1e-6)  # of 10,000, the surest


@pytest.mark.parametrize(
    ("value", "message"),
    [(np.nan, "not finite"), (3.0, r"go from 0 to 3; yolov8 gives 0 to 1"), (-4.0, "its sigmoid")],
)
def test_outputs_that_make_no_sense(tmp_path, classes, value, message):
    output = np.zeros((1, 6, 12))
    output[0, 5, 3] = value
    file = constant_detector(tmp_path / "d.onnx", output)
    detector = Detector(file, classes=classes)
    with pytest.raises(IrkdError, match=message):
        detector(np.zeros((64, 64, 3), np.uint8))


@pytest.mark.parametrize(
    ("outputs", "inputs", "message"),
    [
        ([(1, 25, 7)], (1, 3, 64, 64), "are not those of"),
        ([(1, 6, 12)], (1, 4, 64, 64), "expected one input of images"),
        ([(1, 6, 12)], (8, 3, 64, 64), "takes 8 images at a time"),
        ([(1, 9, 12)], (1, 3, 64, 64), "knows 5 classes, numbered from 0; .*names 2"),
    ],
)
def test_files_that_are_no_such_detector(tmp_path, classes, outputs, inputs, message):
    arrays = [np.zeros(shape) for shape in outputs]
    file = constant_detector(tmp_path / "d.onnx", *arrays, inputs=inputs)
    with pytest.raises(IrkdError, match=message):
        Detector(file, classes=classes)


def test_bad_files_and_values(tmp_path, classes):
    file = save_detector(tmp_path / "d.onnx", "yolov8")
    with pytest.raises(IrkdError, match=r"knows 2 classes\. Name them with --detector-classes"):
        Detector(file)
    with pytest.raises(IrkdError, match="--detector-nms 2: expected"):
        Detector(file, classes=classes, overlap=2)
    with pytest.raises(IrkdError, match="no such file"):
        Detector(tmp_path / "gone.onnx")
    with pytest.raises(IrkdError, match=r"a detector is an \.onnx file"):
        Detector(tmp_path / "yolov4.weights")
    (tmp_path / "cut.onnx").write_bytes(file.read_bytes()[:200])
    with pytest.raises(IrkdError, match="no ONNX file that onnxruntime can run"):
        Detector(tmp_path / "cut.onnx")


def test_without_onnxruntime_the_extra_is_named(tmp_path, monkeypatch):
    file = save_detector(tmp_path / "d.onnx", "yolov8")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(IrkdError, match=r"onnxruntime.*irkd\[detect\]"):
        Detector(file)
