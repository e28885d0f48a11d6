"""Before and after, side by side in one picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from irkd.inference.metadata import Metadata
from irkd.inference.picture import Picture, change_depth

# Smaller pictures are enlarged, so that labels can be read.
_SMALLEST_SIDE = 160
_STRIP, _TEXT, _DIVIDER = (24, 24, 24), (235, 235, 235), (255, 255, 255)
_CHECKERBOARD = (255, 204)
_CHECKERBOARD_SIDE = 8


def compare_picture(before: Picture, after: Picture) -> Picture:
    """`before` left of `after` with a divider between and a strip of labels above, 8-bit RGB.

    Both have the same size. Transparent places show a checkerboard. The colour profile is kept.
    """
    panes = [_visible(picture) for picture in (before, after)]
    factor = -(-_SMALLEST_SIDE // max(panes[0].shape[:2]))
    if factor > 1:
        panes = [pane.repeat(factor, axis=0).repeat(factor, axis=1) for pane in panes]
    height, width = panes[0].shape[:2]
    divider = max(2, round(max(height, width) / 500))
    font_size = min(max(max(height, width) // 40, 12), 96)
    strip = round(font_size * 1.6)
    canvas = Image.new("RGB", (2 * width + divider, height + strip), _STRIP)
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((width, 0, width + divider - 1, height + strip), fill=_DIVIDER)
    for left, label, pane in ((0, "before", panes[0]), (width + divider, "after", panes[1])):
        canvas.paste(Image.fromarray(pane), (left, strip))
        font = ImageFont.load_default(font_size)
        if draw.textlength(label, font) < width:
            centre = (left + width / 2, strip / 2)
            draw.text(centre, label, fill=_TEXT, font=font, anchor="mm")
    return Picture(np.asarray(canvas), metadata=Metadata(icc=after.metadata.icc))


def _visible(picture: Picture) -> NDArray[np.uint8]:
    """H x W x 3 uint8, over a checkerboard where there is alpha."""
    pixels = change_depth(picture.pixels, np.uint8)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    if picture.alpha is None:
        return pixels
    rows, columns = np.indices(pixels.shape[:2]) // _CHECKERBOARD_SIDE
    board = np.where((rows + columns) % 2, *_CHECKERBOARD)[..., None]
    alpha = change_depth(picture.alpha, np.float32)[..., None]
    return np.rint(pixels * alpha + board * (1 - alpha)).astype(np.uint8)
