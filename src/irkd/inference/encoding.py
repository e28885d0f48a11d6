"""Writing pictures: the format by the file's suffix, everything kept that the format can hold."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from irkd import files
from irkd.errors import IrkdError
from irkd.inference.images import FORMATS
from irkd.inference.metadata import (
    PNG_SIGNATURE,
    Metadata,
    add_to_bmp,
    add_to_png,
    add_to_tiff,
    png_chunk,
)
from irkd.inference.picture import Picture, Pixels, change_depth

# Bit depths a format holds, besides the 8 bits that all do.
_DEPTHS: dict[str, tuple[str, ...]] = {
    "PNG": ("uint16",),
    "TIFF": ("uint16", "float32"),
    "PPM": ("uint16",),
}
_QUALITY = 95
# A JPEG's EXIF and XMP must fit a segment of 64 KiB.
_JPEG_SEGMENT = 65000


def format_of(path: Path) -> str:
    """The format in which `path` is written; IrkdError where irkd writes none of that suffix."""
    name = FORMATS.get(path.suffix.lower())
    if name is None:
        known = ", ".join(suffix for suffix, written in FORMATS.items() if written)
        raise IrkdError(f"{path}: irkd writes no {path.suffix or 'files without suffix'}; {known}.")
    return name


def stored_dtype(path: Path, dtype: Any) -> np.dtype[Any]:
    """The type of pixels of `dtype` once written to `path`: the same, or the deepest there is."""
    depths = ("uint8", *_DEPTHS.get(format_of(path), ()))
    dtype = np.dtype(dtype)
    return dtype if dtype.name in depths else np.dtype(depths[-1])


def refuse_unwritable(path: Path, picture: Picture) -> None:
    """Raise IrkdError where a picture's transparency or colour would be lost in `path`."""
    name = format_of(path)
    if picture.alpha is not None and name in ("JPEG", "PPM"):
        raise IrkdError(
            f"{path}: {name} holds no transparency, which the image has. Write a .png, .tiff or "
            ".webp."
        )
    if picture.pixels.ndim == 3 and path.suffix.lower() == ".pgm":
        raise IrkdError(f"{path}: .pgm holds grey images only. Write a .ppm or .png.")


def write_picture(path: Path, picture: Picture, *, overwrite: bool = False) -> tuple[str, ...]:
    """Write a picture; returns notes on what the format could not hold.

    JPEG, lossy WebP and AVIF at quality 95, JPEG and AVIF without chroma subsampling. Raises
    IrkdError for a suffix that irkd does not write, or where transparency or colour would be lost.
    """
    refuse_unwritable(path, picture)
    name = format_of(path)
    notes = []
    dtype = stored_dtype(path, picture.pixels.dtype)
    pixels = change_depth(picture.pixels, dtype)
    alpha = None if picture.alpha is None else change_depth(picture.alpha, dtype)
    if dtype != picture.pixels.dtype:
        notes.append(f"{path.suffix} holds {dtype.itemsize * 8} bits a channel: rounded")
    metadata = picture.metadata
    if name == "PNG":
        encoded = add_to_png(_png(pixels, alpha), metadata)
    elif name == "TIFF":
        if pixels.ndim == 2 and alpha is not None and dtype != np.uint8:
            pixels = np.repeat(pixels[..., None], 3, axis=2)
            notes.append("grey with alpha is stored as RGBA")
        grey_alpha = pixels.ndim == 2 and alpha is not None
        plain = _pillow(pixels, alpha, "TIFF") if grey_alpha else _opencv(".tiff", pixels, alpha)
        encoded = add_to_tiff(plain, metadata, alpha=alpha is not None)
    elif name in ("BMP", "PPM"):
        if pixels.ndim == 2 and (alpha is not None or path.suffix.lower() == ".ppm"):
            pixels = np.repeat(pixels[..., None], 3, axis=2)
        encoded = _opencv(path.suffix.lower(), pixels, alpha)
        if name == "BMP":
            encoded = add_to_bmp(encoded, metadata)
    else:
        options: dict[str, Any] = {"quality": _QUALITY}
        if name == "WEBP":
            options |= {"lossless": picture.lossless, "exact": True}
        elif pixels.ndim == 3:
            options["subsampling"] = "4:4:4"
        exif, xmp = metadata.exif, metadata.xmp
        if name == "JPEG" and max(len(exif or b""), len(xmp or b"")) > _JPEG_SEGMENT:
            exif = xmp = None
            notes.append("its EXIF or XMP data is too large for JPEG: left out")
        if exif is not None:
            options["exif"] = b"Exif\0\0" + exif
        if metadata.icc is not None:
            options["icc_profile"] = metadata.icc
        if xmp is not None:
            options["xmp"] = xmp
        if metadata.dpi is not None and name == "JPEG":
            options["dpi"] = tuple(round(dpi) for dpi in metadata.dpi)
        try:
            encoded = _pillow(pixels, alpha, name, **options)
        except (ValueError, OSError, struct.error) as error:
            raise IrkdError(f"{path}: {name} cannot hold this image: {error}.") from error
    if lost := _lost_in(name, metadata):
        notes.append(f"{path.suffix} cannot hold these, which are left out: {', '.join(lost)}")
    files.write_bytes(path, encoded, overwrite=overwrite)
    return tuple(notes)


def _lost_in(name: str, metadata: Metadata) -> list[str]:
    """What of an image's metadata a format cannot hold, in words."""
    parts: dict[str, object] = {}
    if name in ("BMP", "PPM"):
        parts |= {"colour profile": metadata.icc, "EXIF": metadata.exif, "XMP": metadata.xmp}
    # WebP and AVIF have no place for it but in EXIF.
    if name == "PPM" or (name in ("WEBP", "AVIF") and metadata.exif is None):
        parts["resolution"] = metadata.dpi
    return [words for words, part in parts.items() if part is not None]


def _pillow(pixels: Pixels, alpha: Pixels | None, name: str, **options: Any) -> bytes:
    layers = pixels if alpha is None else np.dstack((pixels, alpha))
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(layers)).save(file, name, **options)
    return file.getvalue()


def _opencv(suffix: str, pixels: Pixels, alpha: Pixels | None) -> bytes:
    if pixels.ndim == 3:
        pixels = pixels[..., ::-1]
    if alpha is not None:
        pixels = np.dstack((pixels, alpha))
    done, encoded = cv2.imencode(suffix, np.ascontiguousarray(pixels))
    if not done:
        raise IrkdError(f"OpenCV cannot write {pixels.dtype} pixels {pixels.shape} as {suffix}.")
    return encoded.tobytes()


def _png(pixels: Pixels, alpha: Pixels | None) -> bytes:
    if pixels.ndim == 3 or alpha is None:
        return _opencv(".png", pixels, alpha)
    # Grey with alpha: Pillow cannot at 16 bits, OpenCV not at all.
    height, width = pixels.shape
    layers = np.dstack((pixels, alpha))
    rows = layers.astype(layers.dtype.newbyteorder(">")).view(np.uint8).reshape(height, -1)
    # Each row as its difference from the one above (filter 2), which packs well.
    above = np.vstack((np.zeros_like(rows[:1]), rows[:-1]))
    filtered = np.hstack((np.full((height, 1), 2, np.uint8), rows - above))
    header = struct.pack(">IIBBBBB", width, height, pixels.dtype.itemsize * 8, 4, 0, 0, 0)
    return (
        PNG_SIGNATURE
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(filtered.tobytes()))
        + png_chunk(b"IEND", b"")
    )
