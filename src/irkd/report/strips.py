"""Pictures of one photograph side by side, compressed as soon as they are made.

An evaluation over many images keeps no uncompressed picture longer than it takes to score it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from irkd.report.figures import fit_within

Picture = NDArray[np.uint8]

PAGE_BYTES = 12_000_000
"""What all pictures of one page may take, before base64 adds a third."""

_CROP = 96
_CROP_QUALITIES = (95, 85, 70)
# Longest side and WebP quality, best first: the first that fits a strip's share is taken.
_LEVELS = (
    (1600, 90),
    (1280, 88),
    (1024, 86),
    (800, 84),
    (640, 80),
    (480, 76),
    (360, 70),
    (240, 60),
    (160, 50),
    (120, 40),
    (80, 30),
)


@dataclass(frozen=True)
class Strip:
    """One photograph: WebP bytes by label, whole and as a crop in its own pixels.

    `crop`: top, left, height and width of the crop, where the first picture differs most from the
    last. `height`, `width`: the size of the photograph, which `pictures` may be smaller than.
    """

    name: str
    height: int
    width: int
    crop: tuple[int, int, int, int]
    pictures: Mapping[str, bytes]
    crops: Mapping[str, bytes]


def make_strip(name: str, pictures: Mapping[str, Picture], budget: int) -> Strip:
    """Compress H x W x 3 uint8 pictures of one size, by label, to about `budget` bytes together.

    The first picture is the degraded one and the last the reference, where there is one.
    """
    labels = list(pictures)
    first, last = pictures[labels[0]], pictures[labels[-1]]
    height, width = first.shape[:2]
    crop = _busiest(first, last)
    top, left, crop_height, crop_width = crop
    window = (slice(top, top + crop_height), slice(left, left + crop_width))
    for crop_quality in _CROP_QUALITIES:
        crops = {
            label: encode(np.ascontiguousarray(picture[window]), crop_quality)
            for label, picture in pictures.items()
        }
        if 2 * sum(map(len, crops.values())) <= budget:
            break
    share = (budget - sum(map(len, crops.values()))) // len(pictures)
    for longest, quality in _LEVELS:
        # Rain and noise make the degraded picture the largest.
        ends = {
            label: encode(fit_within(pictures[label], longest), quality)
            for label in (labels[0], labels[-1])
        }
        if max(map(len, ends.values())) <= share:
            break
    whole = {
        label: ends[label] if label in ends else encode(fit_within(picture, longest), quality)
        for label, picture in pictures.items()
    }
    return Strip(name, height, width, crop, whole, crops)


def strip_budget(count: int) -> int:
    """The bytes one of `count` strips may take."""
    return PAGE_BYTES // max(1, count)


def encode(picture: Picture, quality: int) -> bytes:
    """WebP bytes of an H x W x 3 RGB uint8 picture."""
    options = [cv2.IMWRITE_WEBP_QUALITY, quality]
    done, data = cv2.imencode(".webp", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise RuntimeError(f"WebP could not encode a picture of {picture.shape}")
    return data.tobytes()


def _busiest(first: Picture, last: Picture) -> tuple[int, int, int, int]:
    """The window with the largest difference of the two, or most detail where they are equal."""
    height, width = first.shape[:2]
    crop_height, crop_width = min(_CROP, height), min(_CROP, width)
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) for image in (first, last)]
    difference = np.abs(grey[0] - grey[1])
    if not difference.any():
        difference = np.abs(cv2.Laplacian(grey[0], cv2.CV_32F))
    total = cv2.integral(difference)
    sums = (
        total[crop_height:, crop_width:]
        - total[:-crop_height, crop_width:]
        - total[crop_height:, :-crop_width]
        + total[:-crop_height, :-crop_width]
    )
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    return int(top), int(left), crop_height, crop_width
