"""What one core loads for training: crops read, decoded and degraded in a second."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2

from bench.ratios import Effort, Ratio, ratio
from irkd.data.degrade import DEGRADATIONS
from irkd.data.opening import open_pairs
from irkd.data.pairs import PairSource
from irkd.data.procedural import procedural_image
from irkd.data.sampler import training_loader

PATCH = 128
BATCH = 8
FILES = 8
FILE_SIZE = (720, 1280)  # GoPro's
PLAIN = "crops of clean images in memory"


def data(effort: Effort) -> Iterator[Ratio]:
    """Crops a second and core, of every synthetic task and of files as data sets have them."""
    with tempfile.TemporaryDirectory() as folder:
        sources: dict[str, PairSource] = {PLAIN: open_pairs("procedural", task="jpeg", count=FILES)}
        # Without its degradation: what cropping and stacking alone take.
        sources[PLAIN]._degrade = lambda clean, rng, depth: clean  # type: ignore[attr-defined]
        for task in DEGRADATIONS:
            pairs = open_pairs("procedural", task=task, count=FILES)
            sources[f"procedural images, {task}"] = pairs
        for ending in ("png", "jpg"):
            root = Path(folder) / ending
            write_pairs(root, ending)
            height, width = FILE_SIZE
            sources[f"{ending.upper()} pairs of {width}x{height}"] = open_pairs(root, split="train")
        yield from rates(sources, effort)


def write_pairs(root: Path, ending: str) -> None:
    for index in range(FILES):
        image, _ = procedural_image(0, index, FILE_SIZE)
        for side in ("input", "target"):
            path = root / side / f"{index}.{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), image)


def rates(sources: dict[str, PairSource], effort: Effort) -> Iterator[Ratio]:
    batches = {
        name: iter(
            training_loader(pairs, patch=PATCH, batch_size=BATCH, steps=10**6, seed=0, workers=0)
        )
        for name, pairs in sources.items()
    }
    for each in batches.values():
        # The first pass over the images makes them.
        for _ in range(FILES // BATCH + 1):
            next(each)
    found: dict[str, list[float]] = {name: [] for name in sources}
    end = time.perf_counter() + effort.seconds
    while len(found[PLAIN]) < effort.rounds or time.perf_counter() < end:
        for name, each in batches.items():
            start = time.process_time()
            next(each)
            found[name].append(BATCH / (time.process_time() - start))
    topic = f"{PATCH}x{PATCH} crops loaded by one core"
    for name in sources:
        if name != PLAIN:
            yield ratio(topic, name, PLAIN, found[name], found[PLAIN], "a second")
