"""SKD's options, what each asks for, and the sum that results."""

from __future__ import annotations

import pytest
import torch
from method_harness import FAMILY_PAIRS, bench, network
from pydantic import ValidationError
from tiny_networks import PlainUNet

from irkd.errors import IrkdError
from irkd.losses.kernels import kernel_loss
from irkd.methods.base import Setting, build_method
from irkd.methods.context import build_context
from irkd.methods.response import ResponseParameters
from irkd.methods.skd import SKDParameters
from irkd.training.task import DistillTask, build_task


def test_default_weights_are_the_papers():
    assert SKDParameters().weights() == {
        "reconstruction": 1.0,
        "kernel": 0.2,
        "channel_attention": 0.1,
        "spatial_attention": 0.1,
        "contrast": 0.2,
    }


def test_paper_form_is_one_option_and_gives_way_to_what_is_written():
    printed = SKDParameters(form="paper", phi="teacher", tau=0.5)
    assert printed.normalize == "none"
    assert printed.attn_scale == "sqrt_d"
    assert printed.spatial_attention == "exact"
    assert printed.mca_target == "raw"
    assert printed.contrast == "literal"
    assert (printed.phi, printed.tau) == ("teacher", 0.5)


def test_paper_form_survives_being_written_out():
    printed = SKDParameters(form="paper", phi="teacher")
    assert SKDParameters.model_validate(printed.model_dump()) == printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"phi": "vgg19"}, "phi vgg19 needs vgg19: the file"),
        ({"form": "paper"}, "phi vgg19 needs vgg19: the file"),
        ({"taps": []}, "at least 1"),
        ({"sigma": 0}, "greater than 0"),
        ({"alpha2": float("inf")}, "finite"),
        ({"reconstruction": 0, "alpha2": 0, "alpha3": 0}, "nothing would be learned"),
        ({"kernel": "gausian"}, "gaussian"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        SKDParameters(**options)


def test_every_option_says_what_it_is():
    for name, field in SKDParameters.model_fields.items():
        assert name == "name" or field.description, name


@pytest.mark.parametrize(
    ("options", "terms"),
    [
        ({"reconstruction": 0}, {"kernel", "channel_attention", "spatial_attention", "contrast"}),
        ({"alpha1": 0, "contrast": "off"}, {"reconstruction", "kernel"}),
        ({"alpha2": 0}, {"reconstruction", "contrast"}),
        ({"alpha2": 0, "alpha3": 0}, {"reconstruction"}),
        ({"kernel_term": False, "spatial_attention": "off"}, None),
    ],
)
def test_a_term_that_is_off_is_not_computed(options, terms):
    tried = bench({"name": "skd", **options}, FAMILY_PAIRS[0])
    terms = terms or {"reconstruction", "channel_attention", "contrast"}
    assert set(tried.method(tried.context())) == set(tried.method.term_weights) == terms


def test_the_teacher_is_asked_only_for_what_is_compared():
    alone = bench({"name": "skd", "alpha2": 0, "alpha3": 0}, FAMILY_PAIRS[0]).method
    assert not alone.needs.uses_teacher
    features = bench({"name": "skd", "alpha3": 0}, FAMILY_PAIRS[0]).method.needs
    assert features.tap_pairs
    assert not features.teacher
    assert not features.teacher_encoder
    pixels = bench({"name": "skd", "alpha2": 0, "phi": "pixel"}, FAMILY_PAIRS[0]).method
    assert pixels.needs.teacher
    assert not pixels.needs.teacher_encoder
    assert not list(pixels.parameters())


def test_phi_sees_all_three_images_at_half_their_size():
    tried = bench({"name": "skd"}, FAMILY_PAIRS[1])
    seen = []
    intro = tried.teacher.get_submodule("intro")
    intro.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0].shape[-1]))
    context = tried.context(16)
    assert seen == [16]
    tried.method(context)
    assert seen == [16, 8, 8, 8]


def test_taps_choose_what_is_compared():
    tried = bench({"name": "skd", "taps": ("middle",)}, FAMILY_PAIRS[0])
    assert [pair.student for pair in tried.method.needs.tap_pairs] == ["middle"]
    with pytest.raises(IrkdError, match="no tap 'midle'"):
        bench({"name": "skd", "taps": ("midle",)}, FAMILY_PAIRS[0])


def test_phi_is_the_encoder_at_stride_4():
    restormer = bench({"name": "skd"}, FAMILY_PAIRS[0])
    assert restormer.method.phi_tap == "encoder_level3"
    deep = PlainUNet(2, 5)
    setting = Setting(deep.taps(), deep.taps())
    assert build_method(SKDParameters(), setting).phi_tap == "encoder_level3"


def test_networks_of_different_depth_meet_at_the_coarser_size():
    torch.manual_seed(0)
    student, teacher = PlainUNet(4, 4), PlainUNet(6, 2)
    setting = Setting(student.taps(), teacher.taps())
    method = build_method(SKDParameters(contrast="off"), setting)
    context = build_context(student, teacher, method.needs, *torch.rand(2, 1, 3, 32, 32))
    (one, other), *_ = [
        matched
        for pair, matched in zip(method.needs.tap_pairs, method.projectors(context), strict=True)
        if pair.student == "middle"
    ]
    assert one.shape == other.shape == (1, 24, 2, 2)
    assert all(value.isfinite() for value in method(context).values())


def test_kernel_is_the_mean_over_taps_of_projected_features():
    tried = bench({"name": "skd"}, FAMILY_PAIRS[0])
    context = tried.context()
    values = [kernel_loss(*features) for features in tried.method.projectors(context)]
    assert len(values) == len(tried.student.taps())
    torch.testing.assert_close(tried.method(context)["kernel"], torch.stack(values).mean())


def test_without_a_teacher_it_says_so():
    student = network("nafnet", 0)
    with pytest.raises(IrkdError, match="learns from a teacher"):
        build_task(student, [SKDParameters()], None)


def test_stacks_with_response_on_one_pass_of_the_teacher():
    student, teacher = network("nafnet", 1), network("restormer", 2)
    parameters = [ResponseParameters(), SKDParameters(reconstruction=0, weight=0.5)]
    task: DistillTask = build_task(student, parameters, teacher)
    calls = []
    teacher.get_submodule("refinement").register_forward_hook(lambda *_: calls.append(1))
    result = task(*torch.rand(2, 2, 3, 16, 16))
    assert len(calls) == 1
    assert set(result.terms) == {
        *(f"response.{term}" for term in ("reconstruction", "distillation", "ssim")),
        *(f"skd.{t}" for t in ("kernel", "channel_attention", "spatial_attention", "contrast")),
    }
    assert result.weighted["skd.kernel"].item() == pytest.approx(
        0.1 * result.terms["skd.kernel"].item()
    )
