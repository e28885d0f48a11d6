"""Small networks of every variant, with weights that leave no branch at zero."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from irkd.models.base import create_network

SMALL_RESTORMER = {"dim": 8, "num_blocks": [1, 1, 1, 1], "num_refinement_blocks": 1}
SMALL_NAFNET = {
    "width": 4,
    "enc_blk_nums": [1, 2],
    "middle_blk_num": 1,
    "dec_blk_nums": [1, 1],
}

SMALL_UFORMER = {
    "embed_dim": 4,
    "depths": [1, 2, 1, 1, 2, 1, 1, 2, 2],
    "num_heads": [1, 2, 2, 2, 4, 4, 2, 2, 1],
    "win_size": 2,
    "drop_path_rate": 0,
}

SMALL_DRSFORMER = {"dim": 8, "num_blocks": [1, 1, 1, 1], "mefc_steps": 2}

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "restormer": ("restormer", SMALL_RESTORMER),
    "restormer_biasfree": ("restormer", {**SMALL_RESTORMER, "LayerNorm_type": "BiasFree"}),
    "restormer_bias": ("restormer", {**SMALL_RESTORMER, "bias": True, "heads": [2, 1, 4, 8]}),
    "restormer_dual": (
        "restormer",
        {**SMALL_RESTORMER, "dual_pixel_task": True, "inp_channels": 6},
    ),
    "restormer_grey": ("restormer", {**SMALL_RESTORMER, "inp_channels": 1, "out_channels": 1}),
    "restormer_no_blocks": ("restormer", {"dim": 8, "num_blocks": [1, 0, 1, 0]}),
    "drsformer": ("drsformer", SMALL_DRSFORMER),
    "drsformer_plain": (
        "drsformer",
        {
            "dim": 8,
            "num_blocks": [1, 1, 1, 1],
            "heads": [2, 1, 4, 8],
            "bias": True,
            "LayerNorm_type": "BiasFree",
            "mefc": False,
        },
    ),
    "drsformer_layers": (
        "drsformer",
        {
            "dim": 8,
            "num_blocks": [1, 0, 1, 0],
            "mefc_layers": 2,
            "mefc_steps": 1,
            "inp_channels": 1,
            "out_channels": 1,
        },
    ),
    "nafnet": ("nafnet", SMALL_NAFNET),
    "nafnet_one_level": (
        "nafnet",
        {"width": 6, "enc_blk_nums": [1], "middle_blk_num": 0, "dec_blk_nums": [0]},
    ),
    "nafnet_local": ("nafnet_local", {**SMALL_NAFNET, "train_size": [1, 3, 16, 16]}),
    "uformer": ("uformer", SMALL_UFORMER),
    "resunet": ("resunet", {"widths": [4, 6, 8], "blocks": [1, 2, 1]}),
    "resunet_whole_pixels": (
        "resunet",
        {"img_channel": 1, "unshuffle": 1, "widths": [4, 6], "blocks": [1, 0]},
    ),
    "deconvunet": (
        "deconvunet",
        {"widths": [4, 6], "blocks": [1, 1], "kernels": [5, 9], "noises": [1e-2, 1e-1]},
    ),
    "deconvunet_grey": (
        "deconvunet",
        {"img_channel": 1, "unshuffle": 1, "widths": [4, 6], "blocks": [1, 0], "kernels": [7]},
    ),
    "dehazeunet": ("dehazeunet", {"widths": [4, 6], "blocks": [1, 1]}),
    "dehazeunet_grey": (
        "dehazeunet",
        {"img_channel": 1, "unshuffle": 1, "widths": [4, 6], "blocks": [1, 0]},
    ),
    # Windows of 4 pixels, but 2 in the middle; 3 channels more than the image has.
    "uformer_small_images": (
        "uformer",
        {**SMALL_UFORMER, "win_size": 4, "img_size": 32, "dd_in": 6, "qkv_bias": False},
    ),
    "uformer_plain": (
        "uformer",
        {**SMALL_UFORMER, "token_mlp": "ffn", "modulator": False, "shift_flag": False},
    ),
}


def variant(name: str, seed: int = 0) -> nn.Module:
    arch, options = VARIANTS[name]
    return shaken(create_network(arch, **options), seed).eval()


def shaken(network: nn.Module, seed: int = 0) -> nn.Module:
    """Move every weight off its start: NAFNet's blocks start as the identity."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 4 and parameter.shape[0] > 1:
                parameter.copy_(noise / parameter[0].numel() ** 0.5)
            else:
                parameter.add_(0.2 * noise)
    return network


def fitting(network: nn.Module, height: int, width: int, batch: int = 1, seed: int = 0) -> Tensor:
    """`degraded` of the next size that the network takes."""
    multiple = int(network.size_multiple)
    height, width = (-(-side // multiple) * multiple for side in (height, width))
    return degraded(network, height, width, batch, seed)


def degraded(network: nn.Module, height: int, width: int, batch: int = 1, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, int(network.in_channels), height, width, generator=generator)
