"""What a video file holds, and how a restored one is written: formats, codecs, colours."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from irkd.errors import IrkdError
from irkd.inference.images import MAX_PIXELS, VIDEO_SUFFIXES

# Suffixes that are written, with the encoder of each and its settings. What is encoded at this
# quality is hard to tell from its source by eye.
_H264 = ("libx264", {"crf": "18", "preset": "medium"})
_VP9 = ("libvpx-vp9", {"crf": "24", "b": "0", "row-mt": "1"})
ENCODERS: dict[str, tuple[str, dict[str, str]]] = {
    ".mp4": _H264,
    ".m4v": _H264,
    ".mov": _H264,
    ".mkv": _H264,
    ".webm": _VP9,
}
# What other suffixes are written as: it holds any codec's sound.
FALLBACK_SUFFIX = ".mkv"
# What tells a picture that is as tall from standard definition where a file says nothing.
_HIGH_DEFINITION = 720
_UNSPECIFIED = 2
_FULL_RANGE = 2
# How a Matroska file and its one large part begin.
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def is_video(path: Path) -> bool:
    """Whether a file is a video by its name."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def load_av() -> Any:
    """PyAV, or an IrkdError that says how to install it."""
    try:
        import av
    except ImportError as error:
        raise IrkdError(
            "video needs PyAV, which is not installed. Install it with: pip install 'irkd[video]'"
        ) from error
    av.logging.set_level(av.logging.PANIC)  # FFmpeg prints what goes wrong; irkd says it itself
    return av


@contextmanager
def open_clip(path: Path) -> Iterator[Any]:
    """The opened container of a video file; IrkdError for what cannot be read."""
    av = load_av()
    try:
        if path.stat().st_size == 0:
            raise IrkdError(f"{path} is empty.")
        container = av.open(str(path))
    except FileNotFoundError as error:
        raise IrkdError(f"{path}: no such file.") from error
    except PermissionError as error:
        raise IrkdError(f"{path}: no permission to read it.") from error
    except (av.FFmpegError, ValueError, OSError) as error:
        raise IrkdError(f"{path} is damaged, cut off, or no video.") from error
    with container:
        yield container


@dataclass(frozen=True)
class Clip:
    """A video as its file states it and its first picture shows it.

    `frames`: how many the file states, else what its length and rate give, None where it states
    neither; `exact` where it is the file's own count. `matrix`: how a player turns the pictures.
    """

    path: Path
    width: int
    height: int
    frames: int | None
    exact: bool
    rate: Fraction
    time_base: Fraction
    pixel_format: str
    bits: int
    colorspace: int
    full_range: bool
    matrix: tuple[int, ...] | None
    interlaced: bool

    @property
    def array_format(self) -> str:
        """RGB of 8 or 16 bits, whatever holds the pictures."""
        return "rgb24" if self.bits <= 8 else "rgb48le"

    @property
    def coefficients(self) -> int:
        """The matrix between YCbCr and RGB: the file's own, else what players assume."""
        if self.colorspace in (0, _UNSPECIFIED):
            return 1 if self.height >= _HIGH_DEFINITION else 5
        return 5 if self.colorspace == 6 else self.colorspace


def inspect_clip(path: Path) -> Clip:
    """Open a video and decode its first picture. IrkdError where there is none."""
    av = load_av()
    with open_clip(path) as container:
        stream = picture_stream(container, path)
        frame = None
        try:
            frame = next(container.decode(stream), None)
        except av.FFmpegError as error:
            raise IrkdError(f"{path} is damaged: its first picture cannot be decoded.") from error
        if frame is None:
            raise IrkdError(f"{path} holds no pictures; it is damaged or cut off.")
        if frame.width * frame.height > MAX_PIXELS:
            raise IrkdError(f"{path}: {frame.width} x {frame.height} pixels are too many.")
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        frames = stream.frames or _estimated_frames(container, stream, rate)
        side = frame.side_data.get("DISPLAYMATRIX")
        return Clip(
            path,
            frame.width,
            frame.height,
            frames,
            # An AVI counts the repetitions that it does not store.
            bool(stream.frames) and "mp4" in container.format.name,
            Fraction(rate),
            Fraction(stream.time_base),
            frame.format.name,
            max(component.bits for component in frame.format.components),
            int(frame.colorspace),
            int(frame.color_range) == _FULL_RANGE or frame.format.name.startswith("yuvj"),
            None if side is None else struct.unpack("=9i", bytes(side)[:36]),
            bool(frame.interlaced_frame),
        )


def stated_size(path: Path) -> int | None:
    """The bytes that a Matroska file says it has; None where it does not say.

    It does not where it was recorded without a way back to its start.
    """
    with path.open("rb") as file:
        start = file.read(4096)
    segment = start.find(_SEGMENT, 0, len(start) - 8)
    if not start.startswith(_EBML) or segment < 0:
        return None
    # The number's length is that of the zeros that it begins with, and 1; all ones: not known.
    place = segment + len(_SEGMENT)
    length = 9 - start[place].bit_length()
    unknown = (1 << 7 * length) - 1
    number = int.from_bytes(start[place : place + length]) & unknown
    return None if number == unknown else place + length + number


def picture_stream(container: Any, path: Path) -> Any:
    """The stream of moving pictures in an opened container; cover pictures are none."""
    av = load_av()
    moving = [
        stream
        for stream in container.streams.video
        if not stream.disposition & av.stream.Disposition.attached_pic
    ]
    if not moving:
        raise IrkdError(f"{path} holds no moving pictures, only sound.")
    best = container.streams.best("video")
    return best if best in moving else moving[0]


def _estimated_frames(container: Any, stream: Any, rate: Fraction) -> int | None:
    if stream.duration is not None:
        return round(stream.duration * stream.time_base * rate)
    if container.duration is not None:
        return round(Fraction(container.duration, 1_000_000) * rate)
    return None


def encoder_of(path: Path) -> tuple[str, dict[str, str]]:
    """The encoder for a file's suffix, and its options."""
    try:
        return ENCODERS[path.suffix.lower()]
    except KeyError:
        known = ", ".join(ENCODERS)
        raise IrkdError(
            f"{path}: irkd writes no video as {path.suffix or 'a file without suffix'}; {known}."
        ) from None


def encoded_format(clip: Clip, encoder: str) -> tuple[str, tuple[str, ...]]:
    """The pixel format to encode a clip in, nearest to its own, and what differs, in words."""
    av = load_av()
    source = av.VideoFormat(clip.pixel_format, clip.width, clip.height)
    notes = []
    across, down = source.chroma_width(16), source.chroma_height(16)
    chroma = {(16, 16): "444", (8, 16): "422"}.get((across, down), "420")
    if source.name.startswith("gray"):
        chroma = "420"
    odd = (chroma != "444" and clip.width % 2) or (chroma == "420" and clip.height % 2)
    if odd and encoder == "libx264":
        chroma = "444"
        notes.append("an odd size, which H.264 holds with unreduced colour only (4:4:4)")
    if any(component.is_alpha for component in source.components):
        notes.append("its transparency is left out")
    deep = clip.bits > 8
    if clip.bits > 10:
        notes.append(f"{clip.bits} bits a channel are encoded as 10")
    if clip.interlaced:
        notes.append("it is interlaced: its frames are restored whole, and written as progressive")
    return f"yuv{chroma}p" + ("10le" if deep else ""), tuple(notes)
