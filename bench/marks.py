"""python -m bench.marks [--task TASK ...] [--damage NAME ...] [--folder DIR] [--limit N] [--side N]

What the models that ship reach, beside the degraded input, `general` (what `irkd restore` makes of
it when told nothing), and a peer that is told the truth: BM3D the noise (where the `bm3d` package
is installed), the dark-channel prior for haze, and a perfect remover of streaks for rain with a
veil; with the seconds an image takes, in turns. On the built-in photographs, or on a folder of
clean images. Seeds are those of no training.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench.damages import ANY, MIXED, Condition, conditions
from bench.peers import rounded
from irkd.data.opening import open_pairs
from irkd.data.reading import is_image_name, read_image
from irkd.environment import describe_environment
from irkd.inference.backends import load_network
from irkd.inference.restorer import Restorer
from irkd.inference.specialists import open_chooser
from irkd.metrics.full_reference import psnr
from irkd.models.weights import GENERAL, read_metadata, shipped_models
from irkd.report.intervals import mean_interval

Image = NDArray[np.uint8]
Restore = Callable[[NDArray[np.float32]], NDArray[np.float32]]

SEED = 0x1E57  # no training or validation stream begins with it


def clean_images(folder: Path | None, limit: int, side: int | None) -> list[Image]:
    """Their central crops; the whole images where `side` is None."""
    if folder is None:
        pairs = open_pairs("photographs", task="denoise")
        images = [pairs.load(index).reference for index in range(len(pairs))]
    else:
        paths = sorted(path for path in folder.iterdir() if is_image_name(path.name))
        images = [read_image(path) for path in paths[:: max(1, len(paths) // limit)]]
    return images[:limit] if side is None else [central(image, side) for image in images[:limit]]


def central(image: Image, side: int) -> Image:
    top, left = (max(0, (length - side) // 2) for length in image.shape[:2])
    return np.ascontiguousarray(image[top : top + side, left : left + side])


def restore_by(model: str) -> Restore:
    """As `irkd restore --model` does."""
    chooser = open_chooser(model)
    return lambda image: chooser.choose(image).restore(image)


class Scores:
    """PSNR and seconds of every image by what restored it; and each one's worst image."""

    def __init__(self, condition: Condition, images: list[Image], models: dict[str, Restore]):
        self.psnr: dict[str, list[float]] = {}
        self.seconds: dict[str, list[float]] = {}
        self.worst: dict[str, tuple[float, Image]] = {}
        for index, clean in enumerate(images):
            rng = np.random.default_rng([SEED, index])
            degraded = rounded(condition.degrade(clean.astype(np.float32) / 255, rng))
            given = self._add("input", degraded, clean, 0.0)
            if condition.peer is not None:
                begin = time.perf_counter()
                result = condition.peer(degraded, clean)
                if result is not None:
                    self._add(condition.peer_name, result, clean, time.perf_counter() - begin)
            for name, restorer in models.items():
                begin = time.perf_counter()
                result = rounded(restorer(degraded.astype(np.float32) / 255))
                reached = self._add(name, result, clean, time.perf_counter() - begin)
                if name not in self.worst or reached - given < self.worst[name][0]:
                    self.worst[name] = reached - given, np.hstack((degraded, result, clean))

    def _add(self, name: str, result: Image, clean: Image, seconds: float) -> float:
        reached = min(psnr(result, clean), 99.0)  # equal images would count without end
        self.psnr.setdefault(name, []).append(reached)
        self.seconds.setdefault(name, []).append(seconds)
        return reached


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.marks", description=__doc__)
    parser.add_argument("--task", action="append", help="of the models; all by default")
    parser.add_argument("--damage", action="append", help="of a name in the table; all by default")
    parser.add_argument("--folder", type=Path, help="clean images; else the built-in photographs")
    parser.add_argument("--limit", type=int, default=30, help="images at most")
    parser.add_argument("--side", type=int, default=256, help="of the central crop")
    parser.add_argument("--model", action="append", default=[], help="another model, NAME=PATH")
    parser.add_argument("--worst", type=Path, help="folder for each model's worst image of a kind")
    parser.add_argument("--out", type=Path, default=Path("build/marks.json"))
    arguments = parser.parse_args()

    shipped = {name: restore_by(name) for name in shipped_models() if name != "demo-teacher"}
    tasks = {name: read_metadata(path)["task"] for name, path in shipped_models().items()}
    extra = dict(each.split("=", 1) for each in arguments.model)
    others: dict[str, Restore] = {
        name: Restorer(load_network(path)) for name, path in extra.items()
    }
    others[GENERAL] = restore_by(GENERAL)
    whole_images = clean_images(arguments.folder, arguments.limit, None)
    images = [central(image, arguments.side) for image in whole_images]
    table = Table("task", "damage", "what", "PSNR (dB)", "gain", "95 % of the gain", "worst", "s")
    records: list[dict[str, Any]] = []
    for condition in conditions():
        if arguments.task and condition.task not in (*arguments.task, ANY):
            continue
        if arguments.damage and condition.name not in arguments.damage:
            continue
        wanted = {ANY: arguments.task or tasks.values(), MIXED: tasks.values()}.get(
            condition.task, (condition.task,)
        )
        models = {name: restorer for name, restorer in shipped.items() if tasks[name] in wanted}
        shown = whole_images if condition.whole else images
        scores = Scores(condition, shown, models | others)
        for name, values in scores.psnr.items():
            gains = np.subtract(values, scores.psnr["input"])
            low, high = mean_interval((tuple(gains.tolist()),))
            mean, gain = float(np.mean(values)), float(gains.mean())
            seconds = float(np.mean(scores.seconds[name]))
            record = {"task": condition.task, "damage": condition.name, "what": name}
            record |= {"psnr_db": mean, "gain_db": gain, "low": low, "high": high}
            worst = float(gains.min())
            records.append({**record, "worst_db": worst, "seconds": seconds})
            interval = f"{low:+.2f} to {high:+.2f}"
            cells = f"{mean:.2f}", f"{gain:+.2f}", interval, f"{worst:+.2f}", f"{seconds:.3f}"
            table.add_row(condition.task, condition.name, name, *cells)
        if arguments.worst is not None:
            for name, (_, picture) in scores.worst.items():
                file = f"{condition.task} {condition.name} {name}.jpg".replace("/", "-")
                arguments.worst.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(arguments.worst / file), picture[..., ::-1])
        table.add_section()
    Console().print(table)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "command": " ".join(["python -m bench.marks", *sys.argv[1:]]),
        "images": len(images),
        "scores": records,
        "environment": describe_environment("cpu"),
    }
    arguments.out.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
