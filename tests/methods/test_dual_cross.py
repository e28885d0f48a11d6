"""Dual cross: halves of two networks that fit, and the gradients that pass between them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from method_harness import OPTIONS, Bench, bench, build, network, pairs
from torch import Tensor, nn

from irkd.errors import IrkdError
from irkd.methods.projector import Projector
from irkd.models.taps import TapRecorder, tail

FAMILIES = tuple(OPTIONS)


def _alike(family: str, **options: object) -> Bench:
    """Student and teacher with the same weights, the adapters passing features through."""
    student, teacher = network(family, 1), network(family, 1)
    method = build({"name": "dual-cross", **options}, student, teacher)
    for module in method.modules():
        if isinstance(module, Projector):
            nn.init.dirac_(module.weight)
            nn.init.zeros_(module.bias)
    return Bench(student, teacher, method)


@pytest.mark.parametrize("cuts", [("middle",), ("encoder_level1", "middle")], ids=len)
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()  # with gradients, some blocks take other paths, which round differently
def test_a_student_that_is_the_teacher_reproduces_it_exactly(family: str, cuts: object) -> None:
    tried = _alike(family, cuts=cuts)
    context = tried.context(32, count=1)  # halves run image by image, which rounds differently
    expected = tried.teacher(context.degraded)
    crossings = zip(tried.method.into_teacher, tried.method.into_student, strict=True)
    for into_teacher, into_student in crossings:
        features = into_teacher(context.student_features, context.degraded)
        assert_same(context.teacher_tail(features), expected)
        features = into_student(context.teacher_features, context.degraded)
        assert_same(context.student_tail(features), expected)
    terms = tried.method(context)
    distance = (expected - context.reference).abs().mean()
    assert terms["teacher_head"] < 1e-6 * distance
    assert_same(terms["student_head"], distance)


# The adapters' convolutions lay their output out otherwise in memory than the stages do, and some
# kernels then sum in another order: the last bits may differ, nothing more.
assert_same = partial(torch.testing.assert_close, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tail_shows_what_it_is_given(family: str) -> None:
    """The test above would notice features that are ignored."""
    tried = _alike(family)
    context = tried.context(32)
    assert len(context.student_features) == len(
        [tap for tap in tried.student.taps().values() if tap.role != "decoder"]
    )
    whole = context.student_tail(context.student_features)
    for name, feature in context.student_features.items():
        other = {**context.student_features, name: feature + 1}
        assert not torch.allclose(context.student_tail(other), whole), name


def test_each_path_teaches_its_own_half_and_no_teacher() -> None:
    tried = bench({"name": "dual-cross"}, ("nafnet", "nafnet", (0.0, 1.0)))

    def reached(term: str) -> tuple[set[str], set[str]]:
        tried.student.zero_grad(set_to_none=True)
        tried.method.zero_grad(set_to_none=True)
        tried.method(tried.context())[term].backward()
        assert all(parameter.grad is None for parameter in tried.teacher.parameters())
        return tuple(
            {
                name.split(".")[0]
                for name, parameter in module.named_parameters()
                if parameter.grad is not None and parameter.grad.abs().max() > 0
            }
            for module in (tried.student, tried.method)
        )

    head, rest = {"intro", "encoders", "downs", "middle_blks"}, {"ups", "decoders", "ending"}
    assert reached("student_head") == (head, {"into_teacher"})
    assert reached("teacher_head") == (rest, {"into_student"})
    assert reached("reconstruction") == (head | rest, set())


def test_every_adapter_learns() -> None:
    tried = bench({"name": "dual-cross"}, ("restormer", "nafnet", (-1.0, 1.0)))
    sum(tried.method(tried.context()).values()).backward()
    for name, parameter in tried.method.named_parameters():
        assert parameter.grad.abs().max() > 0, name


def test_both_terms_are_the_formula() -> None:
    """One cut after the first encoder level, written out with the networks themselves."""
    tried = bench(
        {"name": "dual-cross", "cuts": ("encoder_level1",)}, ("nafnet", "nafnet", (0.0, 1.0))
    )
    context = tried.context()
    terms = tried.method(context)
    name = "encoder_level1"
    with torch.no_grad():
        seen = {}
        for role in ("student", "teacher"):
            with TapRecorder(getattr(tried, role), [name]) as features:
                getattr(tried, role)(context.degraded)
            seen[role] = features[name]
        mine, its = (
            crossing[0].adapters[name]
            for crossing in (tried.method.into_teacher, tried.method.into_student)
        )
        into_teacher = tail(tried.teacher, context.degraded, {name: mine(seen["student"])})
        into_student = tail(tried.student, context.degraded, {name: its(seen["teacher"])})
        taught = tried.teacher(context.degraded)
    expected = (into_teacher - context.reference).abs().mean()
    torch.testing.assert_close(terms["student_head"].detach(), expected)
    torch.testing.assert_close(terms["teacher_head"].detach(), (into_student - taught).abs().mean())


def test_networks_of_other_depths_meet_at_every_tap_of_the_target() -> None:
    """Restormer has three encoder levels, this NAFNet two: one is used twice, and resized."""
    tried = bench({"name": "dual-cross"}, ("nafnet", "restormer", (0.0, 1.0)))
    crossing = tried.method.into_teacher[0]
    assert crossing.sources == {
        "encoder_level1": "encoder_level1",
        "encoder_level2": "encoder_level2",
        "encoder_level3": "encoder_level2",
        "middle": "middle",
    }
    degraded, _ = pairs(16)
    features = crossing(tried.context().student_features, degraded)
    with TapRecorder(tried.teacher, list(features)) as expected:
        tried.teacher(degraded)
    assert {k: v.shape for k, v in features.items()} == {k: v.shape for k, v in expected.items()}


def test_cuts_are_where_a_head_ends() -> None:
    student, teacher = network("nafnet", 1), network("nafnet", 2)
    with pytest.raises(IrkdError, match=r"decoder_level1.*encoder_level1, encoder_level2, middle"):
        build({"name": "dual-cross", "cuts": ("decoder_level1",)}, student, teacher)
    with pytest.raises(IrkdError, match="no tap 'encoder_level9'"):
        build({"name": "dual-cross", "cuts": ("encoder_level9",)}, student, teacher)


def test_what_is_kept_for_the_backward_pass_are_features_not_activations() -> None:
    """A teacher's second half, kept for a batch, takes several times what a step else does."""
    tried = bench({"name": "dual-cross"}, ("nafnet", "nafnet", (0.0, 1.0)))
    context = tried.context()
    (crossing,) = tried.method.into_teacher
    features = {
        name: feature.detach().requires_grad_()
        for name, feature in crossing(context.student_features, context.degraded).items()
    }

    def kept_and_gradients(run: Callable[..., Tensor]) -> tuple[int, tuple[Tensor, ...]]:
        kept: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            restored = run(features)
        (restored - context.reference).square().sum().backward()
        gradients = tuple(feature.grad for feature in features.values())
        for feature in features.values():
            feature.grad = None
        return sum(kept.values()), gradients

    whole, expected = kept_and_gradients(partial(tail, tried.teacher, context.degraded))
    kept, gradients = kept_and_gradients(context.teacher_tail)
    given = sum(feature.nbytes for feature in features.values()) + context.degraded.nbytes
    assert kept <= 1.1 * given < 0.5 * whole
    for gradient, direct in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, direct)
