"""Losses against independent formulas and libraries."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from irkd.errors import IrkdError
from irkd.losses.attention import (
    channel_attention,
    channel_attention_map,
    reduce_positions,
    spatial_attention,
)
from irkd.losses.contrast import contrast_ratio, contrast_share, infonce, literal_contrast
from irkd.losses.gaussian import gaussian_means
from irkd.losses.kernels import kernel_loss, squared_distance
from irkd.losses.pixel import decibel_loss, pixel_loss, pixel_map, trusted_pixel_loss
from irkd.losses.ssim import ssim


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


class TestPixel:
    def test_values(self):
        a, b = torch.tensor([0.0, 0.5, 1.0]), torch.tensor([0.0, 0.2, 0.0])
        assert pixel_loss(a, b, "l1").item() == pytest.approx((0.3 + 1) / 3)
        assert pixel_loss(a, b, "mse").item() == pytest.approx((0.09 + 1) / 3)
        expected = [1e-3, math.sqrt(0.09 + 1e-6), math.sqrt(1 + 1e-6)]
        assert pixel_map(a, b, "charbonnier").tolist() == pytest.approx(expected)

    @pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1)])
    def test_decibels_are_those_of_the_metric_an_image_on_its_own(self, low, high):
        a, b = (low + (high - low) * normal(3, 3, 8, 8, seed=i).sigmoid() for i in (0, 1))
        peak = high - low
        each = [
            peak_signal_noise_ratio(y.numpy(), x.numpy(), data_range=peak)
            for x, y in zip(a, b, strict=True)
        ]
        expected = sum(50 - value for value in each) / 3
        # At 10 dB, the bound at 50 changes the value by less than 0.001 dB.
        assert decibel_loss(a, b, data_range=peak, best=50).item() == pytest.approx(
            expected, abs=1e-3
        )
        assert decibel_loss(a, a, data_range=peak, best=50) == 0

    def test_half_the_error_is_six_decibels_in_an_easy_image_and_in_a_hard_one(self):
        errors = torch.tensor([0.02, 0.2]).view(2, 1, 1, 1).expand(2, 3, 4, 4)
        reference = torch.zeros(2, 3, 4, 4)
        before = decibel_loss(errors, reference, data_range=1.0, best=50)
        for halved in ([0.5, 1.0], [1.0, 0.5]):
            mended = errors * torch.tensor(halved).view(2, 1, 1, 1)
            after = decibel_loss(mended, reference, data_range=1.0, best=50)
            assert (before - after).item() == pytest.approx(6.02 / 2, abs=0.2)

    def test_trust_counts_only_where_the_teacher_is_nearer(self):
        restored = torch.tensor([0.5, 0.1, 0.4], requires_grad=True)
        taught, reference = torch.tensor([0.2, 0.5, 0.4]), torch.zeros(3)
        loss = trusted_pixel_loss(restored, taught, reference)
        loss.backward()
        assert loss.item() == pytest.approx(0.3 / 3)
        assert restored.grad.tolist() == pytest.approx([1 / 3, 0, 0])


class TestSSIM:
    @pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)])
    @pytest.mark.parametrize("noise", [0.01, 0.3])
    def test_equals_scikit_image(self, low, high, noise):
        generator = torch.Generator().manual_seed(3)
        a = torch.rand(2, 3, 24, 31, generator=generator, dtype=torch.float64)
        b = (a + noise * normal(*a.shape, dtype=torch.float64)).clamp(0, 1)
        a, b = (image * (high - low) + low for image in (a, b))
        expected = [
            structural_similarity(
                one.numpy(),
                other.numpy(),
                channel_axis=0,
                data_range=high - low,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
            for one, other in zip(a, b, strict=True)
        ]
        value = ssim(a, b, data_range=high - low).item()
        assert value == pytest.approx(sum(expected) / 2, abs=1e-12)
        single = ssim(a.float(), b.float(), data_range=high - low).item()
        assert single == pytest.approx(value, abs=1e-5)

    def test_float32_keeps_its_digits_on_a_bright_smooth_image(self):
        ramp = torch.linspace(0.98, 1.0, 40, dtype=torch.float64).expand(1, 1, 40, 40)
        other = ramp + 1e-3 * normal(1, 1, 40, 40, dtype=torch.float64)
        exact = ssim(ramp, other, data_range=1.0).item()
        assert ssim(ramp.float(), other.float(), data_range=1.0).item() == pytest.approx(
            exact, abs=1e-6
        )

    def test_is_one_where_images_agree(self):
        image = normal(1, 3, 11, 11)
        assert ssim(image, image, data_range=2.0).item() == pytest.approx(1, abs=1e-6)
        black = torch.zeros(1, 3, 16, 16)
        assert ssim(black, black, data_range=1.0).item() == 1

    def test_small_images_are_refused(self):
        with pytest.raises(IrkdError, match="at least 11 x 11 pixels, not 10 x 64"):
            ssim(torch.zeros(1, 3, 10, 64), torch.zeros(1, 3, 10, 64), data_range=1.0)


class TestKernels:
    def test_gaussian_is_one_minus_exp(self):
        a, b = normal(2, 5, 3, 4, dtype=torch.float64), normal(2, 5, 3, 4, seed=1).double()
        d = (a / a.norm(dim=1, keepdim=True) - b / b.norm(dim=1, keepdim=True)).square().sum(1)
        expected = (1 - torch.exp(-d / (2 * 0.7**2))).mean()
        torch.testing.assert_close(kernel_loss(a, b, sigma=0.7), expected, rtol=1e-7, atol=0)

    def test_small_distances_keep_their_digits(self):
        a = torch.zeros(1, 1, 4)
        b = torch.full((1, 1, 4), 1e-5)
        value = kernel_loss(a, b, normalize="none")
        assert value.item() == pytest.approx(4e-10 / 2, rel=1e-5)
        assert (1 - torch.exp(-torch.tensor(2e-10))).item() == 0

    def test_literal_is_the_sum_over_the_whole_map(self):
        a, b = normal(2, 3, 4, 4), normal(2, 3, 4, 4, seed=1)
        expected = ((a - b) ** 2).reshape(2, -1).sum(1)
        torch.testing.assert_close(squared_distance(a, b, "none"), expected)

    def test_standardized_distance_is_in_units_of_the_teachers_spread(self):
        teacher = normal(4, 2, 16, 16) * torch.tensor([10.0, 0.1]).view(1, 2, 1, 1)
        shifted = teacher + teacher.std((0, 2, 3), correction=0, keepdim=True)
        distance = squared_distance(shifted, teacher, "standardize")
        torch.testing.assert_close(distance, torch.ones_like(distance), rtol=1e-3, atol=0)

    @pytest.mark.parametrize("kernel", ["gaussian", "euclidean", "cosine"])
    @pytest.mark.parametrize("normalize", ["cosine", "standardize", "none"])
    def test_is_zero_at_the_teacher_and_positive_elsewhere(self, kernel, normalize):
        a, b = normal(2, 3, 4, 4), normal(2, 3, 4, 4, seed=1)
        assert kernel_loss(a, a, kernel, normalize=normalize).item() == pytest.approx(0, abs=1e-7)
        assert kernel_loss(a, b, kernel, normalize=normalize).item() > 0.1

    def test_cosine_kernel_is_one_minus_cosine(self):
        a, b = normal(2, 6, 4, 4), normal(2, 6, 4, 4, seed=1)
        expected = (1 - torch.cosine_similarity(a, b)).mean()
        torch.testing.assert_close(kernel_loss(a, b, "cosine"), expected)
        whole = (1 - torch.cosine_similarity(a.flatten(1), b.flatten(1))).mean()
        torch.testing.assert_close(kernel_loss(a, b, "cosine", normalize="none"), whole)

    def test_cosine_normalization_is_blind_to_magnitude(self):
        a, b = normal(2, 6, 4, 4), normal(2, 6, 4, 4, seed=1)
        torch.testing.assert_close(kernel_loss(a, b), kernel_loss(100 * a, b), rtol=1e-5, atol=0)


class TestAttention:
    @pytest.mark.parametrize("scale", ["cosine", "sqrt_d"])
    def test_spatial_equals_the_explicit_formula(self, scale):
        student, teacher = normal(2, 12, 256), normal(2, 12, 256, seed=1)
        if scale == "cosine":
            s, t = (x / x.norm(dim=1, keepdim=True) for x in (student, teacher))
            logits = t.mT @ s / 0.1
        else:
            logits = teacher.mT @ student / math.sqrt(12)
        expected = student @ logits.softmax(-2)
        attended = spatial_attention(student, teacher, scale)
        torch.testing.assert_close(attended, expected, rtol=1e-4, atol=2e-6)

    @pytest.mark.parametrize("scale", ["cosine", "sqrt_d"])
    def test_channel_equals_the_explicit_formula(self, scale):
        student, teacher = normal(2, 12, 64), normal(2, 12, 64, seed=1)
        if scale == "cosine":
            s, t = (x / x.norm(dim=2, keepdim=True) for x in (student, teacher))
            logits = t @ s.mT / 0.1
        else:
            logits = teacher @ student.mT / math.sqrt(64)
        expected = logits.softmax(-1) @ student
        torch.testing.assert_close(channel_attention(student, teacher, scale), expected)

    def test_weights_of_every_teacher_channel_add_up(self):
        weights = channel_attention_map(normal(2, 5, 64), normal(2, 5, 64, seed=1))
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 5))

    def test_spatial_moves_with_the_students_positions(self):
        student, teacher = normal(1, 4, 32), normal(1, 4, 32, seed=1)
        order = torch.randperm(32, generator=torch.Generator().manual_seed(2))
        moved = spatial_attention(student[..., order], teacher[..., order])
        torch.testing.assert_close(moved, spatial_attention(student, teacher)[..., order])

    @settings(max_examples=30, deadline=None)
    @given(height=st.integers(1, 20), width=st.integers(1, 20))
    def test_windows_hold_every_position_once(self, height, width):
        features = torch.arange(2 * 3 * height * width).reshape(2, 3, height, width).float()
        windows = reduce_positions(features, "window")
        assert windows.shape[-1] <= 64
        for channel in range(3):
            held = windows[:, channel].flatten().sort().values
            torch.testing.assert_close(held, features[:, channel].flatten().sort().values)

    def test_windows_are_neighbourhoods(self):
        rows = torch.arange(16.0).view(1, 1, 16, 1).expand(1, 1, 16, 16)
        windows = reduce_positions(rows, "window")
        assert windows.shape == (4, 1, 64)
        assert windows.amax(-1).flatten().tolist() == [7, 7, 15, 15]

    def test_auto_is_exact_up_to_a_grids_worth_of_positions_then_pools(self):
        assert reduce_positions(torch.zeros(1, 2, 16, 64), pooled_side=32).shape == (1, 2, 1024)
        wide = torch.arange(128.0).expand(1, 2, 64, 128)
        pooled = reduce_positions(wide, pooled_side=32)
        assert pooled.shape == (1, 2, 1024)
        assert pooled[0, 0, :2].tolist() == [1.5, 5.5]


class TestContrast:
    def test_infonce_is_the_log_probability_of_the_positive(self):
        a, p, n = (normal(3, 4, 2, 2, seed=s, dtype=torch.float64) for s in range(3))
        a, p, n = (x.flatten(1) for x in (a, p, n))
        total = 0.0
        for i in range(3):
            positive = torch.exp(torch.cosine_similarity(a[i], p[i], dim=0) / 0.2)
            negatives = torch.exp(torch.cosine_similarity(a[i].expand(3, -1), n) / 0.2)
            total -= torch.log(positive / (positive + negatives.sum())) / 3
        value = infonce(a, p, n, tau=0.2, centre=False)
        torch.testing.assert_close(value, total, rtol=1e-7, atol=0)

    def test_literal_is_the_probability_itself(self):
        a, p, n = (normal(1, 8, seed=s) for s in range(3))
        probability = torch.exp(-infonce(a, p, n, tau=0.2, centre=False))
        torch.testing.assert_close(literal_contrast(a, p, n, tau=0.2), probability)

    def test_centring_makes_images_distinct(self):
        common = 5 + normal(1, 64)
        a, p, n = (common + normal(4, 64, seed=s) for s in range(3))
        shift = torch.full((1, 64), 100.0)
        value = infonce(a, p, n)
        torch.testing.assert_close(
            value, infonce(a + shift, p + shift, n + shift), rtol=1e-3, atol=0
        )

    def test_ratio_weighs_layers_from_shallow_to_deep(self):
        zero, one = [torch.zeros(1, 1)] * 5, [torch.ones(1, 1)] * 5
        two = [torch.full((1, 1), 2.0)] * 5
        expected = 1 / 32 + 1 / 16 + 1 / 8 + 1 / 4 + 1
        assert contrast_ratio(one, zero, two).item() == pytest.approx(expected)
        assert contrast_ratio(one[:1], zero[:1], two[:1]).item() == pytest.approx(1)
        assert contrast_ratio(zero, zero, two).item() == 0

    def test_share_is_between_the_teacher_and_the_degraded_image(self):
        """Each image by itself: one at a third of the way, one at the end."""
        taught, degraded = torch.zeros(2, 1, 2, 2), torch.full((2, 1, 2, 2), 3.0)
        restored = torch.stack([torch.ones(1, 2, 2), torch.full((1, 2, 2), 3.0)])
        value = contrast_share([restored], [taught], [degraded])
        assert value.item() == pytest.approx((1 / 3 + 1) / 2)
        assert contrast_share([taught], [taught], [degraded]).item() == 0


class TestGaussianMeans:
    @pytest.mark.parametrize("shape", [(2, 3, 13, 20), (5, 9), (1, 3, 3)], ids=str)
    def test_repeated_borders_are_scipys(self, shape):
        maps = normal(*shape, dtype=torch.float64)
        means = gaussian_means(maps, 7, 7 / 6, replicate=True)
        axes = (maps.ndim - 2, maps.ndim - 1)
        expected = gaussian_filter(maps.numpy(), 7 / 6, mode="nearest", radius=3, axes=axes)
        assert means.numpy() == pytest.approx(expected, abs=1e-12)

    def test_without_them_the_inner_part_is_left(self):
        maps = normal(2, 14, 12)
        inner = gaussian_means(maps, 11, 1.5)
        assert inner.shape == (2, 4, 2)
        whole = gaussian_means(maps, 11, 1.5, replicate=True)
        torch.testing.assert_close(inner, whole[:, 5:-5, 5:-5])
