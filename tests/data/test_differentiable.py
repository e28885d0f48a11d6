"""Degradations in torch: those of the data, with a gradient everywhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from irkd.data.degrade import DEGRADATIONS, plausible_depth
from irkd.data.differentiable import DIFFERENTIABLE, SMALLEST_SIDE, degrade_images

SAME = sorted(set(DIFFERENTIABLE) - {"general"})


@pytest.mark.parametrize("task", SAME)
def test_they_are_the_degradations_of_the_data(task: str) -> None:
    generator = np.random.default_rng(0)
    clean = generator.random((40, 48, 3), np.float32)
    tensor = torch.from_numpy(clean).permute(2, 0, 1)
    for seed in range(12):
        rng = np.random.default_rng(seed)
        depth = plausible_depth(clean.shape[:2], rng) if task == "dehaze" else np.zeros((1, 1))
        expected = DEGRADATIONS[task](clean, depth, rng)
        degraded = degrade_images(tensor[None], task, [np.random.default_rng(seed)])[0]
        # A camera's noise is clipped there, and by nothing but that.
        degraded, expected = degraded.permute(1, 2, 0).numpy().clip(0, 1), expected.clip(0, 1)
        np.testing.assert_allclose(degraded, expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("task", DIFFERENTIABLE)
def test_every_pixel_of_every_clean_image_has_a_gradient(task: str) -> None:
    """Trap O. The darkest and brightest values that a sigmoid gives are among them."""
    clean = torch.linspace(-12, 12, 6 * 3 * 48 * 48).reshape(6, 3, 48, 48).sigmoid()
    clean.requires_grad_()
    generators = [np.random.default_rng(seed) for seed in range(6)]
    degraded = degrade_images(clean, task, generators)
    assert not torch.equal(degraded, clean)
    # Positive and different, so that no sum of gradients cancels.
    weights = 1 + torch.rand(degraded.shape, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad((weights * degraded).sum(), clean)
    assert gradient.isfinite().all()
    if task in ("deblur", "general"):  # Motion carries pixels at the border out of sight.
        gradient = gradient[..., SMALLEST_SIDE:-SMALLEST_SIDE, SMALLEST_SIDE:-SMALLEST_SIDE]
    assert (gradient.abs() > 0).all()


def test_images_are_degraded_each_by_its_own_draw() -> None:
    clean = torch.full((2, 3, SMALLEST_SIDE, SMALLEST_SIDE), 0.5)
    one = degrade_images(clean, "denoise", [np.random.default_rng(seed) for seed in (1, 2)])
    other = degrade_images(clean, "denoise", [np.random.default_rng(seed) for seed in (1, 3)])
    assert torch.equal(one[0], other[0])
    assert not torch.equal(one[1], other[1])


def test_the_widest_kernel_fits_the_smallest_side() -> None:
    clean = torch.rand(40, 3, SMALLEST_SIDE, SMALLEST_SIDE)
    generators = [np.random.default_rng(seed) for seed in range(40)]
    assert degrade_images(clean, "deblur", generators).isfinite().all()
