"""Published data sets in small: the names, endings, sizes and traps of the real ones.

Every tree writes pairs whose values tell which belong together: the pixels of a reference are 100
more than those of its degraded images.
"""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from scipy.io import savemat


def write(path, value=100, size=(12, 10)):
    """An image of `size` (height, width), `value` in every pixel, in the format of its ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    done, encoded = cv2.imencode(path.suffix.lower(), np.full((*size, 3), value, np.uint8))
    assert done
    path.write_bytes(encoded.tobytes())
    return path


def rain1400(root):
    for part, cleans in (("training", (1, 2)), ("testing", (901,))):
        for clean in cleans:
            write(root / part / "ground_truth" / f"{clean}.jpg", 100 + clean % 100)
            for kind in (1, 2, 14):
                write(root / part / "rainy_image" / f"{clean}_{kind}.jpg", clean % 100)
    return root


def rain1400_flat(root):
    for clean in (2, 900, 901, 1000):
        write(root / "ground truth" / f"{clean}.jpg", 100 + clean % 90)
        write(root / "rainy image" / f"{clean}_9.jpg", clean % 90)
    return root


def did_mdn(root):
    def both(path, value):
        halves = np.concatenate(
            [np.full((16, 16, 3), v, np.uint8) for v in (value, value + 100)], 1
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        # Blocks of JPEG end at the border between the halves.
        assert cv2.imwrite(str(path), halves)

    for density in ("Rain_Heavy", "Rain_Medium", "Rain_Light"):
        both(root / "DID-MDN-training" / density / "train2018new" / "1.jpg", len(density))
    for number in (1, 2, 10):
        both(root / "DID-MDN-test" / f"{number}.jpg", number)
    return root


def spa(root):
    lines = []
    for number in (1, 2):
        base = f"real_world/000/000-{number}/000-{number}_0_1"
        write(root / f"{base}.png", number)
        write(root / f"{base}_gt.png", 100 + number)
        lines.append(f"./{base}.png ./{base}_gt.png\n")
    (root / "real_world.txt").write_text("".join(lines))
    tests = []
    for number in range(3):
        write(root / "real_test_1000" / "rain" / f"00{number}.png", number)
        write(root / "real_test_1000" / "gt" / f"00{number}gt.png", 100 + number)
        tests.append(f"/real_test_1000/rain/00{number}.png /real_test_1000/gt/00{number}gt.png\r\n")
    (root / "real_test_1000.txt").write_text("".join(tests))
    # Photographs of real rain, without references: of no pair.
    write(root / "Real_Internet" / "1.png")
    (root / "Real_Internet.txt").write_text("/Real_Internet/1.png\n")
    return root


def gopro(root):
    for part, sequence in (("train", "GOPR0372_07_00"), ("test", "GOPR0384_11_00")):
        for number, name in enumerate(("000047.png", "000048.png")):
            folder = root / part / sequence
            write(folder / "blur" / name, number)
            write(folder / "blur_gamma" / name, 50 + number)
            write(folder / "sharp" / name, 100 + number)
    return root


def hide(root):
    names = {
        "train": ["1fromGOPR0934.MP4.png", "2fromGOPR0934.MP4.png"],
        "test/test-close-ups": ["109fromGOPR1096.MP4.png"],
        "test/test-long-shot": ["110fromGOPR1096.MP4.png"],
    }
    for folder, files in names.items():
        for name in files:
            number = int(name.partition("from")[0]) % 100
            write(root / "HIDE_dataset" / folder / name, number)
            write(root / "HIDE_dataset" / "GT" / name, 100 + number)
    return root


def realblur(root, kind="J", lists=True):
    top = f"RealBlur-{kind}_ECC_IMCORR_centroid_itensity_ref"
    lines = {"train": [], "test": []}
    for part, scene, number in (("train", 1, 1), ("train", 1, 12), ("test", 7, 1)):
        sharp, blurred = (
            f"{top}/scene{scene:03d}/{side}/{side}_{number}.png" for side in ("gt", "blur")
        )
        # Sizes differ from scene to scene, and are no multiples of 8.
        write(root / sharp, 100 + scene + number, (17 + scene, 23))
        write(root / blurred, scene + number, (17 + scene, 23))
        lines[part].append(f"{sharp} {blurred} \n")
    for part in lines if lists else ():
        (root / f"RealBlur_{kind}_{part}_list.txt").write_text("".join(lines[part]))
    return root


def ots(root):
    for clean in ("0001", "8970"):
        write(root / "clear" / f"{clean}.jpg", 100 + int(clean) % 90)
        for name in ("0.8_0.04", "0.95_0.2", "1_0.12"):
            write(root / "hazy" / f"{clean}_{name}.jpg", int(clean) % 90)
    return root


def ots_beta(root):
    for part, clean in enumerate(("0005", "3189"), start=1):
        write(root / "OTS_BETA" / "clear" / f"{clean}.jpg", 100 + int(clean) % 90)
        write(root / "OTS_BETA" / "haze" / f"part{part}" / f"{clean}_1_0.04.jpg", int(clean) % 90)
    return root


def sots_indoor(root):
    folder = root / "SOTS" / "indoor" / "nyuhaze500"
    for clean in (1400, 1401):
        inner = np.full((66, 84, 3), 7, np.uint8)
        inner[10:-10, 10:-10] = 100 + clean % 100
        (folder / "gt").mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(folder / "gt" / f"{clean}.png"), inner)
        for number in (1, 10):
            write(folder / "hazy" / f"{clean}_{number}.png", clean % 100, (46, 64))
    return root


def sots_outdoor(root):
    folder = root / "SOTS" / "outdoor"
    for clean, name in (("0001", "0.8_0.2"), ("0002", "0.9_0.08"), ("0002", "1_0.16")):
        write(folder / "gt" / f"{clean}.png", 100 + int(clean))
        write(folder / "hazy" / f"{clean}_{name}.jpg", int(clean))
    return root


def rtts(root):
    for number in (211, 212):
        write(root / "RTTS" / "JPEGImages" / f"AM_Bing_{number}.png", number)
        path = root / "RTTS" / "Annotations" / f"AM_Bing_{number}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("<annotation><object><name>car</name></object></annotation>")
    names = root / "RTTS" / "ImageSets" / "Main" / "test.txt"
    names.parent.mkdir(parents=True)
    names.write_text("AM_Bing_211\nAM_Bing_212\n")
    return root


def sidd(root):
    scenes = {"0001": "0001_001_S6_00100_00060_3200_L", "0200": "0200_010_GP_01600_03200_5500_N"}
    for number, (scene, folder) in enumerate(scenes.items()):
        for shot in ("010", "011"):
            top = root / "SIDD_Medium_Srgb" / "Data" / folder
            write(top / f"{scene}_NOISY_SRGB_{shot}.PNG", number)
            write(top / f"{scene}_GT_SRGB_{shot}.PNG", 100 + number)
    return root


def sidd_blocks(root):
    """As scipy writes them: 2 frames of 3 blocks of 8 x 6."""
    root.mkdir(parents=True, exist_ok=True)
    noisy = np.zeros((2, 3, 8, 6, 3), np.uint8)
    noisy += np.arange(6, dtype=np.uint8).reshape(2, 3, 1, 1, 1)
    for side, blocks in (("Noisy", noisy), ("Gt", noisy + 100)):
        name = f"Validation{side}BlocksSrgb"
        savemat(root / f"{name}.mat", {name: blocks}, do_compression=True)
    return root


def rain200h(root):
    for part, folder in (("train", "rain_data_train_Heavy"), ("test", "rain_data_test_Heavy")):
        for number in (1, 2, 10) if part == "train" else (3,):
            write(root / folder / "rain" / "X2" / f"norain-{number}x2.png", number)
            write(root / folder / "norain" / f"norain-{number}.png", 100 + number)
    return root


def rain100_one_folder(root):
    for number in (1, 2, 100):
        write(root / f"rain-{number:03d}.png", number)
        write(root / f"norain-{number:03d}.png", 100 + number)
    return root


def restormer(root):
    """`Datasets/{train,test}/SET/{input,target}`, as many repositories have it."""
    for part, name, ending in (("train", "Rain13K", "jpg"), ("test", "Test2800", "png")):
        for number in (1, 2):
            write(root / part / name / "input" / f"{number}.{ending}", number)
            write(root / part / name / "target" / f"{number}.{ending}", 100 + number)
    return root


def uformer(root):
    for number in (1, 2):
        write(root / "train" / "input" / f"{number}_1.png", number)
        write(root / "train" / "groundtruth" / f"{number}_1.png", 100 + number)
    return root


def orientation(path: Path, value: int) -> None:
    """Set the EXIF orientation of a JPEG."""
    exif = Image.Exif()
    exif[0x0112] = value
    image = Image.open(path)
    image.load()
    image.save(path, exif=exif, quality=100)
