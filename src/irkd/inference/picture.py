"""An image in memory, with all that its file says beside the pixels."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from irkd.inference.metadata import Metadata

Pixels = NDArray[Any]

_BAND = 256


@dataclass(frozen=True)
class Picture:
    """An upright image. `pixels`: H x W (grey) or H x W x 3 (RGB), uint8, uint16 or float32 in
    [0, 1]; `alpha`: H x W of the same type, or None. `lossless` of a WebP: how it was stored.
    `notes`: what could not be kept, in words for the user.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    metadata: Metadata = field(default_factory=Metadata)
    lossless: bool = False
    notes: tuple[str, ...] = ()

    def noting(self, note: str) -> Picture:
        return replace(self, notes=(*self.notes, note))


def to_float(pixels: Pixels) -> NDArray[np.float32]:
    """H x W or H x W x 3 of any depth to H x W x 3 float32 in [0, 1]; grey is repeated."""
    if pixels.dtype != np.float32:
        pixels = pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels


def from_float(restored: NDArray[np.float32], *, dtype: Any, grey: bool) -> Pixels:
    """H x W x 3 float32, clipped to [0, 1], at another depth; the mean of the channels for grey."""
    if grey:
        restored = restored.mean(axis=2)
    return change_depth(np.clip(restored, 0, 1), dtype)


def as_colour(pixels: Pixels) -> Pixels:
    """H x W or H x W x 3 as H x W x 3 of the same type, without a copy; grey is repeated."""
    return pixels if pixels.ndim == 3 else np.broadcast_to(pixels[..., None], (*pixels.shape, 3))


def shrink_to(pixels: Pixels, side: int) -> Pixels:
    """H x W x 3 with at most `side` pixels along its longer side, means of areas, of its depth."""
    longer = max(pixels.shape[:2])
    if longer <= side:
        return pixels
    height, width = (max(1, round(length * side / longer)) for length in pixels.shape[:2])
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)


def blend(degraded: Pixels, restored: NDArray[np.float32], strength: float, dtype: Any) -> Pixels:
    """degraded + strength * (restored - degraded) with values of `dtype`.

    `degraded`: H x W or H x W x 3 of any depth; the result has its shape. `restored`: H x W x 3 in
    [0, 1] or beyond, where it is clipped. Rows are taken in bands: no copy of the image in
    floating point is made.
    """
    result = np.empty(degraded.shape, dtype)
    for top in range(0, len(degraded), _BAND):
        band = slice(top, top + _BAND)
        part = np.clip(restored[band], 0, 1)
        if strength != 1:
            before = to_float(degraded[band])
            part = before + np.float32(strength) * (part - before)
        result[band] = from_float(part, dtype=dtype, grey=degraded.ndim == 2)
    return result


def change_depth(pixels: Pixels, dtype: Any) -> Pixels:
    """The same image with values of `dtype`, rounded to the nearest."""
    dtype = np.dtype(dtype)
    if pixels.dtype == dtype:
        return pixels
    if pixels.dtype.kind == "u":
        pixels = pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
    if dtype.kind == "u":
        pixels = np.rint(pixels * np.float32(np.iinfo(dtype).max))
    return pixels.astype(dtype)


def middle(pixels: Pixels, side: int) -> Pixels:
    """The centre of H x W or H x W x 3, `side` pixels a side at most."""
    top, left = (max(length - side, 0) // 2 for length in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]
