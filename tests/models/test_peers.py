"""Independent loaders of the same files: spandrel reads what we write, and gives the same image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import spandrel
import spandrel_extra_arches
import torch
from tiny_restorers import SMALL_NAFNET, SMALL_RESTORMER, SMALL_UFORMER, degraded, shaken
from torch import Tensor, nn

from irkd.models.base import create_network
from irkd.models.weights import load_network_file

# spandrel reads every variant but levels without blocks. Its Uformer has an img_size
# of 256, and a decoder as deep as the encoder.
MIRRORED = [1, 2, 1, 1, 2, 1, 1, 2, 1]
SHIFTED = {**SMALL_UFORMER, "depths": MIRRORED, "win_size": 8, "img_size": 256}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "restormer": ("restormer", {**SMALL_RESTORMER, "heads": [1, 2, 4, 8]}),
    "restormer_biasfree": ("restormer", {**SMALL_RESTORMER, "LayerNorm_type": "BiasFree"}),
    "restormer_bias": ("restormer", {**SMALL_RESTORMER, "bias": True}),
    "restormer_grey": (
        "restormer",
        {**SMALL_RESTORMER, "LayerNorm_type": "BiasFree", "inp_channels": 1, "out_channels": 1},
    ),
    "restormer_dual": (
        "restormer",
        {**SMALL_RESTORMER, "dual_pixel_task": True, "inp_channels": 6},
    ),
    "nafnet": ("nafnet", SMALL_NAFNET),
    "nafnet_deep": (
        "nafnet",
        {"width": 6, "enc_blk_nums": [1, 1, 3], "middle_blk_num": 2, "dec_blk_nums": [2, 1, 1]},
    ),
    "uformer": ("uformer", SHIFTED),
    "uformer_plain": (
        "uformer",
        {**SHIFTED, "token_mlp": "ffn", "modulator": False, "qkv_bias": False},
    ),
}


def released(state_dict: dict[str, Tensor], form: str) -> object:
    with_prefix = {f"module.{key}": value for key, value in state_dict.items()}
    return {
        "bare": state_dict,
        "params": {"params": state_dict},
        "state_dict": {"epoch": 3, "state_dict": with_prefix, "optimizer": {"state": {}}},
    }[form]


@pytest.fixture(scope="module")
def loader() -> spandrel.ModelLoader:
    spandrel_extra_arches.install(ignore_duplicates=True)
    return spandrel.ModelLoader(device="cpu")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("form", ["bare", "params", "state_dict"])
def test_same_file_same_image(
    name: str, form: str, tmp_path: Path, loader: spandrel.ModelLoader
) -> None:
    arch, options = CASES[name]
    original = shaken(create_network(arch, **options)).eval()
    path = tmp_path / "released.pth"
    torch.save(released(original.state_dict(), form), path)
    peer: nn.Module = loader.load_from_file(path).model.eval()
    asked = {"img_size": 256} if arch == "uformer" else {}
    ours = load_network_file(path, asked).eval()
    sizes = {
        "restormer": [(32, 48), (16, 16)],
        # It pads by itself.
        "nafnet": [(32, 48), (16, 16), (23, 37)],
        # spandrel's takes squares only.
        "uformer": [(128, 128)],
    }[arch]
    with torch.inference_mode():
        for height, width in sizes:
            images = degraded(ours, height, width, batch=2)
            expected = peer(images)
            limit = 2e-5 * max(1.0, expected.abs().max().item())
            assert (ours(images) - expected).abs().max() <= limit
            assert torch.equal(ours(images), original(images))
