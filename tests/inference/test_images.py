"""Every kind of image file, written by other programs' libraries, read and written back."""

import contextlib
import io
import struct
import tracemalloc
import zlib
from dataclasses import replace

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import SRGB, XMP, exif_bytes, noise, smooth, write_png
from PIL import Image, ImageOps

from irkd.errors import IrkdError
from irkd.inference.encoding import stored_dtype, write_picture
from irkd.inference.images import read_picture
from irkd.inference.metadata import Metadata, png_chunk, png_chunks
from irkd.inference.picture import Picture, change_depth, from_float, to_float


def round_trip(path, name=None):
    """Read, write beside it, and return both pictures and the new file."""
    picture = read_picture(path)
    target = path.with_name("out_" + (name or path.name))
    write_picture(target, picture)
    return picture, read_picture(target), target


def assert_same(first: Picture, second: Picture):
    assert first.pixels.dtype == second.pixels.dtype
    np.testing.assert_array_equal(first.pixels, second.pixels)
    assert (first.alpha is None) == (second.alpha is None)
    if first.alpha is not None and second.alpha is not None:
        assert first.alpha.dtype == second.alpha.dtype
        np.testing.assert_array_equal(first.alpha, second.alpha)


# Pixels.

sizes = st.tuples(st.integers(1, 20), st.integers(1, 20))


@given(sizes, st.sampled_from(["uint8", "uint16"]), st.sampled_from([0, 2, 4, 6]))
@settings(max_examples=40, deadline=None)
def test_png_of_every_depth_and_colour_is_exact(tmp_path_factory, size, dtype, colour):
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    pixels = noise((*size, channels), dtype)
    path = tmp_path_factory.mktemp("png") / "a.png"
    write_png(path, pixels, colour=colour)
    first, second, target = round_trip(path)
    assert_same(first, second)
    colours = pixels[..., : 1 if channels < 3 else 3]
    np.testing.assert_array_equal(first.pixels, colours[..., 0] if channels < 3 else colours)
    if channels in (2, 4):
        np.testing.assert_array_equal(first.alpha, pixels[..., -1])
    header = png_chunks(target.read_bytes())[0][1]
    assert (header[8], header[9]) == (pixels.itemsize * 8, colour)


@given(
    sizes,
    st.sampled_from(["uint8", "uint16", "float32"]),
    st.sampled_from([1, 3, 4]),
    st.sampled_from([None, "zlib"]),
    st.sampled_from(["<", ">"]),
)
@settings(max_examples=40, deadline=None)
def test_tiff_of_every_depth_and_colour_is_exact(
    tmp_path_factory, size, dtype, channels, compression, order
):
    pixels = noise(size if channels == 1 else (*size, channels), dtype)
    path = tmp_path_factory.mktemp("tiff") / "a.tif"
    tifffile.imwrite(
        path,
        pixels,
        photometric="minisblack" if channels == 1 else "rgb",
        extrasamples=["unassalpha"] if channels == 4 else None,
        planarconfig="contig" if channels > 1 else None,
        compression=compression,
        byteorder=order,
    )
    first, second, target = round_trip(path)
    assert_same(first, second)
    np.testing.assert_array_equal(first.pixels, pixels[..., :3] if channels == 4 else pixels)
    if channels == 4:
        np.testing.assert_array_equal(first.alpha, pixels[..., 3])
        with tifffile.TiffFile(target) as tiff:
            assert tiff.pages[0].extrasamples == (2,)


@pytest.mark.parametrize(("dtype", "near"), [("uint8", 2), ("uint16", 1), ("float32", 1e-6)])
def test_colours_multiplied_by_their_alpha_are_undone(tmp_path, dtype, near):
    full = 1 if dtype == "float32" else np.iinfo(dtype).max
    share = np.array([[1, 0.8, 0.5, 0]])[..., None]
    colours = np.broadcast_to([0.8, 0.4, 0.2], (1, 4, 3))
    stored = np.concatenate((colours * share, share), axis=2) * full
    tifffile.imwrite(
        tmp_path / "a.tif",
        stored.astype(dtype) if full == 1 else np.rint(stored).astype(dtype),
        photometric="rgb",
        extrasamples=["assocalpha"],
    )
    first, second, target = round_trip(tmp_path / "a.tif")
    assert_same(first, second)
    assert first.pixels.dtype == dtype
    np.testing.assert_allclose(first.pixels[0, :3], colours[0, :3] * full, rtol=0, atol=near)
    assert first.pixels[0, 3].tolist() == [0, 0, 0]
    assert first.alpha is not None
    np.testing.assert_allclose(first.alpha, share[..., 0] * full, rtol=0, atol=0.5)
    with tifffile.TiffFile(target) as tiff:
        assert tiff.pages[0].extrasamples == (2,)


def test_colours_above_their_alpha_are_white_at_most(tmp_path):
    stored = np.array([[[900, 300, 0, 600]]], np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", extrasamples=["assocalpha"])
    assert read_picture(tmp_path / "a.tif").pixels.tolist() == [[[65535, 32768, 0]]]


def test_grey_tiff_with_alpha_is_exact(tmp_path):
    pixels = noise((9, 7, 2))
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    first, second, target = round_trip(tmp_path / "a.tif")
    assert_same(first, second)
    np.testing.assert_array_equal(first.pixels, pixels[..., 0])
    assert Image.open(target).mode == "LA"


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_tiff_whose_white_is_zero(tmp_path, dtype):
    pixels = noise((9, 7), dtype)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="miniswhite")
    first, second, _ = round_trip(tmp_path / "a.tif")
    assert_same(first, second)
    np.testing.assert_array_equal(first.pixels, np.iinfo(dtype).max - pixels)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("L", "bmp"), ("RGB", "bmp"), ("L", "pgm"), ("RGB", "ppm"), ("RGB", "webp"), ("RGBA", "webp")],
)
def test_other_lossless_formats_are_exact(tmp_path, mode, suffix):
    pixels = noise((9, 7, len(mode)))
    pixels = pixels[..., 0] if mode == "L" else pixels
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels).save(
        path, **({"lossless": True, "exact": True} if suffix == "webp" else {})
    )
    first, second, target = round_trip(path)
    assert_same(first, second)
    np.testing.assert_array_equal(first.pixels, pixels[..., :3] if mode == "RGBA" else pixels)
    assert Image.open(target).mode == mode


def test_bmp_with_alpha_is_exact(tmp_path):
    pixels = noise((9, 7, 4))
    cv2.imwrite(str(tmp_path / "a.bmp"), pixels[..., [2, 1, 0, 3]])
    first, second, _ = round_trip(tmp_path / "a.bmp")
    assert_same(first, second)
    np.testing.assert_array_equal(first.alpha, pixels[..., 3])


@pytest.mark.parametrize(("suffix", "channels"), [("pgm", 1), ("ppm", 3)])
def test_pnm_of_16_bits_is_exact(tmp_path, suffix, channels):
    pixels = noise((9, 7) if channels == 1 else (9, 7, 3), "uint16")
    path = tmp_path / f"a.{suffix}"
    kind = b"P5" if channels == 1 else b"P6"
    path.write_bytes(kind + b"\n# made by hand\n7 9\n65535\n" + pixels.astype(">u2").tobytes())
    first, second, _ = round_trip(path)
    assert_same(first, second)
    np.testing.assert_array_equal(first.pixels, pixels)


def test_pnm_of_10_bits_is_scaled(tmp_path):
    values = np.array([[0, 512, 1023]], ">u2")
    (tmp_path / "a.pgm").write_bytes(b"P5 3 1 1023\n" + values.tobytes())
    assert read_picture(tmp_path / "a.pgm").pixels.tolist() == [[0, 32800, 65535]]


@pytest.mark.parametrize("suffix", ["jpg", "webp", "avif"])
@pytest.mark.parametrize("grey", [False, True])
def test_lossy_formats_stay_close(tmp_path, suffix, grey):
    pixels = smooth(40, 56)
    pixels = pixels[..., 0] if grey else pixels
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}", quality=95)
    first, second, _ = round_trip(tmp_path / f"a.{suffix}")
    assert first.pixels.shape == second.pixels.shape
    assert np.abs(first.pixels.astype(int) - second.pixels).max() <= 6


def test_jpeg_is_written_without_subsampling(tmp_path):
    write_picture(tmp_path / "a.jpg", Picture(noise((32, 32, 3))))
    with Image.open(tmp_path / "a.jpg") as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3
        assert image.quantization[0][0] <= 2


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_png_of_few_bits_becomes_8(tmp_path, depth):
    write_png(tmp_path / "a.png", np.array([[0b10110001]], np.uint8), colour=0, depth=depth)
    data = (tmp_path / "a.png").read_bytes()
    # The header above says one pixel; several are packed in the byte.
    header = struct.pack(">IIBBBBB", 8 // depth, 1, depth, 0, 0, 0, 0)
    (tmp_path / "a.png").write_bytes(data[:8] + png_chunk(b"IHDR", header) + data[33:])
    first, second, _ = round_trip(tmp_path / "a.png")
    assert_same(first, second)
    values = [int(f"{0b10110001:08b}"[i : i + depth], 2) for i in range(0, 8, depth)]
    assert first.pixels.tolist() == [[v * 255 // (2**depth - 1) for v in values]]


def test_palettes_become_rgb(tmp_path):
    image = Image.fromarray(noise((9, 7, 3))).quantize(16)
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "b.png", transparency=3)
    image.save(tmp_path / "c.gif", transparency=3)
    plain = read_picture(tmp_path / "a.png")
    np.testing.assert_array_equal(plain.pixels, np.asarray(image.convert("RGB")))
    assert plain.alpha is None
    for name in ("b.png", "c.gif"):
        clear = read_picture(tmp_path / name)
        np.testing.assert_array_equal(clear.alpha == 0, np.asarray(image) == 3)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_one_transparent_grey_becomes_alpha(tmp_path, dtype):
    pixels = np.array([[0, 7, 200]], dtype)
    write_png(tmp_path / "a.png", pixels, colour=0)
    data = (tmp_path / "a.png").read_bytes()
    data = data[:33] + png_chunk(b"tRNS", (7).to_bytes(2, "big")) + data[33:]
    (tmp_path / "a.png").write_bytes(data)
    first, second, _ = round_trip(tmp_path / "a.png")
    assert_same(first, second)
    full = np.iinfo(dtype).max
    assert first.alpha is not None
    assert first.alpha.tolist() == [[full, 0, full]]


def test_cmyk_becomes_srgb_and_says_so(tmp_path):
    image = Image.fromarray(smooth(16, 16)).convert("CMYK")
    image.save(tmp_path / "a.jpg", quality=100)
    image.save(tmp_path / "b.tif")
    for name in ("a.jpg", "b.tif"):
        picture = read_picture(tmp_path / name)
        assert picture.pixels.shape == (16, 16, 3)
        assert np.abs(picture.pixels.astype(int) - smooth(16, 16)).max() <= 8
        assert "CMYK" in picture.notes[0]


@given(st.integers(0, 65535))
def test_depths_convert_to_the_nearest(value):
    pixels = np.array([[value]], np.uint16)
    assert change_depth(pixels, "uint8")[0, 0] == round(value * 255 / 65535)
    assert from_float(to_float(pixels), dtype="uint16", grey=True)[0, 0] == value


# Metadata.


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "avif"])
def test_orientation_is_applied_once(tmp_path, suffix, orientation):
    pixels = smooth(24, 40)
    path = tmp_path / f"a.{suffix}"
    options = {"jpg": {"quality": 100}, "webp": {"lossless": True}, "avif": {"quality": 100}}
    exif = exif_bytes(orientation, 40, 24)
    Image.fromarray(pixels).save(path, exif=exif, **options.get(suffix, {}))
    with Image.open(io.BytesIO(png_bytes(pixels, exif))) as reference:
        expected = np.asarray(ImageOps.exif_transpose(reference))
    first, second, target = round_trip(path)
    assert first.pixels.shape == expected.shape
    # Any other turn is off by 40 on average.
    assert np.abs(first.pixels.astype(int) - expected).mean() <= 2
    assert np.abs(second.pixels.astype(int) - expected).mean() <= 4
    with Image.open(target) as written:
        # Another program turns nothing either: the tag is 1, or gone.
        assert written.getexif().get(274, 1) == 1
        assert written.getexif()[271] == "Maker"
        assert ImageOps.exif_transpose(written).size == expected.shape[1::-1]
        inner = written.getexif().get_ifd(34665)
        assert (inner[40962], inner[40963]) == expected.shape[1::-1] or suffix == "tif"


def png_bytes(pixels, exif):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", exif=exif)
    return file.getvalue()


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_metadata_of_deep_files_are_kept(tmp_path, suffix, dtype):
    pixels = noise((11, 17, 3), dtype)
    path = tmp_path / f"a.{suffix}"
    # Made by hand from a JPEG's metadata, since no library at hand writes deep pixels with it.
    Image.fromarray(smooth(11, 17)).save(
        tmp_path / "b.jpg", exif=exif_bytes(), icc_profile=SRGB, dpi=(300, 200), xmp=XMP
    )
    source = read_picture(tmp_path / "b.jpg")
    write_picture(path, Picture(pixels, None, source.metadata))
    first, second, target = round_trip(path)
    np.testing.assert_array_equal(first.pixels, pixels)
    for picture in (first, second):
        assert picture.metadata.icc == SRGB
        assert picture.metadata.dpi == pytest.approx((300, 200), abs=0.02)
        assert picture.metadata.xmp == XMP.replace(b'"6"', b'"1"')
    with Image.open(target) as written:
        assert written.info["icc_profile"] == SRGB
        exif = written.getexif()
        assert exif[271] == "Maker"
        assert exif.get_ifd(34853)[2] == (1.0, 2.0, 3.0)
        assert exif.get_ifd(34665)[33434] == pytest.approx(0.01)
    read = cv2.imread(str(target), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(read[..., ::-1], pixels)


@pytest.mark.parametrize("source", ["jpg", "png", "tif", "webp", "avif"])
@pytest.mark.parametrize("target", ["jpg", "png", "tif", "webp", "avif"])
def test_profile_and_exif_move_between_formats(tmp_path, source, target):
    path = tmp_path / f"a.{source}"
    Image.fromarray(smooth(11, 17)).save(path, exif=exif_bytes(), icc_profile=SRGB)
    _, _, written = round_trip(path, f"a.{target}")
    with Image.open(written) as image:
        assert image.info["icc_profile"] == SRGB
        assert image.getexif()[271] == "Maker"
        assert image.getexif().get_ifd(34853)[1] == "N"


def test_exif_of_a_jpeg_stays_byte_for_byte_but_for_the_turn(tmp_path):
    exif = exif_bytes(6)
    Image.fromarray(smooth(11, 17)).save(tmp_path / "a.jpg", exif=exif)
    _, second, _ = round_trip(tmp_path / "a.jpg")
    kept = second.metadata.exif
    assert kept is not None
    assert len(kept) == len(exif) - 6
    different = [i for i, (a, b) in enumerate(zip(kept, exif[6:], strict=True)) if a != b]
    assert 1 <= len(different) <= 3  # the orientation, and the two sides' last bytes


def test_text_of_a_png_is_kept(tmp_path):
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Author", "someone")
    info.add_itxt("Comment", "größer", zip=True)
    Image.fromarray(noise((5, 5, 3))).save(tmp_path / "a.png", pnginfo=info, dpi=(300, 300))
    _, _, target = round_trip(tmp_path / "a.png")
    with Image.open(target) as image:
        assert image.info["Author"] == "someone"
        assert image.info["Comment"] == "größer"
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.02)


def test_a_turned_png_exchanges_its_resolutions(tmp_path):
    inner, bare = Image.Exif(), Image.Exif()
    for exif in (inner, bare):
        exif[274], exif[282], exif[283] = 6, 300.0, 150.0
    inner[34665] = {40962: 17, 40963: 11}
    for exif in (inner, bare):
        Image.fromarray(smooth(11, 17)).save(tmp_path / "a.png", exif=exif, dpi=(300, 150))
        for name in ("a.png", "a.tif"):
            _, _, target = round_trip(tmp_path / "a.png", name)
            with Image.open(target) as image:
                assert image.size == (11, 17)
                assert image.info["dpi"] == pytest.approx((150, 300), abs=0.02)
                assert name == "a.tif" or image.getexif()[282] == 150
        (tmp_path / "out_a.tif").unlink()
        (tmp_path / "out_a.png").unlink()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_resolution_of_a_bmp_is_kept(tmp_path, mode):
    pixels = noise((9, 7)) if mode == "L" else noise((9, 7, len(mode)))
    Image.fromarray(pixels).save(tmp_path / "a.bmp", dpi=(300, 150))
    first, second, target = round_trip(tmp_path / "a.bmp")
    assert_same(first, second)
    with Image.open(target) as image:
        assert image.info["dpi"] == pytest.approx((300, 150), abs=0.02)


def test_what_bmp_and_ppm_leave_out_is_said(tmp_path):
    source = tmp_path / "a.jpg"
    Image.fromarray(smooth(11, 17)).save(
        source, exif=exif_bytes(), icc_profile=SRGB, dpi=(300, 150), xmp=XMP
    )
    picture = read_picture(source)
    assert write_picture(tmp_path / "a.bmp", picture) == (
        ".bmp cannot hold these, which are left out: colour profile, EXIF, XMP",
    )
    assert write_picture(tmp_path / "a.ppm", picture) == (
        ".ppm cannot hold these, which are left out: colour profile, EXIF, XMP, resolution",
    )
    Image.fromarray(smooth(11, 17)).save(tmp_path / "b.ppm")
    assert write_picture(tmp_path / "c.ppm", read_picture(tmp_path / "b.ppm")) == ()


@pytest.mark.parametrize("suffix", [".webp", ".avif"])
def test_a_resolution_that_is_not_in_exif_is_said_to_be_lost(tmp_path, suffix):
    Image.fromarray(smooth(11, 17)).save(tmp_path / "a.png", dpi=(300, 150))
    Image.fromarray(smooth(11, 17)).save(tmp_path / "b.jpg", exif=exif_bytes(), dpi=(300, 150))
    notes = write_picture(tmp_path / f"a{suffix}", read_picture(tmp_path / "a.png"))
    assert notes == (f"{suffix} cannot hold these, which are left out: resolution",)
    assert write_picture(tmp_path / f"b{suffix}", read_picture(tmp_path / "b.jpg")) == ()


@pytest.mark.parametrize("dpi", [1e9, 0.0, float("nan")])
@pytest.mark.parametrize("suffix", ["png", "bmp"])
def test_an_impossible_resolution_is_left_out(tmp_path, suffix, dpi):
    metadata = Metadata(dpi=(300, dpi))
    write_picture(tmp_path / f"a.{suffix}", Picture(noise((5, 5, 3)), metadata=metadata))
    with Image.open(tmp_path / f"a.{suffix}") as image:
        assert "dpi" not in image.info


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_a_resolution_that_is_no_number_is_left_out(tmp_path, suffix):
    tifffile.imwrite(tmp_path / "a.tif", noise((9, 7)), resolution=((12345, 67), (12345, 67)))
    content = (tmp_path / "a.tif").read_bytes()
    stated = struct.pack("<II", 12345, 67)
    assert stated in content
    (tmp_path / "a.tif").write_bytes(content.replace(stated, bytes(8)))
    first, second, _ = round_trip(tmp_path / "a.tif", f"a.{suffix}")
    assert first.metadata.dpi is None
    assert second.metadata.dpi == ((72, 72) if suffix == "jpg" else None)  # as Pillow assumes


def test_a_profile_too_large_is_left_out_and_said(tmp_path):
    def png_with_profile(name, size):
        Image.fromarray(smooth(11, 17)).save(tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        packed = png_chunk(b"iCCP", b"large\0\0" + zlib.compress(bytes(size)))
        (tmp_path / name).write_bytes(whole[:33] + packed + whole[33:])

    png_with_profile("a.png", 1 << 24)
    assert read_picture(tmp_path / "a.png").notes == ()
    assert len(read_picture(tmp_path / "a.png").metadata.icc or b"") == 1 << 24
    png_with_profile("b.png", 1 << 27)
    Image.fromarray(smooth(11, 17)).save(tmp_path / "c.tif", icc_profile=bytes((1 << 24) + 1))
    for name in ("b.png", "c.tif"):
        tracemalloc.start()
        first, second, target = round_trip(tmp_path / name)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert_same(first, second)
        assert first.notes == ("its colour profile of more than 16 MiB is left out",)
        assert second.notes == ()
        assert second.metadata.icc is None
        assert target.stat().st_size < 4000
        assert name == "c.tif" or peak < 1 << 26


def test_damaged_exif_is_left_out_and_said(tmp_path):
    Image.fromarray(smooth(11, 17)).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\0\0\xff\xff")
    picture = read_picture(tmp_path / "a.jpg")
    assert picture.metadata.exif is None
    assert "EXIF" in picture.notes[0]


# What is refused.


def damaged_files(folder):
    png = folder / "a.png"
    Image.fromarray(noise((60, 60, 3))).save(png)
    whole = png.read_bytes()
    yield "truncated.png", whole[: len(whole) // 2], "cut off"
    yield "flipped.png", whole[:200] + bytes([whole[200] ^ 1]) + whole[201:], "checksum"
    yield "empty.png", b"", "empty"
    yield "text.png", b"This is no picture.\n", "not an image"
    yield "header.png", whole[:8], "cut off"
    yield "clip.mp4", b"\0\0\0\x18ftypmp42", "is a video"
    yield "photo.heic", b"\0\0\0\x18ftypheic", "HEIC"
    for name in ("a.jpg", "a.tif", "a.webp", "a.bmp", "a.ppm", "a.avif"):
        Image.fromarray(noise((60, 60, 3))).save(folder / name)
        whole = (folder / name).read_bytes()
        yield f"truncated_{name}", whole[: len(whole) * 6 // 10], ""
    bomb = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
    bomb += png_chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + png_chunk(b"IEND", b"")
    yield "bomb.png", b"\x89PNG\r\n\x1a\n" + bomb, "60000 x 60000"
    yield "bomb.ppm", b"P6 60000 60000 255\n", "60000 x 60000"
    yield "bomb16.ppm", b"P6 60000 60000 65535\n", "60000 x 60000"
    for width, height in ((1_500_000, 10), (10, 1_500_000)):
        long = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
        rows = zlib.compress(bytes((width + 1) * height))
        long += png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")
        says = f"{width} x {height} pixels: no more than 1000000 a side"
        yield f"long{width}.png", b"\x89PNG\r\n\x1a\n" + long, says
    long = b"P5 1500000 1 65535\n" + bytes(2 * 1_500_000)
    yield "long.pgm", long, "1500000 x 1 pixels: no more"
    tiff = io.BytesIO()
    tifffile.imwrite(tiff, np.zeros((1, 1_500_000), np.uint16))
    yield "long.tif", tiff.getvalue(), "1500000 x 1 pixels: no more"
    deep = io.BytesIO()
    tifffile.imwrite(deep, noise((3, 9, 9), "uint16"), photometric="rgb", planarconfig="separate")
    yield "planar.tif", deep.getvalue(), "planar 2"
    for dtype, says in (("int16", "signed"), ("uint32", "32 unsigned"), ("float64", "64 floating")):
        kind = io.BytesIO()
        tifffile.imwrite(kind, np.ones((9, 9), dtype))
        yield f"{dtype}.tif", kind.getvalue(), says
    light = io.BytesIO()
    tifffile.imwrite(light, 2 * noise((9, 9), "float32"))
    yield "light.tif", light.getvalue(), "must lie within 0"
    nan = io.BytesIO()
    tifffile.imwrite(nan, np.full((9, 9), np.nan, np.float32))
    yield "nan.tif", nan.getvalue(), "not numbers"
    frames = [Image.fromarray(noise((9, 9, 3), seed=i)) for i in range(2)]
    for name, says in (
        ("a.gif", "animated"),
        ("b.webp", "animated"),
        ("c.tif", "several pages"),
        ("d.png", "animated"),
    ):
        frames[0].save(folder / name, save_all=True, append_images=frames[1:])
        yield f"many_{name}", (folder / name).read_bytes(), says


def test_files_that_cannot_be_read_are_named_with_the_reason(tmp_path):
    (tmp_path / "made").mkdir()
    for name, content, says in damaged_files(tmp_path / "made"):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(IrkdError) as error:
            read_picture(path)
        assert name in str(error.value)
        assert says in str(error.value), (name, str(error.value))
        assert "\n" not in str(error.value)


def test_missing_files_and_folders_are_refused(tmp_path):
    for path in (tmp_path / "missing.png", tmp_path):
        with pytest.raises(IrkdError, match=path.name):
            read_picture(path)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damage_never_ends_in_another_error(tmp_path_factory, data):
    """Flipped, cut and doubled bytes: an image, or an IrkdError."""
    folder = tmp_path_factory.mktemp("damage")
    suffix = data.draw(st.sampled_from(["png", "tif", "jpg", "webp", "bmp", "ppm", "avif", "gif"]))
    path = folder / f"a.{suffix}"
    exif = {} if suffix in ("bmp", "ppm", "gif") else {"exif": exif_bytes(6)}
    Image.fromarray(smooth(12, 9)).save(path, **exif)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, min(len(content), 400) - 1))
        content[place] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(1, len(content)))
    path.write_bytes(bytes(content[: end if data.draw(st.booleans()) else None]))
    with contextlib.suppress(IrkdError):
        picture = read_picture(path)
        assert picture.pixels.dtype in (np.uint8, np.uint16, np.float32)
        write_picture(folder / "b.tif", picture)
        write_picture(folder / "b.png", picture)
        write_picture(folder / "b.jpg", replace(picture, alpha=None))


def test_what_a_format_cannot_hold(tmp_path):
    deep, clear = noise((5, 5, 3), "uint16"), noise((5, 5))
    with pytest.raises(IrkdError, match="no transparency"):
        write_picture(tmp_path / "a.jpg", Picture(clear, clear))
    with pytest.raises(IrkdError, match="grey images only"):
        write_picture(tmp_path / "a.pgm", Picture(deep))
    with pytest.raises(IrkdError, match=r"writes no \.gif"):
        write_picture(tmp_path / "a.gif", Picture(clear))
    assert not list(tmp_path.iterdir())
    assert "8 bits" in write_picture(tmp_path / "a.jpg", Picture(deep))[0]
    assert stored_dtype(tmp_path / "a.png", np.float32) == np.uint16
    assert stored_dtype(tmp_path / "a.webp", np.uint16) == np.uint8
    assert stored_dtype(tmp_path / "a.tif", np.float32) == np.float32


def test_nothing_is_overwritten_unasked(tmp_path):
    (tmp_path / "a.png").write_bytes(b"mine")
    picture = Picture(noise((5, 5, 3)))
    with pytest.raises(IrkdError, match="exists already"):
        write_picture(tmp_path / "a.png", picture)
    assert (tmp_path / "a.png").read_bytes() == b"mine"
    write_picture(tmp_path / "a.png", picture, overwrite=True)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png").pixels, picture.pixels)
