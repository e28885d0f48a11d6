"""A preset that trains in seconds, for tests of the loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from irkd.models.base import build_network
from irkd.models.weights import save_network
from irkd.presets.load import validate
from irkd.presets.schema import Preset

NETWORK = {"arch": "nafnet", "enc_blk_nums": [1], "middle_blk_num": 1, "dec_blk_nums": [1]}


def tiny_content(**training: Any) -> dict[str, Any]:
    return {
        "name": "tiny",
        "task": "denoise",
        "student": {**NETWORK, "width": 4},
        "methods": [{"name": "none"}],
        "data": {"train": "procedural", "validation": "none", "count": 6, "size": 48},
        "training": {
            "steps": 8,
            "batch_size": 2,
            "patch": 16,
            "lr": 1e-3,
            "precision": "fp32",
            "checkpoint_every": 100,
            **training,
        },
    }


def tiny_preset(**training: Any) -> Preset:
    return validate(tiny_content(**training), "tiny")


def tiny_teacher(path: Path, width: int = 6) -> dict[str, Any]:
    """Save random teacher weights at `path`; the spec that a preset gives for them."""
    spec = validate({**tiny_content(), "student": {**NETWORK, "width": width}}, "teacher").student
    torch.manual_seed(7)
    network = build_network(spec)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    save_network(path, network, task="denoise")
    return {**NETWORK, "width": width, "weights": str(path)}


def skd_preset(folder: Path, **training: Any) -> Preset:
    """The tiny preset with a teacher and the skd method (projectors, attention, contrast)."""
    content = tiny_content(**training)
    content["teacher"] = tiny_teacher(folder / "teacher.safetensors")
    content["methods"] = [{"name": "skd"}]
    return validate(content, "tiny")
