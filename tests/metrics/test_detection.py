"""Average precision of small cases that are worked out by hand."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from irkd.errors import IrkdError
from irkd.metrics.detection import average_precision
from irkd.metrics.detection_ground_truth import read_ground_truth
from irkd.metrics.detection_results import read_detections

# Ids that are neither dense nor sorted, and an image without objects.
IMAGES = {7: "a.png", 3: "b.png", 12: "empty.png"}
CATEGORIES = {5: "person", 2: "car"}
OBJECTS = [(7, 2, [10, 10, 20, 20]), (3, 2, [40, 40, 20, 20]), (7, 5, [60, 60, 10, 30])]


def ground_truth(folder: Path, objects=OBJECTS, **extra):
    content = {
        "images": [
            {"id": number, "file_name": name, "width": 100, "height": 100}
            for number, name in IMAGES.items()
        ],
        "categories": [{"id": number, "name": name} for number, name in CATEGORIES.items()],
        "annotations": [
            # Ids from 0, as many converters write them: the first object must count all the same.
            {"id": position, "image_id": image, "category_id": kind, "bbox": box, **extra}
            for position, (image, kind, box) in enumerate(objects)
        ],
    }
    path = folder / "truth.json"
    path.write_text(json.dumps(content))
    return read_ground_truth(path)


def detections(folder: Path, truth, found):
    path = folder / "found.json"
    path.write_text(
        json.dumps(
            [
                {"image_id": image, "category_id": kind, "bbox": box, "score": score}
                for image, kind, box, score in found
            ]
        )
    )
    return read_detections(path, truth)


def score(folder: Path, found, objects=OBJECTS):
    truth = ground_truth(folder, objects)
    return average_precision(truth, detections(folder, truth, found))


PERFECT = [(*thing, 0.9) for thing in OBJECTS]


def test_perfect(tmp_path):
    found = score(tmp_path, PERFECT)
    assert (found.ap, found.ap50, found.ap75) == (1, 1, 1)
    assert found.ap50_per_class == {"person": 1, "car": 1}


def test_one_missed_of_two_cars(tmp_path):
    # Precision 1 up to a recall of 0.5: 51 of the 101 recalls 0, 0.01 ... 1.
    found = score(tmp_path, [PERFECT[0], PERFECT[2]])
    assert found.ap50_per_class["car"] == pytest.approx(51 / 101)
    assert found.ap50_per_class["person"] == 1
    assert found.ap50 == pytest.approx((51 / 101 + 1) / 2)


@pytest.mark.parametrize(("confidence", "expected"), [(0.1, 1.0), (0.95, 2 / 3)])
def test_a_false_positive_counts_by_its_rank(tmp_path, confidence, expected):
    # Below all true cars it costs nothing; above both the precisions are 0, 1/2, 2/3, and the
    # interpolated one, the best at that recall or more, is 2/3 throughout.
    found = score(tmp_path, [*PERFECT, (12, 2, [10, 10, 20, 20], confidence)])
    assert found.ap50_per_class["car"] == pytest.approx(expected)
    assert found.ap50_per_class["person"] == 1


def test_an_object_found_twice_is_a_false_positive(tmp_path):
    found = score(tmp_path, [*PERFECT, (7, 5, [60, 60, 10, 30], 0.95), (7, 5, [60, 60, 10, 30], 1)])
    assert found.ap50_per_class["person"] == 1  # after the true one
    found = score(
        tmp_path, [PERFECT[1], (7, 2, [10, 10, 20, 20], 0.95), (7, 2, [10, 10, 20, 20], 1)]
    )
    assert found.ap50_per_class["car"] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_overlap_of_three_fifths(tmp_path):
    # 20 x 12 inside 20 x 20: found at 0.50, 0.55 and 0.60, and at no threshold above.
    objects = [(7, 2, [10, 10, 20, 20])]
    found = score(tmp_path, [(7, 2, [10, 10, 20, 12], 0.9)], objects)
    assert (found.ap50, found.ap75) == (1, 0)
    assert found.ap == pytest.approx(0.3)


def test_right_box_of_the_wrong_class(tmp_path):
    found = score(tmp_path, [PERFECT[0], PERFECT[1], (7, 2, [60, 60, 10, 30], 0.99)])
    assert found.ap50_per_class["person"] == 0
    assert found.ap50_per_class["car"] == pytest.approx(2 / 3)


def test_class_without_objects_has_no_precision_and_no_part_in_the_mean(tmp_path):
    found = score(tmp_path, PERFECT[:2], OBJECTS[:2])
    assert math.isnan(found.ap50_per_class["person"])
    assert found.ap50 == 1


def test_nothing_found_is_zero(tmp_path):
    found = score(tmp_path, [], OBJECTS[:2])
    assert (found.ap, found.ap50, found.ap75) == (0, 0, 0)
    assert found.ap50_per_class["car"] == 0
    assert math.isnan(found.ap50_per_class["person"])


def test_crowds_count_neither_found_nor_missed(tmp_path):
    truth = ground_truth(tmp_path, OBJECTS)
    content = json.loads((tmp_path / "truth.json").read_text())
    content["annotations"].append(
        {"id": 9, "image_id": 12, "category_id": 2, "bbox": [0, 0, 90, 90], "iscrowd": 1}
    )
    (tmp_path / "truth.json").write_text(json.dumps(content))
    truth = read_ground_truth(tmp_path / "truth.json")
    assert truth.counted.tolist() == [1, 2]
    inside = (12, 2, [10, 10, 20, 20], 0.99)
    for found in (PERFECT, [*PERFECT, inside]):
        assert average_precision(truth, detections(tmp_path, truth, found)).ap50 == 1
    elsewhere = (3, 2, [0, 0, 20, 20], 0.99)
    assert average_precision(truth, detections(tmp_path, truth, [*PERFECT, elsewhere])).ap50 < 1


def literal_ap50(truth, found) -> float:
    """Average precision at 0.5 of one class without crowds, straight from its definition."""
    taken: set[int] = set()
    hits = []
    order = np.argsort(-found.scores, kind="stable")
    for index in order:
        x, y, w, h = found.boxes[index]
        best, chosen = 0.5, None
        for candidate in np.flatnonzero(truth.image_index == found.image_index[index]):
            if candidate in taken:
                continue
            X, Y, W, H = truth.boxes[candidate]
            across = min(x + w, X + W) - max(x, X)
            down = min(y + h, Y + H) - max(y, Y)
            common = max(across, 0) * max(down, 0)
            overlap = common / (w * h + W * H - common)
            if overlap >= best:
                best, chosen = overlap, candidate
        taken |= {chosen} - {None}
        hits.append(chosen is not None)
    true = np.cumsum(hits)
    precision, recall = true / np.arange(1, len(true) + 1), true / len(truth.boxes)
    return float(
        np.mean([max(precision[recall >= level], default=0) for level in np.linspace(0, 1, 101)])
    )


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_the_definition_on_random_boxes(tmp_path, seed):
    random = np.random.default_rng(seed)
    # 23 objects: no recall but 0 and 1 is one of the 101 levels, where rounding would decide.
    objects = [
        (int(random.choice(list(IMAGES))), 2, random.integers(10, 40, 4).tolist())
        for _ in range(23)
    ]
    found = [
        (image, kind, (np.array(box) + random.integers(-4, 5, 4)).tolist(), float(random.random()))
        for image, kind, box in objects
        if random.random() < 0.8
    ] + [
        (int(random.choice(list(IMAGES))), 2, random.integers(10, 40, 4).tolist(), random.random())
        for _ in range(10)
    ]
    truth = ground_truth(tmp_path, objects)
    read = detections(tmp_path, truth, found)
    expected = literal_ap50(truth, read)
    assert 0.05 < expected < 0.95
    assert average_precision(truth, read).ap50_per_class["car"] == pytest.approx(expected)


def test_a_subset_scores_its_images_alone(tmp_path):
    truth = ground_truth(tmp_path)
    found = detections(tmp_path, truth, [PERFECT[1], (7, 2, [0, 0, 5, 5], 1.0)])
    kept = [1, 2]
    part, few = truth.subset(kept), found.subset(kept, len(truth.images))
    assert [image.name for image in part.images] == ["b.png", "empty.png"]
    assert average_precision(part, few).ap50_per_class["car"] == 1
    assert average_precision(truth, found).ap50_per_class["car"] < 1


def test_without_the_library_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(IrkdError, match=r"faster-coco-eval.*irkd\[detect\]"):
        score(tmp_path, PERFECT)
