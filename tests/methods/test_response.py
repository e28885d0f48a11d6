"""Response distillation beside supervised training, and the perceptual features it may use."""

from __future__ import annotations

import pytest
import torch
from method_harness import FAMILY_PAIRS, bench, network, pairs
from pydantic import ValidationError

from irkd.errors import IrkdError
from irkd.losses.perceptual import VGG19Features
from irkd.methods.none import NoneParameters
from irkd.methods.response import ResponseParameters
from irkd.training.task import build_task


def _train(parameters, teacher, steps=4):
    student = network("nafnet", 1)
    task = build_task(student, [parameters], teacher)
    optimizer = torch.optim.AdamW(task.parameters(), 1e-3)
    for step in range(steps):
        optimizer.zero_grad()
        task(*pairs(), step).loss.backward()
        optimizer.step()
    return student.state_dict()


def test_without_the_teachers_term_it_is_supervised_training_bit_for_bit():
    untaught = ResponseParameters(distillation=0, ssim=0)
    alone = _train(NoneParameters(reconstruction_loss="charbonnier"), None)
    for teacher in (None, network("restormer", 2)):
        for name, value in _train(untaught, teacher).items():
            assert torch.equal(value, alone[name]), name


def test_with_the_teachers_term_it_is_not():
    alone = _train(NoneParameters(reconstruction_loss="charbonnier"), None)
    taught = _train(ResponseParameters(ssim=0), network("restormer", 2))
    assert any(not torch.equal(value, alone[name]) for name, value in taught.items())


def test_ssim_counts_in_the_students_value_range():
    context = bench({"name": "response"}, FAMILY_PAIRS[0]).context()
    assert context.reference.min() < 0
    wide = bench({"name": "response"}, FAMILY_PAIRS[0]).method(context)["ssim"]
    narrow = bench({"name": "response"}, FAMILY_PAIRS[1]).method
    for name in ("restored", "reference", "teacher_restored"):
        setattr(context, name, (getattr(context, name) + 1) / 2)
    torch.testing.assert_close(narrow(context)["ssim"], wide, rtol=1e-4, atol=1e-6)


def test_a_trusted_teacher_is_followed_only_where_it_is_better():
    tried = bench({"name": "response", "trust": "where_teacher_better"}, FAMILY_PAIRS[1])
    context = tried.leaves()
    tried.method(context)["distillation"].backward()
    off = (context.restored - context.reference).abs()
    better = (context.teacher_restored - context.reference).abs() < off
    assert 0 < better.float().mean() < 1
    assert torch.equal(context.restored.grad != 0, better)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"perceptual": 0.1}, "perceptual needs vgg19"),
        ({"reconstruction": 0, "distillation": 0, "ssim": 0}, "nothing would be learned"),
        ({"distillation_loss": "l2"}, "'l1', 'mse' or 'charbonnier'"),
        ({"eps": 0}, "greater than 0"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        ResponseParameters(**options)


@pytest.mark.parametrize("parameters", [ResponseParameters, NoneParameters])
def test_every_option_says_what_it_is(parameters):
    for name, field in parameters.model_fields.items():
        assert name == "name" or field.description, name


def test_small_patches_are_refused_with_ssim():
    tried = bench({"name": "response"}, FAMILY_PAIRS[1])
    with pytest.raises(IrkdError, match="at least 11 x 11 pixels, not 8 x 8"):
        tried.method(tried.context(8))


@pytest.fixture(scope="module")
def vgg19_file(tmp_path_factory):
    """Random weights in torchvision's layout, up to the last convolution."""
    from torchvision.models import vgg19

    with torch.device("meta"):
        shapes = vgg19(weights=None).features.state_dict()
    torch.manual_seed(0)
    state = {}
    for name, value in shapes.items():
        spread = (2 / value[0].numel()) ** 0.5 if value.ndim == 4 else 0.01
        state[f"features.{name}"] = (spread * torch.randn(value.shape)).half()
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    torch.save(state, path)
    return path


class TestVGG19:
    def test_features_are_those_of_torchvisions_network(self, vgg19_file):
        from torchvision.models import vgg19
        from torchvision.transforms.functional import normalize

        with torch.device("meta"):
            network = vgg19(weights=None).features
        state = torch.load(vgg19_file)
        network.load_state_dict(
            {k.removeprefix("features."): v.float() for k, v in state.items()}, assign=True
        )
        images = pairs(32)[1]
        expected = normalize(images, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        relus = []
        for layer in network.eval():
            expected = layer(expected)
            if isinstance(layer, torch.nn.ReLU):
                relus.append(expected)
        features = VGG19Features(vgg19_file)(images)
        # relu1_1, 2_1, 3_1, 4_1, 5_1 among blocks of 2, 2, 4, 4, 4 convolutions.
        for feature, index in zip(features, (0, 2, 4, 8, 12), strict=True):
            torch.testing.assert_close(feature, relus[index])

    def test_response_and_contrast_use_it(self, vgg19_file):
        given = {"vgg19": str(vgg19_file)}
        response = bench({"name": "response", **given}, FAMILY_PAIRS[0])
        assert response.method.term_weights["perceptual"] == 0.05
        context = response.leaves(32)
        response.method(context)["perceptual"].backward()
        assert context.restored.grad.abs().max() > 0
        assert not response.method.state_dict()
        skd = bench({"name": "skd", "phi": "vgg19", "alpha2": 0, **given}, FAMILY_PAIRS[0])
        context = skd.leaves(32)
        skd.method(context)["contrast"].backward()
        assert context.restored.grad.isfinite().all()
        assert context.restored.grad.abs().max() > 0

    def test_building_on_the_meta_device_keeps_real_weights(self, vgg19_file):
        with torch.device("meta"):
            features = VGG19Features(vgg19_file)
        assert features(pairs(32)[1])[4].isfinite().all()

    def test_what_is_not_vgg19_is_named(self, tmp_path, vgg19_file):
        with pytest.raises(IrkdError, match=r"no such file.*irkd downloads none"):
            VGG19Features(tmp_path / "missing.pth")
        with pytest.raises(IrkdError, match="no such file"):
            VGG19Features(tmp_path)
        cut = tmp_path / "cut.pth"
        cut.write_bytes(vgg19_file.read_bytes()[:1000])
        with pytest.raises(IrkdError, match="cannot be read"):
            VGG19Features(cut)
        other = tmp_path / "other.pth"
        torch.save({"features.0.weight": torch.zeros(3)}, other)
        with pytest.raises(IrkdError, match="does not hold VGG-19"):
            VGG19Features(other)
        torch.save([1, 2], other)
        with pytest.raises(IrkdError, match="expected a state dict"):
            VGG19Features(other)
