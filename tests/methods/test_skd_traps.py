"""SKD's printed equations cannot be trained; each test holds one repair beside the printed form."""

from __future__ import annotations

import math

import pytest
import torch
from method_harness import FAMILY_PAIRS, bench, between, pairs, twins
from test_method_contract import LargestTensor

from irkd.losses.attention import channel_attention_map, spatial_attention
from irkd.losses.contrast import contrast_ratio, contrast_share, infonce, literal_contrast
from irkd.losses.kernels import kernel_loss
from irkd.methods.projector import Projector, Projectors
from irkd.methods.skd import SKDParameters

FEATURE_TERMS = ("kernel", "channel_attention", "spatial_attention")


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cosine(a, b):
    return torch.cosine_similarity(a.flatten(1), b.flatten(1)).mean().item()


class TestTemperature:
    """Trap A: a temperature of 1e-6."""

    @pytest.mark.parametrize("student", ["teacher", "degraded"])
    def test_smallest_temperature_has_bounded_gradients(self, student):
        options = {"contrast": "infonce", "phi": "pixel", "tau": 0.02}
        tried = bench({"name": "skd", **options}, FAMILY_PAIRS[1])
        context = tried.context(16, 4)
        degraded, reference = pairs(16, 4)
        context.teacher_restored = reference
        start = reference if student == "teacher" else degraded
        context.restored = start.clone().requires_grad_()
        tried.method(context)["contrast"].backward()
        assert 1e-4 < context.restored.grad.norm() < 1e2

    def test_smaller_ones_are_refused(self):
        with pytest.raises(ValueError, match=r"tau must be 0\.02 or more, not 0\.019"):
            SKDParameters(contrast="infonce", tau=0.019)

    def test_the_printed_one_is_not_a_number(self):
        tried = bench({"name": "skd", "form": "paper", "phi": "pixel"}, FAMILY_PAIRS[0])
        assert tried.method.parameters_spec.tau == 1e-6
        assert tried.method(tried.context())["contrast"].isnan()


def descend(loss, steps=50):
    """A student that starts midway between its image and the degraded one, moved by `loss` alone.

    Returns its cosines to the clean and to the degraded images, before and after.
    """
    common = 1 + 0.5 * torch.rand(1, 64, generator=torch.Generator().manual_seed(1))
    clean = common + 0.6 * torch.rand(4, 64, generator=torch.Generator().manual_seed(2))
    degraded = clean + 0.25 * normal(4, 64, seed=3)
    student = ((clean + degraded) / 2).requires_grad_()
    optimizer = torch.optim.Adam([student], 0.02)
    before = cosine(student, clean), cosine(student, degraded)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(student, clean, degraded).backward()
        optimizer.step()
    return before, (cosine(student, clean), cosine(student, degraded))


class TestContrast:
    """Traps B and C: the sign, and the drift away from everything."""

    def test_descent_turns_to_the_teacher(self):
        before, after = descend(infonce)
        assert after[0] - after[1] > before[0] - before[1] + 0.01

    def test_the_printed_sign_turns_to_the_degraded_image(self):
        before, after = descend(lambda *features: literal_contrast(*features, tau=0.1))
        assert after[0] - after[1] < before[0] - before[1] - 0.01

    @pytest.mark.parametrize("contrast", ["share", "ratio", "infonce"])
    def test_the_method_takes_the_repaired_sign(self, contrast):
        method = bench({"name": "skd", "contrast": contrast, "phi": "pixel"}, FAMILY_PAIRS[1])
        context = method.context(16, 4)
        degraded, reference = pairs(16, 4)
        context.teacher_restored = reference

        def value(restored):
            context.restored = restored
            return method.method(context)["contrast"].item()

        assert value(reference) < value((reference + degraded) / 2) < value(degraded)

    def test_centring_keeps_the_student_near(self):
        centred = descend(infonce)[1][0]
        uncentred = descend(lambda *features: infonce(*features, centre=False))[1][0]
        assert centred > 0.98
        assert uncentred < 0.9

    @pytest.mark.parametrize("loss", [contrast_ratio, contrast_share])
    def test_these_have_their_minimum_at_the_teacher(self, loss):
        before, after = descend(lambda a, b, c: loss([a], [b], [c]))
        assert after[0] > 0.9999 > before[0]

    def test_the_share_has_a_bounded_gradient_at_the_degraded_image(self):
        """Networks that start as the identity start there."""
        norms = {}
        for contrast in ("share", "ratio"):
            tried = bench({"name": "skd", "contrast": contrast, "phi": "pixel"}, FAMILY_PAIRS[1])
            context = tried.context(16, 4)
            degraded, context.teacher_restored = pairs(16, 4)
            context.degraded = degraded
            context.restored = (degraded + 1e-6).requires_grad_()
            tried.method(context)["contrast"].backward()
            norms[contrast] = float(context.restored.grad.norm())
        assert 1e-4 < norms["share"] < 1 < 100 < norms["ratio"]


class TestKernel:
    """Trap D: the Gaussian of a sum over a whole map."""

    @pytest.mark.parametrize("factor", [0.1, 1, 10])
    def test_gradients_reach_a_student_of_any_scale(self, factor):
        tried = bench({"name": "skd"}, FAMILY_PAIRS[0])
        for term in FEATURE_TERMS:
            context = tried.leaves()
            scaled = {
                name: (factor * value.detach()).requires_grad_()
                for name, value in context.student_features.items()
            }
            context.student_features = scaled
            tried.method(context)[term].backward()
            for tap, feature in scaled.items():
                assert feature.grad.norm() * feature.norm() > 1e-3, (term, tap)

    def test_the_printed_one_is_1_with_no_gradient_at_all(self):
        teacher = normal(2, 48, 32, 32)
        student = (teacher + 0.1 * normal(2, 48, 32, 32, seed=1)).requires_grad_()
        printed = 1 - torch.exp(-(student - teacher).square().sum((1, 2, 3)) / 2).mean()
        printed.backward()
        assert printed.item() == 1
        assert student.grad.abs().max() == 0
        student.grad = None
        kernel_loss(student, teacher).backward()
        assert student.grad.abs().max() > 0
        assert kernel_loss(student, teacher, normalize="none").item() == 1

    def test_standardized_features_saturate_far_off(self):
        teacher = normal(2, 48, 16, 16)
        student = (10 * normal(2, 48, 16, 16, seed=1)).requires_grad_()
        kernel_loss(student, teacher, normalize="standardize").backward()
        assert student.grad.norm() * student.norm() < 1e-3


def relative_entropy(weights):
    """Mean entropy of softmax weights over the last axis, in shares of the largest possible."""
    nats = -torch.xlogy(weights, weights).sum(-1).mean().item()
    return nats / math.log(weights.shape[-1])


class TestAttentionScale:
    """Trap E: logits that grow with the map saturate the softmax."""

    def test_attention_is_neither_uniform_nor_a_choice_of_one(self):
        tried = bench({"name": "skd"}, FAMILY_PAIRS[0])
        spec = tried.method.parameters_spec
        for student, teacher in tried.method.projectors(tried.context(32)):
            weights = channel_attention_map(
                student.flatten(2), teacher.flatten(2), spec.attn_scale, spec.attn_temperature
            )
            assert 0.01 < relative_entropy(weights) < 0.99

    def test_the_printed_scale_chooses_one(self):
        teacher = normal(1, 48, 4096)
        student = 0.3 * teacher + math.sqrt(1 - 0.09) * normal(1, 48, 4096, seed=1)
        assert relative_entropy(channel_attention_map(student, teacher, "sqrt_d")) < 1e-4
        assert relative_entropy(channel_attention_map(student, teacher)) > 0.5


class TestAttentionAxis:
    """Trap F: the weights are normalised over the axis that the product sums over."""

    @staticmethod
    def _features():
        """Student and teacher; the student's first channel is 3 everywhere."""
        student, teacher = normal(1, 8, 100), normal(1, 8, 100, seed=1)
        student[:, 0] = 3.0
        return student, teacher

    @pytest.mark.parametrize("scale", ["cosine", "sqrt_d"])
    def test_a_constant_map_is_preserved(self, scale):
        attended = spatial_attention(*self._features(), scale)[:, 0]
        torch.testing.assert_close(attended, torch.full_like(attended, 3.0), rtol=0, atol=1e-5)

    def test_the_other_axis_breaks_it(self):
        student, teacher = self._features()
        weights = (teacher.mT @ student / math.sqrt(8)).softmax(-1)
        assert ((student @ weights)[:, 0] - 3).abs().max() > 0.5


class TestAttentionMemory:
    """Trap G: weights of all positions against all positions."""

    def test_the_explicit_form_is_quadratic_and_ours_is_not(self):
        student, teacher = normal(1, 8, 1024).requires_grad_(), normal(1, 8, 1024, seed=1)
        with LargestTensor() as explicit:
            weights = (teacher.mT @ student).softmax(-2)
            (student @ weights).square().mean().backward()
        assert explicit.largest == 1024**2
        with LargestTensor() as fused:
            spatial_attention(student, teacher).square().mean().backward()
        assert fused.largest <= 2 * student.numel()

    @pytest.mark.parametrize("channels", [1, 6, 48])
    def test_any_number_of_channels(self, channels):
        student, teacher = normal(2, channels, 50), normal(2, channels, 50, seed=1)
        weights = (teacher.mT @ student / math.sqrt(channels)).softmax(-2)
        torch.testing.assert_close(
            spatial_attention(student, teacher, "sqrt_d"), student @ weights, rtol=1e-4, atol=1e-5
        )


class TestAttentionTarget:
    """Trap H: attention smooths, so that raw teacher features are out of reach."""

    @pytest.mark.parametrize(("target", "reachable"), [("attended", True), ("raw", False)])
    @pytest.mark.parametrize("family", ["nafnet", "restormer"])
    def test_at_the_teacher(self, target, reachable, family):
        tried = twins({"name": "skd", "mca_target": target}, family)
        terms = tried.method(between(tried.context(32), tried, 1.0))
        for term in ("channel_attention", "spatial_attention"):
            if reachable:
                assert terms[term].item() == pytest.approx(0, abs=1e-6)
            else:
                assert terms[term].item() > 1e-3
                assert math.isnan(tried.method.floors[term])


class TestProjectorCollapse:
    """Trap I: projectors on both sides agree on a constant."""

    @staticmethod
    def _train(projectors, loss):
        optimizer = torch.optim.Adam(projectors.parameters(), 0.05)
        for _ in range(120):
            optimizer.zero_grad()
            value = loss()
            value.backward()
            optimizer.step()
        return value.item()

    def test_nothing_is_learned_from_unrelated_features(self):
        tried = bench({"name": "skd", "alpha1": 0, "alpha3": 0}, FAMILY_PAIRS[0])
        context = tried.leaves(64)
        for first, features in ((0, context.student_features), (99, context.teacher_features)):
            for seed, (name, value) in enumerate(features.items(), first):
                features[name] = normal(*value.shape, seed=seed)
        remaining = self._train(tried.method, lambda: tried.method(context)["kernel"])
        assert remaining > 0.3
        for student, teacher in tried.method.projectors(context):
            assert teacher.std() == pytest.approx(1, rel=0.2)
            assert student.std() > 0.1

    def test_two_trainable_sides_collapse(self):
        student, teacher = normal(2, 8, 16, 16), normal(2, 16, 16, 16, seed=1)
        both = torch.nn.ModuleList([Projector(8, 16), Projector(16, 16)])
        remaining = self._train(both, lambda: kernel_loss(both[0](student), both[1](teacher)))
        assert remaining < 0.05

    def test_only_the_student_is_projected(self):
        tried = bench({"name": "skd"}, FAMILY_PAIRS[0])
        context = tried.context()
        (projectors,) = (m for m in tried.method.modules() if isinstance(m, Projectors))
        for pair, (student, teacher) in zip(projectors.pairs, projectors(context), strict=True):
            assert teacher is context.teacher_features[pair.teacher]
            assert student.shape == teacher.shape
        assert len(list(tried.method.parameters())) == 2 * len(projectors.pairs)

    def test_starts_as_an_orthogonal_map(self):
        weight = Projector(4, 9).weight.flatten(1)
        torch.testing.assert_close(weight.mT @ weight, torch.eye(4), rtol=0, atol=1e-5)
