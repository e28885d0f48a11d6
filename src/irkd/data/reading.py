"""Reading the images of data sets: 8-bit RGB as stored, or one clear message."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from irkd.errors import IrkdError

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".jp2", ".avif"}
)


def read_image(path: Path) -> NDArray[np.uint8]:
    """The pixels of `path`: H x W x 3 RGB uint8.

    Grey becomes three equal channels, alpha is dropped, 16 bits are rounded to 8. EXIF orientation
    is ignored: degraded and reference files may differ in it though their pixels agree.
    Raises IrkdError when the file is missing, truncated, or no image.
    """
    try:
        encoded = path.read_bytes()
    except OSError as error:
        raise IrkdError(f"{path}: cannot be read ({error.strerror}).") from error
    return decode_image(encoded, str(path))


def decode_image(encoded: bytes, name: str) -> NDArray[np.uint8]:
    """`read_image` for the bytes of an image file; `name` is what messages call it."""
    pixels = _decode(encoded)
    if pixels is None:
        raise IrkdError(
            f"{name}: not a readable image ({len(encoded)} bytes); it is truncated, damaged, or "
            "no image at all. Replace or remove it."
        )
    if pixels.dtype == np.uint16:
        pixels = np.rint(pixels / 257).astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise IrkdError(
            f"{name}: pixels of type {pixels.dtype}; expected 8 or 16 bit integers. "
            "Convert the image first."
        )
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, axis=2)
    return np.ascontiguousarray(pixels[..., 2::-1])


def image_size(path: Path | str) -> tuple[int, int]:
    """(height, width) from the file's header, without decoding the pixels.

    Raises IrkdError as `read_image` does, as far as the header tells.
    """
    return _header_size(path, str(path))


def encoded_size(encoded: bytes, name: str) -> tuple[int, int]:
    """`image_size` for the bytes of an image file; `name` is what messages call it."""
    return _header_size(io.BytesIO(encoded), name)


def _header_size(source: Path | str | io.BytesIO, name: str) -> tuple[int, int]:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            # Large images are no attack here: the user's own files are being listed.
            warnings.simplefilter("ignore")
            with Image.open(source) as image:
                width, height = image.size
    except FileNotFoundError as error:
        raise IrkdError(f"{name}: no such file.") from error
    except Exception as error:
        # Pillow's readers raise many types on damaged headers (OSError, SyntaxError, struct.error).
        raise IrkdError(
            f"{name}: not a readable image; it is damaged, or no image at all. "
            "Replace or remove it."
        ) from error
    return height, width


def is_image_name(name: str) -> bool:
    """Whether a file name looks like an image; hidden files never do."""
    name = name[name.rfind("/") + 1 :]
    return not name.startswith(".") and name[name.rfind(".") :].lower() in SUFFIXES


def _decode(encoded: bytes) -> Any:
    # A PNG cut short is refused before libpng prints its own complaint.
    cut = encoded.startswith(b"\x89PNG") and encoded.rfind(b"IEND") < 0
    if not encoded or cut:
        return None
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        return cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    finally:
        cv2.utils.logging.setLogLevel(level)
