"""A teacher's outputs on disk: what is read is what was written, or one clear message."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from irkd.data.opening import open_pairs
from irkd.data.pairs import FixedVariants, Pair, variants_of
from irkd.data.sampler import training_loader
from irkd.data.teacher_cache import CachedPairs, Record, Storage, TeacherCache, entry_bytes
from irkd.errors import IrkdError

IDENTITY = {"teacher_sha256": "ab", "context": "full"}


class Noise:
    """Images of noise; the last one is larger."""

    name, task = "noise", None

    def __len__(self) -> int:
        return 3

    def pair_name(self, index: int) -> str:
        return f"noise {index}"

    def load(self, index: int, epoch: int = 0) -> Pair:
        shape = (20, 24, 3) if index == 2 else (12, 14, 3)
        degraded = np.random.default_rng(index).integers(0, 256, shape, np.uint8)
        return Pair(self.pair_name(index), degraded, 255 - degraded)


def random_output(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.3, 1.3, (12, 14, 3)).astype(np.float32)


def written(root: Path, storage: Storage = "float16", output: np.ndarray | None = None):
    """A cache with one entry, and the record of that."""
    cache = TeacherCache(root, IDENTITY, storage)
    degraded = Noise().load(0).degraded
    record = Record(cache.key(degraded), 12, 14)
    cache.write(record.key, random_output() if output is None else output)
    return cache, record


def test_float16_keeps_values_beyond_black_and_white_and_uint8_clips_them(tmp_path: Path) -> None:
    output = random_output()
    cache, record = written(tmp_path, "float16")
    window = slice(3, 9), slice(0, 14)
    part = cache.open(record)[window]
    assert part.dtype == np.float16
    assert np.array_equal(part, output[window].astype(np.float16))
    cache, record = written(tmp_path, "uint8")
    part = cache.open(record)[window]
    assert part.dtype == np.uint8
    assert np.array_equal(part, np.rint(output[window].clip(0, 1) * 255))


@pytest.mark.parametrize(("storage", "decibels"), [("float16", 77.0), ("uint8", 58.9)])
def test_fidelity_is_what_the_documents_say(
    storage: Storage, decibels: float, tmp_path: Path
) -> None:
    """In the bright half of the range, where float16 is coarsest."""
    output = np.random.default_rng(1).uniform(0.5, 1, (12, 14, 3)).astype(np.float32)
    cache, record = written(tmp_path, storage, output)
    stored = cache.open(record)[:, :].astype(np.float32) / (255 if storage == "uint8" else 1)
    assert -10 * np.log10(np.mean((stored - output) ** 2)) == pytest.approx(decibels, abs=0.4)


def test_entries_take_the_room_that_was_announced(tmp_path: Path) -> None:
    for storage in ("float16", "uint8"):
        cache, record = written(tmp_path, storage)
        size = cache.path(record.key).stat().st_size
        assert entry_bytes(12, 14, storage) - 400 < size <= entry_bytes(12, 14, storage)


def test_key_is_of_the_pixels_and_their_arrangement() -> None:
    image = Noise().load(0).degraded
    key = TeacherCache.key(image)
    assert TeacherCache.key(np.asfortranarray(image)) == key
    assert TeacherCache.key(image.reshape(14, 12, 3)) != key
    changed = image.copy()
    changed[5, 5, 0] ^= 1
    assert TeacherCache.key(changed) != key


@pytest.mark.parametrize("change", ["cut", "empty", "garbage", "longer"])
def test_damaged_entry_is_named_and_does_not_count(change: str, tmp_path: Path) -> None:
    cache, record = written(tmp_path)
    path = cache.path(record.key)
    content = path.read_bytes()
    damaged = {
        "cut": content[:-1],
        "empty": b"",
        "garbage": b"\xff" * len(content),
        "longer": content + b"x",
    }
    path.write_bytes(damaged[change])
    assert not cache.has(record)
    with pytest.raises(IrkdError, match=r"is damaged.*--cache-teacher build") as caught:
        cache.open(record)
    assert path.name in str(caught.value)


def test_entries_of_others_are_not_taken(tmp_path: Path) -> None:
    """Another teacher's, another image's, and one stored in another way, under the right name."""
    cache, record = written(tmp_path)
    others = [
        TeacherCache(tmp_path, {**IDENTITY, "teacher_sha256": "cd"}, "float16"),
        TeacherCache(tmp_path, {**IDENTITY, "context": "crop"}, "float16"),
        TeacherCache(tmp_path, IDENTITY, "uint8"),
    ]
    for other in others:
        assert other.folder != cache.folder
        assert not other.has(record)
        other.path(record.key).parent.mkdir(parents=True)
        shutil.copy(cache.path(record.key), other.path(record.key))
        with pytest.raises(IrkdError, match="output of another teacher"):
            other.open(record)
    another = Record("0" * 64, 12, 14)
    cache.path(another.key).parent.mkdir()
    shutil.copy(cache.path(record.key), cache.path(another.key))
    with pytest.raises(IrkdError, match="for another image"):
        cache.open(another)
    assert not cache.has(Record(record.key, 14, 12))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
@pytest.mark.parametrize("storage", ["float16", "uint8"])
def test_output_that_is_not_finite_is_not_kept(
    value: float, storage: Storage, tmp_path: Path
) -> None:
    output = random_output()
    output[3, 4, 1] = value
    with pytest.raises(IrkdError, match="not finite"):
        written(tmp_path, storage, output)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_index_gathers_and_says_when_it_is_damaged(tmp_path: Path) -> None:
    cache, record = written(tmp_path)
    assert cache.index() == {}
    cache.add_to_index("data", {"a": record})
    cache.add_to_index("data", {"b": record})
    cache.add_to_index("more", {"a": record})
    expected = {"data": {"a": record, "b": record}, "more": {"a": record}}
    assert cache.index() == expected
    path = cache.folder / "index.json"
    content = path.read_text()
    other = TeacherCache(tmp_path, {**IDENTITY, "teacher_sha256": "cd"}, "float16")
    other.folder.mkdir()
    (other.folder / "index.json").write_text(content)
    with pytest.raises(IrkdError, match="another teacher"):
        other.index()
    for damaged in (
        "",
        content[:-30],
        "[]",
        "null",
        '{"identity": 3}',
        content.replace("key", "k"),
    ):
        path.write_text(damaged)
        with pytest.raises(IrkdError, match="--cache-teacher build"):
            cache.index()
    cache.add_to_index("data", {"c": record})
    assert cache.index() == {"data": {"c": record}}


def filled(root: Path, source) -> CachedPairs:
    """A teacher that inverts its input, over every variant of the source."""
    cache = TeacherCache(root, IDENTITY, "uint8")
    for index in range(len(source)):
        for variant in range(variants_of(source) or 1):
            degraded = source.load(index, variant).degraded
            cache.write(cache.key(degraded), (255 - degraded).astype(np.float32) / 255)
    return CachedPairs(source, cache)


@pytest.mark.parametrize("workers", [0, 2])
def test_crops_flips_and_turns_apply_to_the_output_as_to_the_pair(
    workers: int, tmp_path: Path
) -> None:
    pairs = filled(tmp_path, Noise())
    loader = training_loader(pairs, patch=8, batch_size=2, steps=20, seed=1, workers=workers)
    for batch in loader:
        assert batch["teacher_restored"].shape == (2, 3, 8, 8)
        assert torch.equal(batch["teacher_restored"], 255 - batch["degraded"])
        assert torch.equal(batch["teacher_restored"], batch["reference"])
    plain = training_loader(Noise(), patch=8, batch_size=2, steps=20, seed=1)
    for batch, other in zip(loader, plain, strict=True):
        assert torch.equal(batch["degraded"], other["degraded"])
        assert "teacher_restored" not in other


@pytest.mark.parametrize("workers", [0, 1])
def test_image_without_an_output_ends_the_run_with_its_name(workers: int, tmp_path: Path) -> None:
    pairs = CachedPairs(Noise(), TeacherCache(tmp_path, IDENTITY, "uint8"))
    loader = training_loader(pairs, patch=8, batch_size=1, steps=1, seed=1, workers=workers)
    with pytest.raises(IrkdError, match=r"noise \d: no output of the teacher is kept"):
        list(loader)


def test_fixed_variants_come_in_turn_and_their_crops_are_of_the_whole_image(
    tmp_path: Path,
) -> None:
    """Synthetic degradations: two ways for each image, the same in every second epoch."""
    fresh = open_pairs("procedural", task="general", split="train", count=2, size=32)
    assert variants_of(fresh) is None
    fixed = FixedVariants(fresh, 2)
    for index in range(2):
        images = [fixed.load(index, epoch).degraded for epoch in range(4)]
        assert np.array_equal(images[0], images[2])
        assert np.array_equal(images[1], images[3])
        assert not np.array_equal(images[0], images[1])
        assert not np.array_equal(images[0], fresh.load(index, 2).degraded)
    known = {TeacherCache.key(fixed.load(i, v).degraded) for i in range(2) for v in range(2)}
    for repeat in (1, 2):
        loader = training_loader(
            fixed, patch=32, batch_size=2, steps=4, seed=1, repeat=repeat, augment=False
        )
        drawn = [image.permute(1, 2, 0).numpy() for b in loader for image in b["degraded"]]
        assert {TeacherCache.key(image) for image in drawn} == known
        assert {TeacherCache.key(image) for image in drawn[:4]} == known
    batches = list(
        training_loader(filled(tmp_path, fixed), patch=16, batch_size=2, steps=6, seed=1)
    )
    assert all(torch.equal(b["teacher_restored"], 255 - b["degraded"]) for b in batches)
