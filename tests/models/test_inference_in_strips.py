"""Inference computes in strips of rows: held to the paper's form, whatever the strips' height."""

from __future__ import annotations

import pytest
import torch
from tiny_restorers import VARIANTS, degraded, fitting, variant
from torch import Tensor, nn

from irkd.models import strips
from irkd.models.base import reference_path

EVERY = pytest.mark.parametrize("name", VARIANTS)


@EVERY
@pytest.mark.parametrize("strip_bytes", [1, 2**14])
# A single pixel at the lowest level has equal scores, among which DRSformer chooses freely.
@pytest.mark.parametrize("size", [(9, 9), (40, 24)])
def test_strips_of_any_height_give_the_definition(
    name: str, strip_bytes: int, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strips, "_STRIP_BYTES", strip_bytes)
    network = variant(name).double()
    images = fitting(network, *size, batch=2).double()
    with torch.inference_mode():
        found = network(images)
        with reference_path():
            expected = network(images)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * expected.abs().max().item())


@EVERY
def test_nothing_that_others_hold_is_written_over(name: str) -> None:
    network = variant(name)
    images = degraded(network, 32, 64, batch=2)
    seen: list[tuple[Tensor, Tensor]] = [(images, images.clone())]

    def keep(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen.extend((tensor, tensor.clone()) for tensor in (*inputs, output))

    for tap in network.taps().values():
        stage = network.get_submodule(tap.module)
        for module in (stage, *stage.children()):
            module.register_forward_hook(keep)
    parameters = [(parameter, parameter.clone()) for parameter in network.parameters()]
    with torch.inference_mode():
        network(images)
    assert len(seen) > len(network.taps())
    for tensor, before in [*seen, *parameters]:
        assert torch.equal(tensor, before)


@EVERY
def test_stages_can_be_replaced(name: str) -> None:
    network = variant(name)
    images = degraded(network, 32, 64)
    for tap in ("encoder_level1", "middle"):
        stage = network.get_submodule(network.taps()[tap].module)
        # Another memory layout than the network's own too.
        stage.forward = lambda features: features.contiguous() / 2
    with torch.inference_mode():
        found = network(images)
        with reference_path():
            expected = network(images)
    # As a share of the largest value: what is added up here is larger than what is left.
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-6 * float(expected.abs().max()))
