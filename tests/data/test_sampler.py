"""Batches are functions of (seed, step): whoever asks, however often, from wherever."""

import numpy as np
import pytest
import torch

import irkd.data.synthetic
from irkd.data.opening import open_pairs
from irkd.data.pairs import Pair
from irkd.data.sampler import training_loader
from irkd.errors import IrkdError


class Numbered:
    """Pair n has n in every pixel of both images, so that a batch shows what it was made of."""

    task = None
    name = "numbered"

    def __init__(self, count, size=12, broken=()):
        self.count, self.size, self.broken = count, size, broken

    def __len__(self):
        return self.count

    def pair_name(self, index):
        return str(index)

    def load(self, index, epoch=0):
        if index in self.broken:
            raise IrkdError(f"image {index} is damaged")
        image = np.full((self.size, self.size, 3), index, np.uint8)
        return Pair(str(index), image, image)


class Ramp(Numbered):
    """The reference is the degraded image plus one; every pixel of a pair is different."""

    def load(self, index, epoch=0):
        degraded = np.arange(self.size * self.size * 3, dtype=np.uint8)
        degraded = degraded.reshape(self.size, self.size, 3)
        return Pair(str(index), degraded, degraded + 1)


def batches(source, **options):
    given = {"patch": 8, "batch_size": 2, "steps": 6, "seed": 3, **options}
    return list(training_loader(source, **given))


def assert_same(left, right):
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert one["names"] == other["names"]
        assert torch.equal(one["degraded"], other["degraded"])
        assert torch.equal(one["reference"], other["reference"])


@pytest.mark.parametrize("task", ["derain", "general"])
def test_worker_processes_change_nothing(task):
    def source():
        return open_pairs("procedural", task=task, split="train", count=5, size=48)

    alone = batches(source(), patch=32, workers=0)
    assert alone[0]["degraded"].shape == (2, 3, 32, 32)
    assert alone[0]["degraded"].dtype == torch.uint8
    assert_same(alone, batches(source(), patch=32, workers=2))


def test_resuming_gives_the_tail_of_the_whole_run():
    source = open_pairs("procedural", task="denoise", split="train", count=5, size=48)
    whole = batches(source, patch=32, steps=9)
    assert_same(whole[5:], batches(source, patch=32, steps=9, start_step=5))
    assert batches(source, patch=32, steps=9, start_step=9) == []


def test_every_image_comes_once_an_epoch_in_another_order():
    names = [name for batch in batches(Numbered(6), steps=6) for name in batch["names"]]
    assert sorted(names[:6]) == sorted(names[6:]) == ["0", "1", "2", "3", "4", "5"]
    assert names[:6] != names[6:]


def test_repeat_passes_several_times_over_the_images_in_one_epoch():
    names = [name for batch in batches(Numbered(3), steps=3, repeat=2) for name in batch["names"]]
    assert sorted(names) == ["0", "0", "1", "1", "2", "2"]


def test_processes_of_a_distributed_run_share_the_work_of_one_large_batch():
    source = Numbered(7)
    whole = batches(source, batch_size=4)
    shards = [batches(source, batch_size=2, rank=rank, world_size=2) for rank in (0, 1)]
    for step, batch in enumerate(whole):
        assert batch["names"] == shards[0][step]["names"] + shards[1][step]["names"]


def test_crops_of_both_images_stay_in_place():
    for batch in batches(Ramp(4), steps=8):
        assert torch.equal(batch["degraded"] + 1, batch["reference"])


def test_all_eight_orientations_and_many_corners_occur():
    crops = [batch["degraded"][0, 0] for batch in batches(Ramp(1), batch_size=1, steps=80)]
    assert {tuple(crop.shape) for crop in crops} == {(8, 8)}
    # In an upright crop values rise by 3 to the right; the sign and axis tell the orientation.
    orientations = {
        (int(crop[0, 1]) - int(crop[0, 0]), int(crop[1, 0]) - int(crop[0, 0])) for crop in crops
    }
    signs = {
        (np.sign((a + 128) % 256 - 128), abs((a + 128) % 256 - 128) == 3) for a, _ in orientations
    }
    assert len(signs) == 4
    upright = batches(Ramp(1), batch_size=1, steps=20, augment=False)
    assert {
        (int(b["degraded"][0, 0, 0, 1]) - int(b["degraded"][0, 0, 0, 0])) % 256 for b in upright
    } == {3}


def test_seeds_differ_and_global_random_state_is_neither_read_nor_changed():
    source = open_pairs("procedural", task="denoise", split="train", count=4, size=48)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = batches(source, patch=32, workers=2)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    np.random.seed(5)  # noqa: NPY002
    assert_same(first, batches(source, patch=32))
    assert not torch.equal(first[0]["degraded"], batches(source, patch=32, seed=4)[0]["degraded"])


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_ends_the_run_with_its_own_message(workers):
    with pytest.raises(IrkdError, match=r"^image 2 is damaged$"):
        batches(Numbered(4, broken={2}), workers=workers)


def test_images_smaller_than_the_patch_are_refused_before_the_first_batch():
    source = open_pairs("procedural", task="denoise", split="train", count=4, size=48)
    with pytest.raises(IrkdError, match=r"48 x 48.*smaller than the training patch of 64.*at most"):
        training_loader(source, patch=64, batch_size=1, steps=1, seed=0)
    with pytest.raises(IrkdError, match="12 x 12"):
        batches(Numbered(2), patch=13)


def test_images_made_by_workers_are_not_made_again(monkeypatch):
    source = open_pairs("procedural", task="dehaze", split="train", count=3, size=48)
    batches(source, patch=32, workers=2)

    def refuse(*arguments):
        raise AssertionError("an image that a worker had made was made again")

    monkeypatch.setattr(irkd.data.synthetic, "procedural_image", refuse)
    for index in range(3):
        assert source.load(index).reference.std() > 0
