"""SLKD: what each side is compared with, the scale space, and the traps of its printed form."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from method_harness import (
    FAMILY_PAIRS,
    OPTIONS,
    SMALL_PAIR,
    bench,
    build,
    network,
    pairs,
    photographs,
    twins,
)

from irkd.errors import IrkdError
from irkd.losses.natural_scene import (
    color_features,
    mscn,
    natural_color_loss,
    natural_features,
)
from irkd.losses.perception_blocks import edge_texture_loss
from irkd.methods.base import Setting, build_method
from irkd.methods.context import build_context
from irkd.methods.slkd import SLKDParameters
from irkd.models.base import create_network

STATISTICS = ("natural_color", "edge_texture")


def values(tried, context):
    return {term: value.item() for term, value in tried.method(context).items()}


def changed(features):
    generator = torch.Generator().manual_seed(9)
    return {k: torch.randn(v.shape, generator=generator) for k, v in features.items()}


class TestSides:
    """Encoder against the teacher on the degraded image, decoder and output against the clean."""

    def test_taps(self):
        needs = bench({"name": "slkd"}, ("restormer", "restormer", (0.0, 1.0))).method.needs
        levels = ("1", "2", "3")
        encoder = tuple(f"encoder_level{level}" for level in levels)
        decoder = tuple(f"decoder_level{level}" for level in reversed(levels))
        assert tuple(pair.student for pair in needs.tap_pairs) == encoder
        assert tuple(pair.student for pair in needs.clean_tap_pairs) == decoder
        assert all(p.student == p.teacher for p in (*needs.tap_pairs, *needs.clean_tap_pairs))
        assert needs.teacher_clean
        assert not needs.teacher

    @pytest.mark.parametrize(
        ("field", "affected"),
        [
            ("teacher_features", {"natural_color"}),
            ("clean_features", {"edge_texture"}),
            ("clean_restored", {"divergence", "reconstruction"}),
            ("reference", set()),
        ],
    )
    def test_what_a_term_is_compared_with(self, field, affected):
        tried = bench({"name": "slkd"}, FAMILY_PAIRS[0])
        context = tried.context(32)
        before = values(tried, context)
        given = getattr(context, field)
        other = changed(given) if isinstance(given, dict) else given.flip(-1)
        after = values(tried, replace(context, **{field: other}))
        assert {term for term in before if after[term] != before[term]} == affected

    def test_ground_truth_as_the_target_of_the_pixels_alone(self):
        tried = bench({"name": "slkd", "pixel_target": "ground_truth"}, FAMILY_PAIRS[0])
        context = tried.context(32)
        terms = values(tried, context)
        expected = (context.restored - context.reference).abs().mean().item()
        assert terms["reconstruction"] == pytest.approx(expected)
        assert (
            terms["divergence"]
            == values(bench({"name": "slkd"}, FAMILY_PAIRS[0]), context)["divergence"]
        )

    def test_second_teacher_on_degraded_images(self):
        """The ablation of Table IV: one pass of the teacher gives both sides."""
        tried = bench({"name": "slkd", "teacher_b_input": "degraded"}, FAMILY_PAIRS[0])
        needs = tried.method.needs
        assert needs.teacher
        assert not needs.teacher_clean
        assert needs.clean_tap_pairs == ()
        context = tried.context(32)
        same = bench({"name": "slkd"}, FAMILY_PAIRS[0])
        expected = values(
            same,
            replace(
                context,
                clean_restored=context.teacher_restored,
                clean_features=context.teacher_features,
            ),
        )
        assert values(tried, context) == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("term", ["natural_color", "edge_texture", "divergence"])
    def test_each_term_alone(self, term):
        """What a term alone does not need is not run."""
        others = {"natural_color", "edge_texture", "divergence", "reconstruction"} - {term}
        tried = bench({"name": "slkd", **dict.fromkeys(others, 0)}, FAMILY_PAIRS[0])
        needs = tried.method.needs
        assert set(tried.method.term_weights) == {term}
        assert bool(needs.tap_pairs) == (term == "natural_color")
        assert bool(needs.clean_tap_pairs) == (term == "edge_texture")
        assert needs.teacher_clean == (term == "divergence")
        assert set(values(tried, tried.context())) == {term}

    def test_weights(self):
        assert bench({"name": "slkd"}, SMALL_PAIR).method.term_weights == {
            "natural_color": 0.5,
            "edge_texture": 0.5,
            "divergence": 0.1,
            "reconstruction": 1.0,
        }


class TestScaleSpace:
    def test_is_the_projector_then_the_shared_map_then_the_size(self):
        tried = bench({"name": "slkd", "scale_channels": 4}, FAMILY_PAIRS[1])
        context = tried.context(128, 1)
        student, teacher = tried.method.removal.unified(context)
        assert student.shape == teacher.shape == (1, 3, 4, 64, 64)
        space = tried.method.removal
        for index, pair in enumerate(space.pairs):
            shared = space.get_buffer(f"shared_{index}")
            for side, features in (
                (student, space[index](context.student_features[pair.student])),
                (teacher, context.teacher_features[pair.teacher]),
            ):
                mixed = torch.nn.functional.conv2d(features, shared)
                expected = torch.nn.functional.interpolate(
                    mixed, (64, 64), mode="bilinear", antialias=mixed.shape[-1] > 64
                )
                torch.testing.assert_close(side[:, index], expected, rtol=1e-4, atol=1e-5)

    def test_the_shared_map_is_orthonormal_and_the_same_for_every_seed(self):
        def maps():
            return dict(bench({"name": "slkd"}, FAMILY_PAIRS[0]).method.named_buffers())

        first = maps()
        torch.manual_seed(1234)
        again = maps()
        assert first
        for name, shared in first.items():
            flat = shared.flatten(1)
            torch.testing.assert_close(flat @ flat.mT, torch.eye(3), rtol=0, atol=1e-6)
            assert torch.equal(shared, again[name])

    def test_the_map_is_fixed_and_kept(self):
        method = bench({"name": "slkd"}, FAMILY_PAIRS[0]).method
        shared = dict(method.named_buffers())
        assert set(shared) <= set(method.state_dict())
        assert not any(buffer.requires_grad for buffer in shared.values())
        # Trap I: on the student's side the projector is trained, on the teacher's nothing is.
        count = len(method.removal.pairs) + len(method.rebuilding.pairs)
        assert len(list(method.parameters())) == 2 * count


class TestPositions:
    """Trap J: moments of a whole map do not say where."""

    @staticmethod
    def _shuffled(size=16):
        """A photograph's maps and the same with blocks in another order."""
        image = photographs(64, 1)
        maps = mscn(image)
        blocks = maps.unfold(2, size, size).unfold(3, size, size)
        order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
        flat = blocks.reshape(1, 3, 16, size, size)[:, :, order]
        shuffled = flat.reshape(1, 3, 4, 4, size, size).transpose(3, 4).reshape(1, 3, 64, 64)
        return maps, shuffled

    def test_windows_react_to_moved_blocks(self):
        maps, shuffled = self._shuffled()
        window = SLKDParameters().nss_window
        assert window != "global"
        local, everywhere = (
            natural_color_loss(shuffled, maps, window=w, feature="log_alpha").item()
            for w in (window, None)
        )
        assert (shuffled - maps).square().mean() > 1.2 * maps.var()
        assert local > 3 * everywhere

    def test_the_method_takes_the_windows_it_is_told(self):
        context = bench({"name": "slkd"}, FAMILY_PAIRS[0]).context(64)
        found = {}
        for window in (16, 32, "global"):
            tried = bench({"name": "slkd", "nss_window": window}, FAMILY_PAIRS[0])
            student, teacher = (
                mscn(side, batch=True) for side in tried.method.removal.unified(context)
            )
            found[window] = values(tried, context)["natural_color"]
            expected = natural_color_loss(
                student,
                teacher,
                window=None if window == "global" else window,
                feature="log_alpha",
            )
            assert found[window] == pytest.approx(expected.item(), rel=1e-5)
        assert len(set(found.values())) == 3

    def test_blocks_of_the_decoder_react(self):
        maps, shuffled = self._shuffled()
        assert edge_texture_loss(shuffled, maps).item() > 0.1


class TestDivergence:
    """Trap K: the divergence must weigh something beside the L1 term."""

    @pytest.mark.parametrize("kl", ["spatial_softmax", "gaussian"])
    @pytest.mark.parametrize("families", FAMILY_PAIRS, ids=str)
    def test_gradient_is_of_the_order_of_the_others(self, kl, families):
        tried = bench({"name": "slkd", "kl": kl}, families)
        norms = {}
        for term in ("divergence", "reconstruction"):
            context = tried.leaves(64)
            tried.method(context)[term].backward()
            norms[term] = context.restored.grad.norm().item()
        assert 1e-3 < norms["divergence"] / norms["reconstruction"] < 1e1

    def test_only_the_gaussian_one_sees_brightness(self):
        found = {}
        for kl in ("spatial_softmax", "gaussian"):
            tried = bench({"name": "slkd", "kl": kl}, FAMILY_PAIRS[1])
            context = tried.context(32)
            context.restored = context.clean_restored + 0.1
            found[kl] = values(tried, context)["divergence"]
        assert found["spatial_softmax"] < 1e-6
        assert found["gaussian"] == pytest.approx(0.005, rel=1e-3)


class TestGradients:
    """Trap L: looked up by `argmin`, shapes have no gradient."""

    def test_the_shape_alone_reaches_the_encoder(self):
        tried = bench({"name": "slkd"}, FAMILY_PAIRS[0])
        context = tried.leaves(32)
        student, _ = tried.method.removal.unified(context)
        maps = mscn(student)
        shapes = natural_features(maps)[..., 0], color_features(maps)[..., 0::4]
        sum(shape.mean() for shape in shapes).backward()
        for pair in tried.method.removal.pairs:
            assert context.student_features[pair.student].grad.abs().max() > 0


class TestScale:
    """Trap M: with a constant C the statistics depend on the unit that features happen to have."""

    @pytest.mark.parametrize("scale", [1 / 255, 255])
    def test_terms_do_not_change_with_the_unit_of_the_features(self, scale):
        tried = twins({"name": "slkd"}, "nafnet")

        def scaled(context, factor):
            fields = ("student_features", "teacher_features", "clean_features")
            return replace(
                context,
                **{f: {k: factor * v for k, v in getattr(context, f).items()} for f in fields},
            )

        context = tried.context(32)
        before, after = values(tried, context), values(tried, scaled(context, scale))
        for term in STATISTICS:
            assert before[term] > 0.01
            assert after[term] == pytest.approx(before[term], rel=0.01)


class TestFlatImages:
    """In units of its own deviation, a black image would drown the rest of its batch."""

    @pytest.mark.parametrize(("flat", "limit"), [(slice(0, 1), 4), (slice(None), 10)])
    @pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
    def test_pulls_no_harder_than_others(self, value, flat, limit):
        # An untrained student without biases: black stays flat through all its levels.
        torch.manual_seed(1)
        student, teacher = create_network("nafnet", **OPTIONS["nafnet"]), network("nafnet", 2)
        method = build({"name": "slkd"}, student, teacher)

        def pull(degraded, reference):
            terms = method(build_context(student, teacher, method.needs, degraded, reference))
            found = {}
            for term in STATISTICS:
                wanted = [*student.parameters(), *method.parameters()]
                gradients = torch.autograd.grad(
                    terms[term], wanted, retain_graph=True, allow_unused=True
                )
                found[term] = sum(g.square().sum() for g in gradients if g is not None).sqrt()
            return found

        degraded, reference = pairs(32, 4)
        before = pull(degraded, reference)
        degraded, reference = degraded.clone(), reference.clone()
        degraded[flat], reference[flat] = value, value
        after = pull(degraded, reference)
        for term in STATISTICS:
            assert after[term] < limit * before[term], (term, before[term], after[term])


class TestRefusals:
    def _build(self, **options):
        student, teacher = network("nafnet", 1), network("nafnet", 2)
        parameters = SLKDParameters.model_validate(options)
        return build_method(parameters, Setting(student.taps(), teacher.taps()))

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({"encoder_taps": ["encoder_level9"]}, "no tap 'encoder_level9'"),
            (
                {"encoder_taps": ["decoder_level1"]},
                "decoder_level1, which is no tap of the encoder",
            ),
            (
                {"decoder_taps": ["encoder_level1"]},
                "encoder_level1, which is no tap of the decoder",
            ),
            ({"scale_channels": 9}, "8 channels, fewer than the scale_channels, 9"),
        ],
    )
    def test_what_the_networks_do_not_have(self, options, expected):
        with pytest.raises(IrkdError, match=expected):
            self._build(**options)

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({"scale_size": 40}, "scale_size"),
            ({"scale_size": 16}, "not cut evenly by nss_window 32"),
            ({"nss_window": 20}, "nss_window"),
            ({"tau": 0.0}, "tau"),
            (
                dict.fromkeys(("natural_color", "edge_texture", "divergence", "reconstruction"), 0),
                "nothing would be learned",
            ),
        ],
    )
    def test_options_that_cannot_be(self, options, expected):
        with pytest.raises(ValueError, match=expected):
            SLKDParameters.model_validate(options)

    def test_no_teacher(self):
        with pytest.raises(IrkdError, match="slkd learns from a teacher"):
            build_method(SLKDParameters(), Setting(network("nafnet", 1).taps()))

    def test_paper_form_is_a_default_that_options_win_over(self):
        paper = SLKDParameters.model_validate({"form": "paper"})
        assert (paper.nss_window, paper.shape_feature) == ("global", "alpha")
        mixed = SLKDParameters.model_validate({"form": "paper", "nss_window": 16})
        assert (mixed.nss_window, mixed.shape_feature) == (16, "alpha")
