"""The context a method sees: one pass of the student, a frozen teacher, float32, value ranges."""

from __future__ import annotations

import pytest
import torch
from tiny_networks import PlainUNet
from torch import nn

from irkd.errors import IrkdError
from irkd.methods.base import Needs
from irkd.methods.context import build_context, union
from irkd.models.taps import TapPair

PAIR = TapPair("encoder_level1", "encoder_level1")
EVERYTHING = Needs(
    teacher=True,
    tap_pairs=(PAIR, TapPair("middle", "middle")),
    teacher_taps=("encoder_level2",),
    teacher_clean=True,
    clean_tap_pairs=(PAIR, TapPair("decoder_level1", "decoder_level1")),
    teacher_encoder=True,
    tails=True,
    networks=True,
)


class _Counting(PlainUNet):
    calls = 0

    def forward(self, degraded):
        self.calls += 1
        return super().forward(degraded)


@pytest.fixture
def networks():
    torch.manual_seed(0)
    return _Counting(4, 2, value_range=(-1.0, 1.0)), _Counting(6, 2, concatenate=True)


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(2, 3, 16, 16, generator=generator) * 2 - 1 for _ in range(2)]


def test_student_and_teacher_run_once(networks, images):
    student, teacher = networks
    needs = Needs(teacher=True, tap_pairs=(PAIR,), teacher_taps=("middle",))
    context = build_context(student, teacher, needs, *images, step=7)
    assert (student.calls, teacher.calls, context.step) == (1, 1, 7)
    assert set(context.student_features) == {"encoder_level1"}
    assert set(context.teacher_features) == {"encoder_level1", "middle"}


def test_teacher_is_fed_in_its_own_value_range_and_answers_in_the_students(networks, images):
    student, teacher = networks
    context = build_context(student, teacher, EVERYTHING, *images)
    degraded, reference = images
    with torch.no_grad():
        expected = teacher((degraded + 1) / 2) * 2 - 1
        clean = teacher((reference + 1) / 2) * 2 - 1
    torch.testing.assert_close(context.teacher_restored, expected)
    torch.testing.assert_close(context.clean_restored, clean)
    encoded = context.encode(degraded, ["encoder_level2"])
    torch.testing.assert_close(
        encoded["encoder_level2"], context.teacher_features["encoder_level2"]
    )


def test_features_alone_do_not_run_the_teachers_decoder(networks, images):
    student, teacher = networks

    def must_not_run(*_):
        raise AssertionError("the teacher ran to its end")

    teacher.ending.register_forward_hook(must_not_run)
    context = build_context(student, teacher, Needs(tap_pairs=(PAIR,)), *images)
    assert context.teacher_restored is None
    assert set(context.teacher_features) == {"encoder_level1"}


def test_teacher_is_frozen_whatever_state_it_arrives_in(networks, images):
    student, teacher = networks
    teacher.norm = nn.BatchNorm2d(3)
    teacher.ending = nn.Sequential(teacher.ending, teacher.norm)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    for _ in range(3):
        teacher.train()
        context = build_context(student, teacher, EVERYTHING, *images)
        assert not teacher.training
        assert not teacher.norm.training
        encoded = context.encode(context.restored, ["middle"])["middle"]
        (context.restored.mean() + encoded.square().mean()).backward()
    for name, value in teacher.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(not value.requires_grad for value in context.teacher_features.values())
    assert not context.teacher_restored.requires_grad


def test_encode_is_differentiable_with_respect_to_the_images(networks, images):
    student, teacher = networks
    context = build_context(student, teacher, EVERYTHING, *images)
    probe = images[0].clone().requires_grad_()
    context.encode(probe, ["encoder_level2"])["encoder_level2"].square().mean().backward()
    assert probe.grad is not None
    assert probe.grad.abs().max() > 0


def test_everything_is_float32_under_autocast(networks, images):
    student, teacher = networks
    with torch.autocast("cpu", torch.bfloat16):
        context = build_context(student, teacher, EVERYTHING, *images)
        encoded = context.encode(context.restored, ["middle"])
    tensors = [context.restored, context.teacher_restored, context.clean_restored]
    for features in (
        context.student_features,
        context.teacher_features,
        context.clean_features,
        encoded,
    ):
        tensors += features.values()
    assert {tensor.dtype for tensor in tensors} == {torch.float32}


def test_a_missing_teacher_is_named(networks, images):
    with pytest.raises(IrkdError, match="none is given"):
        build_context(networks[0], None, Needs(teacher=True), *images)
    context = build_context(networks[0], None, Needs(), *images)
    assert context.teacher_restored is None


def test_union_keeps_order_and_each_tap_once():
    middle = TapPair("middle", "middle")
    together = union(
        [Needs(tap_pairs=(middle, PAIR)), Needs(teacher=True, tap_pairs=(PAIR,)), EVERYTHING]
    )
    assert together.tap_pairs == (middle, PAIR)
    assert together.teacher_taps == ("encoder_level2",)
    assert together.teacher
    assert together.teacher_clean
    assert together.teacher_encoder
    assert union([]) == Needs()
