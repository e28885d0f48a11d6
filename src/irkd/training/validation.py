"""Scores of a network on whole validation images, and the pictures beside them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from irkd.data.pairs import PairSource
from irkd.inference.restorer import Restorer
from irkd.metrics.protocols import protocol, quantized
from irkd.models.apply import apply_network
from irkd.report.figures import error_image, sample_grid

Picture = NDArray[np.uint8]

_SAMPLES = 3
_SAMPLE_SIZE = 192


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """The network in eval mode, and back in the mode it was in."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)


def score(
    network: nn.Module | None,
    pairs: PairSource,
    protocol_name: str,
    device: torch.device,
    limit: int,
) -> dict[str, float]:
    """Mean PSNR (dB) and SSIM over the first `limit` whole images; None scores the degraded input.

    Images whose PSNR is infinite are left out of the PSNR mean.
    """
    chosen = protocol(protocol_name)
    psnr, ssim = [], []
    restorer = None if network is None else Restorer(network, device=str(device))
    for index in range(min(limit, len(pairs))):
        pair = pairs.load(index)
        restored = pair.degraded
        if restorer is not None and network is not None:
            with evaluating(network):
                restored = quantized(restorer(pair.degraded.astype(np.float32) / np.float32(255)))
        scores = chosen.score(restored, pair.reference, ("psnr", "ssim"))
        psnr.append(scores["psnr_db"])
        ssim.append(scores["ssim"])
    finite = [value for value in psnr if np.isfinite(value)]
    mean_psnr = float(np.mean(finite)) if finite else float("inf")
    return {"psnr_db": mean_psnr, "ssim": float(np.mean(ssim))}


def sample_picture(
    student: nn.Module, teacher: nn.Module | None, pairs: PairSource, device: torch.device
) -> Picture:
    """A grid of the first validation images' centres: a wrong range or channel order shows here."""
    columns: dict[str, list[Picture]] = {}
    for index in range(min(_SAMPLES, len(pairs))):
        pair = pairs.load(index)
        degraded, reference = _centre(pair.degraded), _centre(pair.reference)
        columns.setdefault("degraded", []).append(degraded)
        restored = _restore(student, degraded, device)
        columns.setdefault("student", []).append(restored)
        if teacher is not None:
            columns.setdefault("teacher", []).append(_restore(teacher, degraded, device))
        columns.setdefault("reference", []).append(reference)
        columns.setdefault("student error x4", []).append(error_image(restored, reference))
    return sample_grid(columns)


def _centre(image: Picture) -> Picture:
    top = max(0, (image.shape[0] - _SAMPLE_SIZE) // 2)
    left = max(0, (image.shape[1] - _SAMPLE_SIZE) // 2)
    return image[top : top + _SAMPLE_SIZE, left : left + _SAMPLE_SIZE]


@torch.no_grad()
def _restore(network: nn.Module, image: Picture, device: torch.device) -> Picture:
    tensor = torch.from_numpy(image.astype(np.float32) / 255).permute(2, 0, 1)[None].to(device)
    with evaluating(network):
        restored = apply_network(network, tensor)[0]
    return quantized(restored.permute(1, 2, 0).float().cpu().numpy())
