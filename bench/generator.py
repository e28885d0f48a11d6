"""python -m bench.generator --train DIR --test DIR [--steps N] [--data NAME ...]

What training on procedural images loses against training on photographs: the same small network,
steps and noise, once on each set, scored on photographs that neither saw.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import nn

from bench.marks import Image, clean_images
from irkd.data.opening import open_pairs
from irkd.data.sampler import training_loader
from irkd.data.synthetic import STYLES
from irkd.metrics.full_reference import psnr
from irkd.models.base import create_network
from irkd.training.acceleration import processor_has_bf16

SIGMAS = (15, 25, 50)
BATCH, PATCH = 16, 64
DECAY = 0.995


def train(data: str, steps: int, count: int) -> nn.Module:
    """The averaged weights of a small residual U-Net, trained to remove noise."""
    torch.manual_seed(0)
    network = create_network("resunet", widths=[24, 32, 48], blocks=[2, 2, 2])
    average = copy.deepcopy(network).eval()
    if data in STYLES:
        pairs = open_pairs(data, task="denoise", split="train", seed=5, count=count, size=256)
    else:
        pairs = open_pairs(data, task="denoise", split="train", seed=5, layout="clean")
    optimizer = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.5e-3, steps, pct_start=0.05)
    loader = training_loader(pairs, patch=PATCH, batch_size=BATCH, steps=steps, seed=0, workers=0)
    for step, batch in enumerate(loader):
        degraded, reference = (batch[name].float() / 255 for name in ("degraded", "reference"))
        with torch.autocast("cpu", torch.bfloat16, enabled=processor_has_bf16()):
            restored = network(degraded)
        optimizer.zero_grad()
        F.l1_loss(restored.float(), reference).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        share = 1 - min(DECAY, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, value in zip(average.parameters(), network.parameters(), strict=True):
                mean.lerp_(value, share)
    return average


def scores(network: nn.Module, images: list[Image]) -> list[float]:
    """Mean PSNR for each sigma; the noise is clipped and rounded."""
    found = []
    for sigma in SIGMAS:
        values = []
        for index, clean in enumerate(images):
            noise = np.random.default_rng([sigma, index]).normal(0, sigma, clean.shape)
            noisy = np.rint(np.clip(clean + noise, 0, 255)).astype(np.float32) / 255
            with torch.inference_mode():
                restored = network(torch.from_numpy(noisy).permute(2, 0, 1)[None])[0]
            result = np.rint(np.clip(restored.permute(1, 2, 0).numpy() * 255, 0, 255))
            values.append(psnr(result.astype(np.uint8), clean))
        found.append(float(np.mean(values)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.generator", description=__doc__)
    parser.add_argument("--train", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--test", type=Path, required=True, help="folder of other photographs")
    parser.add_argument("--data", action="append", help="built-in sets; all by default")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--count", type=int, default=500, help="procedural images")
    parser.add_argument("--limit", type=int, default=34, help="test images")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    tests = {
        "of --test": clean_images(arguments.test, arguments.limit, 256),
        "built in": clean_images(None, arguments.limit, 256),
    }
    table = Table("trained on", *(f"{name}, sigma {sigma}" for name in tests for sigma in SIGMAS))
    for data in (str(arguments.train), *(arguments.data or STYLES)):
        network = train(data, arguments.steps, arguments.count)
        values = [value for images in tests.values() for value in scores(network, images)]
        name = data if data in STYLES else "photographs"
        table.add_row(name, *(f"{value:.2f}" for value in values))
        Console().print(f"{name}: " + " ".join(f"{value:.3f}" for value in values), style="dim")
    Console().print(table)


if __name__ == "__main__":
    main()
