"""The teachers of the presets are the networks whose weights were released, for every task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from golden_vectors import key_list
from tiny_restorers import SMALL_DRSFORMER, SMALL_NAFNET, SMALL_RESTORMER, SMALL_UFORMER, shaken
from torch import Tensor, nn

import irkd
from irkd.errors import IrkdError
from irkd.models.base import build_network, create_network
from irkd.presets.load import load_preset
from irkd.presets.schema import teacher_with

# Preset, task, which of its releases, the key list of the official network.
RELEASED = [
    ("res-skd", "derain", 0, "restormer"),
    ("res-skd", "deblur", 0, "restormer"),
    ("res-skd", "denoise", 0, "restormer_biasfree_rgb"),
    ("res-skd", "denoise", 1, "restormer_biasfree_rgb"),
    ("sharpen", "deblur", 0, "restormer"),
    ("ufor-skd", "deblur", 0, "uformer"),
    ("ufor-skd", "denoise", 0, "uformer"),
    ("drs-skd", "derain", 0, "drsformer"),
    ("drs-skd", "derain", 1, "drsformer"),
    ("drs-skd", "derain", 2, "drsformer"),
    ("drs-skd", "derain", 3, "drsformer_nomefc"),
    ("drs-skd", "derain", 4, "drsformer_nomefc"),
]


@pytest.mark.parametrize(("name", "task", "position", "keys"), RELEASED)
def test_teachers_have_the_released_weights_names_and_shapes(
    name: str, task: str, position: int, keys: str
) -> None:
    preset = load_preset(name, task=task)
    assert preset.releases is not None
    teacher = teacher_with(preset.teacher, preset.releases[position].options)
    with torch.device("meta"):
        weights = build_network(teacher).state_dict()
    assert [(key, tuple(tensor.shape)) for key, tensor in weights.items()] == key_list(keys)


def test_uformers_image_size_is_that_of_the_task() -> None:
    sizes = {
        task: load_preset("ufor-skd", task=task).teacher.img_size
        for task in ("derain", "deblur", "denoise", "dehaze")
    }
    assert sizes == {"derain": 128, "deblur": 256, "denoise": 128, "dehaze": 128}


def uformer_training_file(network: nn.Module) -> dict[str, Any]:
    """As its training writes it: DataParallel's prefix, the optimizer, and no index buffers."""
    weights = {
        f"module.{key}": tensor
        for key, tensor in network.state_dict().items()
        if "relative_position_index" not in key
    }
    optimizer = torch.optim.AdamW(network.parameters()).state_dict()
    return {"epoch": 12, "state_dict": weights, "optimizer": optimizer}


OFFICIAL = {
    "restormer": SMALL_RESTORMER,
    "drsformer": SMALL_DRSFORMER,
    "nafnet": SMALL_NAFNET,
    "uformer": SMALL_UFORMER,
}


def official(arch: str, **options: object) -> nn.Module:
    return shaken(create_network(arch, **{**OFFICIAL[arch], **options}))


def saved(network: nn.Module, path: Path) -> Path:
    wrapped = (
        uformer_training_file(network)
        if network.spec.arch == "uformer"
        else {"params": network.state_dict()}
    )
    torch.save(wrapped, path)
    return path


@pytest.mark.parametrize(
    ("arch", "options"),
    [
        ("restormer", {}),
        ("restormer", {"LayerNorm_type": "BiasFree"}),
        ("drsformer", {}),
        ("drsformer", {"mefc": False}),
        ("nafnet", {}),
        ("uformer", {}),
        ("uformer", {"modulator": False}),
    ],
)
def test_official_wrappings_load_with_options_read_from_the_weights(
    arch: str, options: dict[str, object], tmp_path: Path
) -> None:
    network = official(arch, **options).eval()
    loaded = irkd.load_network(saved(network, tmp_path / "released.pth"))
    multiple: int = network.size_multiple
    images = torch.rand(1, 3, multiple, 2 * multiple)
    with torch.no_grad():
        assert torch.equal(loaded(images), network(images))
    assert bool(loaded.assumptions) == (arch in ("nafnet", "uformer"))


@pytest.mark.parametrize("task", [None, "denoise", "derain", "deblur"])
def test_uformers_image_size_follows_the_task_and_is_said(task: str | None, tmp_path: Path) -> None:
    network = official("uformer", win_size=8)
    path = saved(network, tmp_path / "uformer.pth")
    loaded = irkd.load_network(path, task=task)
    assert loaded.spec.img_size == (256 if task == "deblur" else 128)
    (said,) = loaded.assumptions
    assert f"{loaded.spec.img_size} is taken" in said
    assert "--set img_size=" in said


def test_the_shifted_middle_is_another_network(tmp_path: Path) -> None:
    path = saved(official("uformer", win_size=8), tmp_path / "uformer.pth")
    images = torch.rand(1, 3, 256, 256)
    outputs: dict[int, Tensor] = {}
    for size in (128, 256):
        loaded = irkd.load_network(path, options={"img_size": size})
        assert loaded.assumptions == ()
        with torch.no_grad():
            outputs[size] = loaded(images)
    assert not torch.allclose(outputs[128], outputs[256], atol=1e-3)


@pytest.mark.parametrize(
    ("layout", "task", "arch"),
    [
        ("gopro", None, "nafnet_local"),
        ("gopro", "deblur", "nafnet_local"),
        ("gopro", "denoise", "nafnet"),
        ("other", None, "nafnet"),
        ("other", "deblur", "nafnet_local"),
        ("other", "denoise", "nafnet"),
    ],
)
def test_nafnets_pooling_follows_the_task_and_is_said(
    layout: str, task: str | None, arch: str, tmp_path: Path
) -> None:
    gopro = {"enc_blk_nums": [1, 1, 1, 28], "middle_blk_num": 1, "dec_blk_nums": [1] * 4}
    network = official("nafnet", **({"width": 2, **gopro} if layout == "gopro" else {}))
    path = saved(network, tmp_path / "nafnet.pth")
    loaded = irkd.load_network(path, task=task)
    assert loaded.spec.arch == arch
    (said,) = loaded.assumptions
    assert "pooling" in said
    other = "nafnet" if arch == "nafnet_local" else "nafnet_local"
    assert f"--set arch={other}" in said
    asked = irkd.load_network(path, task=task, options={"arch": other})
    assert (asked.spec.arch, asked.assumptions) == (other, ())


def test_files_that_describe_themselves_assume_nothing(tmp_path: Path) -> None:
    from irkd.models.weights import save_network

    save_network(tmp_path / "own.safetensors", official("uformer"), task="derain")
    loaded = irkd.load_network(tmp_path / "own.safetensors", task="deblur")
    assert (loaded.spec.img_size, loaded.assumptions) == (128, ())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"img_sice": 256}, "Did you mean 'img_size'"),
        ({"img_size": 0}, "img_size"),
        ({"embed_dim": 8}, "embed_dim 4 and 8"),
        ({"arch": "uformr"}, "Did you mean 'uformer'"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], expected: str, tmp_path: Path) -> None:
    path = saved(official("uformer"), tmp_path / "uformer.pth")
    with pytest.raises(IrkdError) as caught:
        irkd.load_network(path, options=options)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
