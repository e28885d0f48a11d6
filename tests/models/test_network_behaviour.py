"""What holds for every variant of every family."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny_restorers import VARIANTS, degraded, fitting, variant
from torch import Tensor, nn

from irkd.models.apply import apply_network
from irkd.models.base import RestorationNetwork, create_network, families, reference_path
from irkd.models.taps import TapRecorder, encode

EVERY = pytest.mark.parametrize("name", VARIANTS)


def test_every_family_is_held_to_this() -> None:
    assert {arch for arch, _ in VARIANTS.values()} == set(families())


@EVERY
@pytest.mark.parametrize("training", [False, True])
def test_both_paths_agree_in_value_and_gradient(name: str, training: bool) -> None:
    network = variant(name).double().train(training)
    images = fitting(network, 24, 40, batch=2).double().requires_grad_()

    def run() -> tuple[Tensor, list[Tensor]]:
        output = network(images)
        return output.detach(), list(
            torch.autograd.grad(output.square().sum(), [images, *network.parameters()])
        )

    output, gradients = run()
    with reference_path():
        reference, reference_gradients = run()
    torch.testing.assert_close(output, reference, rtol=1e-10, atol=1e-10)
    for found, expected in zip(gradients, reference_gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8 * expected.abs().max())


@EVERY
def test_every_parameter_gets_a_gradient(name: str) -> None:
    network = variant(name).train()
    network(fitting(network, 32, 48, batch=2)).square().mean().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().max() > 0, key


@EVERY
def test_images_of_a_batch_do_not_touch_each_other(name: str) -> None:
    network = variant(name).double()
    images = fitting(network, 24, 32, batch=3).double()
    with torch.inference_mode():
        together = network(images)
        alone = torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@EVERY
def test_the_same_images_give_the_same_result(name: str) -> None:
    network = variant(name)
    images = fitting(network, 24, 40, batch=2)
    again = create_network(network.spec.arch, **network.spec.model_dump(exclude={"arch"})).eval()
    again.load_state_dict(network.state_dict())
    with torch.inference_mode():
        expected = network(images)
        for other in (network, again, copy.deepcopy(network)):
            assert torch.equal(other(images), expected)
    assert torch.equal(images, fitting(network, 24, 40, batch=2))


@EVERY
def test_with_gradients_the_result_is_the_same(name: str) -> None:
    network = variant(name)
    images = fitting(network, 40, 24)
    with torch.inference_mode():
        expected = network(images)
    torch.testing.assert_close(network(images).detach(), expected, rtol=1e-4, atol=1e-5)


@EVERY
def test_taps_are_where_they_say(name: str) -> None:
    network = variant(name)
    assert isinstance(network, RestorationNetwork)
    taps = network.taps()
    reached: list[str] = []
    for tap_name, tap in taps.items():
        network.get_submodule(tap.module).register_forward_hook(
            lambda *_, tap_name=tap_name: reached.append(tap_name)
        )
    with torch.inference_mode(), TapRecorder(network, taps) as features:
        network(degraded(network, 32, 64))
    assert reached == list(taps)
    for tap_name, tap in taps.items():
        expected = (1, tap.channels, 32 // tap.stride, 64 // tap.stride)
        assert tuple(features[tap_name].shape) == expected, tap_name
        assert tap.role == ("decoder" if tap_name == "refinement" else tap_name.split("_")[0])
    assert "middle" in taps
    first = getattr(network.spec, "unshuffle", 1)
    assert taps["decoder_level1"].stride == taps["encoder_level1"].stride == first


@EVERY
def test_encode_gives_the_taps_alone(name: str) -> None:
    network = variant(name)
    images = fitting(network, 16, 16)
    with torch.inference_mode():
        features = encode(network, images, ["encoder_level1", "middle"])
        with TapRecorder(network, ["middle"]) as whole:
            network(images)
    assert list(features) == ["encoder_level1", "middle"]
    assert torch.equal(features["middle"], whole["middle"])


@EVERY
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_flat_images_stay_finite_in_low_precision(
    name: str, dtype: torch.dtype, level: float
) -> None:
    network = variant(name).to(dtype)
    images = torch.full((1, int(network.in_channels), 32, 32), level, dtype=dtype)
    with torch.inference_mode():
        assert network(images).isfinite().all()


@pytest.mark.parametrize(
    "name", ["restormer", "restormer_biasfree", "nafnet", "nafnet_local", "uformer", "drsformer"]
)
def test_black_images_give_finite_gradients(name: str) -> None:
    network = variant(name).train()
    network(torch.zeros_like(fitting(network, 16, 16, batch=2))).square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


@pytest.mark.parametrize(
    "name", ["restormer", "restormer_biasfree", "nafnet", "nafnet_local", "uformer", "drsformer"]
)
def test_autocast_trains(name: str) -> None:
    network = variant(name).train()
    images = degraded(network, 32, 32, batch=2)
    with torch.autocast("cpu", torch.bfloat16):
        output = network(images)
    output.float().square().mean().backward()
    with torch.no_grad():
        exact = network(images)
    assert (output - exact).std() < 0.1 * exact.std()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_attention_sums_stay_inside_float16() -> None:
    # 64 x 64 pixels of about 30: the sum of squares is far above 65504, float16's largest.
    network = variant("restormer")
    with torch.no_grad():
        for key, parameter in network.named_parameters():
            if key.endswith("qkv.weight"):
                parameter[: 2 * parameter.shape[0] // 3] *= 30
    images = degraded(network, 64, 64)
    with torch.inference_mode():
        exact = network(images)
        half = network.half()(images.half())
    assert (half - exact).std() < 0.02 * exact.std()


@pytest.mark.parametrize("name", ["restormer_biasfree", "restormer", "nafnet", "uformer"])
def test_normalisation_of_wide_spreads_in_float16(name: str) -> None:
    # Channels a thousand apart have a variance that float16 cannot hold.
    network = variant(name)
    first = network.get_submodule(network.taps()["encoder_level1"].module)[0]
    channels = network.taps()["encoder_level1"].channels
    norm, features = first.norm1, 1000 * torch.randn(1, channels, 4, 4)
    with torch.inference_mode():
        exact = norm(features)
        half = norm.half()(features.half())
    torch.testing.assert_close(half.float(), exact, rtol=5e-3, atol=5e-3)


@EVERY
def test_runs_on_meta(name: str) -> None:
    arch, options = VARIANTS[name]
    with torch.device("meta"):
        network: nn.Module = create_network(arch, **options)
    images = torch.empty(2, int(network.in_channels), 64, 32, device="meta")
    assert network(images).shape == (2, int(network.out_channels), 64, 32)
    with reference_path():
        assert network.eval()(images).shape == (2, int(network.out_channels), 64, 32)


@EVERY
@pytest.mark.parametrize("size", [(1, 1), (7, 30), (33, 8), (50, 64)])
def test_images_of_any_size_are_restored(name: str, size: tuple[int, int]) -> None:
    network = variant(name)
    with torch.inference_mode():
        restored = apply_network(network, degraded(network, *size))
    assert restored.shape == (1, network.out_channels, *size)
    assert restored.isfinite().all()


@pytest.mark.parametrize("name", ["restormer", "nafnet", "uformer", "drsformer"])
def test_memory_layout_of_the_input_changes_nothing(name: str) -> None:
    network = variant(name)
    images = degraded(network, 32, 32, batch=2)
    with torch.inference_mode():
        expected = network(images)
        for layout in (
            images.contiguous(memory_format=torch.channels_last),
            images.transpose(2, 3).contiguous().transpose(2, 3),
        ):
            torch.testing.assert_close(network(layout), expected, rtol=1e-5, atol=1e-6)


def test_untrained_nafnet_blocks_are_the_identity() -> None:
    network = create_network("nafnet", width=4, enc_blk_nums=[2], dec_blk_nums=[1])
    features = torch.randn(1, 4, 8, 8)
    assert torch.equal(network.encoders[0](features), features)


def test_nafnet_fills_with_zeros_at_the_right_and_bottom() -> None:
    network = variant("nafnet")
    images = degraded(network, 13, 18)
    padded = torch.nn.functional.pad(images, (0, 2, 0, 3))
    with torch.inference_mode():
        torch.testing.assert_close(network(images), network(padded)[..., :13, :18])
