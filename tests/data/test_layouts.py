"""Published data sets, in the layouts that their authors and others give them."""

import re
import sys
from pathlib import Path

import cv2
import data_set_trees as trees
import numpy as np
import pytest
from data_set_trees import write
from scipy.io import savemat

from irkd.data.layouts import choose_layout, layouts, recognised
from irkd.data.opening import open_pairs
from irkd.errors import IrkdError


def names(source):
    return [source.pair_name(index) for index in range(len(source))]


def values(source):
    """The first pixel of every degraded image and the last of its reference."""
    pairs = [source.load(index) for index in range(len(source))]
    return [(int(pair.degraded[0, 0, 0]), int(pair.reference[-1, -1, 0])) for pair in pairs]


# tree, layout, names of training pairs, names of test pairs. Where a folder has one heap of pairs,
# both splits are that heap.
GOPRO = "GOPR0372_07_00", "GOPR0384_11_00"
REALBLUR = "RealBlur-{}_ECC_IMCORR_centroid_itensity_ref"
SPA = "real_world/000/000-{0}/000-{0}_0_1"
SIDD = "SIDD_Medium_Srgb/Data/0001_001_S6_00100_00060_3200_L/0001_NOISY_SRGB_{}"
SIDD_LAST = "SIDD_Medium_Srgb/Data/0200_010_GP_01600_03200_5500_N/0200_NOISY_SRGB_{}"
HAZY_OTS = ["0001_0.8_0.04", "0001_0.95_0.2", "0001_1_0.12"]
HAZY_OTS += ["8970_0.8_0.04", "8970_0.95_0.2", "8970_1_0.12"]
CASES = {
    "rain1400": (
        trees.rain1400,
        "rain1400",
        [f"training/{clean}_{kind}" for clean in (1, 2) for kind in (1, 2, 14)],
        [f"testing/901_{kind}" for kind in (1, 2, 14)],
    ),
    "rain1400_flat": (trees.rain1400_flat, "rain1400", ["2_9", "900_9"], ["901_9", "1000_9"]),
    "did_mdn": (
        trees.did_mdn,
        "did-mdn",
        [
            f"DID-MDN-training/Rain_{density}/train2018new/1"
            for density in ("Heavy", "Light", "Medium")
        ],
        [f"DID-MDN-test/{number}" for number in (1, 2, 10)],
    ),
    "spa": (
        trees.spa,
        "spa",
        [SPA.format(1), SPA.format(2)],
        [f"real_test_1000/rain/00{number}" for number in range(3)],
    ),
    "gopro": (
        trees.gopro,
        "gopro",
        [f"train/{GOPRO[0]}/000047", f"train/{GOPRO[0]}/000048"],
        [f"test/{GOPRO[1]}/000047", f"test/{GOPRO[1]}/000048"],
    ),
    "hide": (
        trees.hide,
        "hide",
        [f"HIDE_dataset/train/{number}fromGOPR0934.MP4" for number in (1, 2)],
        [
            "HIDE_dataset/test/test-close-ups/109fromGOPR1096.MP4",
            "HIDE_dataset/test/test-long-shot/110fromGOPR1096.MP4",
        ],
    ),
    "realblur": (
        trees.realblur,
        "realblur-j",
        [f"{REALBLUR.format('J')}/scene001/blur/blur_{number}" for number in (1, 12)],
        [f"{REALBLUR.format('J')}/scene007/blur/blur_1"],
    ),
    "realblur_r": (
        lambda root: trees.realblur(root, "R"),
        "realblur-r",
        [f"{REALBLUR.format('R')}/scene001/blur/blur_{number}" for number in (1, 12)],
        [f"{REALBLUR.format('R')}/scene007/blur/blur_1"],
    ),
    "realblur_without_lists": (
        lambda root: trees.realblur(root, lists=False),
        "realblur-j",
        [
            f"{REALBLUR.format('J')}/scene{scene}/blur_{number}"
            for scene, number in (("001", 1), ("001", 12), ("007", 1))
        ],
        None,
    ),
    "ots": (trees.ots, "ots", HAZY_OTS, None),
    "ots_beta": (
        trees.ots_beta,
        "ots",
        ["OTS_BETA/part1/0005_1_0.04", "OTS_BETA/part2/3189_1_0.04"],
        None,
    ),
    "sots_indoor": (
        trees.sots_indoor,
        "sots-indoor",
        [
            f"SOTS/indoor/nyuhaze500/{clean}_{number}"
            for clean in (1400, 1401)
            for number in (1, 10)
        ],
        None,
    ),
    "sots_outdoor": (
        trees.sots_outdoor,
        "sots-outdoor",
        [f"SOTS/outdoor/{name}" for name in ("0001_0.8_0.2", "0002_0.9_0.08", "0002_1_0.16")],
        None,
    ),
    "sidd": (
        trees.sidd,
        "sidd",
        [name.format(shot) for name in (SIDD, SIDD_LAST) for shot in ("010", "011")],
        None,
    ),
    "sidd_with_blocks": (
        lambda root: trees.sidd_blocks(trees.sidd(root)),
        "sidd",
        [name.format(shot) for name in (SIDD, SIDD_LAST) for shot in ("010", "011")],
        [f"ValidationBlocksSrgb_{number}" for number in range(6)],
    ),
    "rain200h": (
        trees.rain200h,
        "rain200",
        [f"rain_data_train_Heavy/X2/norain-{number}x2" for number in (1, 2, 10)],
        ["rain_data_test_Heavy/X2/norain-3x2"],
    ),
    "rain100_one_folder": (
        trees.rain100_one_folder,
        "rain200",
        ["rain-001", "rain-002", "rain-100"],
        None,
    ),
    "restormer": (
        trees.restormer,
        "paired",
        ["train/Rain13K/1", "train/Rain13K/2"],
        ["test/Test2800/1", "test/Test2800/2"],
    ),
    "uformer": (trees.uformer, "paired", ["train/1_1", "train/2_1"], None),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("by_name", [False, True], ids=["found out", "by name"])
def test_every_layout_is_known_by_the_folder_and_by_name(tmp_path, case, by_name):
    make, layout, train, test = CASES[case]
    root = make(tmp_path / "data")
    for split, expected in (("train", train), ("test", test or train)):
        source = open_pairs(root, split=split, layout=layout if by_name else "auto")
        assert source.layout == layout
        assert names(source) == expected
        assert source.unmatched == []
        # Degraded images and references really belong together (JPEG is exact on flat images).
        assert all(reference - degraded == 100 for degraded, reference in values(source))


@pytest.mark.parametrize("case", CASES)
def test_no_folder_is_known_by_two_layouts(tmp_path, case):
    make, layout, *_ = CASES[case]
    known = [each.name for each in recognised(make(tmp_path / "data"))]
    assert known == ([] if layout == "paired" else [layout])


def test_all_layouts_are_tested():
    assert {layout for _, layout, *_ in CASES.values()} | {
        "gopro-gamma",
        "lmdb",
        "reside",
        "rtts",
    } == set(layouts())


@pytest.mark.parametrize(
    "case", sorted(set(CASES) - {"sidd_with_blocks", "realblur_without_lists"})
)
def test_a_missing_file_never_moves_the_others(tmp_path, case):
    """Whichever file is taken away, the pairs left are a part of those there were."""
    make, layout, *_ = CASES[case]
    root = make(tmp_path / "data")
    before = {
        name: value
        for split in ("train", "test")
        for name, value in _by_name(open_pairs(root, split=split)).items()
    }
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in (".png", ".jpg"))
    for path in files:
        kept = path.read_bytes()
        path.unlink()
        for split in ("train", "test"):
            try:
                source = open_pairs(root, split=split, layout=layout)
            except IrkdError:
                continue  # nothing is left of this split
            assert _by_name(source).items() <= before.items()
        path.write_bytes(kept)


def _by_name(source):
    return dict(zip(names(source), values(source), strict=True))


def test_gopro_takes_the_other_blur_on_demand(tmp_path):
    root = trees.gopro(tmp_path / "data")
    assert values(open_pairs(root)) == [(0, 100), (1, 101)]
    assert values(open_pairs(root, layout="gopro-gamma")) == [(50, 100), (51, 101)]
    assert open_pairs(root, layout="gopro-gamma").unmatched == []


def test_gopro_knows_one_sequence_and_gamma_alone(tmp_path):
    root = trees.gopro(tmp_path / "data")
    assert choose_layout(root / "test" / GOPRO[1]).name == "gopro"
    for blur in root.rglob("blur"):
        for path in blur.iterdir():
            path.unlink()
        blur.rmdir()
    assert choose_layout(root).name == "gopro-gamma"


def test_a_folder_called_blur_gamma_is_never_taken_for_blur(tmp_path):
    for name in ("1.png", "2.png"):
        write(tmp_path / "blur_gamma" / name)
        write(tmp_path / "sharp" / name)
    with pytest.raises(IrkdError, match=r"layout 'gopro'.*It looks like layout 'gopro-gamma'"):
        open_pairs(tmp_path, layout="gopro")


def test_did_mdn_halves_are_cut_in_the_middle(tmp_path):
    root = trees.did_mdn(tmp_path / "data")
    pair = open_pairs(root).load(2)
    assert pair.degraded.shape == pair.reference.shape == (16, 16, 3)
    assert (pair.degraded == 10).all()
    assert (pair.reference == 110).all()
    write(root / "DID-MDN-test" / "11.jpg", size=(16, 31))
    with pytest.raises(IrkdError, match=r"11.jpg is 31 pixels wide; expected an even width"):
        open_pairs(root).load(3)


def test_did_mdn_is_known_by_its_files_alone(tmp_path):
    for number in (1, 2):
        write(tmp_path / "rain" / f"{number}.jpg", size=(512, 1024))
    assert choose_layout(tmp_path / "rain").name == "did-mdn"
    write(tmp_path / "rain" / "3.jpg", size=(512, 1000))
    assert recognised(tmp_path / "rain") == []


def test_spa_lists_may_stand_with_the_images_or_above(tmp_path):
    root = trees.spa(tmp_path / "data")
    before = values(open_pairs(root))
    (root / "real_test_1000.txt").rename(root / "real_test_1000" / "real_test_1000.txt")
    assert values(open_pairs(root)) == before
    # Without its list, the test images pair by name.
    (root / "real_test_1000" / "real_test_1000.txt").unlink()
    assert values(open_pairs(root)) == before
    assert values(open_pairs(root / "real_test_1000")) == before


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/real_test_1000/rain/000.png", r"real_test_1000.txt, line 2: expected two paths"),
        ("../../etc/passwd /real_test_1000/gt/000gt.png", r"line 2: .* leads out of"),
    ],
)
def test_a_list_with_a_bad_line_is_refused(tmp_path, line, message):
    root = trees.spa(tmp_path / "data")
    path = root / "real_test_1000.txt"
    first = path.read_text().splitlines()[0]
    path.write_text(f"{first}\n{line}\n")
    with pytest.raises(IrkdError, match=message):
        open_pairs(root)


def test_listed_files_that_are_missing_are_named(tmp_path):
    root = trees.spa(tmp_path / "data")
    (root / "real_test_1000" / "gt" / "001gt.png").unlink()
    source = open_pairs(root)
    assert names(source) == ["real_test_1000/rain/000", "real_test_1000/rain/002"]
    assert source.unmatched == ["real_test_1000/rain/001.png", "real_test_1000/gt/001gt.png"]
    for path in (root / "real_test_1000").rglob("*.png"):
        path.unlink()
    with pytest.raises(IrkdError, match=r"none of the pairs that its lists name is there.*Unpack"):
        open_pairs(root)


def test_hide_references_are_shared_by_the_splits(tmp_path):
    root = trees.hide(tmp_path / "data")
    write(root / "HIDE_dataset" / "GT" / "7fromGOPR0934.MP4.png")
    write(root / "HIDE_dataset" / "train" / "8fromGOPR0934.MP4.png")
    for split in ("train", "test"):
        # Those of the other split are not left over.
        assert open_pairs(root, split=split).unmatched == [
            "HIDE_dataset/train/8fromGOPR0934.MP4.png",
            "HIDE_dataset/GT/7fromGOPR0934.MP4.png",
        ]


def test_sots_indoor_is_cropped_and_never_scaled(tmp_path):
    root = trees.sots_indoor(tmp_path / "data")
    pair = open_pairs(root).load(0)
    assert pair.degraded.shape == pair.reference.shape == (46, 64, 3)
    assert (pair.reference == 100).all()
    write(root / "SOTS" / "indoor" / "nyuhaze500" / "gt" / "1401.png", size=(64, 84))
    with pytest.raises(IrkdError, match=r"is 64 x 46 .* is 84 x 64. Both must have the same size"):
        open_pairs(root).load(2)


def test_both_parts_of_sots_together_and_alone(tmp_path):
    root = trees.sots_outdoor(trees.sots_indoor(tmp_path / "data"))
    together = open_pairs(root)
    assert together.layout == "reside"
    assert len(together) == 4 + 3
    assert all(reference - degraded == 100 for degraded, reference in values(together))
    assert len(open_pairs(root, layout="sots-indoor")) == 4
    assert len(open_pairs(root, layout="sots-outdoor")) == 3
    # The authors' other names: SOTS/indoor/clear.
    gt = root / "SOTS" / "indoor" / "nyuhaze500" / "gt"
    gt.rename(gt.parent / "clear")
    assert choose_layout(root / "SOTS" / "indoor").name == "sots-indoor"


def test_ots_without_its_second_archive(tmp_path):
    root = trees.ots(tmp_path / "data")
    for path in (root / "clear").iterdir():
        path.unlink()
    (root / "clear").rmdir()
    with pytest.raises(IrkdError, match="degraded images in hazy/ but no references beside it"):
        open_pairs(root)


@pytest.mark.parametrize("stem", ["1400_1", "0001_0.8_0.2", "901_1"])
@pytest.mark.parametrize("sides", [("hazy", "GT"), ("rainy_image", "ground_truth")])
def test_references_copied_under_the_degraded_names_are_plain_pairs(tmp_path, stem, sides):
    for side, value in zip(sides, (1, 101), strict=True):
        write(tmp_path / side / f"{stem}.png", value)
    source = open_pairs(tmp_path)
    assert source.layout == "paired"
    assert values(source) == [(1, 101)]


@pytest.mark.parametrize("case", ["rain1400", "gopro", "rain200h", "did_mdn", "restormer", "spa"])
def test_a_folder_around_all_of_it_keeps_the_splits_apart(tmp_path, case):
    make, layout, train, test = CASES[case]
    make(tmp_path / "archive" / "inner")
    for split, expected in (("train", train), ("test", test)):
        source = open_pairs(tmp_path / "archive", split=split)
        assert source.layout == layout
        assert names(source) == [f"inner/{name}" for name in expected]


def test_rtts_has_no_pairs(tmp_path):
    root = trees.rtts(tmp_path / "data")
    assert choose_layout(root).name == choose_layout(root / "RTTS").name == "rtts"
    with pytest.raises(IrkdError, match=r"without references.*irkd evaluate --images DIR"):
        open_pairs(root)


def test_sidd_blocks_alone_are_for_testing(tmp_path):
    root = trees.sidd_blocks(tmp_path / "data")
    source = open_pairs(root)
    assert values(source) == [(number, 100 + number) for number in range(6)]
    assert source.load(5).degraded.shape == (8, 6, 3)
    assert source.image_size(0) == (8, 6)
    with pytest.raises(IrkdError, match=r"test images .* but none to train on"):
        open_pairs(root, split="train")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b"no matlab"), "not a readable MATLAB file"),
        (lambda path: path.write_bytes(path.read_bytes()[:200]), "MATLAB|cannot be read"),
        (lambda path: savemat(path, {"other": np.zeros(3)}), r"no array of frames .* other"),
        (
            lambda path: savemat(path, {"a": np.zeros((2, 3, 8, 6, 3))}),
            r"values of type float64; expected 8-bit",
        ),
        (lambda path: path.unlink(), r"Degraded: none; references: ValidationGtBlocksSrgb.mat"),
    ],
)
def test_bad_sidd_blocks_are_named(tmp_path, make, message):
    root = trees.sidd_blocks(tmp_path / "data")
    make(root / "ValidationNoisyBlocksSrgb.mat")
    with pytest.raises(IrkdError, match=message):
        open_pairs(root).load(0)


def test_sidd_small_has_names_without_a_scene(tmp_path):
    for side, value in (("NOISY", 1), ("GT", 101)):
        write(tmp_path / "Data" / "0001_001_S6" / f"{side}_SRGB_010.PNG", value)
    assert values(open_pairs(tmp_path)) == [(1, 101)]


@pytest.mark.parametrize("orientation", [3, 6])
def test_exif_orientation_of_one_side_is_ignored(tmp_path, orientation):
    root = trees.ots(tmp_path / "data")
    path = root / "hazy" / "0001_0.8_0.04.jpg"
    pixels = np.zeros((16, 8, 3), np.uint8)
    pixels[:8] = 255
    assert cv2.imwrite(str(path), pixels)
    write(root / "clear" / "0001.jpg", size=(16, 8))
    trees.orientation(path, orientation)
    pair = open_pairs(root).load(0)
    assert pair.degraded.shape == (16, 8, 3)
    assert pair.degraded[:4].min() > 200
    assert pair.degraded[-4:].max() < 50
    assert open_pairs(root).image_size(0) == (16, 8)


def test_a_folder_of_two_data_sets_asks_which(tmp_path):
    trees.realblur(trees.realblur(tmp_path), "R")
    with pytest.raises(IrkdError, match=r"layouts realblur-j and realblur-r.*layout realblur-j"):
        open_pairs(tmp_path)
    assert len(open_pairs(tmp_path, layout="realblur-r")) == 1


# To did-mdn, every image is a pair.
@pytest.mark.parametrize("layout", sorted(set(layouts()) - {"did-mdn"}))
def test_a_layout_that_is_not_there_is_refused(tmp_path, layout):
    write(tmp_path / "holiday" / "a b.png")
    expected = {"paired": "holds 1 images", "rtts": "without references"}
    with pytest.raises(IrkdError, match=expected.get(layout, "nothing in it is arranged as")):
        open_pairs(tmp_path, layout=layout)


def test_names_that_are_no_text_are_read(tmp_path):
    if sys.platform != "linux":
        pytest.skip("other systems do not allow such names")
    for folder, value in (("input", 1), ("target", 101)):
        path = write(tmp_path / folder / "a.png", value)
        path.rename(path.parent / "b\udcff.png")
    assert values(open_pairs(tmp_path)) == [(1, 101)]


def test_the_example_of_the_documents_is_a_layout(tmp_path, monkeypatch):
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    module = {}
    exec(code, module)
    (added,) = module["LAYOUTS"]
    known = {**layouts(), added.name: added}
    monkeypatch.setattr("irkd.data.layouts.choosing.layouts", lambda: known)
    write(tmp_path / "synthetic" / "a.jpg", 1)
    write(tmp_path / "gt" / "a.jpg", 101)
    source = open_pairs(tmp_path)
    assert source.layout == "snow100k"
    assert values(source) == [(1, 101)]
