"""python -m bench.cards MODEL MARKS.json [...] [--worst DIR --picture FILE]

The tables of a model's card from what `bench.marks` measured, in Markdown, a table for each file;
and a picture of the model's worst images, degraded, restored and reference beside each other.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bench.damages import ANY
from irkd.models.weights import GENERAL

# Of the picture; what it shows must be seen at the width of a page.
LARGEST_WIDTH, JPEG_QUALITY = 1200, 88


def table(model: str, marks: dict[str, Any]) -> list[str]:
    """A row for each kind of damage that the model was tried on."""
    kinds: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for record in marks["scores"]:
        kinds.setdefault((record["task"], record["damage"]), {})[record["what"]] = record
    lines = [
        f"{marks['images']} images; `{marks['command']}`",
        "",
        f"| damage | degraded | {model} | gain, 95 % interval | others |",
        "|---|---:|---:|---:|---|",
    ]
    several = len({task for (task, _), found in kinds.items() if model in found} - {ANY}) > 1
    for (task, damage), found in kinds.items():
        if model not in found:
            continue
        mine, degraded = found[model], found["input"]["psnr_db"]
        others = [
            f"{name} {record['psnr_db']:.2f}"
            for name, record in found.items()
            if name not in ("input", model, GENERAL)  # whose own card has these
        ]
        if several and task == ANY:
            others = []  # models for each of the tasks
        clean = degraded >= 99
        interval = f"{mine['low']:+.2f} to {mine['high']:+.2f}, worst {mine['worst_db']:+.2f}"
        lowest = f" (lowest {mine['worst_db'] + degraded:.1f})" if clean else ""
        cells = (
            f"{task}: {damage}" if several and task != ANY else damage,
            "-" if clean else f"{degraded:.2f}",
            f"{mine['psnr_db']:.2f}{lowest}",
            "-" if clean else f"{mine['gain_db']:+.2f} ({interval})",
            ", ".join(others) or "-",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def picture(model: str, worst: Path, file: Path) -> None:
    """The worst image of every kind of damage but none at all, one below the other."""
    strips = []
    for path in sorted(worst.glob(f"* {model}.jpg")):
        damage = path.stem.removesuffix(f" {model}")
        if damage.endswith(("clean", "alone")):
            continue
        strip = cv2.imread(str(path))
        assert strip is not None, path
        strip = cv2.resize(strip, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        strip = cv2.copyMakeBorder(strip, 16, 0, 0, 0, cv2.BORDER_CONSTANT, value=(255,) * 3)
        font = cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(strip, damage, (2, 12), font, 0.38, (0, 0, 0), 1, cv2.LINE_AA)
        strips.append(strip)
    if len(strips) % 2:
        strips.append(np.full_like(strips[0], 255))
    gap = np.full((*strips[0].shape[:1], 12, 3), 255, np.uint8)
    rows = [
        np.hstack((left, gap, right))
        for left, right in zip(strips[::2], strips[1::2], strict=False)
    ]
    sheet = np.vstack(rows)
    scale = min(1.0, LARGEST_WIDTH / sheet.shape[1])
    sheet = cv2.resize(sheet, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), sheet, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.cards", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("marks", type=Path, nargs="+")
    parser.add_argument("--worst", type=Path, help="folder that `bench.marks --worst` filled")
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    for path in arguments.marks:
        print("\n".join(table(arguments.model, json.loads(path.read_text()))), end="\n\n")
    if arguments.picture is not None:
        picture(arguments.model, arguments.worst, arguments.picture)


if __name__ == "__main__":
    main()
