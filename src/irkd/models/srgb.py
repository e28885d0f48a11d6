"""sRGB values and linear light, of tensors; gradients are finite everywhere."""

from __future__ import annotations

import torch
from torch import Tensor


def decode_srgb(images: Tensor) -> Tensor:
    """Linear light of sRGB values, white is 1. Below 0 the line through black goes on."""
    # The power never sees what the other branch answers for: its gradient there could be infinite,
    # and 0 times that is not a number.
    power = ((images.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4
    return torch.where(images <= 0.04045, images / 12.92, power)


def encode_srgb(linear: Tensor) -> Tensor:
    """sRGB values of linear light, white is 1. Below 0 the line through black goes on."""
    power = 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(linear <= 0.0031308, 12.92 * linear, power)
