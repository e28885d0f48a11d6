"""Folders of pairs as people have them, and as they should not be."""

import re
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from irkd.data.layouts import DEGRADED_FOLDERS, REFERENCE_FOLDERS
from irkd.data.opening import open_pairs
from irkd.data.sampler import training_loader
from irkd.errors import IrkdError


def write(path, value=100, size=(12, 10)):
    """An image of `size` (height, width), `value` in every pixel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((*size, 3), value, np.uint8)
    done, encoded = cv2.imencode(path.suffix.lower(), pixels)
    assert done
    path.write_bytes(encoded.tobytes())
    return path


def write_pairs(root, names, degraded="input", reference="target"):
    """Pair number n has the values n and 100 + n."""
    for number, name in enumerate(names):
        write(root / degraded / name, number)
        write(root / reference / name, 100 + number)
    return root


def names(source):
    return [source.pair_name(index) for index in range(len(source))]


def values(source):
    pairs = [source.load(index) for index in range(len(source))]
    return [(int(pair.degraded[0, 0, 0]), int(pair.reference[0, 0, 0])) for pair in pairs]


@pytest.mark.parametrize("degraded", DEGRADED_FOLDERS)
def test_every_name_of_a_degraded_folder_is_known(tmp_path, degraded):
    assert values(open_pairs(write_pairs(tmp_path, ["a.png"], degraded=degraded))) == [(0, 100)]


@pytest.mark.parametrize("reference", [*REFERENCE_FOLDERS, "GT", "Ground Truth", "ground-truth"])
def test_every_name_of_a_reference_folder_is_known(tmp_path, reference):
    assert values(open_pairs(write_pairs(tmp_path, ["a.png"], reference=reference))) == [(0, 100)]


def test_files_pair_by_stem_and_never_by_order(tmp_path):
    write(tmp_path / "input" / "1.png", 1)
    write(tmp_path / "input" / "2.png", 2)
    write(tmp_path / "input" / "10.png", 10)
    write(tmp_path / "target" / "2.png", 102)
    write(tmp_path / "target" / "10.png", 110)
    source = open_pairs(tmp_path)
    assert names(source) == ["2", "10"]
    assert values(source) == [(2, 102), (10, 110)]
    assert source.unmatched == ["input/1.png"]


def test_endings_may_differ_in_kind_and_case(tmp_path):
    write(tmp_path / "input" / "a.JPG", 7)
    write(tmp_path / "target" / "a.PNG", 107)
    write(tmp_path / "input" / "b.Tiff", 8)
    write(tmp_path / "target" / "b.bmp", 108)
    assert values(open_pairs(tmp_path)) == [(7, 107), (8, 108)]


def test_names_may_hold_several_dots(tmp_path):
    # As in HIDE: everything before the last dot is the stem.
    files = ["109fromGOPR1096.MP4.png", "110fromGOPR1096.MP4.png"]
    source = open_pairs(write_pairs(tmp_path, files))
    assert names(source) == ["109fromGOPR1096.MP4", "110fromGOPR1096.MP4"]
    assert values(source) == [(0, 100), (1, 101)]


def test_one_name_in_several_subfolders_is_several_pairs(tmp_path):
    write_pairs(tmp_path, ["night/1.png", "day/1.png", "1.png"])
    source = open_pairs(tmp_path)
    assert sorted(zip(names(source), values(source), strict=True)) == [
        ("1", (2, 102)),
        ("day/1", (1, 101)),
        ("night/1", (0, 100)),
    ]


def test_pairs_may_stand_in_each_of_many_sequences(tmp_path):
    # As in GoPro: one folder a sequence, and a second kind of blur that is not asked for.
    for sequence in ("GOPR0372_07_00", "GOPR0374_11_00"):
        write_pairs(tmp_path / "test" / sequence, ["000047.png"], "blur", "sharp")
        write(tmp_path / "test" / sequence / "blur_gamma" / "000047.png", 50)
    source = open_pairs(tmp_path)
    assert names(source) == ["test/GOPR0372_07_00/000047", "test/GOPR0374_11_00/000047"]
    assert values(source) == [(0, 100), (0, 100)]


def test_hidden_files_and_other_files_are_left_out(tmp_path):
    write_pairs(tmp_path, ["1.png"])
    write(tmp_path / "input" / "._1.png")
    write(tmp_path / "__MACOSX" / "input" / "2.png")
    (tmp_path / "input" / "notes.txt").write_text("hello")
    source = open_pairs(tmp_path)
    assert len(source) == 1
    assert source.unmatched == []


@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("Training", "val")])
def test_splits_are_found(tmp_path, train, test):
    write_pairs(tmp_path / train, ["1.png", "2.png"])
    write_pairs(tmp_path / test, ["1.png"])
    assert names(open_pairs(tmp_path, split="train")) == [f"{train}/1", f"{train}/2"]
    assert names(open_pairs(tmp_path, split="test")) == [f"{test}/1"]


def test_a_lone_train_folder_serves_both_and_a_lone_test_folder_is_not_trained_on(tmp_path):
    write_pairs(tmp_path / "a" / "train", ["1.png"])
    assert names(open_pairs(tmp_path / "a", split="test")) == ["train/1"]
    write_pairs(tmp_path / "b" / "test", ["1.png"])
    with pytest.raises(IrkdError, match=r"has test/ but no train/"):
        open_pairs(tmp_path / "b", split="train")


@pytest.mark.parametrize(
    ("degraded", "reference"), [("rainy image", "ground truth"), ("rainy_image", "ground_truth")]
)
def test_rain1400_pairs_many_rains_with_one_reference(tmp_path, degraded, reference):
    for clean in (1, 901, 902):
        write(tmp_path / reference / f"{clean}.jpg", 100 + clean % 100)
        for kind in (1, 2, 14):
            write(tmp_path / degraded / f"{clean}_{kind}.jpg", 10 * (clean % 100) + kind)
    test = open_pairs(tmp_path, split="test")
    assert names(test) == ["901_1", "901_2", "901_14", "902_1", "902_2", "902_14"]
    assert values(test)[2:4] == [(24, 101), (21, 102)]
    # 1 to 900 are the training part by convention, and the folders do not tell.
    assert names(open_pairs(tmp_path, split="train")) == ["1_1", "1_2", "1_14"]
    # Without one of the parts, all pairs are of both.
    shutil.rmtree(tmp_path / degraded)
    write(tmp_path / degraded / "901_1.jpg")
    assert len(open_pairs(tmp_path, split="train")) == 1


def test_rain1400_with_training_and_testing_folders(tmp_path):
    for split, clean in (("training", 1), ("testing", 2)):
        write(tmp_path / split / "ground_truth" / f"{clean}.jpg", 90)
        write(tmp_path / split / "rainy_image" / f"{clean}_3.jpg", 80)
    assert names(open_pairs(tmp_path, split="train")) == ["training/1_3"]
    assert names(open_pairs(tmp_path, split="test")) == ["testing/2_3"]


def test_reside_cuts_the_border_of_its_references(tmp_path):
    write(tmp_path / "hazy" / "1400_1.png", size=(30, 40))
    clear = write(tmp_path / "clear" / "1400.png", size=(50, 60))
    inner = np.full((50, 60, 3), 9, np.uint8)
    inner[10:-10, 10:-10] = 200
    cv2.imwrite(str(clear), inner)
    pair = open_pairs(tmp_path).load(0)
    assert pair.reference.shape == pair.degraded.shape == (30, 40, 3)
    assert (pair.reference == 200).all()


def test_clean_images_are_degraded_on_the_fly(tmp_path):
    write(tmp_path / "b" / "2.jpg", size=(40, 50))
    write(tmp_path / "1.png", size=(40, 50))
    source = open_pairs(tmp_path, task="denoise", layout="clean")
    assert names(source) == ["1.png", "b/2.jpg"]
    first, again, later = source.load(0), source.load(0), source.load(0, epoch=1)
    np.testing.assert_array_equal(first.degraded, again.degraded)
    assert (first.reference == 100).all()
    assert (first.degraded != first.reference).any()
    assert (first.degraded != later.degraded).any()
    batch = next(iter(training_loader(source, patch=32, batch_size=2, steps=1, seed=0)))
    assert (batch["reference"] == 100).all()
    with pytest.raises(IrkdError, match="add --task"):
        open_pairs(tmp_path, layout="clean")


def test_pixels_arrive_as_rgb_of_eight_bits_whatever_the_file(tmp_path):
    folder = tmp_path / "target"
    folder.mkdir()
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)
    grey = rgb[..., 0]
    wide = rng.integers(0, 65536, (6, 5, 3), dtype=np.uint16)
    Image.fromarray(rgb).save(folder / "rgb.png")
    Image.fromarray(grey).save(folder / "grey.png")
    alpha = Image.fromarray(np.dstack((rgb, grey)))
    alpha.save(folder / "alpha.png")
    Image.fromarray(np.dstack((grey, grey))).save(folder / "grey_alpha.png")
    Image.fromarray(rgb).quantize(16).save(folder / "palette.png")
    cv2.imwrite(str(folder / "wide.png"), wide[..., ::-1])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(rgb).save(folder / "turned.png", exif=exif)
    shutil.copytree(folder, tmp_path / "input")
    source = open_pairs(tmp_path)
    found = {pair.name: pair.reference for pair in map(source.load, range(len(source)))}
    assert {image.dtype for image in found.values()} == {np.dtype(np.uint8)}
    np.testing.assert_array_equal(found["rgb"], rgb)
    np.testing.assert_array_equal(found["alpha"], rgb)
    np.testing.assert_array_equal(found["grey"], np.dstack((grey, grey, grey)))
    np.testing.assert_array_equal(found["grey_alpha"], np.dstack((grey, grey, grey)))
    np.testing.assert_array_equal(found["wide"], np.rint(wide / 65535 * 255))
    # Orientation is not applied: the pixels are those of the file.
    np.testing.assert_array_equal(found["turned"], rgb)
    palette = np.array(Image.open(folder / "palette.png").convert("RGB"))
    np.testing.assert_array_equal(found["palette"], palette)


def missing(root):
    return root / "nowhere"


def a_file(root):
    return write(root / "a.png")


def empty(root):
    return root


def empty_inside(root):
    (root / "input").mkdir()
    (root / "target").mkdir()
    return root


def one_side_empty(root):
    write(root / "input" / "1.png")
    (root / "target").mkdir()
    return root


def degraded_alone(root):
    write(root / "rain" / "1.png")
    return root


def references_alone(root):
    write(root / "clear" / "1.png")
    return root


def no_folders_of_pairs(root):
    write(root / "holiday" / "1.png")
    return root


def nothing_matches(root):
    write(root / "input" / "storm-001.png")
    write(root / "target" / "calm-001.png")
    return root


def two_degraded_folders(root):
    write_pairs(root, ["1.png"])
    write(root / "hazy" / "1.png")
    return root


def same_stem(root):
    write_pairs(root, ["1.png"])
    write(root / "target" / "1.jpg")
    return root


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (missing, "nowhere: no such folder"),
        (a_file, "is a file; expected a folder"),
        (empty, "no images"),
        (empty_inside, "no images"),
        (one_side_empty, "target: no images"),
        (degraded_alone, r"degraded images in rain/ but no references .*target, gt"),
        (references_alone, r"references in clear/ but no degraded .*layout 'clean'"),
        (no_folders_of_pairs, r"1 images \(holiday/1.png\) but no folders of pairs.*input/"),
        (nothing_matches, r"Degraded: input/storm-001.png; references: target/calm-001.png"),
        (two_degraded_folders, r"hazy/ and input/, which could all be the same side"),
        (same_stem, r"target/1.(png|jpg) and target/1.(png|jpg) have the same stem"),
    ],
)
def test_a_folder_without_usable_pairs_is_refused_with_the_reason(tmp_path, make, message):
    with pytest.raises(IrkdError, match=message):
        open_pairs(make(tmp_path))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-20])


def replace_by_text(path):
    path.write_text("this is no image")


def clear(path):
    path.write_bytes(b"")


def point_nowhere(path):
    path.unlink()
    path.symlink_to("gone.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp"])
@pytest.mark.parametrize("damage", [truncate, replace_by_text, clear, point_nowhere])
def test_an_unreadable_file_is_named(tmp_path, suffix, damage, capfd):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    path = tmp_path / "input" / f"bad{suffix}"
    write(path)
    cv2.imwrite(str(path), noise)
    write(tmp_path / "target" / "bad.png", size=(40, 40))
    damage(path)
    source = open_pairs(tmp_path)
    with pytest.raises(IrkdError, match=re.escape(str(path))):
        source.load(0)
    # One message, ours: the decoders' own complaints are kept quiet.
    assert capfd.readouterr().err == ""


def test_a_pair_of_two_sizes_is_named_with_both(tmp_path):
    write(tmp_path / "input" / "1.png", size=(12, 10))
    write(tmp_path / "target" / "1.png", size=(14, 10))
    with pytest.raises(IrkdError, match=r"input/1.png is 10 x 12 .* target/1.png is 10 x 14"):
        open_pairs(tmp_path).load(0)


def test_float_images_are_refused(tmp_path):
    for folder in ("input", "target"):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "1.tif"), np.zeros((8, 8, 3), np.float32))
    with pytest.raises(IrkdError, match="float32; expected 8 or 16 bit"):
        open_pairs(tmp_path).load(0)


def test_an_image_smaller_than_the_patch_is_named_before_training_starts(tmp_path):
    write_pairs(tmp_path, ["large.png"])
    write(tmp_path / "input" / "small.png", size=(5, 40))
    write(tmp_path / "target" / "small.png", size=(5, 40))
    source = open_pairs(tmp_path, split="train")
    with pytest.raises(IrkdError, match=r"small.png is 40 x 5 pixels.*patch of at most 5"):
        training_loader(source, patch=8, batch_size=1, steps=1, seed=0)
