"""An evaluation with made-up scores, for pages and their tests."""

from __future__ import annotations

import math

from skimage import data

from irkd.metrics.catalogue import open_metrics
from irkd.metrics.protocols import protocol
from irkd.report.evaluation import Evaluation, ImageScore, Row
from irkd.report.strips import make_strip

HOSTILE = "<script>alert('x')</script> & \"$name\""


def make_evaluation(**changes) -> Evaluation:
    picture = data.chelsea()[:120, :160]
    names = ("first", HOSTILE)

    def row(label, kind, scores, **costs):
        images = tuple(
            ImageScore(name, 120, 160, {"psnr_db": score, "ssim": score / 50}, costs.get("time"))
            for name, score in zip(names, scores, strict=True)
        )
        return Row(label, kind, None, images, costs.get("params_m"), costs.get("macs_g"))

    pictures = {"degraded": picture // 2, HOSTILE: picture, "reference": picture}
    values = {
        "data": "photographs",
        "task": "denoise",
        "n": 2,
        "protocol": protocol("rgb"),
        "metrics": open_metrics(["psnr", "ssim"]),
        "rows": (
            row("degraded", "degraded", (20.0, 22.0)),
            row("student alone", "model", (30.25, 31.0), params_m=3.5, macs_g=85.0, time=120.0),
            row(HOSTILE, "model", (31.5, math.inf), params_m=26.1, macs_g=620.0, time=900.5),
        ),
        "baseline": "student alone",
        "size": (512, 512),
        "settings": {},
        "environment": {"versions": {"irkd": "1.2.3"}, "python": "3.11", "device": "cpu"},
        "command": f"irkd evaluate '{HOSTILE}'",
        "strips": tuple(make_strip(name, pictures, 10**5) for name in names),
        **changes,
    }
    return Evaluation(**values)


CURVES = {
    "student alone": [
        {"kind": "train", "step": step, "loss": 0.3 / (1 + step)} for step in range(50)
    ]
    + [{"kind": "validation", "step": step, "psnr_db": 20.0 + step} for step in range(3)],
    HOSTILE: [
        {"kind": "train", "step": 1, "loss": math.nan},
        {"kind": "train", "step": "x", "loss": 1},
        {"kind": "other"},
    ],
}
