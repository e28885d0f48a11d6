"""Every family against recorded numbers of their official implementations."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from golden_vectors import GOLDENS, NAMES, Golden, fill, filled, golden
from torch import Tensor, nn

from irkd.models.base import create_network, reference_path

# Without fast kernels for float64, these two alone take as long as all others together.
IN_FLOAT64 = [
    pytest.param(name, marks=pytest.mark.slow)
    if name in ("drsformer_tiny", "drsformer_nomefc")
    else name
    for name in NAMES
]


@cache
def loaded(name: str) -> tuple[Golden, nn.Module]:
    recorded = golden(name)
    return recorded, fill(create_network(recorded.arch, **recorded.options))


@cache
def in_float64(name: str) -> tuple[np.ndarray, dict[str, Tensor], dict[str, float]]:
    """Output, stage outputs and gradient norms of loss = mean(output ** 2)."""
    recorded, network = loaded(name)
    network = fill(create_network(recorded.arch, **recorded.options)).double()
    stages: dict[str, Tensor] = {}

    def keep(stage: str) -> Callable[[Any, Any, Tensor], None]:
        return lambda _module, _inputs, output: stages.__setitem__(stage, output.detach())

    for stage in map(str, recorded.arrays["stage_names"]):
        network.get_submodule(stage).register_forward_hook(keep(stage))
    output = network(recorded.input.double())
    output.square().mean().backward()
    norms = {key: parameter.grad.norm().item() for key, parameter in network.named_parameters()}
    return output.detach().numpy(), stages, norms


def assert_within(values: Any, reference: np.ndarray, tolerance: float) -> None:
    limit = tolerance * max(1.0, np.abs(reference).max())
    assert np.abs(np.asarray(values) - reference).max() <= limit


def test_fill_rule_reproduces_its_record() -> None:
    vectors = json.loads((GOLDENS / "fill_selfcheck.json").read_text())["vectors"]
    assert vectors
    for vector in vectors:
        values = filled(vector["key"], vector["shape"])
        assert hashlib.sha256(values.tobytes()).hexdigest() == vector["sha256_f32"], vector["key"]


@pytest.mark.parametrize("name", NAMES)
def test_output_in_float32(name: str) -> None:
    recorded, network = loaded(name)
    with torch.inference_mode():
        assert_within(network(recorded.input), recorded.arrays["output"], 2e-5)


@pytest.mark.parametrize(
    "name",
    ["restormer_tiny", "restormer_biasfree", "nafnet_local", "drsformer_student", "uformer_tiny"],
)
def test_reference_path_gives_the_same_output(name: str) -> None:
    recorded, network = loaded(name)
    with torch.inference_mode(), reference_path():
        assert_within(network(recorded.input), recorded.arrays["output"], 2e-5)


@pytest.mark.parametrize("name", IN_FLOAT64)
def test_output_in_float64(name: str) -> None:
    recorded, _ = loaded(name)
    output, _, _ = in_float64(name)
    assert_within(output[..., ::4, ::4], recorded.arrays["output_f64_crop4"], 1e-9)
    assert_within(output.mean(), recorded.arrays["out_mean"], 1e-9)
    assert_within(output.std(), recorded.arrays["out_std"], 1e-9)


@pytest.mark.parametrize("name", IN_FLOAT64)
def test_stages(name: str) -> None:
    recorded, _ = loaded(name)
    _, stages, _ = in_float64(name)
    for stage, statistics in zip(
        recorded.arrays["stage_names"], recorded.arrays["stage_stats"], strict=True
    ):
        values = stages[str(stage)].numpy()
        found = [values.mean(), values.std(), np.abs(values).max()]
        np.testing.assert_allclose(found, statistics, rtol=1e-9, atol=1e-9, err_msg=str(stage))


@pytest.mark.parametrize("name", IN_FLOAT64)
def test_gradients(name: str) -> None:
    recorded, _ = loaded(name)
    _, _, norms = in_float64(name)
    names = [str(key) for key in recorded.arrays["grad_names"]]
    assert sorted(names) == sorted(norms)
    found = [norms[key] for key in names]
    np.testing.assert_allclose(found, recorded.arrays["grad_norms"], rtol=1e-8, atol=1e-12)
