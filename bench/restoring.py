"""What `irkd restore` takes per megapixel, and how far tiles differ from the whole at their seams.

`python -m bench.restoring` prints what `irkd restore` takes damaged photographs for.
"""

from __future__ import annotations

import argparse
import itertools
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from bench.networks import networks
from bench.ratios import Effort, Ratio, ratio, take_turns
from irkd.data.degrade import degrade
from irkd.data.photographs import PhotographPairs
from irkd.data.reading import is_image_name, read_image
from irkd.inference.backends import load_network
from irkd.inference.judge import NONE
from irkd.inference.restorer import DEFAULT_OVERLAP, Restorer
from irkd.inference.specialists import open_chooser
from irkd.inference.tiling import Axis, plan_axis
from irkd.models.base import build_network

Image = NDArray[np.uint8]

SIDE = 1000
SEAM_SIDE = 1536
SEAM_TILES = (768, 1024)
TASKS = ("derain", "denoise", "dehaze", "deblur")
OTHERS = ("clean", "jpeg")


def restore(effort: Effort) -> Iterator[Ratio]:
    """A 1-megapixel image by the shipped model, over the Restormer student of res-skd."""
    image = mosaic(SIDE)
    student = build_network(networks()["Restormer", "student"]).eval()
    shipped = load_network("denoise")
    cases = {
        "Restormer student of res-skd": lambda: Restorer(student)(image),
        "denoise, which ships": lambda: Restorer(shipped)(image),
    }
    yield from take_turns("restoring one megapixel", cases, effort)
    yield from seams(effort)


def seams(effort: Effort) -> Iterator[Ratio]:
    """The largest step across a seam, over that at the same places of the untiled result, by the
    model for each damage."""
    clean = mosaic(SEAM_SIDE)
    for task in TASKS[:1] if effort.quick else TASKS[:3]:
        whole = Restorer(load_network(task), tile="off")
        overlap = int(getattr(whole.network, "tile_overlap", DEFAULT_OVERLAP))
        degraded = degrade(clean, task, np.random.default_rng(1))
        untiled = whole(degraded)
        for tile in SEAM_TILES:
            tiled = Restorer(whole.network, tile=tile)(degraded)
            axis = plan_axis(SEAM_SIDE, tile, overlap, whole.network.size_multiple)  # type: ignore[arg-type]
            step, change = largest_step(tiled, axis), largest_step(tiled - untiled, axis)
            topic = f"seams, {task}, tiles of {tile}"
            least = largest_step(untiled, axis)
            yield ratio(topic, "largest step", "untiled", [step], [least], "levels")
            yield ratio(topic, "largest change of a step", "one level", [change], [1], "levels")


def largest_step(values: NDArray[np.float32], axis: Axis) -> float:
    """The largest difference of neighbours in the bands where tiles blend, in levels of 255.

    `values`: H x W x 3 with H = W, cut alike in rows and columns.
    """
    largest = 0.0
    for a, b in itertools.pairwise(axis.starts):
        first, end = b, a + axis.tile
        for turned in (values, values.swapaxes(0, 1)):
            steps = np.abs(np.diff(turned[:, first - 1 : end + 1], axis=1))
            largest = max(largest, 255 * float(steps.max()))
    return largest


def mosaic(side: int) -> NDArray[np.uint8]:
    """The built-in photographs as one square of `side` pixels."""
    pairs = PhotographPairs("denoise")
    tiles = [cv2.resize(pairs.clean(i)[0], (512, 512)) for i in range(len(pairs))]
    tiles += [tile[::-1] for tile in tiles[:3]]
    rows = [np.hstack(tiles[i : i + 3]) for i in range(0, 9, 3)]
    return np.ascontiguousarray(cv2.resize(np.vstack(rows), (side, side)))


def found_tasks(images: dict[str, Image], seeds: int) -> dict[str, Counter[str]]:
    """What `irkd restore` takes each image for, degraded by irkd's generators."""
    chooser = open_chooser(None)
    table: dict[str, Counter[str]] = {name: Counter() for name in (*TASKS, *OTHERS)}
    for name, clean in images.items():
        for task, found in table.items():
            for seed in range(1 if task == "clean" else seeds):
                words = (seed, zlib.crc32(name.encode()), zlib.crc32(task.encode()))
                shown = clean
                if task != "clean":
                    shown = degrade(clean, task, np.random.default_rng(words))
                found[next(iter(chooser.choose(shown).found), NONE)] += 1
    return table


def clean_images(folder: Path | None, limit: int) -> dict[str, Image]:
    """The built-in photographs, or some of a folder's, by name."""
    if folder is None:
        pairs = PhotographPairs("denoise")
        return {pairs.pair_name(index): pairs.clean(index)[0] for index in range(len(pairs))}
    paths = sorted(path for path in folder.iterdir() if is_image_name(path.name))
    return {path.name: read_image(path) for path in paths[:: max(1, len(paths) // limit)][:limit]}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.restoring", description=found_tasks.__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="degradations of each photograph")
    parser.add_argument("--folder", type=Path, help="clean images; else the built-in photographs")
    parser.add_argument("--limit", type=int, default=30, help="images of the folder at most")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    images = clean_images(arguments.folder, arguments.limit)
    answers = (*TASKS, NONE)
    print("| photographs |", " | ".join(answers), "| right |")
    print("|---|" + "---:|" * (len(answers) + 1))
    for task, found in found_tasks(images, arguments.seeds).items():
        share = found[NONE if task in OTHERS else task] / found.total()
        right = "-" if task == "jpeg" else f"{share:.0%}"  # denoise takes its traces away, too
        cells = " | ".join(str(found[answer]) for answer in answers)
        print(f"| {task} | {cells} | {right} |")


if __name__ == "__main__":
    main()
