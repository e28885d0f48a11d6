"""Linear light and sRGB values (IEC 61966-2-1) of arrays; of tensors: `irkd.models.srgb`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]  # float32


def encode_srgb(linear: Floats) -> Floats:
    """sRGB values of linear light, both in [0, 1]."""
    high = 1.055 * np.power(np.maximum(linear, 0.0031308), np.float32(1 / 2.4)) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, high).astype(np.float32)


def decode_srgb(image: Floats) -> Floats:
    """Linear light of sRGB values, both in [0, 1]."""
    image = np.clip(image, 0, 1)
    high = np.power((image + 0.055) / 1.055, np.float32(2.4))
    return np.where(image <= 0.04045, image / 12.92, high).astype(np.float32)
