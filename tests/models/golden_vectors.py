"""Outputs of the official networks with weights that a rule makes from their names.

The rule: each weight is standard normal noise seeded by the SHA-256 of its key, scaled by kind.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

TESTS = Path(__file__).parents[1]
GOLDENS = TESTS / "goldens"
KEYS = TESTS / "keys"

NAMES = (
    "restormer_tiny",
    "restormer_student",
    "restormer_biasfree",
    "restormer_dualpixel",
    "nafnet_tiny_gopro",
    "nafnet_tiny_sidd",
    "nafnet_student",
    "nafnet_student_w32",
    "nafnet_local",
    "uformer_tiny",
    "uformer_student",
    "uformer_student_shift",
    "drsformer_tiny",
    "drsformer_student",
    "drsformer_nomefc",
)


@dataclass(frozen=True)
class Golden:
    arch: str
    options: dict[str, Any]
    input: Tensor
    arrays: dict[str, np.ndarray]


def golden(name: str) -> Golden:
    with np.load(GOLDENS / f"{name}.npz") as file:
        arrays = dict(file)
    config = json.loads(str(arrays["config_json"]))
    degraded = filled("input", config["input"])
    return Golden(config["arch"], config["options"], torch.from_numpy(degraded), arrays)


def key_list(name: str) -> list[tuple[str, tuple[int, ...]]]:
    entries = json.loads((KEYS / f"{name}.json").read_text())
    return [(key, tuple(shape)) for key, shape in entries]


def filled(key: str, shape: list[int] | tuple[int, ...]) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little")
    noise = np.random.Generator(np.random.PCG64(seed=seed)).standard_normal(tuple(shape))
    leaf = key.rsplit(".", 1)[-1]
    if key == "input":
        value = np.clip(0.5 + 0.2 * noise, 0, 1)
    elif leaf in ("temperature", "beta", "gamma"):
        value = 1 + 0.1 * noise
    elif leaf in ("attn1", "attn2", "attn3", "attn4"):
        value = 0.2 + 0.05 * noise
    elif leaf == "relative_position_bias_table" or key.endswith("modulator.weight"):
        value = 0.5 * noise
    elif noise.ndim == 1 and leaf == "weight":
        value = 1 + 0.1 * noise
    elif noise.ndim == 1 and leaf == "bias":
        value = 0.02 * noise
    else:
        value = noise / np.sqrt(np.prod(noise.shape[1:]))
    return value.astype(np.float32)


def fill(network: nn.Module) -> nn.Module:
    """Give a network the weights of the rule; integer buffers stay as constructed."""
    weights = {
        key: torch.from_numpy(filled(key, tuple(tensor.shape)))
        for key, tensor in network.state_dict().items()
        if tensor.is_floating_point()
    }
    network.load_state_dict(weights, strict=False)
    return network.eval()
