"""Writing synthetic pairs to disk, in a layout that irkd and others read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from irkd.data.crops import draw_corner
from irkd.data.degrade import NEEDS_DEPTH, check_task, degrade
from irkd.data.layouts import check_folder, list_images
from irkd.data.procedural import procedural_image
from irkd.data.reading import read_image
from irkd.data.seeds import CROP, DEGRADATION, generator
from irkd.errors import IrkdError
from irkd.files import write_bytes, write_json
from irkd.registry import suggestion

Image = NDArray[np.uint8]
Progress = Callable[[int, int], None]  # pairs there are, pairs wanted
MANIFEST = "irkd-pairs.json"
LAYOUTS = ("paired", "rain1400")
DEFAULT_SIZE = 256
# Streak types of one clean image in Rain1400, and its share of test images.
_RAIN_TYPES = 14
_TEST_SHARE = 10
_STREAM = 5  # degradations of pairs on disk; synthetic.py holds the other numbers


@dataclass(frozen=True)
class Recipe:
    """What makes pairs: two folders of one recipe hold the same files.

    `photographs` is the folder whose images are degraded, or None for procedural images; `size`
    the side in pixels, or None for whole photographs.
    """

    task: str
    size: int | None
    seed: int
    layout: str
    photographs: str | None


def make_pairs(
    folder: Path,
    recipe: Recipe,
    count: int,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> int:
    """Write pairs 0 to `count` - 1 of `recipe` below `folder`; return how many were new.

    Pairs that stand there from an earlier run of the same recipe are kept, so that an interrupted
    run goes on where it stopped. A folder with anything else in it is refused; `overwrite` makes
    anew the pairs of another recipe, and removes nothing that irkd did not write.
    """
    check_task(recipe.task)
    if recipe.layout not in LAYOUTS:
        raise IrkdError(
            f"unknown layout {recipe.layout!r}.{suggestion(recipe.layout, LAYOUTS)} "
            f"Known: {', '.join(LAYOUTS)}."
        )
    if recipe.layout == "rain1400" and recipe.task != "derain":
        raise IrkdError(f"layout rain1400 is for task derain, not {recipe.task}.")
    if count < 1 or (recipe.size is not None and recipe.size < 16) or recipe.seed < 0:
        raise IrkdError(
            f"cannot make {count} pairs of size {recipe.size} with seed {recipe.seed}; expected "
            "a count of at least 1, a size of at least 16 and a seed of at least 0."
        )
    photographs = _photographs(recipe)
    _refuse_photographs_in(folder, recipe)
    _prepare(folder, recipe, count, overwrite)
    # Consecutive pairs of Rain1400 share their reference: it is made once.
    clean_image = lru_cache(maxsize=1)(partial(_clean, recipe, photographs))
    made = 0
    for index in range(count):
        degraded_path, reference_path = (
            folder / name for name in _file_names(recipe, index, count)
        )
        missing = [path for path in (degraded_path, reference_path) if not path.exists()]
        if missing:
            clean, depth = clean_image(_clean_index(recipe, index))
            rng = generator(DEGRADATION, _STREAM, recipe.seed, index)
            if reference_path in missing:
                write_bytes(reference_path, _encode(reference_path, clean))
            if degraded_path in missing:
                degraded = degrade(clean, recipe.task, rng, depth)
                write_bytes(degraded_path, _encode(degraded_path, degraded))
            made += 1
        if progress:
            progress(index + 1, count)
    return made


def _prepare(folder: Path, recipe: Recipe, count: int, overwrite: bool) -> None:
    """Make sure that what `folder` holds, if anything, are pairs of this recipe."""
    manifest = folder / MANIFEST
    if folder.exists() and not folder.is_dir():
        raise IrkdError(f"{folder} is a file; expected a folder to write to.")
    earlier = _read_manifest(manifest)
    if earlier is None:
        if folder.is_dir() and any(folder.iterdir()):
            raise IrkdError(
                f"{folder} is not empty and holds no {MANIFEST} of an earlier run. "
                "Choose a new or empty folder."
            )
    else:
        old_recipe, old_count = earlier
        # The number of pairs decides which ones of Rain1400 are test images.
        same = old_recipe == recipe and (recipe.layout == "paired" or old_count == count)
        if not same and not overwrite:
            raise IrkdError(
                f"{folder} holds pairs made differently ({_told(old_recipe, old_count)}; now "
                f"{_told(recipe, count)}). Choose another folder, or add --overwrite."
            )
        if old_count > count and not overwrite:
            raise IrkdError(
                f"{folder} holds {old_count} such pairs already, more than the {count} asked "
                "for. Choose another folder, or add --overwrite to remove the rest."
            )
        _remove(folder, old_recipe, range(count if same else 0, old_count), old_count)
    write_json(manifest, {**asdict(recipe), "count": count}, overwrite=True)


def _remove(folder: Path, recipe: Recipe, indices: range, count: int) -> None:
    for index in indices:
        for name in _file_names(recipe, index, count):
            (folder / name).unlink(missing_ok=True)


def _read_manifest(path: Path) -> tuple[Recipe, int] | None:
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        values = json.loads(text)
        count = int(values.pop("count"))
        return Recipe(**values), count
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise IrkdError(
            f"{path}: not a list of pairs written by irkd. Remove the folder."
        ) from error


def _told(recipe: Recipe, count: int) -> str:
    source = f"photographs of {recipe.photographs}" if recipe.photographs else "procedural images"
    size = f", size {recipe.size}" if recipe.size else ""
    return f"{count} x {recipe.task} of {source}{size}, seed {recipe.seed}, layout {recipe.layout}"


def _clean_index(recipe: Recipe, index: int) -> int:
    return index // _RAIN_TYPES if recipe.layout == "rain1400" else index


def _file_names(recipe: Recipe, index: int, count: int) -> tuple[str, str]:
    """The files of pair `index` below the folder: degraded, reference."""
    if recipe.layout == "paired":
        return f"input/{index + 1:06d}.png", f"target/{index + 1:06d}.png"
    clean = index // _RAIN_TYPES
    clean_count = -(-count // _RAIN_TYPES)
    test = clean >= clean_count - clean_count // _TEST_SHARE
    split = "testing" if test else "training"
    streaks = index % _RAIN_TYPES + 1
    return (
        f"{split}/rainy_image/{clean + 1}_{streaks}.jpg",
        f"{split}/ground_truth/{clean + 1}.jpg",
    )


def _photographs(recipe: Recipe) -> list[Path]:
    if recipe.photographs is None:
        return []
    root = Path(recipe.photographs)
    check_folder(root)
    names = list_images(root)
    if not names:
        raise IrkdError(f"{root}: no images in it or the folders below it.")
    return [root / name for name in names]


def _refuse_photographs_in(folder: Path, recipe: Recipe) -> None:
    """Pairs would be taken for photographs, and photographs removed as pairs of another recipe."""
    if recipe.photographs is None:
        return
    places = folder.resolve(), Path(recipe.photographs).resolve()
    if places[0].is_relative_to(places[1]) or places[1].is_relative_to(places[0]):
        raise IrkdError(
            f"{folder} and the photographs of {recipe.photographs} lie in one another. "
            "Choose another folder for the pairs."
        )


def photograph_count(folder: Path) -> int:
    """How many images `folder` holds; IrkdError when it is missing."""
    check_folder(folder)
    return len(list_images(folder))


def _clean(
    recipe: Recipe, photographs: list[Path], index: int
) -> tuple[Image, NDArray[np.float32] | None]:
    if not photographs:
        image, depth = procedural_image(recipe.seed, index, recipe.size or DEFAULT_SIZE)
        return image, depth if recipe.task in NEEDS_DEPTH else None
    path = photographs[index % len(photographs)]
    image = read_image(path)
    if recipe.size is None:
        return image, None
    if min(image.shape[:2]) < recipe.size:
        raise IrkdError(
            f"{path} is {image.shape[1]} x {image.shape[0]} pixels, smaller than the crops of "
            f"{recipe.size}. Choose a smaller --size, or remove the photograph."
        )
    rng = generator(CROP, _STREAM, recipe.seed, index)
    top, left = draw_corner(image.shape, recipe.size, rng, str(path))
    return np.ascontiguousarray(image[top : top + recipe.size, left : left + recipe.size]), None


def _encode(path: Path, image: Image) -> bytes:
    bgr = np.ascontiguousarray(image[..., ::-1])
    # Rain1400 is JPEG on both sides.
    options = [cv2.IMWRITE_JPEG_QUALITY, 95] if path.suffix == ".jpg" else []
    done, encoded = cv2.imencode(path.suffix, bgr, options)
    if not done:
        raise IrkdError(f"{path}: the image could not be encoded.")
    return encoded.tobytes()
