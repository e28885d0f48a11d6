"""Average precision of object detections.

The matching and the averages are those of faster-coco-eval (extra `detect`), which agrees with
pycocotools.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from irkd.errors import IrkdError
from irkd.metrics.detection_sets import Detections, Floats, GroundTruth

COUNTED = 100
"""Detections counted in one image and class, the most confident first: COCO's `maxDets`."""


@dataclass(frozen=True)
class AveragePrecision:
    """COCO's averages, 0 to 1; NaN where there is nothing to find.

    `ap50` and `ap75`: the mean over classes of the 101-point interpolated average precision at an
    intersection over union of 0.5 and 0.75; `ap`: its mean over 0.50, 0.55 ... 0.95. Classes
    without objects are left out of the means.
    """

    ap50: float
    ap: float
    ap75: float
    ap50_per_class: Mapping[str, float]


def average_precision(ground_truth: GroundTruth, detections: Detections) -> AveragePrecision:
    """Score `detections` against `ground_truth`, whose images all count, found in or not.

    Raises IrkdError where faster-coco-eval is not installed.
    """
    library = require_library()
    if len(detections):
        precision = _precision(library, ground_truth, detections)
    else:
        # Nothing found: zero for every class with objects. The library takes no empty results.
        precision = np.where(ground_truth.counted > 0, 0.0, -1.0) * np.ones((10, 101, 1))
    by_class = [_mean(precision[0, :, index]) for index in range(len(ground_truth.classes))]
    return AveragePrecision(
        _mean(precision[0]),
        _mean(precision),
        _mean(precision[5]),
        dict(zip(ground_truth.classes, by_class, strict=True)),
    )


def _precision(library: Any, ground_truth: GroundTruth, detections: Detections) -> Floats:
    """Interpolated precision: 10 thresholds x 101 recalls x classes; -1 without objects."""
    annotations = [
        {
            "id": position,
            "image_id": image,
            "category_id": kind,
            "bbox": box,
            "area": box[2] * box[3],
            "iscrowd": int(ignored),
        }
        for position, image, kind, box, ignored in zip(
            range(1, len(ground_truth.boxes) + 1),
            (ground_truth.image_index + 1).tolist(),
            (ground_truth.class_index + 1).tolist(),
            ground_truth.boxes.tolist(),
            ground_truth.ignored.tolist(),
            strict=True,
        )
    ]
    results = [
        {"image_id": image, "category_id": kind, "bbox": box, "score": score}
        for image, kind, box, score in zip(
            (detections.image_index + 1).tolist(),
            (detections.class_index + 1).tolist(),
            detections.boxes.tolist(),
            detections.scores.tolist(),
            strict=True,
        )
    ]
    truth = library.COCO(
        {
            "images": [{"id": index + 1} for index in range(len(ground_truth.images))],
            "annotations": annotations,
            "categories": [{"id": index + 1} for index in range(len(ground_truth.classes))],
        }
    )
    evaluation = library.COCOeval_faster(truth, truth.loadRes(results), iouType="bbox")
    evaluation.params.areaRng = [[0, 1e10]]
    evaluation.params.areaRngLbl = ["all"]
    evaluation.params.maxDets = [COUNTED]
    evaluation.evaluate()
    evaluation.accumulate()
    precision: Floats = np.asarray(evaluation.eval["precision"])[:, :, :, 0, 0]
    return precision


def _mean(precision: Floats) -> float:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else math.nan


def require_library() -> Any:
    """faster-coco-eval, or an IrkdError that names irkd's extra with it."""
    try:
        import faster_coco_eval
    except ModuleNotFoundError as error:
        raise IrkdError(
            "scoring detections needs the package faster-coco-eval. "
            "Install it with: pip install 'irkd[detect]'"
        ) from error
    return faster_coco_eval
