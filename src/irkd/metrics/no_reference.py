"""Image quality without a reference."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from irkd.errors import IrkdError

_BLOCK = 16
_SEGMENT = 6
_ACTIVE_VARIANCE = 0.1
_FLAT_DEVIATION = 0.1


def piqe(rgb: NDArray[np.uint8]) -> float:
    """PIQE, 0 (clean) to 100 (bad), of an H x W x 3 RGB uint8 image with MATLAB's figures.

    Venkatanath, Praneeth, Bh, Channappayya, Medasani, "Blind image quality evaluation using
    perception based features", NCC 2015. From MATLAB's `piqe` come the rescaling to the full range,
    the columns of a block that its noise criterion leaves out, and the padding, which leaves an
    incomplete last block out where less than half of it is image.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise IrkdError(f"PIQE needs an H x W x 3 uint8 image, not {rgb.shape} {rgb.dtype}.")
    if min(rgb.shape[:2]) < _BLOCK // 2:
        raise IrkdError(f"PIQE needs at least 8 x 8 pixels, not {rgb.shape[0]} x {rgb.shape[1]}.")
    blocks = _blocks(_normalised(_grey(rgb)))
    variances = blocks.var(axis=(1, 2), ddof=1)
    active = variances > _ACTIVE_VARIANCE
    blocks, variances = blocks[active], variances[active]
    distortion = (1 - variances)[_has_artefact(blocks)].sum() + variances[_is_noisy(blocks)].sum()
    return float(100 * (distortion + 1) / (len(blocks) + 1))


def _grey(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """MATLAB's `rgb2gray`, brightened to reach 255, padded at the bottom and right."""
    weights = np.array([0.298936021293775, 0.587043074451121, 0.114020904255103])
    grey = np.floor(rgb @ weights + 0.5)
    height, width = grey.shape
    grey = np.pad(grey, ((0, height % _BLOCK), (0, width % _BLOCK)), mode="edge")
    return np.floor(255 * (grey / max(grey.max(), 1)) + 0.5)


def _normalised(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean-subtracted, contrast-normalised values in a 7 x 7 Gaussian window of sigma 7/6."""

    def window(plane: NDArray[np.float64]) -> Any:
        return cv2.GaussianBlur(plane, (7, 7), 7 / 6, borderType=cv2.BORDER_REPLICATE)

    mean = window(grey)
    deviation = np.sqrt(np.abs(window(grey * grey) - mean * mean))
    return (grey - mean) / (deviation + 1)


def _blocks(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """The whole blocks of an image, N x 16 x 16."""
    rows, columns = image.shape[0] // _BLOCK, image.shape[1] // _BLOCK
    tiles = image[: rows * _BLOCK, : columns * _BLOCK].reshape(rows, _BLOCK, columns, _BLOCK)
    return tiles.transpose(0, 2, 1, 3).reshape(-1, _BLOCK, _BLOCK)


def _has_artefact(blocks: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Blocks with a flat run on an edge, as compression leaves it."""
    edges = np.stack([blocks[:, 0], blocks[:, -1], blocks[:, :, 0], blocks[:, :, -1]], axis=1)
    segments = np.lib.stride_tricks.sliding_window_view(edges, _SEGMENT, axis=2)
    return (segments.std(axis=3, ddof=1) < _FLAT_DEVIATION).any(axis=(1, 2))


def _is_noisy(blocks: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Blocks whose centre differs from its surround as noise does (the paper's eq. 7 to 9)."""
    centre = blocks[:, :, 7:9].reshape(len(blocks), _BLOCK * 2)
    # MATLAB deletes column 8, then what has become column 9: the tenth, not the ninth.
    surround = np.delete(blocks, (7, 9), axis=2).reshape(len(blocks), _BLOCK * 14)
    deviation = blocks.std(axis=(1, 2), ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = centre.std(axis=1, ddof=1) / surround.std(axis=1, ddof=1)
        beta = np.abs(deviation - ratio) / np.maximum(deviation, ratio)
    return deviation > 2 * beta
