"""Muon: orthogonal updates for what is a large matrix, AdamW for all else."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_runs import tiny_preset
from torch import nn

from irkd.training.muon import Muon, is_large_matrix, orthogonalised
from irkd.training.optimization import build_optimizer


@settings(deadline=None)  # the first call loads LAPACK
@given(st.integers(2, 40), st.integers(2, 40), st.floats(1e-4, 1e4), st.integers(0, 99))
def test_singular_values_come_near_one_and_vectors_stay(
    rows: int, columns: int, scale: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    low = min(rows, columns)
    left = torch.linalg.qr(torch.randn(rows, low, generator=generator, dtype=torch.float64)).Q
    right = torch.linalg.qr(torch.randn(columns, low, generator=generator, dtype=torch.float64)).Q
    values = torch.linspace(0.05, 1, low, dtype=torch.float64)
    made = orthogonalised(((left * values) @ right.T * scale).float()).double()
    # In the basis of the matrix's own singular vectors it is diagonal, with values near 1.
    inside = left.T @ made @ right
    assert (inside.diagonal() > 0.6).all()
    assert (inside.diagonal() < 1.3).all()
    assert (inside - inside.diagonal().diag()).abs().max() < 1e-3
    torch.testing.assert_close(left @ inside @ right.T, made, atol=1e-3, rtol=0)


def test_zero_gradient_moves_nothing() -> None:
    weight = nn.Parameter(torch.randn(32, 32))
    before = weight.detach().clone()
    weight.grad = torch.zeros_like(weight)
    Muon([weight], lr=1e-3, matrix_lr=0.1).step()
    assert torch.equal(weight.detach(), before)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((64, 32), True), ((32, 4, 3, 3), True), ((32,), False), ((12, 48, 3, 3), False),
     ((64, 1, 3, 3), False), ((0, 5), False)],
)  # fmt: skip
def test_what_counts_as_a_large_matrix(shape: tuple[int, ...], expected: bool) -> None:
    assert is_large_matrix(torch.empty(shape)) is expected


def test_a_convolution_is_taken_as_outputs_by_all_else() -> None:
    """Its update has the spectral norm of the rate, whatever the gradient's size."""
    weight = nn.Parameter(torch.zeros(32, 8, 3, 3))
    weight.grad = torch.randn(32, 8, 3, 3) * 1e-3
    Muon([weight], lr=1e-3, matrix_lr=0.1, momentum=0.0).step()
    norm = float(torch.linalg.matrix_norm(weight.detach().flatten(1), 2))
    assert 0.06 < norm < 0.13


def test_what_is_no_matrix_is_adamws() -> None:
    torch.manual_seed(0)
    one = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1))
    other = copy.deepcopy(one)
    training = tiny_preset(optimizer="muon", lr=1e-2, weight_decay=0.1).training
    mine = build_optimizer(one.parameters(), training)
    adamw = torch.optim.AdamW(other.parameters(), lr=1e-2, weight_decay=0.1)
    images = torch.rand(2, 3, 8, 8)
    for _ in range(5):
        for network, optimizer in ((one, mine), (other, adamw)):
            optimizer.zero_grad()
            network(images).square().mean().backward()
            optimizer.step()
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_both_rates_follow_the_schedule() -> None:
    training = tiny_preset(optimizer="muon", lr=1e-3, matrix_lr=0.02).training
    optimizer = build_optimizer(
        [nn.Parameter(torch.zeros(32, 32)), nn.Parameter(torch.zeros(3))], training
    )
    assert [group["lr"] for group in optimizer.param_groups] == [0.02, 1e-3]
    assert [group["lr_scale"] * 1e-3 for group in optimizer.param_groups] == pytest.approx(
        [0.02, 1e-3]
    )
