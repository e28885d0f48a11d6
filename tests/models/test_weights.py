"""Saving, loading and naming networks: what fits, what does not, and what each says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch
from tiny_restorers import SMALL_NAFNET, SMALL_RESTORMER, VARIANTS, degraded, shaken, variant
from torch import nn

from irkd.errors import IrkdError
from irkd.models import weights
from irkd.models.base import create_network
from irkd.models.weights import (
    load_network_file,
    load_weights,
    read_metadata,
    resolve_model,
    save_network,
)


def nafnet(**options: object) -> nn.Module:
    return shaken(create_network("nafnet", **{**SMALL_NAFNET, **options}))


def restormer(**options: object) -> nn.Module:
    return shaken(create_network("restormer", **{**SMALL_RESTORMER, **options}))


def same_weights(first: nn.Module, second: nn.Module) -> bool:
    ours, theirs = first.state_dict(), second.state_dict()
    return list(ours) == list(theirs) and all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_saved_network_comes_back(name: str, tmp_path: Path) -> None:
    network = variant(name)
    path = tmp_path / "student.safetensors"
    save_network(path, network, task="derain", preset="drs-skd", training={"steps": 10})
    loaded = load_network_file(path)
    assert loaded.spec == network.spec
    assert same_weights(loaded, network)
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    metadata = read_metadata(path)
    assert metadata["format"] == 1
    assert (metadata["task"], metadata["preset"]) == ("derain", "drs-skd")
    assert metadata["training"] == {"steps": 10}
    assert "weights" not in metadata["spec"]


def test_value_range_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_network(path, nafnet(value_range=[-1, 1]), task="derain")
    assert load_network_file(path).spec.value_range == (-1.0, 1.0)


def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    network = nafnet()
    for name in ("a", "b"):
        save_network(tmp_path / f"{name}.safetensors", network, task=None)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_half_precision_files_load_as_float32(tmp_path: Path) -> None:
    network = nafnet()
    whole, half = tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    save_network(whole, network, task=None)
    save_network(half, network, task=None, half=True)
    stored = safetensors.torch.load_file(half)
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    loaded = load_network_file(half)
    for parameter, original in zip(loaded.parameters(), network.parameters(), strict=True):
        assert parameter.dtype == torch.float32
        torch.testing.assert_close(parameter, original, rtol=1e-3, atol=1e-6)


def test_saving_refuses_what_would_be_lost_or_useless(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    network = nafnet()
    save_network(path, network, task=None)
    before = path.read_bytes()
    with pytest.raises(IrkdError, match="exists already"):
        save_network(path, network, task=None)
    with pytest.raises(IrkdError, match=r"\.safetensors"):
        save_network(tmp_path / "a.pth", network, task=None)
    with torch.no_grad():
        network.intro.bias[0] = 1e6
    with pytest.raises(IrkdError, match="float16"):
        save_network(path, network, task=None, half=True, overwrite=True)
    with torch.no_grad():
        network.intro.bias[0] = float("nan")
    with pytest.raises(IrkdError, match=r"not written.*intro\.bias"):
        save_network(path, network, task=None, overwrite=True)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


WRAPPINGS: dict[str, Any] = {
    "bare": lambda weights: weights,
    "params": lambda weights: {"params": weights},
    "params_ema": lambda weights: {
        "params": {key: 0 * value for key, value in weights.items()},
        "params_ema": weights,
    },
    "model": lambda weights: {"model": weights, "iter": 7},
    "nested": lambda weights: {"model": {"state_dict": weights}, "epoch": 1},
    "data_parallel": lambda weights: {
        "epoch": 3,
        "state_dict": {f"module.{key}": value for key, value in weights.items()},
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-3}]},
    },
    "half": lambda weights: {"params": {key: value.half() for key, value in weights.items()}},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("legacy", [False, True])
def test_wrapped_checkpoints(wrapping: str, legacy: bool, tmp_path: Path) -> None:
    network = nafnet()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.half())
    path = tmp_path / "net.pth"
    torch.save(
        WRAPPINGS[wrapping](network.state_dict()), path, _use_new_zipfile_serialization=not legacy
    )
    loaded = load_network_file(path)
    assert same_weights(loaded, network)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}


def test_module_is_stripped_only_as_a_prefix(tmp_path: Path) -> None:
    network = nafnet()
    weights_ = {
        key.replace("intro.", "intro.module."): v for key, v in network.state_dict().items()
    }
    torch.save(weights_, tmp_path / "net.pth")
    with pytest.raises(IrkdError, match=r"intro\.module\.weight"):
        load_weights(network, tmp_path / "net.pth")


def test_safetensors_without_metadata_are_read_by_their_shapes(tmp_path: Path) -> None:
    network = restormer(bias=True)
    path = tmp_path / "plain.safetensors"
    safetensors.torch.save_file(network.state_dict(), path)
    loaded = load_network_file(path)
    assert loaded.spec == network.spec
    assert same_weights(loaded, network)
    assert read_metadata(path) == {}


def test_options_overrule_what_weights_do_not_tell(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    network = nafnet()
    save_network(path, network, task=None)
    local = load_network_file(
        path, {"arch": "nafnet_local", "train_size": [1, 3, 16, 16], "value_range": [-1, 1]}
    )
    assert local.spec.arch == "nafnet_local"
    assert local.spec.value_range == (-1.0, 1.0)
    assert same_weights(local, network)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 8}, "width 4 and 8"),
        ({"enc_blk_nums": [1, 3]}, r"enc_blk_nums \[1, 2\] and \[1, 3\]"),
        ({"arch": "restormer"}, "Its weights are NAFNet's"),
        ({"arch": "restormr"}, "Did you mean 'restormer'"),
        ({"width": -1}, "width"),
        ({"widht": 4}, "Did you mean 'width'"),
    ],
)
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_options_that_contradict_the_weights(
    options: dict[str, object], message: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"net{suffix}"
    if suffix == ".pth":
        torch.save({"params": nafnet().state_dict()}, path)
    else:
        save_network(path, nafnet(), task=None)
    with pytest.raises(IrkdError, match=message) as caught:
        load_network_file(path, options)
    assert str(path) in str(caught.value) or "arch" in options


def test_loading_into_a_known_network(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    source, target = nafnet(), create_network("nafnet", **SMALL_NAFNET)
    torch.save({"params": source.state_dict()}, path)
    load_weights(target, path)
    assert same_weights(source, target)


def test_loading_into_another_network_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save({"params": restormer().state_dict()}, path)
    for network, message in (
        (nafnet(), "Its weights are Restormer's"),
        (restormer(dim=16), "dim 8 and 16"),
        (restormer(num_refinement_blocks=2), "num_refinement_blocks 1 and 2"),
        (restormer(LayerNorm_type="BiasFree"), "LayerNorm_type WithBias and BiasFree"),
    ):
        before = {key: value.clone() for key, value in network.state_dict().items()}
        with pytest.raises(IrkdError, match=message):
            load_weights(network, path)
        assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_another_value_range_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_network(path, nafnet(value_range=[-1, 1]), task=None)
    with pytest.raises(IrkdError, match=r"value_range: \[-1\.0, 1\.0\]"):
        load_weights(nafnet(), path)


def test_missing_unexpected_and_misshapen_weights_are_named(tmp_path: Path) -> None:
    network = nafnet()
    state_dict = dict(network.state_dict())
    del state_dict["intro.bias"]
    state_dict["stranger"] = torch.ones(2)
    state_dict["ending.bias"] = torch.ones(4)
    torch.save(state_dict, tmp_path / "net.pth")
    with pytest.raises(IrkdError) as caught:
        load_network_file(tmp_path / "net.pth")
    for part in ("1 missing: intro.bias", "1 unexpected: stranger", "ending.bias [4] for [3]"):
        assert part in str(caught.value)


def test_long_lists_are_cut(tmp_path: Path) -> None:
    network = nafnet()
    state_dict = {k: v for k, v in network.state_dict().items() if not k.endswith("bias")}
    torch.save(state_dict, tmp_path / "net.pth")
    with pytest.raises(IrkdError, match=r"and \d+ more") as caught:
        load_weights(network, tmp_path / "net.pth")
    assert len(str(caught.value)) < 500


def test_loading_leaves_random_numbers_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_network(path, nafnet(), task=None)
    before = torch.get_rng_state()
    load_network_file(path)
    assert torch.equal(torch.get_rng_state(), before)


def test_models_by_path(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    save_network(run / "student.safetensors", nafnet(), task=None)
    for name, kind in (
        ("a.pth", "checkpoint"),
        ("a.PT", "checkpoint"),
        ("a.ckpt", "checkpoint"),
        ("a.onnx", "onnx"),
        ("a.xml", "openvino"),
        ("a.safetensors", "safetensors"),
        ("a.bin", None),
    ):
        path = tmp_path / name
        path.write_bytes(b"")
        if kind is None:
            with pytest.raises(IrkdError, match="no kind of model"):
                resolve_model(path)
        elif kind == "openvino":
            with pytest.raises(IrkdError, match=r"a\.bin, which is missing"):
                resolve_model(path)
        else:
            resolved = resolve_model(path)
            assert (resolved.kind, resolved.path, resolved.name) == (kind, path, "a")
    assert resolve_model(tmp_path / "a.xml").kind == "openvino"
    resolved = resolve_model(str(run))
    assert (resolved.kind, resolved.name) == ("safetensors", "run")
    assert resolved.path == run / "student.safetensors"


def test_directories_that_are_no_finished_run(tmp_path: Path) -> None:
    with pytest.raises(IrkdError, match="no run directory"):
        resolve_model(tmp_path)
    (tmp_path / "preset.yaml").write_text("")
    with pytest.raises(IrkdError, match="not finished"):
        resolve_model(tmp_path)


def test_shipped_models_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "denoise.safetensors"
    save_network(path, nafnet(), task="denoise")
    monkeypatch.setattr(weights, "shipped_models", lambda: {"denoise": path, "derain": path})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "denoise").mkdir()
    assert resolve_model("denoise").path == path
    with pytest.raises(IrkdError, match="no run directory"):
        resolve_model("./denoise")
    with pytest.raises(IrkdError, match="Did you mean 'derain'") as caught:
        resolve_model("derrain")
    assert "denoise, derain" in str(caught.value)
    assert ".onnx" in str(caught.value)


def test_every_shipped_file_loads() -> None:
    for name, path in weights.shipped_models().items():
        network = load_network_file(path).eval()
        assert read_metadata(path)["task"], name
        with torch.inference_mode():
            assert network(degraded(network, 64, 64)).isfinite().all()


def test_weights_do_not_come_from_compiled_models(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"")
    with pytest.raises(IrkdError, match="exported from"):
        load_weights(nafnet(), tmp_path / "a.onnx")


def with_metadata(path: Path, text: str) -> Path:
    safetensors.torch.save_file(nafnet().state_dict(), path, metadata={"irkd": text})
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "damaged"),
        ("[1]", "damaged"),
        ('{"spec": 3}', "damaged"),
        ("[" * 100_000, "damaged"),
        ('{"format": 2}', "newer irkd"),
        ('{"format": 1, "spec": {"arch": "unet"}}', "'unet'"),
        ('{"format": 1, "spec": {"arch": ["nafnet"]}}', "does not know"),
        ('{"format": 1, "spec": {"width": 4}}', "None"),
        ('{"format": 1, "spec": {"arch": "nafnet", "width": 1000000000}}', "width"),
        (
            json.dumps(
                {
                    "spec": {
                        "arch": "nafnet",
                        "width": 1024,
                        "enc_blk_nums": [5] * 8,
                        "dec_blk_nums": [5] * 8,
                    }
                }
            ),
            "enc_blk_nums",
        ),
    ],
)
def test_metadata_that_lies(text: str, message: str, tmp_path: Path) -> None:
    path = with_metadata(tmp_path / "a.safetensors", text)
    with pytest.raises(IrkdError, match=message) as caught:
        load_network_file(path)
    assert str(path) in str(caught.value)
