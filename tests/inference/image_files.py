"""Image files for tests, written without irkd's own writer."""

import struct
import zlib

import numpy as np
from PIL import Image, ImageCms

from irkd.inference.metadata import png_chunk

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6" a="b"/></x:xmpmeta>'


def noise(shape, dtype="uint8", seed=0):
    values = np.random.default_rng(seed).random(shape)
    dtype = np.dtype(dtype)
    return (values if dtype.kind == "f" else values * np.iinfo(dtype).max).astype(dtype)


def smooth(height, width):
    """A picture that lossy formats keep almost exactly."""
    y, x = np.mgrid[:height, :width]
    return np.stack((255 * y / height, 255 * x / width, 127 + 0 * x), axis=-1).astype(np.uint8)


def write_png(path, pixels, *, colour, depth=None):
    """A PNG written chunk by chunk, for the kinds that libraries do not write."""
    depth = depth or pixels.dtype.itemsize * 8
    height, width = pixels.shape[:2]
    rows = pixels.astype(pixels.dtype.newbyteorder(">")).view(np.uint8).reshape(height, -1)
    content = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(content))
        + png_chunk(b"IEND", b"")
    )


def exif_bytes(orientation=1, width=17, height=11):
    exif = Image.Exif()
    exif[274] = orientation
    exif[271] = "Maker"
    exif[306] = "2024:01:02 03:04:05"
    exif[34665] = {33434: 0.01, 40962: width, 40963: height, 37500: b"private notes"}
    exif[34853] = {1: "N", 2: (1.0, 2.0, 3.0)}
    return exif.tobytes()
