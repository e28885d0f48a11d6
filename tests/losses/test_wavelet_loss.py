"""The Haar transform is orthonormal and its loss sees details alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import vjp

from irkd.errors import IrkdError
from irkd.losses.wavelet import haar_step, haar_transform, wavelet_loss


def images(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_one_block_by_hand():
    low, details = haar_step(torch.tensor([[[[1.0, 2.0], [4.0, 9.0]]]]))
    assert low.tolist() == [[[[8.0]]]]
    # columns: (1-2+4-9)/2, rows: (1+2-4-9)/2, both: (1-2-4+9)/2
    assert details.flatten().tolist() == [-3.0, -5.0, 2.0]


def test_loss_of_one_block_by_hand():
    block = torch.tensor([[[[1.0, 2.0], [4.0, 9.0]]]])
    loss = wavelet_loss(block, torch.zeros_like(block), levels=1)
    assert loss.item() == pytest.approx((3 + 5 + 2) / 3)
    weighted = wavelet_loss(block, torch.zeros_like(block), levels=1, level_weights=[0.5])
    assert weighted.item() == pytest.approx((3 + 5 + 2) / 6)


def test_the_second_level_is_that_of_the_low_band():
    x = images(1, 1, 8, 8)
    low, (first, second) = haar_transform(x, 2)
    once, details = haar_step(x)
    twice, more = haar_step(once)
    assert torch.equal(first, details)
    assert torch.equal(second, more)
    assert torch.equal(low, twice)


@pytest.mark.parametrize("levels", [1, 3])
def test_perfect_reconstruction(levels):
    """The inverse of an orthonormal transform is its adjoint, which is what backward computes."""
    x = images(2, 3, 16, 24)
    bands, adjoint = vjp(lambda given: haar_transform(given, levels), x)
    torch.testing.assert_close(adjoint(bands)[0], x, rtol=0, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(levels=st.integers(1, 4), rows=st.integers(1, 3), columns=st.integers(1, 3))
def test_parseval(levels, rows, columns):
    x = images(2, 1, rows * 2**levels, columns * 2**levels)
    low, details = haar_transform(x, levels)
    energy = low.square().sum() + sum(detail.square().sum() for detail in details)
    assert energy.item() == pytest.approx(x.square().sum().item(), rel=1e-12)


def test_a_shift_of_brightness_costs_nothing():
    x = images(1, 3, 32, 32)
    assert wavelet_loss(x + 0.2, x).item() == pytest.approx(0, abs=1e-14)
    # A ramp, the next slowest thing, costs little beside its mean absolute value of 0.25.
    ramp = torch.linspace(-0.5, 0.5, 32, dtype=torch.float64).expand(1, 3, 32, 32)
    assert 0 < wavelet_loss(x + ramp, x, level_weights=(1, 0, 0, 0)).item() < 0.02


def test_a_checkerboard_is_all_detail():
    board = torch.ones(1, 1, 16, 16)
    board[..., 0::2, 1::2] = board[..., 1::2, 0::2] = -1
    low, details = haar_transform(board, 1)
    assert low.abs().max() == 0
    assert [band.abs().max().item() for band in details[0][0, 0]] == [0, 0, 2]


@settings(max_examples=25, deadline=None)
@given(height=st.integers(8, 40), width=st.integers(8, 40))
def test_sizes_that_are_no_multiple(height, width):
    low, details = haar_transform(images(1, 2, height, width), 3)
    assert low.shape == (1, 2, -(-height // 8), -(-width // 8))
    assert details[0].shape == (1, 2, 3, 4 * low.shape[-2], 4 * low.shape[-1])


def test_padding_invents_no_edge():
    """Zeros beyond the border of a flat image would be one."""
    flat = torch.full((1, 1, 13, 11), 0.7, dtype=torch.float64)
    _, details = haar_transform(flat, 3)
    assert max(detail.abs().max().item() for detail in details) < 1e-14
    # Continued by reflection, without repeating the border.
    _, (detail,) = haar_transform(torch.arange(3.0).expand(1, 1, 2, 3), 1)
    assert detail[0, 0, 0].tolist() == [[-1.0, 1.0]]


@pytest.mark.parametrize("shape", [(15, 64), (64, 8)])
def test_small_images_are_refused(shape):
    with pytest.raises(IrkdError, match=rf"at least 16 x 16 pixels, not {shape[0]} x {shape[1]}"):
        wavelet_loss(torch.zeros(1, 3, *shape), torch.zeros(1, 3, *shape))
