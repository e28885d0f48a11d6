"""python -m bench.spread_noise MODEL ... [--folder DIR] [--limit N] [--side N]

What models gain in PSNR at noise that is not white, as photographs have: spread by the
interpolation of a sensor's colours, or soft. By other rules than irkd's own kinds of damage. On the
built-in photographs, or on a folder of clean images.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from bench.damages import Degrade, Floats
from bench.marks import clean_images
from bench.peers import rounded
from irkd.inference.backends import load_network
from irkd.inference.restorer import Restorer
from irkd.metrics.full_reference import psnr

SEED = 5


def noises() -> Iterator[tuple[str, Degrade]]:
    yield (
        "grey, deviation 12, softened by 0.5 pixels",
        partial(soft, sigma=12, spread=0.5, grey=True),
    )
    for spread in (0.5, 0.8):
        degrade = partial(soft, sigma=15, spread=spread, grey=False)
        yield f"coloured, deviation 15, softened by {spread} pixels", degrade
    for sigma in (12, 25):
        yield f"deviation {sigma}, before interpolation", partial(interpolated, sigma=sigma)


def soft(
    image: Floats, rng: np.random.Generator, *, sigma: float, spread: float, grey: bool
) -> Floats:
    """White noise through a Gaussian of `spread` pixels, of deviation `sigma` afterwards."""
    height, width = image.shape[:2]
    white = rng.standard_normal((height, width, 1 if grey else 3)).astype(np.float32)
    noise = cv2.GaussianBlur(white, (0, 0), spread).reshape(height, width, -1)
    return image + sigma / 255 * noise / noise.std()


def interpolated(image: Floats, rng: np.random.Generator, *, sigma: float) -> Floats:
    """White noise on one colour a pixel, of which OpenCV interpolates the others; the image too."""
    mosaic = np.zeros(image.shape[:2], np.float32)
    for row, column, colour in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        mosaic[row::2, column::2] = image[row::2, column::2, colour]
    mosaic = np.clip(mosaic + sigma / 255 * rng.standard_normal(mosaic.shape), 0, 1)
    whole = cv2.cvtColor((mosaic * 65535).astype(np.uint16), cv2.COLOR_BayerRGGB2RGB)
    return whole.astype(np.float32) / 65535


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.spread_noise", description=__doc__)
    parser.add_argument("model", nargs="+")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--limit", type=int, default=30)
    parser.add_argument("--side", type=int, default=160)
    arguments = parser.parse_args()
    images = clean_images(arguments.folder, arguments.limit, arguments.side)
    restorers = [Restorer(load_network(model)) for model in arguments.model]
    table = Table("noise", "degraded (dB)", *(f"{model}, gain" for model in arguments.model))
    for name, degrade in noises():
        scores = []
        for index, clean in enumerate(images):
            rng = np.random.default_rng([SEED, index])
            degraded = rounded(degrade(clean.astype(np.float32) / 255, rng))
            given = degraded.astype(np.float32) / 255
            restored = [rounded(restorer(given)) for restorer in restorers]
            scores.append([psnr(each, clean) for each in (degraded, *restored)])
        before, *after = np.mean(scores, axis=0)
        table.add_row(name, f"{before:.2f}", *(f"{value - before:+.2f}" for value in after))
    Console().print(table)


if __name__ == "__main__":
    main()
