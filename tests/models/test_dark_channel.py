"""Haze told from the image alone, and images without it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from irkd.data.degrade import plausible_depth
from irkd.data.opening import open_pairs
from irkd.inference.backends import load_network
from irkd.models.base import create_network
from irkd.models.dark_channel import (
    BLOCK,
    Shadows,
    air_light,
    dark_channel,
    shadows,
    transmission,
    trust_in_haze,
    trust_in_veil,
    without_haze,
    without_veil,
)
from irkd.models.weights import save_network

AIR = torch.tensor([[0.82, 0.85, 0.9]])


def photograph(index: int, side: int = 224) -> Tensor:
    """The centre of a built-in photograph, 1 x 3 x side x side."""
    pixels = open_pairs("photographs", task="denoise").load(index).reference
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    crop = pixels[top : top + side, left : left + side].astype(np.float32) / 255
    return torch.from_numpy(crop).permute(2, 0, 1)[None]


def hazed(images: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """Hazy images, as stored in 8 bits, and their transmission."""
    depth = plausible_depth(images.shape[-2:], np.random.default_rng(5))
    through = torch.from_numpy(np.exp(-beta * (0.2 + depth)))[None, None]
    hazy = images * through + AIR[..., None, None] * (1 - through)
    return (hazy * 255).round() / 255, through


def shadows_of(images: Tensor) -> Shadows:
    return shadows(dark_channel(images))


def error(images: Tensor, others: Tensor) -> float:
    return float((images - others).square().mean())


@pytest.mark.parametrize("index", [0, 2, 3])
def test_a_hazy_photograph_comes_nearer_to_what_it_was(index: int) -> None:
    sharp = photograph(index)
    hazy, true = hazed(sharp, 1.2)
    air = air_light(hazy, dark_channel(hazy))
    through = transmission(hazy, air, hazy)
    assert error(air, AIR) ** 0.5 < 0.12
    assert error(through, true) < error(torch.ones_like(true), true) / 3
    assert error(without_haze(hazy, air, through), sharp) < error(hazy, sharp) / 2


def test_told_the_haze_it_gives_the_scene_back() -> None:
    sharp = photograph(1)
    hazy, through = hazed(sharp, 1.0)
    torch.testing.assert_close(without_haze(hazy, AIR, through), sharp, rtol=0, atol=0.02)


@pytest.mark.parametrize("veil", [0.1, 0.25])
def test_an_even_veil_is_taken_away(veil: float) -> None:
    sharp = photograph(0)
    veiled = sharp * (1 - veil) + veil * 0.8
    assert error(without_veil(veiled, shadows_of(veiled)), sharp) < error(veiled, sharp) / 10


def test_haze_is_trusted_and_dark_spots_speak_against_it() -> None:
    for index in range(6):
        sharp = photograph(index)
        assert float(trust_in_haze(shadows_of(sharp))) == 0, index
        assert float(trust_in_veil(shadows_of(sharp))) < 0.05, index
        assert float(trust_in_haze(shadows_of(hazed(sharp, 1.2)[0]))) == 1, index
        assert float(trust_in_veil(shadows_of(sharp * 0.75 + 0.25 * 0.8))) == 1, index


def test_the_dark_channel_is_the_least_of_the_surroundings() -> None:
    images = torch.full((1, 3, 32, 32), 0.7)
    images[0, 1, 17, 9] = 0.2
    dark = dark_channel(images)
    expected = torch.full((1, 1, 8, 8), 0.7)
    expected[..., 3:6, 1:4] = 0.2
    assert torch.equal(dark, expected)


def test_a_transmission_takes_the_edges_of_its_guide() -> None:
    sharp, _ = hazed(photograph(2), 1.0)
    small = torch.nn.functional.avg_pool2d(sharp, 2)
    air = air_light(small, dark_channel(small))
    fine, coarse = transmission(small, air, sharp), transmission(small, air, small)
    assert fine.shape[-2:] == sharp.shape[-2:]
    torch.testing.assert_close(torch.nn.functional.avg_pool2d(fine, 2), coarse, rtol=0, atol=0.02)


@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.sampled_from(["noise", "black", "white", "grey", "one dark pixel"]),
)
@settings(max_examples=40, deadline=None)
def test_any_image_has_finite_results(height: int, width: int, kind: str) -> None:
    images = torch.rand(
        2, 3, height * BLOCK, width * BLOCK, generator=torch.Generator().manual_seed(height)
    )
    if kind != "noise":
        images[1] = {"black": 0.0, "grey": 0.5}.get(kind, 1.0)
    if kind == "one dark pixel":
        images[1, :, 0, 0] = 0.0
    air, dark = air_light(images, dark_channel(images)), shadows_of(images)
    through = transmission(images, air, images)
    assert through.shape == (2, 1, *images.shape[-2:])
    assert through.min() > 0
    assert through.max() <= 1
    for restored in (without_haze(images, air, through), without_veil(images, dark)):
        assert restored.shape == images.shape
        assert restored.isfinite().all()
        assert restored.min() >= 0
        assert restored.max() <= 1


def test_each_image_of_a_batch_is_judged_by_itself() -> None:
    images = torch.cat([photograph(0), hazed(photograph(0), 1.2)[0]])
    of_air, of_shadows = (
        lambda each: air_light(each, dark_channel(each)),
        lambda each: torch.stack(shadows_of(each), 1),
    )
    for function in (of_air, of_shadows):
        alone = torch.cat([function(each[None]) for each in images])
        assert torch.equal(function(images), alone)


def test_a_gated_network_leaves_images_with_dark_spots_to_the_bit() -> None:
    network = create_network("dehazeunet", widths=[4, 6], blocks=[1, 1], gated=True)
    images = torch.cat([photograph(0), hazed(photograph(0), 1.2)[0]])
    restored = network(images)
    assert torch.equal(restored[0], images[0])
    assert not torch.equal(restored[1], images[1])


def test_weights_keep_whether_the_network_is_gated(tmp_path: Path) -> None:
    network = create_network("dehazeunet", widths=[4, 6], blocks=[1, 1], gated=True)
    save_network(tmp_path / "haze.safetensors", network, task="dehaze")
    assert load_network(tmp_path / "haze.safetensors").spec.gated


def test_a_network_for_rain_believes_in_a_veil_or_else_in_haze() -> None:
    network = create_network("dehazeunet", widths=[4, 6], blocks=[1, 1])
    known = network.estimate(torch.cat([photograph(0), photograph(0) * 0.8 + 0.2]))
    assert known.veil.tolist() == [0, 1]
    assert known.haze.tolist() == [1, 0]
