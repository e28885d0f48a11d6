"""The training and validation pairs that a preset's data section stands for."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from irkd.data.crops import Augmentation
from irkd.data.degrade import Mixing, check_task
from irkd.data.folders import FolderPairs
from irkd.data.opening import open_pairs
from irkd.data.pairs import (
    CropSource,
    FixedVariants,
    Pair,
    PairSource,
    PairsOver,
    variants_of,
)
from irkd.data.synthetic import STYLES, SyntheticPairs
from irkd.errors import IrkdError
from irkd.presets.schema import DataSection

_HELD_OUT_SHARE = 20
_HELD_OUT_MOST = 16


class Part(PairsOver):
    """Some pairs of a source, in a fixed order."""

    def __init__(self, source: PairSource, indices: list[int], name: str) -> None:
        super().__init__(source)
        self.name, self._indices = name, indices

    def __len__(self) -> int:
        return len(self._indices)

    def pair_name(self, index: int) -> str:
        return self._source.pair_name(self._indices[index])

    def load(self, index: int, epoch: int = 0) -> Pair:
        return self._source.load(self._indices[index], epoch)

    def image_size(self, index: int) -> tuple[int, int]:
        return super().image_size(self._indices[index])


class CropPart(Part):
    """Part of a source that makes training crops itself."""

    def load_crop(
        self, index: int, patch: int, augment: Augmentation, rng: np.random.Generator
    ) -> Pair:
        assert isinstance(self._source, CropSource)
        return self._source.load_crop(self._indices[index], patch, augment, rng)


def open_training_pairs(
    data: DataSection, task: str, seed: int
) -> tuple[PairSource, PairSource | None]:
    """The training pairs, and the validation pairs or None where the preset wants none.

    With `data.variants`, synthetic training pairs are degraded in that many fixed ways.

    `auto` validation: the built-in photographs for procedural training; for a folder its test
    split, or, where it has none, one pair of every twentieth reference (16 at most), all pairs of
    which are taken out of the training.
    """
    train, validation = _open(data, task, seed)
    if data.variants is None:
        return train, validation
    if variants_of(train) is not None:
        raise IrkdError(
            f"data.variants: the pairs of {train.name} are read from files, so that there is"
            " nothing to vary. Leave it out."
        )
    return FixedVariants(train, data.variants), validation


def _open(data: DataSection, task: str, seed: int) -> tuple[PairSource, PairSource | None]:
    if data.train == "photographs":
        raise IrkdError("data.train: the built-in photographs are for testing, never for training.")
    if data.train in STYLES:
        train: PairSource = open_pairs(
            data.train, task=task, split="train", count=data.count, size=data.size, seed=seed
        )
    else:
        train = open_pairs(data.train, task=task, split="train", layout=data.layout)
    mixture = tuple((check_task(name), weight) for name, weight in data.mixture.items())
    mixing = Mixing(data.undamaged, data.saved, mixture)
    if isinstance(train, SyntheticPairs):
        train.mixing = mixing
    elif mixing:
        raise IrkdError(
            f"data.undamaged, data.saved, data.mixture: the pairs of {train.name} are read from"
            " files, as they are. Leave them out."
        )
    if data.validation == "none":
        return train, None
    if data.validation != "auto":
        return train, open_pairs(data.validation, task=task, split="test", layout=data.layout)
    if data.train in STYLES:
        return train, open_pairs("photographs", task=task)
    test = open_pairs(data.train, task=task, split="test", layout=data.layout)
    if _names(test).isdisjoint(_names(train)):
        return train, test
    return _hold_out(train)


def _names(source: PairSource) -> set[str]:
    return {source.pair_name(index) for index in range(len(source))}


def _hold_out(source: PairSource) -> tuple[PairSource, PairSource | None]:
    """Whole references are held out: one clean image may stand in many pairs."""
    references = [_reference(source, index) for index in range(len(source))]
    unique = list(dict.fromkeys(references))
    count = min(_HELD_OUT_MOST, len(unique) // _HELD_OUT_SHARE)
    if count == 0:
        return source, None
    held = {unique[number * len(unique) // count] for number in range(count)}
    kept = [index for index, reference in enumerate(references) if reference not in held]
    first = {references[index]: index for index in reversed(range(len(references)))}
    part = CropPart if isinstance(source, CropSource) else Part
    name = f"{Path(source.name).name} (held out)"
    return part(source, kept, source.name), Part(source, sorted(first[r] for r in held), name)


def _reference(source: PairSource, index: int) -> str:
    if isinstance(source, FolderPairs):
        return source.reference_name(index)
    return source.pair_name(index)
