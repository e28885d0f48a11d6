"""Affinity, attention transfer and channel-wise distillation: what each one sees, and does not."""

from __future__ import annotations

import pytest
import torch
from method_harness import FAMILY_PAIRS, SMALL_PAIR, bench, between, build, network, twins
from pydantic import ValidationError
from torch import nn

from irkd.errors import IrkdError
from irkd.methods.base import Setting, build_method, methods
from irkd.methods.statistics import RunningSpread

METHODS = ["affinity", "attention", "channelwise", "hints", "wavelet"]


@pytest.mark.parametrize("name", METHODS)
def test_a_teacher_is_asked_for(name):
    student = network("nafnet", 1)
    parameters = methods()[name].parameters.model_validate({"name": name})
    with pytest.raises(IrkdError, match=f"{name} learns from a teacher"):
        build_method(parameters, Setting(student.taps(), None))


@pytest.mark.parametrize("name", METHODS)
def test_every_option_says_what_it_is(name):
    for field, info in methods()[name].parameters.model_fields.items():
        assert field == "name" or info.description, field


@pytest.mark.parametrize("name", ["affinity", "attention", "channelwise", "hints"])
def test_an_unknown_tap_is_named(name):
    networks = network("nafnet", 1), network("restormer", 2)
    with pytest.raises(IrkdError, match="the student has no tap 'latent'"):
        build({"name": name, "taps": ("latent",)}, *networks)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("affinity", ["encoder_level3", "middle", "decoder_level3"]),
        ("channelwise", ["decoder_level3", "decoder_level2", "decoder_level1"]),
        ("hints", ["middle"]),
        ("attention", [f"encoder_level{n}" for n in (1, 2, 3)]
        + ["middle", *(f"decoder_level{n}" for n in (3, 2, 1))]),
    ],
)  # fmt: skip
def test_taps_looked_at_when_none_are_named(name, expected):
    method = build({"name": name}, network("restormer", 1), network("restormer", 2))
    assert [pair.student for pair in method.needs.tap_pairs] == expected


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("wavelet", {"reconstruction": 1, "wavelet": 1}),
        ("affinity", {"reconstruction": 0.5, "distillation": 0.5, "affinity": 10}),
        ("attention", {"reconstruction": 1, "attention": 0.1}),
        ("channelwise", {"reconstruction": 1, "channelwise": 5}),
        ("hints", {"reconstruction": 1, "hint": 1}),
    ],
)
def test_default_weights(name, weights):
    assert bench({"name": name}, SMALL_PAIR).method.term_weights == weights


@pytest.mark.parametrize("name", ["affinity", "attention", "channelwise"])
def test_all_weights_zero_is_refused(name):
    off = {"reconstruction": 0, name: 0}
    if name == "affinity":
        off["distillation"] = 0
    with pytest.raises(ValidationError, match="nothing would be learned"):
        methods()[name].parameters.model_validate({"name": name, **off})


@pytest.mark.parametrize("name", ["affinity", "attention"])
@pytest.mark.parametrize("family", ["nafnet", "restormer"])
def test_terms_that_need_not_fall_all_the_way_fall_in_the_end(name, family):
    tried = twins({"name": name}, family)
    start = tried.context()
    first, near = (tried.method(between(start, tried, share))[name] for share in (0, 0.95))
    assert near < 0.2 * first


def teacher_as_student(tried):
    """A context in which the student's features are the teacher's."""
    return between(tried.context(), tried, 1.0)


class TestChannelwise:
    @pytest.mark.parametrize("standardize", [True, False])
    def test_is_blind_to_a_constant_added_to_a_channel(self, standardize):
        """Half of what a squared difference sees is lost on it: known, and documented."""
        tried = twins({"name": "channelwise", "standardize": standardize}, "nafnet")
        context = teacher_as_student(tried)
        context.student_features = {
            name: features + torch.linspace(-3, 3, features.shape[1]).view(1, -1, 1, 1)
            for name, features in context.student_features.items()
        }
        assert tried.method(context)["channelwise"].item() == pytest.approx(0, abs=1e-5)

    def test_sees_channels_move(self):
        tried = twins({"name": "channelwise"}, "nafnet")
        context = teacher_as_student(tried)
        context.student_features = {k: f.flip(-1) for k, f in context.student_features.items()}
        assert tried.method(context)["channelwise"].item() > 0.1

    def test_is_half_the_variance_of_a_small_difference(self):
        tried = twins({"name": "channelwise", "taps": ("decoder_level1",)}, "nafnet")
        context = teacher_as_student(tried)
        generator = torch.Generator().manual_seed(0)
        shape = context.teacher_features["decoder_level1"].shape
        teacher = 1e-3 * torch.randn(shape, generator=generator)
        noise = 0.1 * torch.randn(shape, generator=generator)
        context.teacher_features = {"decoder_level1": teacher}
        context.student_features = {"decoder_level1": teacher + noise}
        plain = twins(
            {"name": "channelwise", "taps": ("decoder_level1",), "standardize": False}, "nafnet"
        )
        expected = noise.var((2, 3), correction=0).mean().item() / 2
        assert plain.method(context)["channelwise"].item() == pytest.approx(expected, rel=0.05)

    def test_standardized_it_does_not_depend_on_the_networks_units(self):
        values = []
        for factor in (1.0, 50.0):
            tried = twins({"name": "channelwise"}, "nafnet")
            context = tried.context()
            for features in (context.student_features, context.teacher_features):
                features.update({name: factor * each for name, each in features.items()})
            values.append(tried.method(context)["channelwise"].item())
        assert values[0] == pytest.approx(values[1], rel=1e-4)

    def test_its_projectors_have_no_bias_that_would_never_learn(self):
        method = bench({"name": "channelwise"}, FAMILY_PAIRS[0]).method
        assert all(projector.bias is None for projector in method.projectors)


class TestRunningSpread:
    def test_first_batch_counts_in_full(self):
        features = torch.randn(3, 2, 8, 8) * torch.tensor([2.0, 0.1]).view(1, 2, 1, 1) + 5
        spread = RunningSpread(2)(features)
        assert spread.shape == (1, 2, 1, 1)
        torch.testing.assert_close(spread.flatten(), features.std((0, 2, 3), correction=0))

    def test_follows_many_batches_and_is_saved(self):
        running, generator = RunningSpread(1), torch.Generator().manual_seed(0)
        for _ in range(400):
            batch = 3 + 2 * torch.randn(2, 1, 4, 4, generator=generator)
            spread = running(batch)
        assert spread.item() == pytest.approx(2, abs=0.1)
        again = RunningSpread(1)
        again.load_state_dict(running.state_dict())
        assert torch.equal(again(batch), running(batch))

    def test_is_still_when_not_training(self):
        running = RunningSpread(1).eval()
        batch = torch.randn(1, 1, 4, 4)
        assert running(batch).item() == pytest.approx(batch.std(correction=0).item(), rel=1e-5)
        assert all((buffer == 0).all() for buffer in running.buffers())

    def test_it_trains_nothing(self):
        running = RunningSpread(3)
        assert not list(running.parameters())
        assert not running(torch.randn(1, 3, 2, 2, requires_grad=True)).requires_grad


class TestHints:
    def test_is_half_the_squared_distance(self):
        tried = bench({"name": "hints", "standardize": False}, FAMILY_PAIRS[0])
        context = tried.context()
        ((student, teacher),) = tried.method.projectors(context)
        expected = (student - teacher).square().mean() / 2
        torch.testing.assert_close(tried.method(context)["hint"], expected)

    def test_standardized_it_is_counted_in_units_of_the_teachers_spread(self):
        tried = bench({"name": "hints"}, FAMILY_PAIRS[0])
        context = tried.context()
        ((student, teacher),) = tried.method.projectors(context)
        variance = teacher.var((0, 2, 3), correction=0, keepdim=True)
        expected = ((student - teacher).square() / variance).mean() / 2
        torch.testing.assert_close(tried.method(context)["hint"], expected, rtol=1e-3, atol=0)

    def test_channel_mean_needs_no_projector(self):
        tried = bench({"name": "hints", "reduce": "channel_mean"}, FAMILY_PAIRS[0])
        assert not list(tried.method.parameters())
        plain = bench({"name": "hints", "reduce": "channel_mean", "standardize": False}, SMALL_PAIR)
        context = plain.context()
        maps = [
            features["middle"].mean(1)
            for features in (context.student_features, context.teacher_features)
        ]
        expected = (maps[0] - maps[1]).square().mean() / 2
        torch.testing.assert_close(plain.method(context)["hint"], expected)

    def test_several_taps_are_averaged(self):
        names = ("encoder_level1", "middle")
        options = {"name": "hints", "reduce": "channel_mean"}
        context = bench({**options, "taps": names}, SMALL_PAIR).context()
        both, *each = (
            bench({**options, "taps": taps}, SMALL_PAIR).method(context)["hint"]
            for taps in (names, names[:1], names[1:])
        )
        torch.testing.assert_close(both, sum(each) / 2)

    def test_stages(self):
        staged = {"name": "hints", "schedule": "staged", "hint_steps": 3, "start": 2}
        tried = bench(staged, SMALL_PAIR)
        context = tried.context()
        for step in range(8):
            context.step = step
            counts, first = step >= 2, 2 <= step < 5
            assert tried.method.trained_taps(step) == (("middle",) if first else None), step
            if counts:
                expected = ["hint"] if first else ["reconstruction"]
                assert list(tried.method(context)) == expected, step

    def test_joint_trains_all_at_once(self):
        tried = bench({"name": "hints"}, SMALL_PAIR)
        assert tried.method.trained_taps(0) is None
        assert set(tried.method(tried.context())) == {"reconstruction", "hint"}

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"schedule": "staged"}, "staged needs hint_steps"),
            ({"hint_steps": 5}, "belongs to schedule staged"),
            ({"hint": 0}, "greater than 0"),
            ({"taps": ()}, "at least 1"),
            ({"reduce": "mean"}, "'none' or 'channel_mean'"),
        ],
    )
    def test_impossible_options_are_refused(self, options, message):
        with pytest.raises(ValidationError, match=message):
            methods()["hints"].parameters.model_validate({"name": "hints", **options})


def test_buffers_are_task_state():
    """Statistics travel with the method, not with the student."""
    tried = bench({"name": "channelwise"}, SMALL_PAIR)
    state = nn.ModuleDict({"method": tried.method}).state_dict()
    assert any(name.endswith("variance") for name in state)
