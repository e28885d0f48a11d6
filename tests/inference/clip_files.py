"""Tiny videos for tests, and what is in a video."""

from fractions import Fraction

import av
import numpy as np

MILLISECONDS = Fraction(1, 1000)


def write_clip(
    path,
    *,
    frames=25,
    size=(64, 48),
    pixel_format="yuv420p",
    codec="libx264",
    sound="aac",
    steps=(40,),
    aspect=None,
    rotation=None,
):
    """A shifted texture with B-frames, shown for `steps` milliseconds in turn, and a sine tone."""
    width, height = size
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    texture = coarse.repeat(8, 0).repeat(8, 1)[:height, :width]
    with av.open(str(path), "w") as container:
        options = {"bf": "2"} if codec == "libx264" else {}
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        ticks = Fraction(1, 25) if path.suffix == ".avi" else MILLISECONDS
        stream.codec_context.time_base = stream.time_base = ticks
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = Fraction(aspect)
        if rotation is not None:
            stream.set_display_rotation(rotation)
        tone = None
        if sound is not None:
            tone = container.add_stream(sound, rate=48000)
            tone.codec_context.layout = "mono"
        time = 0
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(np.roll(texture, i, axis=1), format="rgb24")
            frame = frame.reformat(format=pixel_format, threads=1)
            frame.pts, frame.time_base = round(time * MILLISECONDS / ticks), ticks
            container.mux(stream.encode(frame))
            time += steps[i % len(steps)]
        container.mux(stream.encode(None))
        if tone is not None:
            _write_tone(container, tone, time)


def _write_tone(container, tone, milliseconds):
    seconds = np.arange(48 * milliseconds) / 48000
    wave = (8000 * np.sin(2 * np.pi * 440 * seconds)).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
    resampler = av.AudioResampler(
        format=tone.codec_context.format, layout="mono", rate=48000, frame_size=960
    )
    if tone.codec_context.name == "aac":
        resampler = av.AudioResampler(
            format=tone.codec_context.format, layout="mono", rate=48000, frame_size=1024
        )
    for part in (*resampler.resample(frame), *resampler.resample(None)):
        container.mux(tone.encode(part))
    container.mux(tone.encode(None))


def add_subtitles(source, target, lines):
    """`source` with a line of text at every tenth of a second."""
    with av.open(str(source)) as reading, av.open(str(target), "w") as writing:
        copies = {
            stream.index: writing.add_stream_from_template(stream, opaque=True)
            for stream in reading.streams
        }
        subtitles = writing.add_mux_stream("subrip")
        for i, line in enumerate(lines):
            packet = av.Packet(line)
            packet.pts = packet.dts = 100 * i
            packet.duration, packet.time_base, packet.stream = 90, MILLISECONDS, subtitles
            writing.mux(packet)
        for packet in reading.demux():
            if packet.size:
                packet.stream = copies[packet.stream.index]
                writing.mux(packet)


def read_frames(path):
    """(time in seconds, height, width, rotation, luma) of every frame."""
    with av.open(str(path)) as container:
        return [
            (f.pts * f.time_base, f.height, f.width, f.rotation, f.to_ndarray(format="gray"))
            for f in container.decode(video=0)
        ]


def read_packets(path, kind):
    """(time in seconds, bytes) of every packet of the first stream of a kind."""
    with av.open(str(path)) as container:
        stream = next(s for s in container.streams if s.type == kind)
        return [(p.pts * p.time_base, bytes(p)) for p in container.demux(stream) if p.size]


def read_facts(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return {
            "codec": stream.codec_context.name,
            "format": stream.codec_context.format.name,
            "aspect": stream.sample_aspect_ratio,
            "title": container.metadata.get("title"),
        }
