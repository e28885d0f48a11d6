"""What an image file carries beside its pixels, and putting it into files that OpenCV wrote."""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image, TiffImagePlugin

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

# Chunks of a PNG that stay true when its pixels are restored.
_KEPT_CHUNKS = frozenset(b"cICP cHRM gAMA iCCP mDCV cLLI sRGB pHYs tEXt zTXt iTXt".split())
_XMP_KEYWORD = b"XML:com.adobe.xmp"
# Real profiles have a few megabytes at most; what a JPEG can hold is just below this.
LARGEST_PROFILE = 1 << 24

_ORIENTATION, _EXIF_IFD, _GPS_IFD = 274, 34665, 34853
_ICC_TAG, _XMP_TAG, _EXTRA_SAMPLES = 34675, 700, 338
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 282, 283, 296
_PIXEL_WIDTH, _PIXEL_HEIGHT = 40962, 40963
# Tags of a TIFF that describe the photograph; all others describe how its pixels are stored.
_TEXT_TAGS = (269, 270, 271, 272, 305, 306, 315, 316, 33432, 40091, 40092, 40093, 40094, 40095)
_RATING_TAGS = (18246, 18249)
_DESCRIBING_TAGS = frozenset((*_TEXT_TAGS, *_RATING_TAGS, _EXIF_IFD, _GPS_IFD))


@dataclass(frozen=True)
class Metadata:
    """EXIF as a TIFF structure without the "Exif" header, upright; the ICC profile; pixels per
    inch, across and down; XMP; chunks of a PNG, copied where the result is a PNG too."""

    exif: bytes | None = None
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None
    xmp: bytes | None = None
    chunks: tuple[tuple[bytes, bytes], ...] = ()

    def upright(self) -> tuple[int, Metadata]:
        """The orientation that EXIF states (1 to 8), and the metadata of the turned image.

        Raises ValueError for damaged EXIF.
        """
        orientation, exif = 1, self.exif
        if exif is not None:
            orientation, exif = reset_orientation(exif)
        xmp = self.xmp
        if xmp is not None:
            xmp = re.sub(rb'(tiff:Orientation(?:=["\']|>))[2-8]', rb"\g<1>1", xmp)
        turned = replace(self, exif=exif, xmp=xmp)
        if orientation >= 5:
            dpi = None if self.dpi is None else self.dpi[::-1]
            chunks = tuple((kind, _turn_chunk(kind, content)) for kind, content in self.chunks)
            turned = replace(turned, dpi=dpi, chunks=chunks)
        return orientation, turned

    def without_profile(self) -> Metadata:
        chunks = tuple(chunk for chunk in self.chunks if chunk[0] != b"iCCP")
        return replace(self, icc=None, chunks=chunks)


def _turn_chunk(kind: bytes, content: bytes) -> bytes:
    """A PNG's chunk once its image is turned by 90 degrees: the two resolutions change places."""
    if kind == b"pHYs" and len(content) == 9:
        return content[4:8] + content[:4] + content[8:]
    return content


def reset_orientation(exif: bytes) -> tuple[int, bytes]:
    """The orientation stated by EXIF (or a TIFF), and the same bytes with 1 in its place.

    All else stays where it is, since makers' notes refer to places in the file; but width and
    height change places when the image is turned by 90 degrees, and a thumbnail (which shows the
    degraded image) is unlinked. Raises ValueError for damaged data.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        raise ValueError("not a TIFF structure")
    data = bytearray(exif)
    try:
        (start,) = struct.unpack_from(order + "I", data, 4)
        entries, following = _entries(data, start, order)
        struct.pack_into(order + "I", data, following, 0)
        orientation = 1
        if _ORIENTATION in entries:
            (stated,) = struct.unpack_from(order + "H", data, entries[_ORIENTATION])
            orientation = stated if 1 <= stated <= 8 else 1
            struct.pack_into(order + "H", data, entries[_ORIENTATION], 1)
        if orientation >= 5 and _EXIF_IFD in entries:
            (start,) = struct.unpack_from(order + "I", data, entries[_EXIF_IFD])
            inner, _ = _entries(data, start, order)
            _swap(data, inner, _PIXEL_WIDTH, _PIXEL_HEIGHT)
        if orientation >= 5:
            _swap(data, entries, _X_RESOLUTION, _Y_RESOLUTION)
    except struct.error as error:
        raise ValueError("cut off") from error
    return orientation, bytes(data)


def _entries(data: bytearray, start: int, order: str) -> tuple[dict[int, int], int]:
    """Where the values of a directory's tags are stored, and where the link to the next one is."""
    (count,) = struct.unpack_from(order + "H", data, start)
    places = {}
    for i in range(count):
        entry = start + 2 + 12 * i
        (tag,) = struct.unpack_from(order + "H", data, entry)
        places[tag] = entry + 8
    following = start + 2 + 12 * count
    struct.unpack_from(order + "I", data, following)
    return places, following


def _swap(data: bytearray, places: dict[int, int], first: int, second: int) -> None:
    """Exchange the entries of two tags: type, count and value."""
    if first in places and second in places:
        a, b = (slice(places[tag] - 6, places[tag] + 4) for tag in (first, second))
        data[a], data[b] = data[b], data[a]


def read_tags(tiff: bytes) -> Any:
    """The tags of a TIFF's first page, and in `next` where the second page is, 0 for none."""
    tags: Any = TiffImagePlugin.ImageFileDirectory_v2(tiff[:8])
    source = io.BytesIO(tiff)
    source.seek(tags.next)
    tags.load(source)
    return tags


def tiff_exif(tiff: bytes) -> bytes | None:
    """What of a TIFF's tags describes the photograph, as EXIF of its own."""
    described = Image.Exif()
    for tag, value in _describing_tags(tiff).items():
        described[tag] = value
    return described.tobytes().removeprefix(b"Exif\0\0") if len(described) else None


def _describing_tags(tiff: bytes) -> dict[int, Any]:
    """The tags of a TIFF or EXIF that describe the photograph, directories as dictionaries.

    Those with values that their type cannot have are left out.
    """
    described: dict[int, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about each tag that is left out
        tags = Image.Exif()
        tags.load(tiff)
        for tag in _DESCRIBING_TAGS & set(tags):
            if tag in (_EXIF_IFD, _GPS_IFD):
                inner = tags.get_ifd(tag).items()
                described[tag] = {t: value for t, value in inner if _can_be_written(t, value, tag)}
            elif _can_be_written(tag, tags[tag]):
                described[tag] = tags[tag]
    return described


def _can_be_written(tag: int, value: object, group: int | None = None) -> bool:
    directory: Any = TiffImagePlugin.ImageFileDirectory_v2(group=group)
    try:
        directory[tag] = value
        directory.tobytes()
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, struct.error):
        return False
    return True


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of a PNG. Raises ValueError when it is cut off or a checksum does not fit."""
    chunks: list[tuple[bytes, bytes]] = []
    place = len(PNG_SIGNATURE)
    while not chunks or chunks[-1][0] != b"IEND":
        if place + 12 > len(data):
            raise ValueError("the file is cut off")
        length = int.from_bytes(data[place : place + 4], "big")
        kind, content = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        place += 12 + length
        if place > len(data):
            raise ValueError("the file is cut off")
        if zlib.crc32(kind + content) != int.from_bytes(data[place - 4 : place], "big"):
            raise ValueError("a checksum does not fit")
        chunks.append((kind, content))
    return chunks


def png_chunk(kind: bytes, content: bytes) -> bytes:
    crc = zlib.crc32(kind + content)
    return len(content).to_bytes(4, "big") + kind + content + crc.to_bytes(4, "big")


def png_metadata(chunks: list[tuple[bytes, bytes]]) -> Metadata:
    """What a PNG's chunks say beside its pixels."""
    found = dict(chunks)
    icc = None
    if b"iCCP" in found:
        packed = found[b"iCCP"].partition(b"\0")[2][1:]
        try:
            # One byte more tells a profile that is too large, however much is packed.
            icc = zlib.decompressobj().decompress(packed, LARGEST_PROFILE + 1)
        except zlib.error:
            icc = None
    dpi = None
    if len(found.get(b"pHYs", b"")) == 9 and found[b"pHYs"][8] == 1:
        across, down = struct.unpack_from(">II", found[b"pHYs"])
        dpi = (across * 0.0254, down * 0.0254)
    xmp, kept = None, []
    for kind, content in chunks:
        if kind == b"iTXt" and content.startswith(_XMP_KEYWORD + b"\0\0"):
            # Keyword, 0, whether packed, how, language, 0, translated keyword, 0, text.
            xmp = content[len(_XMP_KEYWORD) + 3 :].split(b"\0", 2)[-1]
        elif kind in _KEPT_CHUNKS:
            kept.append((kind, content))
    return Metadata(found.get(b"eXIf"), icc, dpi, xmp, tuple(kept))


def add_to_png(png: bytes, metadata: Metadata) -> bytes:
    """Put metadata into a PNG that has none."""
    chunks = list(metadata.chunks)
    if not chunks:
        if metadata.icc is not None:
            chunks.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc)))
        if (resolution := _per_metre(metadata.dpi)) is not None:
            chunks.append((b"pHYs", struct.pack(">IIB", *resolution, 1)))
    if metadata.exif is not None:
        chunks.append((b"eXIf", metadata.exif))
    if metadata.xmp is not None:
        chunks.append((b"iTXt", _XMP_KEYWORD + b"\0\0\0\0\0" + metadata.xmp))
    # Straight after the header: a colour profile must stand before the pixels.
    header_end = len(PNG_SIGNATURE) + 25
    added = b"".join(png_chunk(kind, content) for kind, content in chunks)
    return png[:header_end] + added + png[header_end:]


def add_to_bmp(bmp: bytes, metadata: Metadata) -> bytes:
    """Put the resolution, the one thing of metadata that a BMP holds, into its header."""
    if (resolution := _per_metre(metadata.dpi)) is None:
        return bmp
    # Behind 14 bytes of file header and 24 of size, planes, depth and compression.
    return bmp[:38] + struct.pack("<II", *resolution) + bmp[46:]


def _per_metre(dpi: tuple[float, float] | None) -> tuple[int, int] | None:
    """Pixels per metre, across and down, None where there are none that files can state."""
    if dpi is None or not all(0 < each < 0.0254 * (1 << 31) - 1 for each in dpi):
        return None
    return round(dpi[0] / 0.0254), round(dpi[1] / 0.0254)


def add_to_tiff(tiff: bytes, metadata: Metadata, *, alpha: bool) -> bytes:
    """Put metadata into a TIFF that has none, and mark its last channel as `alpha`.

    A new header and directory are written before the whole old file, whose pixels they refer to.
    """
    stored, tags = read_tags(tiff), TiffImagePlugin.ImageFileDirectory_v2(tiff[:8])
    for tag in stored:
        tags.tagtype[tag] = stored.tagtype[tag]
        tags[tag] = stored[tag]
    if metadata.exif is not None:
        for tag, value in _describing_tags(metadata.exif).items():
            tags[tag] = value
    if metadata.icc is not None:
        tags.tagtype[_ICC_TAG] = 7
        tags[_ICC_TAG] = metadata.icc
    if metadata.xmp is not None:
        tags.tagtype[_XMP_TAG] = 1
        tags[_XMP_TAG] = metadata.xmp
    if metadata.dpi is not None:
        tags[_X_RESOLUTION], tags[_Y_RESOLUTION] = metadata.dpi
        tags[_RESOLUTION_UNIT] = 2
    if alpha:
        tags[_EXTRA_SAMPLES] = 2
    return tiff[:4] + struct.pack("<I" if tiff[:2] == b"II" else ">I", 8) + tags.tobytes(8) + tiff
