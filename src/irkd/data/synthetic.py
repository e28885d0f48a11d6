"""Sources that hold clean images and degrade them on the fly."""

from __future__ import annotations

import mmap
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irkd.data.crops import Augmentation, check_size, draw_corner
from irkd.data.degrade import MARGIN, NEEDS_DEPTH, Mixing, degrade, plausible_depth
from irkd.data.pairs import Image, Pair, Split
from irkd.data.procedural import Floats, Style, procedural_image
from irkd.data.seeds import DEGRADATION, RAMP, generator
from irkd.errors import IrkdError

# Streams of degradations: no two of these sets ever share a draw.
PROCEDURAL_TRAIN, PROCEDURAL_TEST, PHOTOGRAPHS, CLEAN_FOLDER = 1, 2, 3, 4

# Sets of procedural images by name; of several styles, images take turns.
STYLES: dict[str, tuple[Style, ...]] = {
    "procedural": ("plain",),
    "scenes": ("detailed",),
    "surfaces": ("textured",),
    "streets": ("built",),
    "daylight": ("lit",),
    "sunlight": ("sunlit",),
    "fabrics": ("woven",),
    "tones": ("toned",),
    "varied": ("sunlit", "woven", "lit"),
}

_DEFAULT_COUNT = {"train": 1000, "test": 16}
_DEFAULT_SIZE = 256
# Bytes of procedural images kept in memory; a set of 2,000 with depth fits.
_LARGEST_POOL = 2 << 30
# Test images are numbered from here: no training set is so large.
_FIRST_TEST_INDEX = 1 << 32


class SyntheticPairs(ABC):
    """Clean images, and how to degrade them: what the sources below have in common."""

    name: str
    task: str | None
    variants: int | None = None  # every epoch brings another degradation
    mixing: Mixing = Mixing()
    _degradation: str
    _seed: int
    _stream: int  # keeps the degradations of two sets apart

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def pair_name(self, index: int) -> str: ...

    @abstractmethod
    def clean(self, index: int) -> tuple[Image, Floats | None]:
        """The clean image and, where it is known and of use, its depth."""

    def load(self, index: int, epoch: int = 0) -> Pair:
        clean, depth = self.clean(index)
        rng = generator(DEGRADATION, self._stream, self._seed, epoch, index)
        degraded, damage = self._degrade(clean, rng, depth)
        return Pair(self.pair_name(index), degraded, clean, damage=damage)

    def load_crop(
        self, index: int, patch: int, augment: Augmentation, rng: np.random.Generator
    ) -> Pair:
        """A random crop, turned, and degraded afterwards: rain stays upright.

        A margin around the crop is degraded with it and cut off, so that kernels see real
        neighbours.
        """
        clean, depth = self.clean(index)
        name = self.pair_name(index)
        top, left = draw_corner(clean.shape, patch, rng, name)
        height, width = clean.shape[:2]
        rows = slice(max(top - MARGIN, 0), min(top + patch + MARGIN, height))
        columns = slice(max(left - MARGIN, 0), min(left + patch + MARGIN, width))
        inner = np.zeros(clean.shape[:2], bool)[rows, columns]
        inner[top - rows.start :, left - columns.start :][:patch, :patch] = True
        wide = np.ascontiguousarray(augment(clean[rows, columns]))
        wide_depth = None if depth is None else augment(depth[rows, columns])
        degraded, damage = self._degrade(wide, rng, wide_depth)
        where = np.argwhere(augment(inner))[0]
        window = (slice(where[0], where[0] + patch), slice(where[1], where[1] + patch))
        return Pair(name, degraded[window], wide[window], damage=damage)

    def _degrade(
        self, clean: Image, rng: np.random.Generator, depth: Floats | None
    ) -> tuple[Image, str]:
        """The degraded image, and by what kind of damage."""
        if self.mixing:
            return self.mixing.degrade(clean, self._degradation, rng, depth)
        return degrade(clean, self._degradation, rng, depth), self._degradation


class ProceduralPairs(SyntheticPairs):
    """Procedural images, made when first asked for and kept in memory.

    The memory is shared with worker processes forked later: an image is made once, by whoever
    needs it first. Every other one of the detailed style has the depth of `plausible_depth`
    instead of its shapes'.
    """

    def __init__(
        self,
        task: str,
        *,
        split: Split = "train",
        count: int | None = None,
        size: int | None = None,
        seed: int = 0,
        name: str = "procedural",
    ) -> None:
        count = _DEFAULT_COUNT[split] if count is None else count
        size = _DEFAULT_SIZE if size is None else size
        if count < 1 or size < 16:
            raise IrkdError(
                f"{name} images: count is {count} and size {size}; "
                "expected at least 1 image of at least 16 pixels."
            )
        self.name = name
        self.task = self._degradation = task
        self._split = split
        self._count, self._size, self._seed = count, size, seed
        self._first = _FIRST_TEST_INDEX if split == "test" else 0
        self._stream = PROCEDURAL_TEST if split == "test" else PROCEDURAL_TRAIN
        self._pool = _Pool(count, size, task in NEEDS_DEPTH)

    def __len__(self) -> int:
        return self._count

    def pair_name(self, index: int) -> str:
        return f"{self.name}_{index:05d}"

    def check_patch(self, patch: int) -> None:
        check_size(self._size, self._size, patch, "every procedural image")

    def image_size(self, index: int) -> tuple[int, int]:
        return self._size, self._size

    def clean(self, index: int) -> tuple[Image, Floats | None]:
        if not 0 <= index < self._count:
            raise IndexError(index)
        return self._pool.get(index, lambda: self._make(self._first + index))

    def _make(self, number: int) -> tuple[Image, Floats]:
        styles = STYLES[self.name]
        style = styles[number % len(styles)]
        image, depth = procedural_image(self._seed, number, self._size, style)
        if style != "plain" and number % 2:
            # Leaves are as deep as they are flat; a street or a valley fades away slowly.
            depth = plausible_depth(image.shape[:2], generator(RAMP, self._seed, number))
        return image, depth


class _Pool:
    """Images and depths in anonymous memory that forked processes share.

    Two processes may make the same image at once; both write the same bytes. Images for which
    `_LARGEST_POOL` has no room are made each time.
    """

    def __init__(self, count: int, size: int, with_depth: bool) -> None:
        self._arguments = (count, size, with_depth)
        room = min(count, _LARGEST_POOL // (size * size * (5 if with_depth else 3)))
        self._made = _shared((room,), np.uint8)
        self._images = _shared((room, size, size, 3), np.uint8)
        self._depths = _shared((room, size, size), np.float16) if with_depth else None

    def get(
        self, index: int, make: Callable[[], tuple[Image, Floats]]
    ) -> tuple[Image, Floats | None]:
        depths = self._depths
        if index >= len(self._made):
            image, depth = make()
            return image, None if depths is None else depth.astype(np.float16).astype(np.float32)
        if not self._made[index]:
            image, depth = make()
            self._images[index] = image
            if depths is not None:
                depths[index] = depth
            self._made[index] = 1
        image = self._images[index]
        image.flags.writeable = False
        return image, None if depths is None else depths[index].astype(np.float32)

    def __reduce__(self) -> tuple[Any, ...]:
        # A process that is not forked starts with an empty pool of its own.
        return _Pool, self._arguments


def _shared(shape: tuple[int, ...], kind: Any) -> NDArray[Any]:
    """Zeros in memory that forked processes share; pages take room when first written."""
    length = max(int(np.prod(shape)) * np.dtype(kind).itemsize, 1)  # no mapping is empty
    return np.frombuffer(mmap.mmap(-1, length), kind, count=int(np.prod(shape))).reshape(shape)
