"""What the judge sees of damage: in squares at full size, and of all of an image in small."""

import numpy as np
import pytest
import torch
from skimage import data

from irkd.data.degrade import degrade
from irkd.inference.degradation import seen_in
from irkd.inference.judge import trained_judge
from irkd.inference.overview import FACTS, SIDE, in_small
from irkd.inference.sight import DAMAGES

PHOTOGRAPHS = {"astronaut": data.astronaut, "coffee": data.coffee}
KINDS = {"blur": "deblur", "haze": "dehaze", "rain": "derain", "noise": "denoise"}


def damaged(name, task):
    photograph = PHOTOGRAPHS[name]()[:384, :384]
    return photograph, degrade(photograph, task, np.random.default_rng(2))


@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize("damage", KINDS)
def test_damage_that_is_there_is_likely_and_none_in_a_good_photograph(name, damage):
    place = DAMAGES.index(damage)
    clean, seen = (seen_in(image, trained_judge()) for image in damaged(name, KINDS[damage]))
    assert clean[place] < 0 < seen[place]
    assert seen[: len(DAMAGES) - 1].argmax() == place
    # Its amount too, log2 of one and the levels.
    assert seen[len(DAMAGES) + place] > clean[len(DAMAGES) + place] + 1


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_haze_is_seen_from_afar(name):
    views = torch.stack([in_small(image) for image in damaged(name, "dehaze")])
    with torch.inference_mode():
        odds = trained_judge().overview(views)[:, FACTS.index("odds of haze")]
    assert odds[0] < 0 < odds[1]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("size", [(97, 131, 3), (96, 96), (30, 2000, 3)])
def test_an_image_of_any_size_and_kind_is_made_small(kind, size):
    image = np.random.default_rng(0).random(size)
    if kind is not np.float32:
        image = (image * np.iinfo(kind).max).round()
    small = in_small(image.astype(kind))
    assert small.shape == (3, SIDE, SIDE)
    assert small.dtype == torch.float32
    assert small.min() >= 0
    assert small.max() <= 1
    assert small.mean() == pytest.approx(0.5, abs=0.02)


def test_one_row_more_is_left_out():
    image = torch.rand(1, 3, 97, 131, generator=torch.Generator().manual_seed(0))
    sight = trained_judge().sight
    with torch.inference_mode():
        torch.testing.assert_close(sight(image), sight(image[..., :96, :130]))
