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


HEAD = ("encoder_level1", "encoder_level2", "middle")


def _heads(networks, images):
    """A context whose methods ask for both heads and tails."""
    student, teacher = networks
    needs = Needs(
        tap_pairs=tuple(TapPair(name, name) for name in HEAD), teacher_taps=HEAD, tails=True
    )
    return build_context(student, teacher, needs, *images)


def test_tails_continue_from_given_features(networks, images):
    """Each network's own features give its own output, in the student's value range."""
    _, teacher = networks
    context = _heads(networks, images)
    torch.testing.assert_close(context.student_tail(context.student_features), context.restored)
    with torch.no_grad():
        expected = teacher((images[0] + 1) / 2) * 2 - 1
    torch.testing.assert_close(context.teacher_tail(context.teacher_features), expected)
    for tail, features in (
        (context.student_tail, context.student_features),
        (context.teacher_tail, context.teacher_features),
    ):
        whole = tail(features)
        for name in HEAD:
            assert not torch.allclose(tail({**features, name: features[name] + 1}), whole), name
    assert context.run_student is None


def test_replaced_stages_do_not_run_and_are_themselves_again_afterwards(networks, images):
    student, _ = networks
    context = _heads(networks, images)
    ran = []
    for stage in (*student.encoders, student.middle, *student.decoders):
        stage[0].register_forward_hook(lambda module, *_: ran.append(module))
    context.student_tail(context.student_features)
    stages = [decoder[0] for decoder in reversed(student.decoders)]
    assert ran == stages * len(images[0]), "image by image"
    ran.clear()
    student(images[0])
    assert len(ran) == 5
    with pytest.raises(IrkdError, match="no tap 'encoder_level7'"):
        context.student_tail({"encoder_level7": context.student_features["middle"]})
    assert all("forward" not in module.__dict__ for module in student.modules())


def test_gradients_pass_the_frozen_teachers_tail(networks, images):
    student, teacher = networks
    context = _heads(networks, images)
    assert all(not feature.requires_grad for feature in context.teacher_features.values())
    features = {k: v.clone().requires_grad_() for k, v in context.teacher_features.items()}
    context.teacher_tail(features).square().mean().backward()
    assert all(feature.grad.abs().max() > 0 for feature in features.values())
    assert all(parameter.grad is None for parameter in teacher.parameters())
    context.student_tail(
        {k: v.detach() for k, v in context.student_features.items()}
    ).sum().backward()
    reached = {n.split(".")[0] for n, p in student.named_parameters() if p.grad is not None}
    assert reached == {"ups", "decoders", "ending"}


def test_whole_networks_run_on_other_images(networks, images):
    student, teacher = networks
    context = build_context(student, teacher, Needs(networks=True), *images)
    other = (0.5 * images[1]).requires_grad_()
    torch.testing.assert_close(context.run_student(other), student(other))
    expected = teacher((other + 1) / 2) * 2 - 1
    torch.testing.assert_close(context.run_teacher(other), expected)
    assert context.teacher_restored is None
    context.run_teacher(other).sum().backward()
    taught = other.grad.clone()
    assert taught.abs().max() > 0
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(parameter.grad is None for parameter in student.parameters())
    context.run_student(other).sum().backward()
    assert not torch.equal(other.grad, taught)
    assert any(parameter.grad is not None for parameter in student.parameters())
    assert context.student_tail is None


def test_tails_and_networks_are_float32_under_autocast(networks, images):
    needs = Needs(teacher=True, tap_pairs=(PAIR,), tails=True, networks=True)
    with torch.autocast("cpu", torch.bfloat16):
        context = build_context(*networks, needs, *images)
        for run in (context.run_student, context.run_teacher):
            assert run(images[1]).dtype == torch.float32
        for tail, features in (
            (context.student_tail, context.student_features),
            (context.teacher_tail, context.teacher_features),
        ):
            assert tail(features).dtype == torch.float32
    assert Needs(tails=True).uses_teacher
    assert Needs(networks=True).uses_teacher
