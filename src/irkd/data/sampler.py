"""Training batches as pure functions of (seed, epoch, position).

No global random state is read or written: the same numbers give the same batches with any number
of worker processes, and a run resumed at step k sees what the uninterrupted run would have seen.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from irkd.data.crops import Augmentation, draw_corner
from irkd.data.pairs import CropSource, Pair, PairSource, SizedSource
from irkd.data.seeds import CROP, PERMUTATION, generator
from irkd.errors import IrkdError

Batch = dict[str, Any]


@dataclass(frozen=True)
class Draw:
    """One training sample: image `index`, at `position` of the shuffled `epoch`.

    `showing`: how often the image was drawn before it in the run, which chooses the degradation.
    """

    epoch: int
    position: int
    index: int
    showing: int


def training_loader(
    source: PairSource,
    *,
    patch: int,
    batch_size: int,
    steps: int,
    start_step: int = 0,
    seed: int,
    workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    repeat: int = 1,
    augment: bool = True,
) -> TrainingLoader:
    """Batches number `start_step` to `steps` - 1 of the run `seed`.

    Args:
        patch: side of the random crops, pixels.
        batch_size: samples per process and step.
        rank, world_size: this process takes every world_size-th batch-sized part of a step.
        workers: processes that load; 0 loads in this one.
        repeat: how often an epoch passes over the images, with other crops each time.
        augment: flips and quarter turns.

    Yields dicts: "degraded" and "reference", uint8 tensors B x 3 x patch x patch, and "names";
    also "teacher_restored", float16 or uint8, where the pairs have it, and "damages", a list of
    names, where they are known.
    Raises IrkdError for unreadable images, and before the first batch for images smaller than
    the patch.
    """
    if patch < 1 or batch_size < 1 or repeat < 1 or len(source) < 1:
        raise IrkdError(
            f"{source.name}: cannot sample {batch_size} crops of {patch} pixels from "
            f"{len(source)} images repeated {repeat} times; all must be at least 1."
        )
    if isinstance(source, SizedSource):
        source.check_patch(patch)
    samples = _Samples(source, patch, seed, augment)
    plan = _Plan(len(source), repeat, seed, batch_size, range(start_step, steps), rank, world_size)
    return TrainingLoader(samples, plan, workers)


class TrainingLoader:
    """An iterable of batches with a length; every iteration starts anew."""

    def __init__(self, samples: _Samples, plan: _Plan, workers: int) -> None:
        self._plan = plan
        self._loader: DataLoader[Any] = DataLoader(
            samples,
            batch_sampler=plan,
            num_workers=workers,
            collate_fn=_collate,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=_quiet_worker if workers else None,
            # Forked workers share the memory of procedural images.
            multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
            prefetch_factor=4 if workers else None,
            # Its own generator: the loader would otherwise advance torch's global one.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        return len(self._plan)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._loader:
            if "error" in batch:
                raise IrkdError(batch["error"])
            yield batch


class _Plan:
    """Which samples make up each step, for one process of a distributed run."""

    def __init__(
        self,
        length: int,
        repeat: int,
        seed: int,
        batch_size: int,
        steps: range,
        rank: int,
        world_size: int,
    ) -> None:
        self._length, self._repeat, self._seed = length, repeat, seed
        self._batch_size, self._steps = batch_size, steps
        self._rank, self._world_size = rank, world_size

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[list[Draw]]:
        for step in self._steps:
            first = (step * self._world_size + self._rank) * self._batch_size
            yield [self._draw(number) for number in range(first, first + self._batch_size)]

    def _draw(self, number: int) -> Draw:
        """Sample `number` of the run, counted over all processes."""
        epoch, position = divmod(number, self._length * self._repeat)
        order = _permutation(self._seed, epoch, self._length * self._repeat)
        repetition, index = divmod(int(order[position]), self._length)
        return Draw(epoch, position, index, epoch * self._repeat + repetition)


@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, length: int) -> np.ndarray[Any, Any]:
    return generator(PERMUTATION, seed, epoch).permutation(length)


class _Samples(Dataset[Any]):
    def __init__(self, source: PairSource, patch: int, seed: int, augment: bool) -> None:
        self._source, self._patch, self._seed, self._augment = source, patch, seed, augment

    def __getitem__(self, draw: Draw) -> Pair | IrkdError:
        rng = generator(CROP, self._seed, draw.epoch, draw.position)
        augmentation = Augmentation.draw(rng) if self._augment else Augmentation.none()
        try:
            if isinstance(self._source, CropSource):
                return self._source.load_crop(draw.index, self._patch, augmentation, rng)
            return self._crop(self._source.load(draw.index, draw.showing), augmentation, rng)
        except IrkdError as error:
            # Handed over as a value: an exception from a worker would lose its message.
            return error

    def _crop(self, pair: Pair, augment: Augmentation, rng: np.random.Generator) -> Pair:
        top, left = draw_corner(pair.reference.shape, self._patch, rng, pair.name)
        window = slice(top, top + self._patch), slice(left, left + self._patch)
        taught = pair.teacher_restored
        return Pair(
            pair.name,
            augment(pair.degraded[window]),
            augment(pair.reference[window]),
            None if taught is None else augment(taught[window]),
            pair.damage,
        )


def _collate(samples: list[Pair | IrkdError]) -> Batch:
    for sample in samples:
        if isinstance(sample, IrkdError):
            return {"error": str(sample)}
    pairs = [sample for sample in samples if isinstance(sample, Pair)]
    batch = {
        "degraded": _stack([pair.degraded for pair in pairs]),
        "reference": _stack([pair.reference for pair in pairs]),
        "names": [pair.name for pair in pairs],
    }
    if all(pair.teacher_restored is not None for pair in pairs):
        batch["teacher_restored"] = _stack([pair.teacher_restored for pair in pairs])
    if all(pair.damage is not None for pair in pairs):
        batch["damages"] = [pair.damage for pair in pairs]
    return batch


def _stack(images: list[Any]) -> torch.Tensor:
    return torch.from_numpy(np.stack([image.transpose(2, 0, 1) for image in images]))


def _quiet_worker(_: int) -> None:
    # One process per core already; threads on top of it only contend.
    cv2.setNumThreads(0)
