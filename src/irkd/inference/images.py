"""Reading image files as pixels and metadata, with bit depth, alpha and grey kept.

Which library decodes what follows from what each loses (OpenCV 5.0, Pillow 13.0): Pillow cuts 16
bits to 8 and opens no float TIFF; OpenCV loses the alpha of grey TIFFs and of PNGs with a
transparent grey, multiplies the colours of 8-bit TIFFs by their alpha, and reads CMYK TIFFs as
RGBA. So PNG and deep TIFF and PNM go through OpenCV, all else through Pillow.
"""

from __future__ import annotations

import contextlib
import io
import math
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageCms

from irkd.errors import IrkdError
from irkd.inference.metadata import (
    LARGEST_PROFILE,
    PNG_SIGNATURE,
    Metadata,
    png_chunks,
    png_metadata,
    read_tags,
    reset_orientation,
    tiff_exif,
)
from irkd.inference.picture import Picture, Pixels, change_depth

# Suffixes that are read, and the format that each is written in. None is read only.
FORMATS: dict[str, str | None] = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
    ".avif": "AVIF",
    ".bmp": "BMP",
    ".ppm": "PPM",
    ".pgm": "PPM",
    ".gif": None,
    ".pbm": None,
}
_READABLE = "PNG, JPEG, TIFF, WebP, AVIF, BMP, PPM/PGM/PBM or GIF"
VIDEO_SUFFIXES = frozenset(
    (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".mts", ".m2ts")
)

# Where a file that is said to hold more is taken for a trap: 16384 x 16384.
MAX_PIXELS = 1 << 28
# What OpenCV reads: libpng's limit, the tightest of its decoders'.
_LONGEST_SIDE = 1_000_000


def read_picture(path: str | Path) -> Picture:
    """Decode an image file, turned upright.

    Raises IrkdError for what is missing, unreadable, empty, damaged, no image, too large, of
    several frames or pages, or of a kind that could only be read with loss.
    """
    path = Path(path)
    data = _read_bytes(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = _decode(data)
    except _Refused as error:
        raise IrkdError(f"{path}: {error}") from error
    except _DAMAGED as error:
        reason = f": {error}" if isinstance(error, ValueError | OSError) else ""
        raise IrkdError(f"{path} is damaged{reason.splitlines()[0] if reason else ''}.") from error
    if picture.metadata.icc is not None and len(picture.metadata.icc) > LARGEST_PROFILE:
        picture = replace(picture, metadata=picture.metadata.without_profile()).noting(
            f"its colour profile of more than {LARGEST_PROFILE >> 20} MiB is left out"
        )
    try:
        orientation, metadata = picture.metadata.upright()
    except ValueError:
        metadata = replace(picture.metadata, exif=None)
        return replace(picture, metadata=metadata).noting("its EXIF data is damaged and left out")
    turn = _TURNS[orientation]
    return replace(
        picture,
        pixels=turn(picture.pixels),
        alpha=None if picture.alpha is None else turn(picture.alpha),
        metadata=metadata,
    )


# What decoders raise on bytes that make no sense.
_DAMAGED = (
    *(ValueError, OSError, SyntaxError, EOFError, RuntimeError, TypeError, LookupError),
    *(ArithmeticError, AssertionError, struct.error, zlib.error, cv2.error),
)


class _Refused(Exception):
    """Why a file is not read, to follow its name."""


def _turn(transpose: bool, down: int, across: int) -> Any:
    def turn(pixels: Pixels) -> Pixels:
        pixels = pixels.swapaxes(0, 1) if transpose else pixels
        return np.ascontiguousarray(pixels[::down, ::across])

    return turn


# EXIF's eight orientations.
_TURNS = {
    1: _turn(False, 1, 1),
    2: _turn(False, 1, -1),
    3: _turn(False, -1, -1),
    4: _turn(False, -1, 1),
    5: _turn(True, 1, 1),
    6: _turn(True, 1, -1),
    7: _turn(True, -1, -1),
    8: _turn(True, -1, 1),
}


def _read_bytes(path: Path) -> bytes:
    if path.suffix.lower() in VIDEO_SUFFIXES:
        raise IrkdError(f"{path} is a video; what is read here are images: {_READABLE}.")
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise IrkdError(f"{path}: no such file.") from error
    except PermissionError as error:
        raise IrkdError(f"{path}: no permission to read it.") from error
    except OSError as error:
        raise IrkdError(f"{path} cannot be read: {error.strerror}.") from error
    if not data:
        raise IrkdError(f"{path} is empty.")
    return data


def _decode(data: bytes) -> Picture:
    if data.startswith(PNG_SIGNATURE):
        return _decode_png(data)
    if data[:4] in (b"II*\0", b"MM\0*"):
        return _decode_tiff(data)
    if data[:4] in (b"II+\0", b"MM\0+"):
        raise _Refused("BigTIFF is not supported. Convert it to a plain TIFF or PNG.")
    deep = re.match(
        rb"P[56](?:\s+|#[^\n]*\n)+\d+(?:\s+|#[^\n]*\n)+\d+(?:\s+|#[^\n]*\n)+(\d+)\s", data
    )
    if deep and int(deep[1]) > 255:
        return Picture(_decode_deep_pnm(data, int(deep[1])))
    return _decode_with_pillow(data)


def _refuse_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise _Refused(
            f"{width} x {height} pixels are more than the {MAX_PIXELS / 1e6:.0f} million that are "
            "read. Cut it into parts."
        )


def _decode_with_opencv(data: bytes, width: int, height: int) -> Pixels:
    """Grey H x W, RGB or RGBA; ValueError for what OpenCV cannot decode."""
    if max(width, height) > _LONGEST_SIDE:
        raise _Refused(
            f"{width} x {height} pixels: no more than {_LONGEST_SIDE} a side are read. "
            "Cut it into parts."
        )
    with _silent_opencv():
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError("its pixels cannot be decoded")
    if pixels.ndim == 2:
        return pixels
    return pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]


@contextlib.contextmanager
def _silent_opencv() -> Iterator[None]:
    """OpenCV prints what goes wrong; irkd says it itself."""
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


def _split(pixels: Pixels, metadata: Metadata) -> Picture:
    """Grey, RGB or RGBA pixels as a picture."""
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        return Picture(np.ascontiguousarray(pixels[..., :3]), pixels[..., 3].copy(), metadata)
    return Picture(pixels, None, metadata)


def _decode_png(data: bytes) -> Picture:
    chunks = png_chunks(data)
    found = dict(chunks)
    if b"acTL" in found:
        raise _Refused("it is animated; irkd restores single images. Extract its frames first.")
    width, height, depth, colour = struct.unpack(">IIBB", found[b"IHDR"][:10])
    _refuse_size(width, height)
    picture = _split(_decode_with_opencv(data, width, height), png_metadata(chunks))
    if colour == 4:  # grey and alpha: OpenCV repeats the grey
        return replace(picture, pixels=np.ascontiguousarray(picture.pixels[..., 0]))
    if colour == 0 and b"tRNS" in found:  # one transparent grey: OpenCV overlooks it
        grey = int.from_bytes(found[b"tRNS"][:2], "big")
        full = np.iinfo(picture.pixels.dtype).max
        grey = grey if depth == 16 else grey * 255 // (2**depth - 1)
        return replace(
            picture, alpha=np.where(picture.pixels == grey, 0, full).astype(picture.pixels.dtype)
        )
    return picture


def _decode_tiff(data: bytes) -> Picture:
    tags = read_tags(data)
    if tags.next:
        raise _Refused("it has several pages; irkd restores single images. Split it first.")
    if 256 not in tags or 257 not in tags:
        raise ValueError("it does not state its size")
    _refuse_size(tags[256], tags[257])
    bits, kinds = set(tags.get(258, (1,))), set(tags.get(339, (1,)))
    photometric, samples = tags.get(262), tags.get(277, 1)
    resolution = tags.get(282), tags.get(283)
    inches = {2: 1.0, 3: 2.54}.get(tags.get(296, 2), 0)
    dpi = None
    if inches and all(0 < float(each or 0) < math.inf for each in resolution):
        dpi = (float(resolution[0]) * inches, float(resolution[1]) * inches)
    metadata = Metadata(tiff_exif(data), tags.get(34675), dpi, tags.get(700))
    orientation, upright = reset_orientation(data)  # or both libraries would turn it
    if bits <= {1, 2, 4, 8} and kinds == {1}:
        picture = replace(_decode_with_pillow(upright), metadata=metadata)
    elif (
        (bits, kinds) in (({16}, {1}), ({32}, {3}))
        and photometric in (0, 1, 2)
        and samples in (1, 3, 4)
        and (samples == 1 or tags.get(284, 1) == 1)
    ):
        pixels = _decode_with_opencv(upright, tags[256], tags[257])
        if pixels.dtype == np.float32:
            _refuse_range(pixels)
        if photometric == 0:  # white is zero
            pixels = pixels.dtype.type(1 if bits == {32} else 65535) - pixels
        picture = _split(pixels, metadata)
        if tags.get(338, ())[:1] == (1,):
            picture = _divided_by_alpha(picture)
    else:
        kind = {1: "unsigned", 2: "signed", 3: "floating-point"}.get(min(kinds), "unknown")
        raise _Refused(
            f"a TIFF of {samples} channels with {max(bits)} {kind} bits, photometric "
            f"{photometric}, planar {tags.get(284, 1)} is not supported. "
            "Convert it to grey or RGB(A) of 8, 16 or 32 floating-point bits."
        )
    if orientation == 1:
        return picture
    stated = Image.Exif()
    if metadata.exif is not None:
        stated.load(metadata.exif)
    stated[274] = orientation
    exif = stated.tobytes().removeprefix(b"Exif\0\0")
    return replace(picture, metadata=replace(metadata, exif=exif))


def _divided_by_alpha(picture: Picture) -> Picture:
    """The colours themselves, of a picture that stores them multiplied by its alpha.

    Pillow does it for 8 bits. What is wholly transparent keeps what it stores.
    """
    if picture.alpha is None:
        return picture
    alpha = change_depth(picture.alpha, np.float32)
    divisor = np.where(alpha > 0, alpha, np.float32(1))
    pixels = np.empty_like(picture.pixels)
    for channel in range(3):
        colour = change_depth(picture.pixels[..., channel], np.float32) / divisor
        pixels[..., channel] = change_depth(np.minimum(colour, 1), pixels.dtype)
    return replace(picture, pixels=pixels)


def _refuse_range(pixels: Pixels) -> None:
    if not np.isfinite(pixels).all():
        raise _Refused("it has values that are not numbers (NaN or infinity).")
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0 or high > 1:
        raise _Refused(
            f"its floating-point values run from {low:g} to {high:g}; they must lie within 0 "
            "(black) and 1 (white). Scale them first."
        )


def _decode_deep_pnm(data: bytes, maximum: int) -> Pixels:
    header = re.match(rb"P[56](?:\s+|#[^\n]*\n)+(\d+)(?:\s+|#[^\n]*\n)+(\d+)", data)
    assert header is not None
    width, height = int(header[1]), int(header[2])
    _refuse_size(width, height)
    pixels = _decode_with_opencv(data, width, height)
    if pixels.max(initial=0) > maximum:
        raise ValueError(f"it has values above its own maximum, {maximum}")
    return np.rint(pixels * (65535 / maximum)).astype(np.uint16)


_PILLOW_FORMATS = ("JPEG", "WEBP", "AVIF", "GIF", "BMP", "PPM", "TIFF")


def _decode_with_pillow(data: bytes) -> Picture:
    """What has 8 bits a channel."""
    image = _open_with_pillow(data)
    _refuse_size(*image.size)
    notes = []
    if image.format == "MPO":
        notes.append("only the main picture of the several in the file is kept")
    elif getattr(image, "n_frames", 1) > 1:
        raise _Refused("it is animated; irkd restores single images. Extract its frames first.")
    if image.format == "AVIF" and (depth := _avif_depth(data)) > 8:
        raise _Refused(
            f"an AVIF of {depth} bits a channel is not supported: only 8 of them could be read. "
            "Convert it to a PNG or TIFF of 16 bits."
        )
    image.load()
    info = image.info
    metadata = Metadata(
        exif=(info.get("exif") or b"").removeprefix(b"Exif\0\0") or None,
        icc=info.get("icc_profile") or None,
        dpi=info.get("dpi"),
        xmp=info.get("xmp"),
    )
    if image.mode in ("CMYK", "YCCK"):
        image, note = _cmyk_to_srgb(image, metadata.icc)
        metadata = replace(metadata, icc=None)
        notes.append(note)
    has_alpha = image.has_transparency_data
    if image.mode in ("1", "L", "LA", "La", "I;16", "I"):
        image = image.convert("LA" if has_alpha else "L")
    else:
        image = image.convert("RGBA" if has_alpha else "RGB")
    pixels = np.array(image)
    lossless = data[:4] == b"RIFF" and b"VP8L" in data[12:64]
    if pixels.ndim == 3 and pixels.shape[2] == 2:
        picture = Picture(pixels[..., 0].copy(), pixels[..., 1].copy(), metadata, lossless)
    else:
        picture = replace(_split(pixels, metadata), lossless=lossless)
    return replace(picture, notes=tuple(notes))


def _open_with_pillow(data: bytes) -> Image.Image:
    # irkd has a limit of its own, and says so.
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        return Image.open(io.BytesIO(data), formats=_PILLOW_FORMATS)
    except Image.UnidentifiedImageError as error:
        if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"mif1", b"hevc"):
            raise _Refused("HEIC is not supported. Convert it to JPEG or PNG.") from error
        raise _Refused(f"not an image that irkd can read. It reads {_READABLE}.") from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _avif_depth(data: bytes) -> int:
    """Bits a channel, as the file's pixel information property states them."""
    found = re.search(rb"pixi\0\0\0\0[\x01-\x04]([\x08-\x10])", data[: 1 << 16])
    return found[1][0] if found else 8


def _cmyk_to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, str]:
    if profile is not None:
        with contextlib.suppress(ImageCms.PyCMSError, OSError):
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            target = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
            assert converted is not None
            return converted, "CMYK was converted to sRGB by the file's own profile"
    return image.convert("RGB"), "CMYK was converted to RGB; the file has no usable profile"
