"""python -m bench.kernels [--folder DIR] [--limit N] [--side N] [--set NAME=VALUE ...]

How well motion kernels are estimated from blurred images: the squared error against the true
kernel's own square, at the shift by whole pixels where it is least; and what Wiener's filter gains
with the estimate, and with the true kernel. On the built-in photographs, or on a folder of clean
images. `--set` gives a constant of `irkd.models.blind_deconvolution` another value, to try it.
"""

from __future__ import annotations

import argparse
import ast
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

from bench.damages import shake, shake_kernel
from bench.marks import SEED, Image, clean_images
from bench.peers import rounded
from irkd.data.srgb import decode_srgb, encode_srgb
from irkd.metrics.full_reference import psnr
from irkd.models import blind_deconvolution

SHAKES = {"mild shake": (3, 7), "strong shake": (12, 24)}
SIDES = (13, 33)
NOISES = (3e-3, 3e-2)
GOOD = 0.3


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.kernels", description=__doc__)
    parser.add_argument("--folder", type=Path, help="clean images; else the built-in photographs")
    parser.add_argument("--limit", type=int, default=30, help="images at most")
    parser.add_argument("--side", type=int, default=256, help="of the central crop")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    arguments = parser.parse_args()
    for each in arguments.set:
        name, value = each.split("=", 1)
        if not hasattr(blind_deconvolution, name):
            parser.error(f"irkd.models.blind_deconvolution has no {name}")
        setattr(blind_deconvolution, name, ast.literal_eval(value))
    images = clean_images(arguments.folder, arguments.limit, arguments.side)
    gains = [f"{who}, noise {noise:g} (dB)" for who in ("estimate", "true") for noise in NOISES]
    table = Table("blur", "kernel side", "error", f"below {GOOD}", *gains, "s")
    for name, (low, high) in SHAKES.items():
        for side in SIDES:
            if side > high:
                table.add_row(name, str(side), *_row(images, low, high, side))
    Console().print(table)


def _row(images: list[Image], low: int, high: int, side: int) -> list[str]:
    errors, gains, seconds = [], [], []
    for index, clean in enumerate(images):
        # The same draws: `shake` draws nothing but its kernel.
        true = shake_kernel(np.random.default_rng([SEED, index]), low=low, high=high)[::-1, ::-1]
        rng = np.random.default_rng([SEED, index])
        degraded = rounded(shake(clean.astype(np.float32) / 255, rng, low=low, high=high))
        linear = torch.from_numpy(decode_srgb(degraded.astype(np.float32) / 255))
        linear = linear.permute(2, 0, 1)[None]
        begin = time.perf_counter()
        found = blind_deconvolution.estimate_kernel(linear.mean(1), side)
        seconds.append(time.perf_counter() - begin)
        kernels = [found, torch.from_numpy(np.ascontiguousarray(true))[None]]
        errors.append(_error(found[0], kernels[1][0]))
        restored = blind_deconvolution.deconvolve(linear, kernels, NOISES)
        before = psnr(degraded, clean)
        gains.append([psnr(_stored(each), clean) - before for each in restored])
    below = sum(error < GOOD for error in errors)
    means = [f"{gain:+.2f}" for gain in np.mean(gains, axis=0)]
    texts = f"{np.mean(errors):.2f}", f"{below} of {len(errors)}"
    return [*texts, *means, f"{np.mean(seconds):.2f}"]


def _error(found: Tensor, true: Tensor) -> float:
    side = max(len(found), len(true)) + 12
    found, true = (F.pad(each, [(side - len(each)) // 2] * 4) for each in (found, true))
    shifts = [(row, column) for row in range(-6, 7) for column in range(-6, 7)]
    errors = [(torch.roll(found, shift, (0, 1)) - true).square().sum() for shift in shifts]
    return float(min(errors) / true.square().sum())


def _stored(linear: Tensor) -> Image:
    return rounded(encode_srgb(linear[0].permute(1, 2, 0).clamp(0, 1).numpy()))


if __name__ == "__main__":
    main()
