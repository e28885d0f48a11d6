"""SIDD: Abdelhamed et al., CVPR 2018. Full frames to train on, blocks in .mat files to test on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from irkd.data.layouts.base import Degraded, Entry, FoundPair, Layout, PairReader, Reference, Size
from irkd.data.layouts.glance import Glance
from irkd.data.layouts.walking import files_below, images_below, stem_of
from irkd.data.pairs import Image, Split
from irkd.errors import IrkdError

_FRAME = re.compile(r"(?P<scene>.*?)(?P<side>GT|NOISY)_SRGB_(?P<number>\d+)", re.IGNORECASE)
_BLOCKS = re.compile(r"Validation(?P<side>Noisy|Gt)BlocksSrgb\.mat", re.IGNORECASE)
_BLOCK = re.compile(r"(?P<file>.*)\[(?P<frame>\d+),(?P<block>\d+)\]")


class FramesAndBlocks(PairReader):
    """Frames are files; block j of frame i is called FILE[i,j]."""

    def load(self, root: Path, pair: FoundPair) -> tuple[Image, Image]:
        if not _BLOCK.fullmatch(pair.degraded):
            return super().load(root, pair)
        return _block(root, pair.degraded), _block(root, pair.reference)

    def degraded_size(self, root: Path, pair: FoundPair) -> Size:
        match = _BLOCK.fullmatch(pair.degraded)
        return _block_size(root, match) if match else super().degraded_size(root, pair)

    def reference_size(self, root: Path, pair: FoundPair) -> Size:
        match = _BLOCK.fullmatch(pair.reference)
        return _block_size(root, match) if match else super().reference_size(root, pair)

    def reference_file(self, root: Path, pair: FoundPair) -> str | None:
        return None if _BLOCK.fullmatch(pair.reference) else super().reference_file(root, pair)


def _block(root: Path, path: str) -> Image:
    match = _BLOCK.fullmatch(path)
    assert match
    file = root / match["file"]
    blocks = _blocks(file, file.stat().st_mtime_ns)
    return np.ascontiguousarray(blocks[int(match["frame"]), int(match["block"])])


def _block_size(root: Path, match: re.Match[str]) -> Size:
    file = root / match["file"]
    shape = _shape(file, file.stat().st_mtime_ns)
    return shape[2], shape[3]


@lru_cache(maxsize=2)
def _blocks(file: Path, changed: int) -> NDArray[np.uint8]:
    """Frames x blocks x height x width x 3; 250 MB a file, kept since a file is read as a whole."""
    from scipy.io import loadmat

    name, shape = _variable(file)
    try:
        blocks: NDArray[np.uint8] = loadmat(file, variable_names=[name])[name]
    except Exception as error:
        # The reader raises many types on damaged files.
        raise IrkdError(f"{file}: cannot be read ({error}). Download it again.") from error
    if blocks.dtype != np.uint8 or blocks.shape != shape:
        raise IrkdError(f"{file}: values of type {blocks.dtype}; expected 8-bit sRGB blocks.")
    return blocks


@lru_cache(maxsize=8)
def _shape(file: Path, changed: int) -> tuple[int, ...]:
    return _variable(file)[1]


def _variable(file: Path) -> tuple[str, tuple[int, ...]]:
    """Name and shape of the blocks, without reading them."""
    from scipy.io import whosmat

    try:
        variables = whosmat(file)
    except NotImplementedError as error:
        raise IrkdError(
            f"{file} is a MATLAB 7.3 file; SIDD's sRGB blocks are of an older version, the raw-RGB "
            "ones of this one. Expected the sRGB blocks."
        ) from error
    except Exception as error:
        raise IrkdError(
            f"{file}: not a readable MATLAB file ({error}). Download it again."
        ) from error
    for name, shape, _ in variables:
        if len(shape) == 5 and shape[4] == 3:
            return name, tuple(shape)
    raise IrkdError(
        f"{file}: no array of frames x blocks x height x width x 3 in it; found "
        f"{', '.join(f'{name} {shape}' for name, shape, _ in variables) or 'nothing'}."
    )


def _signature(glance: Glance) -> bool:
    return any(
        any(_FRAME.fullmatch(stem_of(name)) for name in folder.images)
        or any(_BLOCKS.fullmatch(name) for name in folder.others)
        for folder in glance.folders.values()
    )


@dataclass(frozen=True, kw_only=True)
class Sidd(Layout):
    """Frames train; the validation blocks test, where they are there."""

    reader: ClassVar[PairReader] = FramesAndBlocks()

    def parts(self, root: Path) -> dict[Split, Path]:
        blocks = _block_files(root)
        if not blocks:
            return {}
        parts: dict[Split, Path] = {"test": root / next(iter(blocks.values()))}
        if any(_FRAME.fullmatch(stem_of(Path(name).name)) for name in images_below(root)):
            parts["train"] = root
        return parts

    def entries(self, root: Path, split: Split | None) -> Iterator[Entry]:
        blocks = _block_files(root)
        if blocks and split != "train":
            yield from _block_entries(root, blocks)
        if split == "train" or not blocks:
            yield from _frame_entries(root)


def _block_files(root: Path) -> dict[str, str]:
    """Paths of the noisy and the clean validation blocks, by `noisy` and `gt`."""
    found: dict[str, str] = {}
    for path in files_below(root):
        match = _BLOCKS.fullmatch(path.rpartition("/")[2])
        if match:
            found[match["side"].lower()] = path
    return found


def _block_entries(root: Path, files: dict[str, str]) -> Iterator[Entry]:
    for side, path in files.items():
        _, (frames, blocks, *_) = _variable(root / path)
        for frame, block in product(range(frames), range(blocks)):
            key = f"ValidationBlocksSrgb_{frame * blocks + block}"
            if side == "noisy":
                yield Degraded(key, f"{path}[{frame},{block}]", key)
            else:
                yield Reference(key, f"{path}[{frame},{block}]")


def _frame_entries(root: Path) -> Iterator[Entry]:
    for path in images_below(root):
        parent, slash, name = path.rpartition("/")
        match = _FRAME.fullmatch(stem_of(name))
        if not match:
            continue
        key = f"{parent}{slash}{match['scene']}{match['number']}"
        if match["side"].upper() == "NOISY":
            yield Degraded(key, path, stem_of(path))
        else:
            yield Reference(key, path)


LAYOUTS = (
    Sidd(
        name="sidd",
        description="Data/SCENE/ID_NOISY_SRGB_N.PNG and ID_GT_SRGB_N.PNG; to test,"
        " ValidationNoisyBlocksSrgb.mat and ValidationGtBlocksSrgb.mat",
        data_set="sidd",
        signature=_signature,
    ),
)
