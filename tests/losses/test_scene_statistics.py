"""Statistics of natural scenes and of blocks: against fits, libraries and hand computations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage, special, stats
from skimage import data

from irkd.losses.distribution import gaussian_kl, spatial_softmax_kl
from irkd.losses.natural_scene import (
    color_features,
    cut,
    inverse_log_rho,
    log_rho,
    mscn,
    natural_color_loss,
    natural_features,
)
from irkd.losses.perception_blocks import block_decisions, block_features, edge_texture_loss

PHOTOGRAPHS = ("camera", "astronaut", "coffee")


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def photograph(name, blur=0.0):
    """A grey photograph, 256 x 256, values 0 to 255."""
    image = getattr(data, name)().astype(np.float64)
    grey = image if image.ndim == 2 else image.mean(-1)
    return torch.from_numpy(ndimage.gaussian_filter(grey[:256, :256], blur))


def numpy_mscn(image, c=0.1):
    """The same maps by SciPy's filters."""
    z = (image - image.mean()) / image.std()
    offsets = np.arange(-3, 4)
    window = np.exp(-(offsets**2) / (2 * (7 / 6) ** 2))
    window /= window.sum()

    def blur(x):
        rows = ndimage.correlate1d(x, window, axis=0, mode="nearest")
        return ndimage.correlate1d(rows, window, axis=1, mode="nearest")

    mean = blur(z)
    return (z - mean) / (np.sqrt(np.maximum(blur(z * z) - mean * mean, 0) + 1e-8) + c)


def rho(alpha):
    return special.gamma(1 / alpha) * special.gamma(3 / alpha) / special.gamma(2 / alpha) ** 2


GRID = np.arange(0.2, 10.001, 0.001)


def nearest_alpha(ratio):
    """What common code does: the nearest of 9801 entries."""
    return GRID[np.abs(rho(GRID) - ratio).argmin()]


class TestMSCN:
    @pytest.mark.parametrize("name", PHOTOGRAPHS)
    def test_equals_scipys_filters(self, name):
        image = photograph(name)
        expected = torch.from_numpy(numpy_mscn(image.numpy()))
        # What fades flat maps out takes some millionths off any other.
        torch.testing.assert_close(mscn(image), expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(mscn(image.float()).double(), expected, rtol=0, atol=1e-3)

    @pytest.mark.parametrize("scale", [1 / 255, 1, 255])
    def test_does_not_depend_on_the_scale(self, scale):
        """Trap M: with a constant C, maps of features vanish or not as their unit happens to be."""
        image = photograph("camera").float() / 255
        torch.testing.assert_close(mscn(scale * image), mscn(image), rtol=0, atol=1e-3)

        def with_constant(z):
            return torch.from_numpy(numpy_mscn(z.numpy(), c=1 / z.std().item())).std().item()

        assert with_constant(image * 255) > 20 * with_constant(image / 255)

    def test_flat_maps_fade_beside_others(self):
        image = photograph("camera").float()
        contrasts = torch.tensor([1.0, 0.5, 0.05, 1e-3]).view(-1, 1, 1)
        alone, among = mscn(contrasts * image), mscn(contrasts * image, batch=True)
        spreads = (among.std((1, 2)) / alone.std((1, 2))).tolist()
        assert spreads[0] == pytest.approx(1, abs=0.01)
        assert spreads[1] == pytest.approx(1, abs=0.05)
        assert 0.3 < spreads[2] < 1
        assert spreads[3] < 1e-3

    def test_gradient_holds_the_spread_fixed(self):
        z = normal(1, 9, 8)

        def at_fixed_spread(scaled):
            # A far larger map around it keeps mean and spread where they are.
            return mscn(torch.cat([scaled, frame], -1))[..., :4]

        frame = 3 * normal(1, 9, 2000, seed=1)
        inputs = z.clone().requires_grad_()
        assert torch.autograd.gradcheck(at_fixed_spread, [inputs], eps=1e-4, atol=2e-3)

    @pytest.mark.parametrize("value", [0.0, 0.5, -1e4])
    def test_flat_maps_are_0_with_a_finite_gradient(self, value):
        flat = torch.full((1, 16, 16), value, requires_grad=True)
        maps = mscn(flat)
        assert maps.abs().max() < 0.05
        (natural_features(maps).sum() + color_features(maps).sum()).backward()
        assert flat.grad.isfinite().all()


class TestInverseOfRho:
    """Trap L: `argmin` over a table has no gradient."""

    def test_finds_the_shape(self):
        alpha = torch.tensor([0.2, 0.5, 1, 2, 4, 8, 10], dtype=torch.float64)
        torch.testing.assert_close(inverse_log_rho(log_rho(alpha)).exp(), alpha, rtol=1e-4, atol=0)

    def test_rho_is_that_of_scipys_distribution(self):
        for alpha in (0.5, 1.0, 2.0, 5.0):
            distribution = stats.gennorm(alpha)
            mean_size = distribution.expect(abs)
            expected = distribution.var() / mean_size**2
            value = log_rho(torch.tensor(alpha, dtype=torch.float64)).exp().item()
            assert value == pytest.approx(expected, rel=1e-6)

    def test_gradient_is_the_derivative(self):
        alpha = torch.tensor([0.23, 0.77, 1.31, 2.2, 5.1, 8.3], dtype=torch.float64)
        assert torch.autograd.gradcheck(inverse_log_rho, [log_rho(alpha).requires_grad_()])

    @pytest.mark.parametrize(("alpha", "slope"), [(1, -2.0), (2, -4.4), (5, -15), (8, -31)])
    def test_sensitivity(self, alpha, slope):
        ratio = log_rho(torch.tensor([alpha], dtype=torch.float64)).requires_grad_()
        inverse_log_rho(ratio).backward()
        assert ratio.grad.item() == pytest.approx(slope, rel=0.05)

    def test_constant_outside_the_table(self):
        ratio = torch.tensor([0.0, 9.0], requires_grad=True)
        found = inverse_log_rho(ratio)
        found.sum().backward()
        assert found.exp().tolist() == pytest.approx([10, 0.2])
        assert ratio.grad.tolist() == [0, 0]


class TestFeatures:
    @pytest.mark.parametrize("alpha", [0.6, 1.0, 2.0, 4.0])
    def test_parameters_of_drawn_samples(self, alpha):
        drawn = stats.gennorm(alpha, scale=0.7).rvs(size=(400, 400), random_state=0)
        found = natural_features(torch.from_numpy(drawn), "alpha")
        expected = [alpha, stats.gennorm(alpha, scale=0.7).var()]
        assert found.tolist() == pytest.approx(expected, rel=0.05)

    @pytest.mark.parametrize("name", PHOTOGRAPHS)
    @pytest.mark.parametrize("blur", [0.0, 1.0])
    def test_photographs_as_by_table(self, name, blur):
        """Against NumPy: no autograd, no epsilon, the nearest entry of a table."""
        maps = mscn(photograph(name, blur))
        z = maps.numpy()
        expected = [nearest_alpha((z**2).mean() / np.abs(z).mean() ** 2), (z**2).mean()]
        assert natural_features(maps, "alpha").tolist() == pytest.approx(expected, rel=2e-3)

        neighbours = [
            (z[:, :-1], z[:, 1:]),
            (z[:-1], z[1:]),
            (z[:-1, :-1], z[1:, 1:]),
            (z[1:, :-1], z[:-1, 1:]),
        ]
        expected = []
        for first, second in neighbours:
            p = first * second
            left, right = (p[p < 0] ** 2).mean() ** 0.5, (p[p > 0] ** 2).mean() ** 0.5
            g = left / right
            ratio = np.abs(p).mean() ** 2 / (p**2).mean()
            alpha = nearest_alpha(1 / (ratio * (g**3 + 1) * (g + 1) / (g**2 + 1) ** 2))
            parts = special.gamma(2 / alpha), special.gamma(1 / alpha), special.gamma(3 / alpha)
            eta = (right - left) * parts[0] / np.sqrt(parts[1] * parts[2])
            expected += [alpha, eta, left**2, right**2]
        found = color_features(maps, "alpha").tolist()
        assert found == pytest.approx(expected, rel=3e-3, abs=1e-4)

    @pytest.mark.parametrize("name", PHOTOGRAPHS)
    def test_agree_with_pyiqa(self, name):
        func_util = pytest.importorskip("pyiqa.archs.func_util")
        maps = mscn(photograph(name))[None, None]
        alpha, sigma = func_util.estimate_ggd_param(maps)
        found = natural_features(maps, "alpha")[0, 0]
        assert found.tolist() == pytest.approx([alpha.item(), sigma.item() ** 2], rel=2e-3)
        products = maps[..., :-1] * maps[..., 1:]
        alpha, left, right = func_util.estimate_aggd_param(products, return_sigma=True)
        found = color_features(maps, "alpha")[0, 0, [0, 2, 3]]
        expected = [alpha.item(), left.item() ** 2, right.item() ** 2]
        assert found.tolist() == pytest.approx(expected, rel=3e-3)

    def test_what_stands_for_the_parameters(self):
        maps = mscn(photograph("camera"))
        alpha, log_alpha, ratio = (
            natural_features(maps, feature) for feature in ("alpha", "log_alpha", "moment_ratio")
        )
        torch.testing.assert_close(log_alpha.exp(), alpha, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(log_rho(alpha[0]), ratio[0], rtol=1e-4, atol=0)
        assert ratio[1] == log_alpha[1]

    @pytest.mark.parametrize("feature", ["log_alpha", "moment_ratio", "alpha"])
    def test_gradient_is_the_derivative(self, feature):
        maps = mscn(photograph("camera"))[100:108, 100:109].clone().requires_grad_()

        def features(z):
            return torch.cat([natural_features(z, feature), color_features(z, feature)])

        assert torch.autograd.gradcheck(features, [maps])

    def test_light_tails_outweigh_heavy_ones_only_as_plain_alpha(self):
        """Nearly uniform noise against Laplace noise: how strongly each pulls."""
        light, heavy = (
            torch.from_numpy(stats.gennorm(alpha).rvs(size=(64, 64), random_state=0))
            for alpha in (6, 1)
        )

        def pull(maps, feature):
            maps = (maps / maps.std()).requires_grad_()
            natural_features(maps, feature)[0].backward()
            return maps.grad.norm().item()

        ratios = {f: pull(light, f) / pull(heavy, f) for f in ("alpha", "moment_ratio")}
        assert ratios["alpha"] > 10
        assert 0.1 < ratios["moment_ratio"] < 3

    def test_by_hand(self):
        """A 2 x 2 map: one product across each row, down each column, and on either diagonal."""
        maps = torch.tensor([[1.0, -2.0], [3.0, 4.0]], dtype=torch.float64)
        assert natural_features(maps, "alpha")[1].item() == pytest.approx((1 + 4 + 9 + 16) / 4)
        products = {0: (-2, 12), 1: (3, -8), 2: (4,), 3: (-6,)}
        found = color_features(maps, "alpha").reshape(4, 4)
        for direction, values in products.items():
            left = [v**2 for v in values if v < 0]
            right = [v**2 for v in values if v > 0]
            expected = [sum(left) / max(len(left), 1), sum(right) / max(len(right), 1)]
            assert found[direction, 2:].tolist() == pytest.approx(expected, rel=1e-5, abs=1e-5)

    def test_cut_reads_row_by_row_and_leaves_a_rest(self):
        maps = torch.arange(5 * 6).reshape(5, 6)
        assert cut(maps, 2).shape == (6, 2, 2)
        assert cut(maps, 2)[4].tolist() == [[14, 15], [20, 21]]


class TestBlocks:
    @staticmethod
    def _hard(block):
        """PIQE's decisions and distortion of one block, with thresholds, by NumPy."""
        variance = block.var(ddof=1)
        sides = (block[0], block[-1], block[:, 0], block[:, -1])
        stretches = [side[start : start + 6] for side in sides for start in range(11)]
        deviations = [stretch.std(ddof=1) for stretch in stretches]
        centre, others = block[:, 7:9], np.delete(block, [7, 8], axis=1)
        ratio, sigma = centre.std(ddof=1) / others.std(ddof=1), variance**0.5
        beta = abs(sigma - ratio) / max(sigma, ratio)
        decisions = variance > 0.1, min(deviations) < 0.1, sigma > 2 * beta
        active, impaired, noisy = decisions
        distortion = active * (impaired * (1 - variance) + noisy * variance)
        return decisions, distortion, deviations, variance

    @pytest.mark.parametrize("name", PHOTOGRAPHS)
    def test_photographs_as_by_thresholds(self, name):
        maps = mscn(photograph(name))
        blocks = [self._hard(block) for block in cut(maps, 16).numpy()]
        edge, texture = block_features(maps)
        np.testing.assert_allclose(texture, [b[3] for b in blocks], rtol=1e-9)
        np.testing.assert_allclose(edge[:, 1:], [b[2] for b in blocks], atol=1.1e-3)
        hard = np.array([b[0] for b in blocks])
        soft = torch.stack(block_decisions(maps), -1).numpy() > 0.5
        assert (hard[:, 0] == soft[:, 0]).all()
        # The smooth minimum of the deviations lies below the smallest one, by little.
        assert (hard[:, 1] == soft[:, 1]).mean() > 0.98
        assert not (hard[:, 1] & ~soft[:, 1]).any()
        assert (hard[:, 2] == soft[:, 2]).mean() > 0.99
        correlation = np.corrcoef(edge[:, 0], [b[1] for b in blocks])[0, 1]
        assert correlation > 0.7

    @pytest.mark.parametrize("name", PHOTOGRAPHS)
    def test_agree_with_pyiqa(self, name):
        piqe = pytest.importorskip("pyiqa.archs.piqe_arch")
        maps = mscn(photograph(name))
        blocks = cut(maps, 16)[None]
        variance = blocks.var((-2, -1))
        impaired = piqe.notice_dist_criterion(blocks, 6, 0.1, 16)[0]
        sigma, beta = piqe.noise_criterion(blocks, 15, variance)
        found = block_decisions(maps)
        assert ((found.active > 0.5) == (variance[0] > 0.1)).all()
        assert ((found.impaired > 0.5) == impaired).double().mean() > 0.98
        assert ((found.noisy > 0.5) == (sigma > 2 * beta)[0]).double().mean() > 0.97

    def test_gradient_is_the_derivative(self):
        maps = mscn(photograph("camera"))[96:112, 96:128].clone().requires_grad_()
        assert torch.autograd.gradcheck(lambda z: tuple(block_features(z)), [maps], fast_mode=True)

    def test_every_block_has_a_gradient_where_thresholds_have_none(self):
        maps = mscn(photograph("camera")).requires_grad_()
        edge, _ = block_features(maps)
        edge[:, 0].sum().backward()
        assert (cut(maps.grad, 16).abs().amax((-2, -1)) > 0).all()
        assert not (maps.var() > 0.1).requires_grad

    def test_flat_blocks(self):
        maps = torch.zeros(16, 16, requires_grad=True)
        edge, texture = block_features(maps)
        (edge.sum() + texture.sum()).backward()
        assert texture.item() == 0
        assert edge[0, 1:].tolist() == pytest.approx([1e-3] * 44)
        assert maps.grad.isfinite().all()

    def test_by_hand(self):
        """Columns of 0 and 1 in turn: along the rows 1 and 0 in turn, down the columns nothing."""
        maps = (torch.arange(16) % 2).double().expand(16, 16)
        edge, texture = block_features(maps)
        variance = 256 / 255 / 4
        assert texture.item() == pytest.approx(variance)
        across = math.sqrt(6 / 5 / 4)
        assert edge[0, 1:].tolist() == pytest.approx([across] * 22 + [1e-3] * 22, abs=2e-6)

        def logistic(x):
            return 1 / (1 + math.exp(-x))

        parts = 22 * math.exp(-1e-3 / 0.005) + 22 * math.exp(-across / 0.005)
        flattest = -0.005 * math.log(parts)
        ratio = math.sqrt(32 / 31 / 4) / math.sqrt(224 / 223 / 4)
        sigma = math.sqrt(variance)
        beta = abs(sigma - ratio) / max(sigma, ratio)
        active, impaired = logistic((variance - 0.1) / 0.05), logistic((0.1 - flattest) / 0.02)
        noisy = logistic((sigma - 2 * beta) / 0.1)
        expected = active * (impaired * (1 - variance) + noisy * variance)
        assert edge[0, 0].item() == pytest.approx(expected, rel=1e-5)


class TestLosses:
    @pytest.mark.parametrize("window", [None, 16])
    def test_are_0_at_the_teacher_and_grow_with_blur(self, window):
        sharp = mscn(photograph("camera"))
        values = []
        for blur in (0.0, 0.5, 1.0, 2.0):
            blurred = mscn(photograph("camera", blur))
            values.append(
                (
                    natural_color_loss(blurred, sharp, window=window, feature="log_alpha").item(),
                    edge_texture_loss(blurred, sharp).item(),
                )
            )
        for series in zip(*values, strict=True):
            assert series[0] == 0
            assert list(series) == sorted(series)
            assert series[1] > 0.01

    def test_the_teacher_takes_no_gradient(self):
        student, teacher = normal(16, 16).requires_grad_(), normal(16, 16, seed=1).requires_grad_()
        loss = natural_color_loss(student, teacher, window=None, feature="log_alpha")
        (loss + edge_texture_loss(student, teacher)).backward()
        assert student.grad.abs().max() > 0
        assert teacher.grad is None


class TestDivergence:
    """Trap K: blind to a shift, and next to nothing when averaged over positions."""

    def test_is_that_of_scipy(self):
        restored, taught = normal(2, 3, 5, 4), normal(2, 3, 5, 4, seed=1)
        for tau in (0.5, 1.0, 2.0):
            p, q = (
                special.softmax(x.flatten(2).numpy() / tau, axis=-1) for x in (taught, restored)
            )
            expected = tau**2 * special.rel_entr(p, q).sum(-1).mean()
            assert spatial_softmax_kl(restored, taught, tau).item() == pytest.approx(expected)

    def test_is_0_at_the_teacher_and_blind_to_brightness(self):
        taught = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
        assert spatial_softmax_kl(taught, taught).item() == 0
        assert spatial_softmax_kl(taught + 0.1, taught).item() < 1e-6
        assert gaussian_kl(taught + 0.1, taught).item() == pytest.approx(0.005, rel=1e-4)

    def test_is_half_the_variance_of_a_small_difference(self):
        taught = 0.5 * normal(1, 3, 128, 128)
        difference = 0.05 * normal(1, 3, 128, 128, seed=1)
        value = spatial_softmax_kl(taught + difference, taught).item()
        assert value == pytest.approx(0.05**2 / 2, rel=0.05)
        log_restored = (taught + difference).flatten(2).log_softmax(-1)
        each = torch.nn.functional.kl_div(
            log_restored, taught.flatten(2).softmax(-1), reduction="none"
        )
        assert each.mean().item() == pytest.approx(value / 128**2)

    def test_raw_values_are_no_distributions(self):
        restored, taught = normal(1, 3, 8, 8), normal(1, 3, 8, 8, seed=1)
        raw = torch.nn.functional.kl_div(restored.log(), taught, reduction="batchmean")
        assert raw.isnan()
        assert spatial_softmax_kl(restored, taught).isfinite()
