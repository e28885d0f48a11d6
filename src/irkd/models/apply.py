"""Running a network on images: value range, padding and cropping in one place."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def to_range(images: Tensor, value_range: tuple[float, float]) -> Tensor:
    """Map [0, 1] images to `value_range`."""
    low, high = value_range
    return images if (low, high) == (0.0, 1.0) else images * (high - low) + low


def from_range(images: Tensor, value_range: tuple[float, float]) -> Tensor:
    """Map images in `value_range` to [0, 1]."""
    low, high = value_range
    return images if (low, high) == (0.0, 1.0) else (images - low) / (high - low)


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Pad B x C x H x W on the right and bottom, by reflection.

    Reflection needs a side longer than its padding; a shorter side is extended by its last pixels.
    """
    height, width = images.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    if bottom:
        mode = "reflect" if bottom < height else "replicate"
        images = F.pad(images, (0, 0, 0, bottom), mode=mode)
    if right:
        mode = "reflect" if right < width else "replicate"
        images = F.pad(images, (0, right, 0, 0), mode=mode)
    return images


def apply_network(network: nn.Module, degraded: Tensor, *known: object) -> Tensor:
    """Restore [0, 1] images B x C x H x W of any size; the result is not clamped.

    `known`: what the network takes beside an image, such as an estimate from a larger part of it.
    """
    height, width = degraded.shape[-2:]
    value_range: tuple[float, float] = network.spec.value_range  # type: ignore[union-attr, assignment]
    multiple: int = network.size_multiple  # type: ignore[assignment]
    padded = pad_to_multiple(to_range(degraded, value_range), multiple)
    return from_range(network(padded, *known), value_range)[..., :height, :width]
