"""`irkd restore clip.mp4`: every frame, at its time, with the sound as it was."""

import builtins
import contextlib
import errno
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from clip_files import add_subtitles, read_facts, read_frames, read_packets, write_clip
from image_files import noise
from PIL import Image

import irkd
from irkd.cli.main import main
from irkd.inference import video
from irkd.inference.clips import inspect_clip
from irkd.inference.restorer import Restorer


@pytest.fixture
def run(capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            main(["restore", *map(str, arguments)])
        captured = capsys.readouterr()
        return end.value.code or 0, captured.out, captured.err

    return run


def assert_same_but_for_coding(source, target, *, tolerance=1.0):
    """The identity's result: same times, sizes, rotation and sound; pixels as the codec keeps."""
    before, after = read_frames(source), read_frames(target)
    assert len(after) == len(before)
    for expected, found in zip(before, after, strict=True):
        assert found[:4] == expected[:4]
        assert np.abs(found[4].astype(float) - expected[4]).mean() < tolerance


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("plain.mp4", {}),
        ("variable.mp4", {"steps": (40, 33, 97, 20)}),
        ("variable.mkv", {"steps": (40, 33, 97, 20)}),
        ("turned.mov", {"rotation": 90, "aspect": "4/3"}),
        ("odd.mp4", {"size": (65, 47), "pixel_format": "yuv444p"}),
        ("deep.mp4", {"pixel_format": "yuv420p10le"}),
        ("open.webm", {"codec": "libvpx-vp9", "sound": "libopus", "size": (65, 47), "frames": 8}),
    ],
)
def test_frames_times_and_sound_are_kept(run, tmp_path, identity_model, name, options):
    source = tmp_path / name
    write_clip(source, **options)
    target = tmp_path / f"out{source.suffix}"
    code, out, err = run(source, "--model", identity_model, "-o", target)
    assert (code, err.count("error")) == (0, 0)
    frames = options.get("frames", 25)
    assert f"{frames} frames" in out
    assert_same_but_for_coding(source, target)
    assert read_packets(target, "audio") == read_packets(source, "audio")
    assert len(read_packets(source, "audio")) > 10
    for fact in ("format", "aspect"):
        assert read_facts(target)[fact] == read_facts(source)[fact]


def test_delayed_frames_are_not_lost(tmp_path, identity_model):
    """The decoder holds frames back until it is flushed: the clip really makes it do so."""
    source = tmp_path / "a.mp4"
    write_clip(source, sound=None)
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        early = sum(len(p.decode()) for p in container.demux(stream) if p.dts is not None)
    assert early < 25
    irkd.restore(source, identity_model, output=tmp_path / "b.mp4")
    assert len(read_frames(tmp_path / "b.mp4")) == 25


def test_the_network_really_runs_and_strength_blends(run, tmp_path, blur_model):
    source = tmp_path / "a.mp4"
    write_clip(source, frames=3, sound=None, size=(66, 48))
    sharpness = {}
    for strength in ("0", "0.5", "1"):
        target = tmp_path / f"{strength}.mp4"
        code, _, _ = run(source, "--model", blur_model, "--strength", strength, "-o", target)
        assert code == 0
        luma = read_frames(target)[1][4].astype(float)
        sharpness[strength] = np.abs(np.diff(luma, axis=1)).max()
    assert sharpness["0"] > 1.2 * sharpness["0.5"] > 1.4 * sharpness["1"]
    assert (tmp_path / "0.mp4").read_bytes() == source.read_bytes()


def test_a_video_that_shows_nothing_to_mend_is_copied(run, tmp_path):
    source = tmp_path / "a.mp4"
    write_clip(source, frames=5, size=(66, 48))  # too small to judge
    code, out, _ = run(source, "--compare")
    assert code == 0
    assert "5 frames" in out
    assert "it stays as it was" in out
    assert (tmp_path / "a_restored.mp4").read_bytes() == source.read_bytes()
    assert (tmp_path / "a_compare.png").is_file()


def test_compare_is_a_picture_of_the_middle(run, tmp_path, identity_model):
    source = tmp_path / "a.mp4"
    write_clip(source, frames=5, sound=None)
    code, _, _ = run(source, "--model", identity_model, "--compare")
    assert code == 0
    assert len(read_frames(tmp_path / "a_restored.mp4")) == 5
    picture = np.asarray(Image.open(tmp_path / "a_compare.png").convert("L")).astype(float)
    middle = read_frames(source)[2][4]
    factor = (picture.shape[1] - 2) // 128
    pane = picture[-48 * factor :: factor, : 64 * factor : factor]
    assert np.abs(pane - middle).mean() < 3


def test_other_formats_become_matroska(run, tmp_path, identity_model):
    source = tmp_path / "a.avi"
    write_clip(source, codec="mpeg4", frames=6, sound="pcm_s16le")
    code, out, err = run(source, "--model", identity_model)
    assert code == 0, err
    assert "a_restored.mkv" in out
    assert len(read_frames(tmp_path / "a_restored.mkv")) == len(read_frames(source)) == 6
    assert b"".join(p for _, p in read_packets(tmp_path / "a_restored.mkv", "audio")) == b"".join(
        p for _, p in read_packets(source, "audio")
    )


def test_odd_sizes_of_reduced_colour_are_kept(run, tmp_path, identity_model):
    source = tmp_path / "a.webm"
    write_clip(source, codec="libvpx-vp9", sound=None, size=(65, 47), frames=4)
    code, _, err = run(source, "--model", identity_model, "-o", tmp_path / "b.mp4")
    assert code == 0
    assert "an odd size" in err
    assert_same_but_for_coding(source, tmp_path / "b.mp4")
    assert read_facts(tmp_path / "b.mp4")["format"] == "yuv444p"


def test_subtitles_are_copied_or_the_format_is_refused(run, tmp_path, identity_model):
    write_clip(tmp_path / "a.mkv", frames=8)
    source = tmp_path / "b.mkv"
    add_subtitles(tmp_path / "a.mkv", source, [b"one", b"two"])
    code, _, _ = run(source, "--model", identity_model)
    assert code == 0
    found = read_packets(tmp_path / "b_restored.mkv", "subtitle")
    assert found == read_packets(source, "subtitle")
    assert [line for _, line in found] == [b"one", b"two"]
    code, _, err = run(source, "--model", identity_model, "-o", tmp_path / "c.mp4")
    assert code == 2
    assert "cannot hold the subtitle" in err
    assert not (tmp_path / "c.mp4").exists()


# What is refused.


def test_bad_videos_end_with_one_message(run, tmp_path, identity_model):
    good = tmp_path / "good.mp4"
    write_clip(good, frames=10)
    whole = good.read_bytes()
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "noise.mp4").write_bytes(noise((5000,)).tobytes())
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.mkv").write_text("no video\n")
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        tone = container.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        tone.codec_context.layout = "mono"
        frame.sample_rate = 48000
        container.mux([*tone.encode(frame), *tone.encode(None)])
    before = sorted(tmp_path.iterdir())
    for name, words in (
        ("empty.mp4", "is empty"),
        ("noise.mp4", "damaged"),
        ("cut.mp4", "damaged"),
        ("text.mkv", "damaged"),
        ("none.mp4", "no such file"),
        ("sound.mp4", "no moving pictures"),
    ):
        code, out, err = run(tmp_path / name, "--model", identity_model, "-o", tmp_path / "o.mp4")
        assert (code, out) == (2, ""), (name, err)
        assert words in err.replace("\n", " ")
        assert name in err
        assert "fault in irkd" not in err
    code, _, err = run(good, "--model", identity_model, "-o", tmp_path / "o.gif")
    assert code == 2
    assert "writes no video as .gif" in err
    code, _, err = run(good, "--model", identity_model, "-o", tmp_path / "o.webm")
    assert code == 2
    assert "cannot hold the audio" in err
    assert sorted(tmp_path.iterdir()) == before


def test_a_clip_cut_off_behind_its_index_is_refused(run, tmp_path, identity_model):
    write_clip(tmp_path / "a.mp4", frames=20, sound=None)
    irkd.restore(tmp_path / "a.mp4", identity_model, output=tmp_path / "index-first.mp4")
    whole = (tmp_path / "index-first.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: int(len(whole) * 0.7)])
    code, _, err = run(tmp_path / "cut.mp4", "--model", identity_model)
    assert code == 2
    assert "cut.mp4 is" in err
    assert not list(tmp_path.glob("*cut_*"))
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("plain.mkv", {"frames": 10}),
        ("silent.mkv", {"frames": 10, "sound": None}),
        ("open.webm", {"codec": "libvpx-vp9", "sound": "libopus", "frames": 10}),
    ],
)
def test_a_matroska_file_cut_off_is_said_to_be(run, tmp_path, identity_model, name, options):
    whole = tmp_path / name
    write_clip(whole, **options)
    code, out, err = run(whole, "--model", identity_model)
    assert (code, "10 frames" in out, "cut off" in err) == (0, True, False)
    content = whole.read_bytes()
    cut = tmp_path / f"cut_{name}"
    cut.write_bytes(content[: len(content) * 4 // 5])
    code, out, err = run(cut, "--model", identity_model)
    assert code == 0
    assert 0 < len(read_frames(whole.with_stem(f"cut_{whole.stem}_restored"))) < 10
    stated = f"the file is cut off: it states {len(content)} bytes and has {len(content) * 4 // 5}"
    assert stated in " ".join(err.split())


@pytest.mark.parametrize("more", [{"steps": (40, 33, 900, 20)}, {"frames": 2}])
def test_whole_matroska_files_are_not_said_to_be_cut_off(tmp_path, more):
    source = tmp_path / "a.mkv"
    write_clip(source, **{"frames": 6, "sound": None, **more})
    done = video.restore_clip(inspect_clip(source), tmp_path / "b.mkv", lambda pixels: pixels)
    assert done.notes == ()


def test_a_matroska_file_that_states_no_size_is_not_said_to_be_cut_off(tmp_path):
    """What is recorded without a way back to its start."""
    source = tmp_path / "a.mkv"
    write_clip(source, frames=6)
    content = source.read_bytes()
    segment = content.index(b"\x18\x53\x80\x67") + 4
    unknown = b"\x01" + 7 * b"\xff"
    source.write_bytes(content[:segment] + unknown + content[segment + 8 :][:-400])
    done = video.restore_clip(inspect_clip(source), tmp_path / "b.mkv", lambda pixels: pixels)
    assert done.notes == ()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_a_full_disk_is_no_fault_of_the_source(tmp_path, monkeypatch, suffix):
    write_clip(tmp_path / "a.mp4", frames=6, sound=None)

    @contextlib.contextmanager
    def on_a_full_disk(target, *, overwrite):
        temporary = target.with_stem("full")
        temporary.symlink_to("/dev/full")
        yield temporary

    monkeypatch.setattr(video, "atomic_path", on_a_full_disk)
    clip = inspect_clip(tmp_path / "a.mp4")
    with pytest.raises(OSError, match="No space left") as error:
        video.restore_clip(clip, tmp_path / f"b{suffix}", lambda pixels: pixels)
    assert error.value.errno == errno.ENOSPC


def test_too_few_frames_are_not_kept(run, tmp_path, identity_model, monkeypatch):
    """What the check at the end is for."""
    write_clip(tmp_path / "a.mp4", frames=6)
    real = video._Passage._mux

    def losing(self, packets):
        if self.written < 4:
            real(self, packets[:1] if self.written != 2 else [])
            self.written += self.written == 2

    monkeypatch.setattr(video._Passage, "_mux", losing)
    code, _, err = run(tmp_path / "a.mp4", "--model", identity_model)
    assert code == 2
    assert "it is not kept" in err
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_an_interrupt_leaves_nothing(run, tmp_path, identity_model, monkeypatch):
    write_clip(tmp_path / "a.mp4", frames=6)
    calls = []

    def interrupted(self, degraded, **_):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return degraded.astype(np.float32) / 255

    monkeypatch.setattr(Restorer, "__call__", interrupted)
    assert run(tmp_path / "a.mp4", "--model", identity_model)[0] == 130
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_without_the_extra(run, tmp_path, identity_model, monkeypatch):
    write_clip(tmp_path / "a.mp4", frames=2, sound=None)
    real = builtins.__import__

    def without(name, *arguments, **options):
        if name == "av":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.delitem(sys.modules, "av")
    monkeypatch.setattr(builtins, "__import__", without)
    code, _, err = run(tmp_path / "a.mp4", "--model", identity_model)
    assert code == 2
    assert "irkd[video]" in err


def test_folders_pass_videos_over_and_say_so(run, tmp_path, identity_model):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(b"any")
    Image.fromarray(noise((9, 9, 3))).save(folder / "b.png")
    code, out, err = run(folder, "--model", identity_model)
    assert code == 0
    assert "1 restored." in out
    assert "videos in folders passed over: 1." in err
