"""Restoring a video frame by frame: as many frames, at the same times, with its sound."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from irkd.errors import IrkdError
from irkd.files import atomic_path
from irkd.inference.clips import (
    Clip,
    encoded_format,
    encoder_of,
    load_av,
    open_clip,
    picture_stream,
    stated_size,
)

Pixels = NDArray[Any]
RestorePixels = Callable[[Pixels], Pixels]
Watch = Callable[[int, int | None], None]
_COPIED = ("audio", "subtitle")


@dataclass(frozen=True)
class RestoredClip:
    """What was written. `middle`: the frame in the middle before and after, H x W x 3."""

    frames: int
    middle: tuple[Pixels, Pixels]
    notes: tuple[str, ...]


def middle_frame(clip: Clip) -> Pixels:
    """A picture from the middle of a clip, or its first where the file cannot be entered there."""
    av = load_av()
    with open_clip(clip.path) as container:
        stream = picture_stream(container, clip.path)
        if stream.duration:
            with contextlib.suppress(av.FFmpegError):
                container.seek((stream.start_time or 0) + stream.duration // 2, stream=stream)
                for frame in container.decode(stream):
                    return _to_array(frame, clip)
    with open_clip(clip.path) as container:
        return _to_array(next(container.decode(picture_stream(container, clip.path))), clip)


def restore_clip(
    clip: Clip,
    target: Path,
    restore_pixels: RestorePixels,
    *,
    overwrite: bool = False,
    watch: Watch | None = None,
) -> RestoredClip:
    """Restore every frame of `clip` into `target`, and copy sound and subtitles as they are.

    `restore_pixels` takes and gives H x W x 3 RGB, uint8 (uint16 of a deeper video). Frames keep
    their number, times, size, aspect ratio, rotation and colour description. `watch` is called
    with the number of frames done, and of all where it is known. `target` is complete or not
    there.

    Raises IrkdError where the file is damaged or cut off, where `target`'s format cannot hold its
    sound, and where fewer or more frames would be written than were read; OSError where the disk
    is full.
    """
    av = load_av()
    encoder, options = encoder_of(target)
    source = clip.path
    with atomic_path(target, overwrite=overwrite) as temporary:
        try:
            with ExitStack() as stack:
                reading = stack.enter_context(open_clip(source))
                matroska = target.suffix in (".mkv", ".webm")
                muxer = {} if matroska else {"movflags": "+faststart"}
                writing = stack.enter_context(av.open(str(temporary), "w", options=muxer))
                passage = _Passage(clip, reading, writing, encoder, options, target)
                passage.run(restore_pixels, watch)
        except av.FFmpegError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise  # only writing needs space: this is no fault of the source
            raise IrkdError(
                f"{source} is damaged, or {target.name} cannot be written: {error.strerror}."
            ) from error
        _check_written(temporary, passage, target)
    assert passage.middle is not None
    return RestoredClip(passage.read, passage.middle, passage.notes)


class _Passage:
    """One run from an opened source to an opened target."""

    def __init__(
        self,
        clip: Clip,
        reading: Any,
        writing: Any,
        encoder: str,
        options: dict[str, str],
        target: Path,
    ) -> None:
        self.clip = clip
        self.reading, self.writing = reading, writing
        self.read = self.written = 0
        self.copied: dict[int, int] = {}
        self.middle: tuple[Pixels, Pixels] | None = None
        self._packets = self._damaged = self._moved = 0
        self._last: int | None = None
        self.pixel_format, notes = encoded_format(clip, encoder)
        self._notes = list(notes)
        self.source = picture_stream(reading, clip.path)
        self.source.thread_type = "AUTO"
        writing.metadata.update(reading.metadata)
        self.pictures = self._add_pictures(encoder, options)
        self.copies = self._add_copies(target)
        writing.set_chapters(reading.chapters())

    @property
    def notes(self) -> tuple[str, ...]:
        notes = list(self._notes)
        if self._damaged:
            notes.append(f"{self._damaged} frames are damaged in the file itself")
        if self._packets > self.read:
            missing = self._packets - self.read
            notes.append(f"{missing} packets hold no picture: damaged, or hidden on purpose")
        if self._moved:
            notes.append(f"{self._moved} frames had no or impossible times, and were given some")
        return tuple(notes)

    def _add_pictures(self, encoder: str, options: dict[str, str]) -> Any:
        clip, source = self.clip, self.source
        stream = self.writing.add_stream(encoder, rate=clip.rate, options=options)
        stream.metadata.update(source.metadata)
        stream.time_base = clip.time_base
        context, given = stream.codec_context, source.codec_context
        context.width, context.height = clip.width, clip.height
        context.pix_fmt = self.pixel_format
        context.time_base = clip.time_base
        if source.sample_aspect_ratio:
            context.sample_aspect_ratio = source.sample_aspect_ratio
        context.colorspace = given.colorspace if given.colorspace else 2  # 0 is RGB's
        context.color_primaries, context.color_trc = given.color_primaries, given.color_trc
        context.color_range = 2 if clip.full_range else given.color_range
        if clip.matrix is not None:
            stream.set_display_matrix(clip.matrix)
        return stream

    def _add_copies(self, target: Path) -> dict[int, Any]:
        copies = {}
        left_out = []
        for stream in self.reading.streams:
            if stream.type in _COPIED and stream.codec_context is not None:
                try:
                    copy = self.writing.add_stream_from_template(stream)
                except ValueError as error:
                    raise IrkdError(
                        f"{target}: this format cannot hold the {stream.type} of "
                        f"{self.clip.path.name} ({stream.codec_context.name}). Write a .mkv."
                    ) from error
                copy.metadata.update(stream.metadata)
                copies[stream.index] = copy
                self.copied[copy.index] = 0
            elif stream.index != self.source.index:
                left_out.append(stream.type)
        if left_out:
            self._notes.append(f"left out: {', '.join(left_out)} beside the pictures and the sound")
        return copies

    def run(self, restore_pixels: RestorePixels, watch: Watch | None) -> None:
        streams = [self.source, *(self.reading.streams[index] for index in self.copies)]
        for packet in self.reading.demux(streams):
            if packet.stream.index in self.copies:
                self._copy(packet)
                continue
            self._packets += bool(packet.size)
            # The last packet is empty and has no time: it makes the decoder give up its delayed
            # frames.
            for frame in packet.decode():
                self._restore(frame, restore_pixels)
                if watch is not None:
                    watch(self.read, self.clip.frames)
        self._mux(self.pictures.encode(None))
        if self.clip.exact and self.clip.frames is not None and self._packets < self.clip.frames:
            raise IrkdError(
                f"{self.clip.path} is cut off: it states {self.clip.frames} frames and holds "
                f"{self._packets}."
            )
        size, stated = self.clip.path.stat().st_size, stated_size(self.clip.path)
        if stated is not None and size < stated:
            self._notes.append(
                f"the file is cut off: it states {stated} bytes and has {size}, so frames may be "
                "missing at its end"
            )

    def _copy(self, packet: Any) -> None:
        if not packet.size:
            return
        if packet.dts is None:
            packet.dts = packet.pts
        copy = self.copies[packet.stream.index]
        packet.stream = copy
        self.writing.mux(packet)
        self.copied[copy.index] += 1

    def _restore(self, frame: Any, restore_pixels: RestorePixels) -> None:
        av, clip = load_av(), self.clip
        if (frame.width, frame.height) != (clip.width, clip.height):
            raise IrkdError(
                f"{clip.path} changes its size from {clip.width} x {clip.height} to "
                f"{frame.width} x {frame.height} within; cut it there first."
            )
        self._damaged += bool(frame.is_corrupt)
        degraded = _to_array(frame, clip)
        restored = restore_pixels(degraded)
        result = av.VideoFrame.from_ndarray(restored, format=clip.array_format).reformat(
            format=self.pixel_format,
            dst_colorspace=clip.coefficients,
            dst_color_range=_colour_range(clip),
            interpolation=_interpolation(),
            threads=1,
        )
        result.pts, result.time_base = self._time_of(frame), clip.time_base
        self._mux(self.pictures.encode(result))
        if clip.frames is None or self.middle is None or self.read <= clip.frames // 2:
            self.middle = degraded, restored
        self.read += 1

    def _time_of(self, frame: Any) -> int:
        """When a frame is shown, in ticks of the clip's time base: later than the one before."""
        time = frame.pts if frame.pts is not None else frame.dts
        if self._last is None:
            self._moved += time is None
            time = time or 0
        elif time is None or time <= self._last:
            self._moved += 1
            ticks = round(1 / (self.clip.rate * self.clip.time_base)) if time is None else 1
            time = self._last + max(ticks, 1)
        self._last = time
        return time

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            packet.stream = self.pictures
            self.writing.mux(packet)
            self.written += 1


def _to_array(frame: Any, clip: Clip) -> Pixels:
    """H x W x 3 RGB, uint8 or uint16."""
    converted = frame.reformat(
        format=clip.array_format,
        src_colorspace=clip.coefficients,
        src_color_range=_colour_range(clip),
        interpolation=_interpolation(),
        threads=1,
    )
    return converted.to_ndarray()


def _colour_range(clip: Clip) -> int:
    ranges = load_av().video.reformatter.ColorRange
    return int(ranges.JPEG if clip.full_range else ranges.MPEG)


def _interpolation() -> int:
    """The exact way between colours at half and at full resolution."""
    way = load_av().video.reformatter.Interpolation
    return int(way.BICUBIC | way.ACCURATE_RND | way.FULL_CHR_H_INT | way.FULL_CHR_H_INP)


def _check_written(path: Path, passage: _Passage, target: Path) -> None:
    """Raise unless the file at `path` holds what was read: every frame, every packet of sound."""
    counts: dict[int, int] = {}
    with open_clip(path) as container:
        for packet in container.demux():
            counts[packet.stream.index] = counts.get(packet.stream.index, 0) + bool(packet.size)
    found = counts.get(passage.pictures.index, 0)
    if not found == passage.written == passage.read:
        raise IrkdError(
            f"{target} would hold {found} frames where {passage.clip.path.name} has "
            f"{passage.read}; it is not kept."
        )
    for index, number in passage.copied.items():
        if counts.get(index, 0) != number:
            raise IrkdError(
                f"{target} would hold {counts.get(index, 0)} packets of sound or subtitles of "
                f"{number}; it is not kept."
            )
