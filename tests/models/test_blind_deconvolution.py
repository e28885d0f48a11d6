"""Kernels estimated from blurred images, and images without their blur."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from irkd.data.opening import open_pairs
from irkd.models import deconvunet
from irkd.models.base import create_network
from irkd.models.blind_deconvolution import (
    centre_of_mass,
    deconvolve,
    estimate_kernel,
    extent,
    misfit,
    tapered,
    trust,
)


def photograph(index: int, side: int = 224) -> Tensor:
    """The centre of a built-in photograph, 1 x 3 x side x side, taken as linear light."""
    pairs = open_pairs("photographs", task="denoise")
    pixels = pairs.load(index).reference
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    crop = pixels[top : top + side, left : left + side].astype(np.float32) / 255
    return torch.from_numpy(crop).permute(2, 0, 1)[None].square()


def shake(name: str) -> Tensor:
    """1 x 13 x 13, centred within half a pixel."""
    kernel = np.zeros((13, 13), np.float32)
    if name == "line":
        cv2.line(kernel, (3, 8), (9, 4), 1.0)
    else:
        cv2.polylines(kernel, [np.array([[4, 3], [4, 8], [10, 9]], np.int32)], False, 1.0)
        kernel = np.roll(kernel, (-1, 0), (0, 1))
    return torch.from_numpy(kernel / kernel.sum())[None]


def blurred(images: Tensor, kernel: Tensor) -> Tensor:
    flipped = np.ascontiguousarray(kernel[0].numpy()[::-1, ::-1])
    pixels = images[0].permute(1, 2, 0).numpy()
    result = cv2.filter2D(pixels, -1, flipped, borderType=cv2.BORDER_REFLECT_101)
    # As stored: 8 bits of the encoded value.
    return torch.from_numpy((np.rint(np.sqrt(np.clip(result, 0, 1)) * 255) / 255) ** 2).permute(
        2, 0, 1
    )[None]


def error(found: Tensor, true: Tensor) -> float:
    """Squared, against the true kernel's own; the nearest of all shifts by whole pixels."""
    shifted = [torch.roll(found, (i, j), (1, 2)) for i in range(-2, 3) for j in range(-2, 3)]
    return min(float((each - true).square().sum() / true.square().sum()) for each in shifted)


@pytest.mark.parametrize("index", [0, 2])
@pytest.mark.parametrize("name", ["line", "corner"])
@pytest.mark.parametrize("side", [13, 33])
def test_the_kernel_of_a_blurred_photograph_is_found(index: int, name: str, side: int) -> None:
    true = shake(name)
    given = blurred(photograph(index), true)
    found = estimate_kernel(given.mean(1), side)
    assert found.shape == (1, side, side)
    wider = torch.nn.functional.pad(true, [(side - 13) // 2] * 4)
    assert error(found, wider) < 0.45
    point = torch.zeros_like(wider)
    point[:, side // 2, side // 2] = 1
    assert error(point, wider) > 0.8  # what no estimate would give


def test_with_the_estimate_the_photograph_is_nearer_to_what_it_was() -> None:
    sharp, true = photograph(5), shake("corner")
    given = blurred(sharp, true)
    restored = deconvolve(given, [estimate_kernel(given.mean(1), 13)], (3e-3,))[0]
    inside = (..., slice(16, -16), slice(16, -16))
    before = float((given - sharp)[inside].square().mean())
    after = float((restored.clamp(0, 1) - sharp)[inside].square().mean())
    assert after < before / 5


def test_told_the_kernel_it_gives_back_nearly_all() -> None:
    sharp, true = photograph(5), shake("corner")
    restored = deconvolve(blurred(sharp, true), [true], (3e-4,))[0]
    inside = (..., slice(24, -24), slice(24, -24))
    before = float((blurred(sharp, true) - sharp)[inside].square().mean())
    assert float((restored - sharp)[inside].square().mean()) < before / 10


def test_a_sharp_photograph_has_the_kernel_of_a_point() -> None:
    for index in range(3):
        kernel = estimate_kernel(photograph(index).mean(1), 13)
        assert float(kernel[0, 4:9, 4:9].sum()) > 0.9


@pytest.mark.parametrize("shift", [(0, 0), (0, 2), (1, -2)])
def test_an_off_centre_kernel_moves_nothing(shift: tuple[int, int]) -> None:
    given = blurred(photograph(1), shake("line"))
    moved = torch.roll(shake("line"), shift, (1, 2))
    expected, found = (deconvolve(given, [k], (1e-2,))[0] for k in (shake("line"), moved))
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([3, 5, 9, 17]),
    st.sampled_from(["noise", "flat", "black", "one edge"]),
)
@settings(max_examples=40, deadline=None)
def test_kernels_are_kernels_of_any_image(height: int, width: int, side: int, kind: str) -> None:
    light = torch.rand(2, height, width, generator=torch.Generator().manual_seed(height))
    if kind != "noise":
        light[1:] = 0.0 if kind == "black" else 0.4
    if kind == "one edge":
        light[1:, :, width // 2 :] = 0.9
    kernel = estimate_kernel(light, side)
    assert kernel.shape == (2, side, side)
    assert kernel.min() >= 0
    torch.testing.assert_close(kernel.sum((1, 2)), torch.ones(2))
    for away in centre_of_mass(kernel):
        assert float(away.abs().max()) <= side / 2
    (restored,) = deconvolve(light[:, None], [kernel], (1e-2,))
    assert restored.shape == (2, 1, height, width)
    assert restored.isfinite().all()


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 20))
@settings(max_examples=40, deadline=None)
def test_the_tapered_image_holds_the_image_and_closes_on_itself(
    height: int, width: int, margin: int
) -> None:
    images = torch.rand(1, height, width, generator=torch.Generator().manual_seed(width))
    padded = tapered(images, margin)
    top, left = (
        (long - short) // 2 for long, short in zip(padded.shape[1:], (height, width), strict=True)
    )
    assert min(top, left) >= margin
    assert torch.equal(padded[:, top : top + height, left : left + width], images)
    # The jump from the last row to the first is no larger than that between neighbours.
    if margin > 4 and height > 2:
        ends = (padded[:, 0] - padded[:, -1]).abs().max()
        assert ends <= padded.diff(dim=1).abs().max() + 1e-6


def test_each_image_of_a_batch_has_its_own_kernel() -> None:
    given = torch.cat(
        [blurred(photograph(i, 160), shake(n)) for i, n in ((2, "line"), (0, "corner"))]
    )
    together = estimate_kernel(given.mean(1).double(), 13)
    alone = torch.cat([estimate_kernel(each[None].mean(1).double(), 13) for each in given])
    torch.testing.assert_close(together, alone, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("side", [13, 33])
def test_what_a_sharp_photograph_seems_to_be_blurred_by_is_not_trusted(side: int) -> None:
    for index in range(3):
        light = photograph(index).mean(1)
        assert float(trust(estimate_kernel(light, side), light)) < 0.1, index


@pytest.mark.parametrize("name", ["line", "corner"])
def test_a_blurred_photographs_estimate_is_trusted(name: str) -> None:
    for index in (0, 2, 5):
        light = blurred(photograph(index), shake(name)).mean(1)
        assert float(trust(estimate_kernel(light, 13), light)) > 0.9, index
        assert float(trust(shake(name), light)) > 0.9, index


def test_a_blur_that_the_image_cannot_have_is_not_trusted() -> None:
    across = torch.zeros(1, 13, 13)
    across[:, 6, 1:12] = 1 / 11
    for index in range(3):
        light = photograph(index).mean(1)
        along = blurred(photograph(index), across.mT.contiguous()).mean(1)
        assert float(trust(across, light)) == 0
        assert float(misfit(across, along)) > 2 * float(misfit(across.mT, along))


def test_a_smear_is_not_trusted() -> None:
    smear = torch.full((1, 13, 13), 1 / 169)
    light = blurred(photograph(0), smear).mean(1)
    assert float(misfit(smear, light)) < 0.3
    assert float(trust(smear, light)) == 0


def test_a_little_softness_is_not_taken_for_motion() -> None:
    """A portrait's was: its kernel spread by no more than 0.9 pixels to any side."""
    place = torch.arange(13.0) - 6
    across = torch.exp(-(place**2) / (2 * 0.9**2))
    soft = across[:, None] * across
    kernel = (soft / soft.sum())[None]
    light = blurred(photograph(0), kernel).mean(1)
    assert float(misfit(kernel, light)) < 0.3
    assert float(extent(kernel)) == pytest.approx(0.9, abs=0.01)
    assert float(trust(kernel, light)) == 0


@pytest.mark.parametrize("sharp", [13, 33])
def test_where_one_kernel_is_a_point_none_is_trusted(
    sharp: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A photograph saved as JPEG 85 had a path 2.3 pixels wide, and a point."""
    network = create_network("deconvunet", widths=[8, 8], blocks=[1, 1])
    images = blurred(photograph(0), shake("line"))
    assert all(float(each.trust) > 0.9 for each in network.estimate(images))
    point = torch.zeros(1, sharp, sharp)
    point[:, sharp // 2, sharp // 2] = 1
    monkeypatch.setattr(
        deconvunet,
        "estimate_kernel",
        lambda light, side: point if side == sharp else estimate_kernel(light, side),
    )
    assert all(float(each.trust) == 0 for each in network.estimate(images))


def test_extent_is_the_largest_deviation_in_any_direction() -> None:
    kernels = torch.zeros(2, 13, 13)
    kernels[0, 6, 3:10] = 1 / 7
    steps = torch.arange(3, 10)
    kernels[1, steps, steps] = 1 / 7
    assert extent(kernels).tolist() == pytest.approx([2.0, 2 * 2**0.5])
