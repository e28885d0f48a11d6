"""python -m bench.marks [--task TASK ...] [--folder DIR] [--limit N] [--side N] [--out FILE]

What the models that ship reach, beside the degraded input, `general`, and a peer that is told the
truth: BM3D the noise (where the `bm3d` package is installed), the dark-channel prior for haze, and
a perfect remover of streaks for rain with a veil. On the built-in photographs, and on a folder of
clean images. Seeds are those of no training.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from irkd.data.degrade import decode_srgb, draw_haze, draw_rain, plausible_depth
from irkd.data.opening import open_pairs
from irkd.data.procedural import encode_srgb
from irkd.data.reading import is_image_name, read_image
from irkd.environment import describe_environment
from irkd.inference.backends import load_network
from irkd.inference.restorer import Restorer
from irkd.metrics.full_reference import psnr
from irkd.models.weights import read_metadata, shipped_models
from irkd.report.intervals import mean_interval

Image = NDArray[np.uint8]
Floats = NDArray[Any]
Degrade = Callable[[Floats, np.random.Generator], Floats]
Peer = Callable[[Image, Image], Image | None]

SEED = 0x1E57  # no training or validation stream begins with it


@dataclass(frozen=True)
class Condition:
    """One kind of damage of a task; `peer(degraded, clean)` is what the models are held against."""

    task: str
    name: str
    degrade: Degrade
    peer_name: str = ""
    peer: Peer | None = None


def white_noise(image: Floats, rng: np.random.Generator, *, sigma: float) -> Floats:
    return image + np.float32(sigma / 255) * rng.standard_normal(image.shape, np.float32)


def camera_noise(image: Floats, rng: np.random.Generator) -> Floats:
    """Shot and read noise in linear light, at the strong end of phones, then JPEG at 85."""
    linear = decode_srgb(image)
    deviation = np.sqrt(6e-3 * linear + 4e-5)
    noisy = np.clip(linear + deviation * rng.standard_normal(image.shape), 0, 1)
    return as_jpeg(encode_srgb(noisy), rng, quality=85)


def as_jpeg(image: Floats, rng: np.random.Generator, *, quality: int) -> Floats:
    bgr = np.ascontiguousarray(rounded(image)[..., ::-1])
    encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    decoded: Any = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    return decoded[..., ::-1].astype(np.float32) / 255


def shake(image: Floats, rng: np.random.Generator, *, low: int, high: int) -> Floats:
    """A random walk's point spread function, `low` to `high` pixels wide, in linear light.

    Drawn at a higher resolution and averaged, by other rules than irkd's own generator.
    """
    extent = rng.uniform(low, high)
    velocity = np.cumsum(rng.normal(0, 1, (64, 2)), 0) * 0.15 + rng.normal(0, 1, 2)
    path = np.cumsum(velocity, 0)
    path = (path - path.mean(0)) / max(float(np.ptp(path, axis=0).max()), 1e-6) * extent
    side = 2 * (high // 2 + 2) + 1
    fine = np.zeros((side * 4, side * 4), np.float32)
    points = np.rint((path + side / 2) * 4 * 16).astype(np.int32)[None]
    cv2.polylines(fine, [points], False, 1.0, 3, cv2.LINE_8, 4)
    kernel = cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA)
    kernel /= kernel.sum()
    return encode_srgb(
        cv2.filter2D(decode_srgb(image), -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    )


def light_rain(image: Floats, rng: np.random.Generator) -> Floats:
    streaks = next(drawn for drawn in rains(image, rng) if not drawn.veil).streaks * 0.7
    return 1 - (1 - image) * (1 - streaks[..., None])


def rains(image: Floats, rng: np.random.Generator) -> Iterator[Any]:
    while True:
        yield draw_rain(image.shape[:2], rng)


def heavy_rain(image: Floats, rng: np.random.Generator) -> Floats:
    drawn = next(each for each in rains(image, rng) if each.veil and each.streaks.mean() > 0.05)
    rained = 1 - (1 - image) * (1 - drawn.streaks[..., None])
    return veiled(rained)


VEIL, VEIL_LIGHT = np.float32(0.2), np.float32(0.8)


def veiled(image: Floats) -> Floats:
    return image * (1 - VEIL) + VEIL * VEIL_LIGHT


def streaks_removed(degraded: Image, clean: Image) -> Image:
    """What a perfect remover of streaks leaves of heavy rain: the veil."""
    return rounded(veiled(clean.astype(np.float32) / 255))


def hazed(image: Floats, rng: np.random.Generator) -> Floats:
    transmission, air = draw_haze(plausible_depth(image.shape[:2], rng), rng)
    return image * transmission + air * (1 - transmission)


def bm3d(degraded: Image, clean: Image, *, sigma: float) -> Image | None:
    try:
        from bm3d import bm3d_rgb
    except ImportError:
        return None
    return rounded(bm3d_rgb(degraded.astype(np.float64) / 255, sigma / 255))


def dark_channel_prior(degraded: Image, clean: Image) -> Image:
    """He, Sun, Tang: "Single image haze removal using dark channel prior", TPAMI 2011, with their
    values (15 x 15, omega 0.95, t0 0.1), refined by a guided filter (radius 40, eps 1e-3)."""
    image = degraded.astype(np.float32) / 255
    patch = np.ones((15, 15), np.uint8)
    dark = cv2.erode(image.min(2), patch)
    brightest = np.argsort(dark.ravel())[-max(dark.size // 1000, 1) :]
    candidates = image.reshape(-1, 3)[brightest]
    air = candidates[candidates.sum(1).argmax()]
    transmission = 1 - 0.95 * cv2.erode((image / air).min(2), patch)
    guide = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    mean = partial(cv2.boxFilter, ddepth=-1, ksize=(81, 81))
    mean_guide, mean_t = mean(guide), mean(transmission)
    slope = (mean(guide * transmission) - mean_guide * mean_t) / (
        mean(guide * guide) - mean_guide**2 + 1e-3
    )
    offset = mean_t - slope * mean_guide
    refined = mean(slope) * guide + mean(offset)
    return rounded((image - air) / np.maximum(refined, 0.1)[..., None] + air)


def scikit_noise(image: Floats, rng: np.random.Generator, *, mode: str) -> Floats:
    from skimage.util import random_noise

    options = {"gaussian": {"var": (20 / 255) ** 2}, "poisson": {}, "speckle": {"var": 0.02}}[mode]
    return np.asarray(random_noise(image, mode, rng=rng, **options), np.float32)


def conditions() -> Iterator[Condition]:
    for sigma in (15, 25, 50):
        degrade = partial(white_noise, sigma=sigma)
        peer = partial(bm3d, sigma=sigma)
        yield Condition("denoise", f"sigma {sigma}", degrade, "BM3D, told sigma", peer)
    yield Condition("denoise", "camera, then JPEG 85", camera_noise)
    for mode in ("gaussian", "poisson", "speckle"):
        yield Condition("denoise", f"scikit-image's {mode}", partial(scikit_noise, mode=mode))
    yield Condition("deblur", "mild shake", partial(shake, low=3, high=7))
    yield Condition("deblur", "strong shake", partial(shake, low=12, high=24))
    yield Condition("derain", "light", light_rain)
    name = "perfect streak remover"
    yield Condition("derain", "heavy, with veil", heavy_rain, name, streaks_removed)
    yield Condition("dehaze", "haze", hazed, "dark channel prior", dark_channel_prior)
    for task in ("denoise", "deblur", "derain", "dehaze"):
        yield Condition(task, "clean", lambda image, rng: image)
        for quality in (50, 90):
            yield Condition(task, f"JPEG {quality} alone", partial(as_jpeg, quality=quality))


def rounded(image: Floats) -> Image:
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def clean_images(folder: Path | None, limit: int, side: int) -> list[Image]:
    if folder is None:
        pairs = open_pairs("photographs", task="denoise")
        images = [pairs.load(index).reference for index in range(len(pairs))]
    else:
        paths = sorted(path for path in folder.iterdir() if is_image_name(path.name))
        images = [read_image(path) for path in paths[:: max(1, len(paths) // limit)]]
    return [central(image, side) for image in images[:limit]]


def central(image: Image, side: int) -> Image:
    top, left = (max(0, (length - side) // 2) for length in image.shape[:2])
    return np.ascontiguousarray(image[top : top + side, left : left + side])


def measure(condition: Condition, images: list[Image], models: dict[str, Restorer]) -> Any:
    """PSNR of every image, by what restored it."""
    scores: dict[str, list[float]] = {"input": []}
    for index, clean in enumerate(images):
        rng = np.random.default_rng([SEED, index])
        degraded = rounded(condition.degrade(clean.astype(np.float32) / 255, rng))
        results: dict[str, Image | None] = {"input": degraded}
        if condition.peer is not None:
            results[condition.peer_name] = condition.peer(degraded, clean)
        for name, restorer in models.items():
            results[name] = rounded(restorer(degraded.astype(np.float32) / 255))
        for name, result in results.items():
            if result is not None:
                scores.setdefault(name, []).append(psnr(result, clean))
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.marks", description=__doc__)
    parser.add_argument("--task", action="append", help="of the models; all by default")
    parser.add_argument("--folder", type=Path, help="clean images; else the built-in photographs")
    parser.add_argument("--limit", type=int, default=30, help="images at most")
    parser.add_argument("--side", type=int, default=256, help="of the central crop")
    parser.add_argument("--model", action="append", default=[], help="another model, NAME=PATH")
    parser.add_argument("--out", type=Path, default=Path("build/marks.json"))
    arguments = parser.parse_args()

    shipped = {
        name: Restorer(load_network(name)) for name in shipped_models() if name != "demo-teacher"
    }
    tasks = {name: read_metadata(path)["task"] for name, path in shipped_models().items()}
    extra = dict(each.split("=", 1) for each in arguments.model)
    others = {name: Restorer(load_network(path)) for name, path in extra.items()}
    images = clean_images(arguments.folder, arguments.limit, arguments.side)
    table = Table("task", "damage", "what", "PSNR (dB)", "gain", "95 % of the gain")
    records = []
    for condition in conditions():
        if arguments.task and condition.task not in arguments.task:
            continue
        models = {
            name: restorer
            for name, restorer in shipped.items()
            if tasks[name] in (condition.task, "general")
        }
        scores = measure(condition, images, models | others)
        for name, values in scores.items():
            finite = np.minimum(values, 99.0)
            gains = finite - np.minimum(scores["input"], 99.0)
            low, high = mean_interval((tuple(gains.tolist()),))
            mean, gain = float(finite.mean()), float(gains.mean())
            record = {"task": condition.task, "damage": condition.name, "what": name}
            records.append({**record, "psnr_db": mean, "gain_db": gain, "low": low, "high": high})
            cells = f"{mean:.2f}", f"{gain:+.2f}", f"{low:+.2f} to {high:+.2f}"
            table.add_row(condition.task, condition.name, name, *cells)
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
