"""Losses on features, against explicit formulas and by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from irkd.losses.affinity import affinity_loss
from irkd.losses.attention_transfer import attention_transfer_loss
from irkd.losses.resolution import to_common_size


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def explicit_affinity(student, teacher):
    maps = []
    for features in (student, teacher):
        vectors = features.flatten(2)
        vectors = vectors / (vectors.square().sum(1, keepdim=True) + 1e-8).sqrt()
        maps.append(vectors.transpose(1, 2) @ vectors)
    return (maps[0] - maps[1]).abs().mean()


class TestAffinity:
    def test_by_hand(self):
        """Two positions: alike in the teacher, at right angles in the student."""
        student = torch.tensor([[[[3.0, 0.0]], [[0.0, 5.0]]]])
        teacher = torch.tensor([[[[2.0, 7.0]]]])
        assert affinity_loss(student, teacher).item() == pytest.approx(2 / 4, abs=1e-6)

    def test_equals_the_explicit_formula(self):
        student, teacher = normal(2, 5, 6, 9), normal(2, 7, 6, 9, seed=1)
        torch.testing.assert_close(
            affinity_loss(student, teacher), explicit_affinity(student, teacher), rtol=1e-6, atol=0
        )

    def test_equals_it_also_when_made_in_bands(self):
        """1024 positions are more than one band."""
        student, teacher = normal(1, 3, 32, 32), normal(1, 3, 32, 32, seed=1)
        mine, other = student.clone().requires_grad_(), student.clone().requires_grad_()
        loss, expected = affinity_loss(mine, teacher), explicit_affinity(other, teacher)
        torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)
        loss.backward()
        expected.backward()
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-6, atol=1e-15)

    def test_large_maps_are_averaged_over_a_grid(self):
        student, teacher = normal(1, 3, 64, 48), normal(1, 4, 64, 48, seed=1)
        pooled = explicit_affinity(F.avg_pool2d(student, (16, 12)), F.avg_pool2d(teacher, (16, 12)))
        value = affinity_loss(student, teacher, grid=4)
        torch.testing.assert_close(value, pooled, rtol=1e-6, atol=0)

    def test_resolutions_may_differ(self):
        student, teacher = normal(1, 3, 8, 8), normal(1, 4, 4, 4, seed=1)
        expected = explicit_affinity(F.avg_pool2d(student, 2), teacher)
        torch.testing.assert_close(affinity_loss(student, teacher), expected, rtol=1e-6, atol=0)

    def test_is_blind_to_a_rotation_of_the_channels(self):
        """Why it needs no projector."""
        teacher = normal(2, 4, 5, 5)
        rotation = torch.linalg.qr(normal(4, 4, seed=1)).Q
        rotated = torch.einsum("dc,bchw->bdhw", rotation, teacher)
        assert affinity_loss(rotated, teacher).item() == pytest.approx(0, abs=1e-7)


class TestAttentionTransfer:
    def test_by_hand(self):
        # Energies (9, 16) and (1, 0): unit maps (9, 16) / sqrt(337) and (1, 0).
        student = torch.tensor([[[[3.0, 0.0]], [[0.0, 4.0]]]], dtype=torch.float64)
        teacher = torch.tensor([[[[1.0, 0.0]]]], dtype=torch.float64)
        length = 337**0.5
        expected = (9 / length - 1) ** 2 + (16 / length) ** 2
        value = attention_transfer_loss(student, teacher).item()
        assert value == pytest.approx(expected, rel=1e-6)

    def test_averages_over_images_and_not_over_positions(self):
        student, teacher = normal(2, 3, 4, 4), normal(2, 5, 4, 4, seed=1)
        each = [attention_transfer_loss(student[i : i + 1], teacher[i : i + 1]) for i in (0, 1)]
        torch.testing.assert_close(attention_transfer_loss(student, teacher), sum(each) / 2)
        wide = [x.repeat(1, 1, 3, 3) for x in (student, teacher)]
        torch.testing.assert_close(
            attention_transfer_loss(*wide),
            attention_transfer_loss(student, teacher),
            rtol=1e-6,
            atol=0,
        )

    def test_sees_neither_sign_nor_scale(self):
        teacher = normal(2, 3, 4, 4)
        assert attention_transfer_loss(-7 * teacher, teacher).item() == pytest.approx(0, abs=1e-12)

    def test_resolutions_may_differ(self):
        coarse, fine = (torch.linspace(0, 1, size).expand(1, 3, size, size) for size in (8, 16))
        assert attention_transfer_loss(fine, coarse).item() < 0.01
        assert attention_transfer_loss(coarse, fine).item() < 0.01
        assert attention_transfer_loss(fine.flip(-1), coarse).item() > 0.5

    def test_black_patches_have_no_gradient_but_a_value(self):
        student = torch.zeros(1, 3, 4, 4, requires_grad=True)
        loss = attention_transfer_loss(student, normal(1, 3, 4, 4).float())
        loss.backward()
        assert loss.item() == pytest.approx(1, rel=1e-4)
        assert student.grad.isfinite().all()


def test_the_finer_map_is_averaged_down():
    """Never enlarged, in neither direction alone."""
    fine, coarse = normal(1, 2, 8, 4), normal(1, 2, 4, 8, seed=1)
    both = to_common_size(fine, coarse)
    assert [each.shape for each in both] == [(1, 2, 4, 4)] * 2
    flat = to_common_size(torch.full((1, 1, 12, 12), 3.0), torch.zeros(1, 1, 5, 5))[0]
    torch.testing.assert_close(flat, torch.full((1, 1, 5, 5), 3.0))
    same = to_common_size(fine, fine)
    assert same[0] is fine
