"""What is Uformer's own: windows of any rectangle, img_size, masks, dropped paths, its buffers."""

from __future__ import annotations

import copy
import io
import pickle
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import safetensors.torch
import torch
from golden_vectors import fill, golden
from hypothesis import given, settings
from tiny_restorers import SMALL_UFORMER, degraded, shaken
from torch import Tensor, nn
from torch.export import Dim

from irkd.errors import IrkdError
from irkd.models import uformer, uformer_windows
from irkd.models.apply import apply_network
from irkd.models.base import create_network, family, reference_path
from irkd.models.taps import TapRecorder
from irkd.models.uformer import LeWinBlock, UformerSpec
from irkd.models.uformer_windows import shift_mask
from irkd.models.weights import load_network_file, save_network


def small(**options: object) -> nn.Module:
    return shaken(create_network("uformer", **{**SMALL_UFORMER, **options})).eval()


@pytest.mark.parametrize(
    ("img_size", "win_size", "multiple"),
    [(128, 8, 128), (256, 8, 128), (64, 8, 64), (16, 8, 16), (128, 4, 64), (128, 7, 112)],
)
def test_size_multiple_fits_the_windows_of_every_level(
    img_size: int, win_size: int, multiple: int
) -> None:
    network = small(img_size=img_size, win_size=win_size)
    assert network.size_multiple == multiple
    sizes = (multiple, 2 * multiple)
    with torch.inference_mode():
        assert network(degraded(network, *sizes)).shape == (1, 3, *sizes)


def test_rectangles_hold_what_a_square_run_holds() -> None:
    # Two squares side by side: pixels far from the seam and the ends see the same as in one.
    network = small(shift_flag=False)
    square = degraded(network, 256, 256)
    with torch.inference_mode():
        alone = network(square)
        for wide in (torch.cat([square, square], 3), torch.cat([square, square], 2)):
            beside = network(wide)[..., :256, :256]
            torch.testing.assert_close(beside[..., :64, :64], alone[..., :64, :64])


def test_transposing_image_and_windows_transposes_the_result() -> None:
    network = small()
    turned = copy.deepcopy(network)
    side = network.spec.win_size
    pixels = torch.arange(side**2).view(side, side).T.flatten()
    offsets = torch.arange((2 * side - 1) ** 2).view(2 * side - 1, 2 * side - 1).T.flatten()
    with torch.no_grad():
        for key, parameter in turned.named_parameters():
            if parameter.ndim == 4:
                parameter.copy_(parameter.transpose(2, 3).clone())
            elif key.endswith("relative_position_bias_table"):
                parameter.copy_(parameter[offsets].clone())
            elif key.endswith("modulator.weight"):
                parameter.copy_(parameter[pixels].clone())
    network, turned = network.double(), turned.double()
    images = degraded(network, 64, 160).double()
    with torch.inference_mode():
        torch.testing.assert_close(turned(images.mT), network(images).mT)


@pytest.mark.parametrize("training", [False, True])
def test_official_square_output_whatever_the_path(training: bool) -> None:
    recorded = golden("uformer_student_shift")
    network = fill(create_network(recorded.arch, **recorded.options))
    reference = torch.from_numpy(recorded.arrays["output"])
    # Gradients of the bias tables rule out fused attention.
    for parameter in network.parameters():
        parameter.requires_grad_(training)
    output = apply_network(network, recorded.input).detach()
    assert (output - reference).abs().max() <= 2e-5 * reference.abs().max()


def test_img_size_is_part_of_the_network_and_saved_with_it(tmp_path: Path) -> None:
    shifted, unshifted = small(win_size=8, img_size=256), small(win_size=8, img_size=128)
    unshifted.load_state_dict(shifted.state_dict())
    images = degraded(shifted, 128, 128)
    with torch.inference_mode():
        assert (shifted(images) - unshifted(images)).abs().max() > 1e-3
        save_network(tmp_path / "a.safetensors", shifted, task="deblur")
        loaded = load_network_file(tmp_path / "a.safetensors").eval()
        assert loaded.spec.img_size == 256
        assert torch.equal(loaded(images), shifted(images))
        # Weights alone do not tell: 128, unless asked for.
        torch.save({"state_dict": shifted.state_dict(), "epoch": 1}, tmp_path / "b.pth")
        assert torch.equal(load_network_file(tmp_path / "b.pth").eval()(images), unshifted(images))
        asked = load_network_file(tmp_path / "b.pth", {"img_size": 256}).eval()
        assert torch.equal(asked(images), shifted(images))


def test_relative_positions_may_be_missing_or_wrong(tmp_path: Path) -> None:
    network = small()
    images = degraded(network, 32, 64)
    weights = network.state_dict()
    buffers = [key for key in weights if key.endswith("relative_position_index")]
    assert len(buffers) == sum(SMALL_UFORMER["depths"])
    without = {key: value for key, value in weights.items() if key not in buffers}
    wrong = {**weights, **{key: torch.full_like(weights[key], 10**9) for key in buffers}}
    with torch.inference_mode():
        for number, content in enumerate((without, wrong)):
            path = tmp_path / f"{number}.safetensors"
            safetensors.torch.save_file(content, path)
            assert torch.equal(load_network_file(path).eval()(images), network(images))
    assert not small().load_state_dict(without, strict=True).missing_keys


@pytest.mark.parametrize("size", [(4, 4), (4, 12), (8, 4), (12, 16)])
def test_masks_by_groups_equal_the_mask_of_all_windows(size: tuple[int, int]) -> None:
    window, shift = 4, 2
    tokens = torch.empty(2, *size, 1)
    mask = shift_mask(tokens, window, shift).flatten(0, 1).repeat(2, 1, 1)
    cpu = torch.device("cpu")
    plan = uformer_windows.window_plan(2, *size, window, shift, cpu)
    masks = uformer_windows.boundary_masks(window, shift, cpu, torch.float32)
    found = torch.empty_like(mask)
    # The plan's windows, in the order of their first pixel before rolling.
    y, x = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    window_of = (y // window) * (size[1] // window) + x // window
    count = size[0] * size[1] // window**2
    window_of = torch.cat(
        [window_of.roll((shift, shift), (0, 1)).flatten() + i * count for i in (0, 1)]
    )
    of_plan = window_of[plan.order.long()].view(-1, window**2)
    assert (of_plan == of_plan[:, :1]).all()
    for start, stop, kind in plan.groups:
        found[of_plan[start:stop, 0]] = masks[kind]
    assert torch.equal(found, mask)
    assert torch.equal(plan.order[plan.inverse.long()], torch.arange(len(plan.order)).int())


def test_many_windows_go_in_several_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    network = small()
    images = degraded(network, 64, 96, batch=2)
    with torch.inference_mode():
        expected = network(images)
        uformer_windows.window_plan.cache_clear()
        monkeypatch.setattr(uformer_windows, "WINDOWS_AT_ONCE", 7)
        torch.testing.assert_close(network(images), expected)
        uformer_windows.window_plan.cache_clear()


def test_plans_made_in_inference_serve_training() -> None:
    uformer_windows.window_plan.cache_clear()
    uformer_windows.boundary_masks.cache_clear()
    network = small()
    with torch.inference_mode():
        network(degraded(network, 32, 32))
    network.train()(degraded(network, 32, 32)).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_frozen_network_passes_gradients_to_its_input() -> None:
    # Fused attention, where no bias asks for a gradient.
    network = small().double().requires_grad_(False)
    images = degraded(network, 32, 64).double().requires_grad_()
    (found,) = torch.autograd.grad(network(images).square().sum(), images)
    with reference_path():
        (expected,) = torch.autograd.grad(network(images).square().sum(), images)
    torch.testing.assert_close(found, expected)


def test_copies_and_pickles_carry_no_caches() -> None:
    network = small()
    images = degraded(network, 32, 64)
    with torch.inference_mode():
        expected = network(images)
        before = {key for key, _ in network.named_buffers()}
        restored = pickle.loads(pickle.dumps(copy.deepcopy(network)))
        assert torch.equal(restored(images), expected)
    assert {key for key, _ in restored.named_buffers()} == before
    stream = io.BytesIO()
    torch.save(network.state_dict(), stream)
    weights = sum(tensor.nbytes for tensor in network.state_dict().values())
    assert stream.tell() < 3 * weights + 200_000


def test_paths_are_dropped_in_training_alone() -> None:
    network = small(drop_path_rate=0.5)
    images = degraded(network, 32, 32)
    with torch.no_grad():
        assert torch.equal(network(images), network(images))
        network.train()
        outputs = [network(images) for _ in range(4)]
    assert any(not torch.equal(outputs[0], other) for other in outputs[1:])


def test_dropped_paths_keep_the_mean() -> None:
    path = uformer.DropPath(0.3).train()
    scaled = path(torch.ones(20_000, 1, 1, 1))
    assert scaled.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert scaled.mean() == pytest.approx(1, abs=0.03)


def test_rates_rise_to_the_middle_and_fall_after_it() -> None:
    network = small(depths=[1, 2, 4, 4, 2, 4, 4, 2, 1], drop_path_rate=0.1)
    rates = [block.drop_path.rate for block in network.modules() if isinstance(block, LeWinBlock)]
    rising = [0.01 * step for step in range(11)]
    assert rates == pytest.approx([*rising, 0.1, 0.1, *reversed(rising)])


def test_taps_give_the_official_stages() -> None:
    network = small()
    taps = network.taps()
    with torch.inference_mode(), TapRecorder(network, taps) as features:
        stages: dict[str, Tensor] = {}
        for name, tap in taps.items():
            stage = network.get_submodule(tap.module.removesuffix(".blocks"))
            stage.register_forward_hook(lambda *call, name=name: stages.__setitem__(name, call[2]))
        network(degraded(network, 32, 64))
    assert [tap.channels for tap in taps.values()] == [4, 8, 16, 32, 64, 64, 32, 16, 8]
    assert [tap.stride for tap in taps.values()] == [1, 2, 4, 8, 16, 8, 4, 2, 1]
    for name, stage in stages.items():
        assert torch.equal(stage, features[name])


def test_one_block_is_a_graph_for_all_sizes() -> None:
    block = LeWinBlock(4, 2, 2, 1, UformerSpec(), modulated=True, drop_path=0.1)
    block = shaken(block).eval()
    sizes = {2: 2 * Dim("rows", min=1), 3: 2 * Dim("columns", min=1)}
    program = torch.export.export(
        block, (torch.rand(1, 4, 8, 12),), dynamic_shapes=(sizes,), strict=False
    )
    # torch's guards on memory layout refuse a side of a single window, where the graph is as right.
    graph = program.module(check_guards=False)
    for size in ((2, 2), (2, 8), (4, 2), (4, 4), (4, 10), (16, 6)):
        features = torch.rand(1, 4, *size)
        torch.testing.assert_close(graph(features), block(features), rtol=1e-5, atol=1e-5)


options = st.fixed_dictionaries(
    {
        "embed_dim": st.integers(2, 12).map(lambda half: 2 * half),
        "depths": st.lists(st.integers(1, 3), min_size=9, max_size=9),
        "num_heads": st.lists(st.sampled_from([1, 2]), min_size=9, max_size=9),
        "win_size": st.sampled_from([1, 2, 4, 7, 8]),
        "mlp_ratio": st.sampled_from([4.0, 2.0, 2.66, 3.0, 1.5]),
        "qkv_bias": st.booleans(),
        "token_mlp": st.sampled_from(["leff", "ffn"]),
        "modulator": st.booleans(),
        "dd_in": st.sampled_from([3, 4, 6]),
    }
)


@settings(max_examples=15, deadline=None)
@given(options, st.sampled_from([16, 32, 64, 100, 128]))
def test_any_uformer_is_read_back(options: dict[str, Any], img_size: int) -> None:
    with torch.device("meta"):
        first = create_network("uformer", img_size=img_size, **options)
        claim = family("uformer").read_spec(first.state_dict())
        assert claim is not None
        second = create_network("uformer", **claim)
    shapes = {key: value.shape for key, value in first.state_dict().items()}
    assert {key: value.shape for key, value in second.state_dict().items()} == shapes
    for name in ("embed_dim", "depths", "num_heads", "qkv_bias", "token_mlp", "modulator", "dd_in"):
        expected = options[name]
        assert claim[name] == (tuple(expected) if isinstance(expected, list) else expected), name


def test_convolutional_projection_is_refused_by_name(tmp_path: Path) -> None:
    weights = {
        key.replace("to_q.", "to_q.pointwise."): value
        for key, value in small().state_dict().items()
    }
    torch.save({"state_dict": weights}, tmp_path / "conv.pth")
    with pytest.raises(IrkdError, match="token_projection"):
        load_network_file(tmp_path / "conv.pth")
