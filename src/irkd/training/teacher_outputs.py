"""Training from a cache of the teacher's output images: whether it may be, and filling it.

The teacher sees whole images here, padded as in validation, where it otherwise sees the crops of a
step. For networks with global statistics (channel attention, pooled gates) these differ:
T(crop) is not crop(T(image)). So the context is declared, kept in the manifest, and never changed
within a run.
"""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from irkd.data.pairs import Image, Pair, PairSource, PairsOver, variants_of
from irkd.data.synthetic import STYLES
from irkd.data.teacher_cache import CachedPairs, Record, TeacherCache, entry_bytes, record_of
from irkd.errors import IrkdError
from irkd.inference.memory import is_out_of_memory
from irkd.methods.base import Method
from irkd.models.apply import apply_network
from irkd.models.weights_cache import cache_directory
from irkd.presets.schema import DataSection, Preset
from irkd.training.observer import Observer
from irkd.training.task import DistillTask

# What a method may need of the teacher that no output image holds.
_BEYOND_OUTPUTS = {
    "tap_pairs": "features of the teacher",
    "teacher_taps": "features of the teacher",
    "teacher_clean": "the teacher's output for the reference images",
    "clean_tap_pairs": "the teacher's features of the reference images",
    "teacher_encoder": "the teacher's encoder",
    "tails": "the teacher's later part",
    "networks": "the teacher on other images",
}

# A build that is killed has at most so much to look up again.
_INDEX_EVERY_SECONDS = 30.0


@dataclass(frozen=True)
class Slot:
    """One image whose output is wanted: pair `index` in its degradation `variant`."""

    index: int
    variant: int
    name: str


def context_of(preset: Preset, task: DistillTask) -> str | None:
    """What the teacher sees in this run: "crop", "full", or None without a teacher."""
    return preset.data.teacher_context if task.needs.uses_teacher else None


def check_context(now: str | None, before: str | None) -> None:
    """Raise IrkdError when a run that is resumed would go on with another context."""
    if now != before:
        raise IrkdError(
            f"this run learned from the teacher in the context {before!r} and cannot go on with"
            f" {now!r}: the teacher's output differs between a crop and the full image. Leave out"
            " --cache-teacher and data.teacher_context, or begin a new run."
        )


def require_cacheable(task: DistillTask, source: PairSource) -> None:
    """Raise IrkdError unless the teacher's output for each image is all that is asked of it."""
    for method in task.methods:
        assert isinstance(method, Method)
        name = method.parameters_spec.name
        if beyond := method.needs.beyond_outputs:
            what = _BEYOND_OUTPUTS.get(beyond[0], f"`{beyond[0]}`")
            raise IrkdError(
                f"the method {name!r} needs {what}, which no cache of"
                " output images holds. Train it with --cache-teacher off."
            )
        if method.own_teachers:
            raise IrkdError(
                f"the method {name!r} runs further teachers on the crops of each step, which must"
                " not be mixed with outputs for full images. Train it with --cache-teacher off."
            )
        if type(method).images is not Method.images:
            raise IrkdError(
                f"the method {name!r} makes its own images, for which no cache can hold the"
                " teacher's output. Train it with --cache-teacher off."
            )
    if variants_of(source) is None:
        raise IrkdError(
            f"data.teacher_cache: the images of {source.name} are degraded anew for every crop, so"
            " that no output of the teacher could be used twice. Fix the degradations with"
            " data.variants, the number of ways in which each image is degraded in turn:"
            " --set data.variants=4."
        )


def open_cache(
    data: DataSection, teacher: nn.Module, teacher_sha256: str, root: Path | None = None
) -> TeacherCache:
    """The cache of this teacher's outputs in the full context."""
    spec: Any = teacher.spec
    identity = {
        "teacher_sha256": teacher_sha256,
        # The value range is part of the spec.
        "network": spec.model_dump(mode="json", exclude={"weights"}),
        "context": "full",
        "padding": f"right and bottom, by reflection, to a multiple of {teacher.size_multiple}",
        "precision": "fp32",
    }
    return TeacherCache(root or cache_root(data), identity, data.teacher_storage)


def cache_root(data: DataSection) -> Path:
    if data.teacher_cache_folder is not None:
        return Path(data.teacher_cache_folder).expanduser()
    return cache_directory() / "teacher_outputs"


def estimated_bytes(data: DataSection, source: PairSource) -> int:
    """The room that the outputs for all images of `source` take, from the images' sizes."""
    measured = PairsOver(source)
    sizes = (measured.image_size(index) for index in range(len(source)))
    variants = variants_of(source) or 1
    return variants * sum(entry_bytes(*size, data.teacher_storage) for size in sizes)


def cache_plan(data: DataSection, source: PairSource) -> dict[str, Any] | None:
    """What `--dry-run` says of the cache; None without one."""
    if data.teacher_cache == "off":
        return None
    return {
        "mode": data.teacher_cache,
        "storage": data.teacher_storage,
        "images": len(source) * (variants_of(source) or 1),
        "estimated_bytes": estimated_bytes(data, source),
        "folder": str(cache_root(data)),
    }


class TeacherOutputs:
    """The cache of one run; `pairs` are to be trained on once `prepare` has made it `ready`.

    `part`: (rank, processes) of a parallel run; every process fills its share.
    """

    def __init__(
        self,
        preset: Preset,
        source: PairSource,
        task: DistillTask,
        teacher_sha256: str,
        device: torch.device,
        observer: Observer,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        require_cacheable(task, source)
        assert task.teacher is not None
        self.cache = open_cache(preset.data, task.teacher, teacher_sha256)
        self.pairs = CachedPairs(source, self.cache)
        self._data, self._source = preset.data, PairsOver(source)
        self._teacher, self._device, self._observer = task.teacher, device, observer
        self._part = part
        self._label = _label(preset, source)
        self.ready = False

    def prepare(self) -> None:
        """Fill the cache, or see that it is complete, as the preset's `teacher_cache` says."""
        if self._data.teacher_cache == "build":
            self._build()
        else:
            self._check()
        self.ready = True

    def description(self) -> dict[str, Any]:
        """For the manifest."""
        return {"folder": str(self.cache.folder), **self.cache.identity}

    def _check(self) -> None:
        slots = self._slots()
        missing = self._missing(slots, self.cache.index())
        if missing:
            raise IrkdError(
                f"{len(missing)} of {len(slots)} outputs of the teacher are not in"
                f" {self.cache.folder}, that for {missing[0].name} among them."
                " `--cache-teacher build` makes what is missing."
            )
        self._note(f"the teacher's outputs are read from {self.cache.folder}")

    def _build(self) -> None:
        """Every image is looked at, so that one that has changed gets a new entry."""
        slots = self._slots()
        try:
            index = self.cache.index()
        except IrkdError as error:
            self._note(f"the index is made anew: {error}")
            index = {}
        self._require_room(self._missing(slots, index), len(slots))
        rank, processes = self._part
        mine = slots[rank::processes]
        self._teacher.to(self._device)
        records: dict[str, Record] = {}
        written = time.monotonic()
        try:
            for done, slot in enumerate(mine, start=1):
                records[slot.name] = self._fill(slot, done - 1, len(mine))
                if rank == 0:
                    self._observer.prepared("teacher's outputs", done, len(mine))
                if time.monotonic() - written > _INDEX_EVERY_SECONDS:
                    self.cache.add_to_index(self._label, records)
                    written = time.monotonic()
        except BaseException as error:
            # The entries are what counts; a full disk may have no room for the index.
            with contextlib.suppress(OSError):
                self.cache.add_to_index(self._label, records)
            if isinstance(error, KeyboardInterrupt):
                self._note(
                    f"{len(records)} of {len(mine)} outputs are kept; the same command goes on"
                    " there"
                )
            raise
        finally:
            self._observer.finished()
        self.cache.add_to_index(self._label, records)

    def _fill(self, slot: Slot, done: int, total: int) -> Record:
        """Make the entry of `slot`, unless it is there."""
        pair = self._source.load(slot.index, slot.variant)
        record = record_of(pair)
        if self.cache.has(record):
            return record
        restored = restore_whole(self._teacher, pair, self._device)
        try:
            self.cache.write(record.key, restored)
        except IrkdError as error:
            raise IrkdError(f"{slot.name}: {error}") from error
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise IrkdError(
                f"the disk of {self.cache.folder} is full after {done} of {total} outputs, which"
                f" are kept. {_MORE_ROOM} The same command goes on there."
            ) from error
        return record

    def _require_room(self, missing: list[Slot], total: int) -> None:
        needed = sum(
            entry_bytes(*self._source.image_size(slot.index), self.cache.storage)
            for slot in missing
        )
        free = shutil.disk_usage(_existing(self.cache.folder)).free
        self._note(
            f"teacher's outputs for {total} full images in {self.cache.folder}:"
            f" {len(missing)} to make, {_size(needed)} as {self.cache.storage};"
            f" {_size(free)} free"
        )
        if needed > free:
            raise IrkdError(
                f"{self.cache.folder}: the teacher's outputs need {_size(needed)}, but"
                f" {_size(free)} are free. {_MORE_ROOM}"
            )

    def _slots(self) -> list[Slot]:
        variants = self._source.variants or 1
        slots = []
        for index in range(len(self._source)):
            name = self._source.pair_name(index)
            for variant in range(variants):
                shown = name if variants == 1 else f"{name} (variant {variant})"
                slots.append(Slot(index, variant, shown))
        return slots

    def _missing(self, slots: list[Slot], index: dict[str, dict[str, Record]]) -> list[Slot]:
        known = index.get(self._label, {})
        return [
            slot for slot in slots if slot.name not in known or not self.cache.has(known[slot.name])
        ]

    def _note(self, text: str) -> None:
        if self._part[0] == 0:
            self._observer.note(text)


_MORE_ROOM = (
    "Make room, name a folder on another disk with data.teacher_cache_folder, or halve the need"
    " with data.teacher_storage=uint8."
)


def restore_whole(teacher: nn.Module, pair: Pair, device: torch.device) -> NDArray[np.float32]:
    """The teacher's output for a whole degraded image: H x W x 3 in [0, 1], not clamped.

    Never in tiles, which would be yet another context. Raises IrkdError when memory does not
    suffice.
    """
    height, width = pair.degraded.shape[:2]
    try:
        return _restore(teacher, pair.degraded, device)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    raise IrkdError(
        f"{pair.name}: {width} x {height} pixels do not fit into the memory of {device} at once,"
        " as teacher_context full needs. Cut the training images into smaller ones, or train with"
        " --cache-teacher off."
    )


@torch.inference_mode()
def _restore(teacher: nn.Module, degraded: Image, device: torch.device) -> NDArray[np.float32]:
    # In the layout of training batches: another one has convolutions round in another way.
    image = torch.from_numpy(np.ascontiguousarray(degraded.transpose(2, 0, 1)))[None].to(device)
    restored = apply_network(teacher, image.float().div_(255))[0].permute(1, 2, 0)
    result: NDArray[np.float32] = restored.float().cpu().numpy()
    return result


def _label(preset: Preset, source: PairSource) -> str:
    """What the index calls a data set: all that decides which images its pairs have."""
    data = preset.data
    label: dict[str, Any] = {"data": source.name}
    if data.train in STYLES:
        label |= {"task": preset.task, "size": data.size, "seed": preset.training.seed}
    else:
        label["data"] = str(Path(source.name).resolve())
    if data.variants is not None:
        label |= {"task": preset.task, "variants": data.variants}
    return json.dumps(label, sort_keys=True)


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
