"""Pictures put together from pictures: labelled grids, error images, resizing for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from irkd.errors import IrkdError

Picture = NDArray[np.uint8]

_BACKGROUND = 255
_GAP = 4
_LABEL_HEIGHT = 20
_FONT_SIZE = 13


def error_image(restored: Picture, reference: Picture, gain: float = 4.0) -> Picture:
    """The absolute error of H x W x 3 uint8 pictures, `gain` times as bright, clipped to uint8."""
    if restored.shape != reference.shape:
        raise IrkdError(
            f"pictures of one size are needed, not {restored.shape}, {reference.shape}."
        )
    difference = np.abs(restored.astype(np.float32) - reference.astype(np.float32))
    return np.minimum(np.rint(difference * gain), 255).astype(np.uint8)


def sample_grid(columns: Mapping[str, Sequence[Picture]]) -> Picture:
    """A labelled grid of H x W x 3 uint8 pictures: one column a label, one row a photograph.

    `columns` maps a label (degraded, student, teacher, ...) to its pictures, the same number in
    each. Sizes may differ between rows and columns; smaller pictures stand at the top left of their
    cell. Returns one H x W x 3 uint8 picture.
    """
    counts = {label: len(pictures) for label, pictures in columns.items()}
    if not counts or len(set(counts.values())) != 1 or 0 in counts.values():
        raise IrkdError(f"a grid needs the same number of pictures in each column, not {counts}.")
    rows = list(zip(*columns.values(), strict=True))
    for picture in (picture for row in rows for picture in row):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise IrkdError(f"H x W x 3 uint8 expected, not {picture.shape} {picture.dtype}.")
    widths = [max(picture.shape[1] for picture in pictures) for pictures in columns.values()]
    heights = [max(picture.shape[0] for picture in row) for row in rows]
    lefts = np.cumsum([0, *(width + _GAP for width in widths)])
    tops = _LABEL_HEIGHT + np.cumsum([0, *(height + _GAP for height in heights)])
    grid = np.full((tops[-1] - _GAP, lefts[-1] - _GAP, 3), _BACKGROUND, np.uint8)
    for row, top in zip(rows, tops, strict=False):
        for picture, left in zip(row, lefts, strict=False):
            height, width = picture.shape[:2]
            grid[top : top + height, left : left + width] = picture
    header = Image.new("RGB", (grid.shape[1], _LABEL_HEIGHT), (_BACKGROUND,) * 3)
    draw = ImageDraw.Draw(header)
    font = ImageFont.load_default(_FONT_SIZE)
    for label, left, width in zip(columns, lefts, widths, strict=False):
        draw.text((int(left) + 2, 2), _fit(label, width - 4, font), fill=(0, 0, 0), font=font)
    grid[:_LABEL_HEIGHT] = np.asarray(header)
    return grid


def fit_within(picture: Picture, longest: int) -> Picture:
    """`picture`, made smaller by area averaging until its longer side is at most `longest`."""
    height, width = picture.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return picture
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.uint8)


def _fit(label: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """`label`, cut at its end until it is at most `width` pixels wide."""
    if font.getlength(label) <= width:
        return label
    while label and font.getlength(label + "…") > width:
        label = label[:-1]
    return label + "…" if label else ""
