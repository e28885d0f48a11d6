"""The built-in sets: procedural pairs and the photographs inside scikit-image."""

import pickle

import numpy as np
import pytest

import irkd.data.synthetic
from irkd.data.degrade import DEGRADATIONS
from irkd.data.opening import open_pairs
from irkd.data.procedural import procedural_image
from irkd.errors import IrkdError


def test_procedural_train_and_test_share_no_image():
    options = {"task": "denoise", "count": 6, "size": 32}
    train = open_pairs("procedural", split="train", **options)
    test = open_pairs("procedural", split="test", **options)
    images = [source.load(n).reference.tobytes() for source in (train, test) for n in range(6)]
    assert len(set(images)) == 12


def test_procedural_pairs_are_fixed_per_epoch_and_new_in_the_next():
    source = open_pairs("procedural", task="derain", split="train", count=2, size=48)
    first, again, later = source.load(1), source.load(1), source.load(1, epoch=1)
    np.testing.assert_array_equal(first.degraded, again.degraded)
    np.testing.assert_array_equal(first.reference, later.reference)
    assert (first.degraded != later.degraded).any()
    with pytest.raises(IndexError):
        source.load(2)


@pytest.mark.parametrize("room", [0, 1, 3])
def test_a_set_too_large_for_memory_is_the_same_set(monkeypatch, room):
    options = {"task": "dehaze", "count": 3, "size": 32}
    expected = [open_pairs("procedural", **options).load(index) for index in range(3)]
    monkeypatch.setattr(irkd.data.synthetic, "_LARGEST_POOL", room * 32 * 32 * 5)
    source = open_pairs("procedural", **options)
    for _ in range(2):
        for index, pair in enumerate(expected):
            np.testing.assert_array_equal(source.load(index).degraded, pair.degraded)


def test_procedural_pairs_survive_pickling():
    source = open_pairs("procedural", task="dehaze", count=2, size=32)
    expected = source.load(1)
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copy.load(1).degraded, expected.degraded)


@pytest.mark.parametrize("task", sorted(DEGRADATIONS))
def test_photographs_are_the_same_pairs_every_time(task):
    source, again = (
        open_pairs("photographs", task=task),
        open_pairs("photographs", task=task, seed=9),
    )
    names = [source.pair_name(index) for index in range(len(source))]
    assert names == ["astronaut", "chelsea", "coffee", "rocket", "motorcycle", "hubble"]
    assert source.task == task
    pair = source.load(1)
    assert pair.reference.shape == pair.degraded.shape == (300, 451, 3)
    np.testing.assert_array_equal(pair.degraded, again.load(1).degraded)


def test_photographs_are_read_without_scikit_image_fetching_anything(monkeypatch):
    import skimage.data
    from skimage import data as module

    expected = module.rocket()
    monkeypatch.setattr(skimage.data._fetchers, "_fetch", None)
    pair = open_pairs("photographs", task="jpeg").load(3)
    # JPEG decoders may differ by a level.
    assert np.abs(pair.reference.astype(int) - expected).max() <= 2


def test_haze_on_the_motorcycle_follows_its_measured_depth():
    source = open_pairs("photographs", task="dehaze")
    _, depth = source.clean(4)
    assert depth.shape == (500, 741)
    assert depth.min() == 0
    assert depth.max() == 1
    # The tank of the motorcycle stands before the shelves of the garage.
    assert depth[250, 330] < depth[60, 600]
    assert source.clean(0)[1] is None


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ("photographs", {"task": "derain", "split": "train"}, "never for training"),
        ("photographs", {}, r"add --task with one of derain, deblur"),
        ("procedural", {}, r"add --task with one of"),
        ("procedural", {"task": "derian"}, "Did you mean 'derain'"),
        ("procedural", {"task": "derain", "count": 0}, "count is 0"),
        ("procedural", {"task": "derain", "size": 4}, "size 4"),
        ("procedural", {"task": "derain", "layout": "pairs"}, "Did you mean 'paired'"),
    ],
)
def test_what_makes_no_sense_is_refused(data, options, message):
    with pytest.raises(IrkdError, match=message):
        open_pairs(data, **options)


def test_depth_of_scenes_is_their_shapes_or_changes_slowly():
    """A network that saw depth of shapes alone leaves the haze of slopes."""
    scenes = open_pairs("scenes", task="dehaze", split="train", count=6, size=64)
    for index in range(6):
        _, depth = scenes.clean(index)
        _, shapes = procedural_image(0, index, 64, "detailed")
        assert np.allclose(depth, shapes, atol=1e-3) == (index % 2 == 0)
        if index % 2:
            steps = np.abs(np.diff(depth, axis=0)).max(), np.abs(np.diff(depth, axis=1)).max()
            assert max(steps) < 0.15


def test_images_of_a_varied_set_are_of_several_styles_in_turns():
    varied = open_pairs("varied", task="denoise", split="train", count=4, size=48, seed=3)
    for number, name in enumerate(("sunlight", "fabrics", "daylight", "sunlight")):
        same = open_pairs(name, task="denoise", split="train", count=4, size=48, seed=3)
        np.testing.assert_array_equal(varied.clean(number)[0], same.clean(number)[0])
