"""Exported files give what PyTorch gives, say what they are, and are kept only then."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from irkd.errors import IrkdError
from irkd.export import export as export_module
from irkd.export.export import SUFFIXES, check_request, export_network, open_exported
from irkd.export.runtimes import open_onnx, open_openvino
from irkd.export.verify import Comparison, Verification, check_sizes, verify
from irkd.models.base import create_network

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

ONE_LEVEL = {"width": 4, "enc_blk_nums": [1], "middle_blk_num": 0, "dec_blk_nums": [0]}
SOURCE = {"task": "derain", "preset": "demo", "training": {"steps": 5}, "spec": {"stale": True}}


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """One block whose weights are all alive, in the value range [-1, 1]."""
    network = create_network("nafnet", value_range=(-1, 1), **ONE_LEVEL)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return network.eval()


def expected(network: nn.Module, images: torch.Tensor) -> np.ndarray[Any, Any]:
    with torch.inference_mode():
        return np.asarray(network(images).numpy())


@pytest.mark.parametrize("format", SUFFIXES)
def test_every_format_gives_what_pytorch_gives_at_any_size(
    format: Any, network: nn.Module, tmp_path: Path
) -> None:
    path = tmp_path / f"net{SUFFIXES[format]}"
    exported = export_network(network, path, format=format, source=SOURCE)
    beside = [path.with_suffix(".bin")] if format == "openvino" else []
    assert sorted(tmp_path.iterdir()) == sorted([path, *beside])
    assert exported.files == (path, *beside)
    assert exported.verification.largest <= 1e-4

    opened = open_exported(path, format)
    # A size of which neither the tracer nor the check has seen anything.
    images = torch.rand(1, 3, 6, 130) * 2 - 1
    assert np.abs(opened.run(images.numpy()) - expected(network, images)).max() <= 1e-5
    found = opened.metadata
    assert (found["task"], found["preset"], found["training"]) == ("derain", "demo", {"steps": 5})
    assert found["spec"]["arch"] == "nafnet"
    assert found["spec"]["value_range"] == [-1, 1]
    if format != "safetensors":
        assert (found["size_multiple"], found["in_channels"], found["out_channels"]) == (2, 3, 3)
        assert found["precision"] == "fp32"
    # Nobody else needs to know where it was exported.
    for file in exported.files:
        assert b"site-packages" not in file.read_bytes()
        assert str(Path(__file__).parent).encode() not in file.read_bytes()


@pytest.mark.parametrize(("format", "opener"), [("onnx", open_onnx), ("openvino", open_openvino)])
def test_half_precision_takes_and_gives_float32(
    format: Any, opener: Callable[..., Any], network: nn.Module, tmp_path: Path
) -> None:
    path = tmp_path / f"net{SUFFIXES[format]}"
    exported = export_network(network, path, format=format, precision="fp16")
    assert exported.metadata["precision"] == "fp16"
    images = torch.rand(1, 3, 8, 10) * 2 - 1
    found = opener(path).run(images.numpy())
    assert found.dtype == np.float32
    difference = np.abs(found - expected(network, images)).max()
    assert 0 < difference <= 4e-3 * max(2.0, float(np.abs(found).max()))
    # The network itself is left as it was.
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_a_file_that_differs_is_not_kept(
    network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = export_module._WRITERS["safetensors"]

    def write_another(given: nn.Module, path: Path, **options: Any) -> None:
        with torch.no_grad():
            before = given.ending.bias.clone()
            given.ending.bias += 1e-3
            write(given, path, **options)
            given.ending.bias.copy_(before)

    monkeypatch.setitem(export_module._WRITERS, "safetensors", write_another)
    path = tmp_path / "net.safetensors"
    with pytest.raises(IrkdError, match="differs from PyTorch"):
        export_network(network, path, format="safetensors")
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"mine")
    with pytest.raises(IrkdError, match="differs from PyTorch"):
        export_network(network, path, format="safetensors", overwrite=True)
    assert path.read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_overwritten_unasked(network: nn.Module, tmp_path: Path) -> None:
    for name in ("net.xml", "net.bin"):
        (tmp_path / name).write_bytes(b"mine")
        with pytest.raises(IrkdError, match=r"--overwrite"):
            export_network(network, tmp_path / "net.xml", format="openvino")
        assert (tmp_path / name).read_bytes() == b"mine"
        (tmp_path / name).unlink()


def test_a_network_without_finite_output_cannot_be_checked(tmp_path: Path) -> None:
    network = create_network("nafnet", **ONE_LEVEL)
    with torch.no_grad():
        network.ending.weight.fill_(3e38)
    with pytest.raises(IrkdError, match="not finite"):
        export_network(network, tmp_path / "net.safetensors", format="safetensors")
    assert list(tmp_path.iterdir()) == []


def test_weights_beyond_float16_are_refused(tmp_path: Path) -> None:
    network = create_network("nafnet", **ONE_LEVEL)
    with torch.no_grad():
        network.intro.weight.fill_(1e6)
    for format in ("safetensors", "onnx"):
        with pytest.raises(IrkdError):
            export_network(
                network, tmp_path / f"n{SUFFIXES[format]}", format=format, precision="fp16"
            )  # type: ignore[arg-type]
        assert list(tmp_path.iterdir()) == []


def test_three_sizes_are_compared_and_none_is_square_twice() -> None:
    for multiple in (1, 8, 16, 128):
        sizes = check_sizes(multiple)
        assert len(set(sizes)) == 3
        assert all(side % multiple == 0 and side >= 64 for size in sizes for side in size)
        assert sum(height == width for height, width in sizes) == 1


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_bound_is_what_it_says(precision: str, network: nn.Module) -> None:
    bound = {"fp32": 1e-4, "fp16": 4e-3}[precision]

    def off_by(share: float) -> Verification:
        def run(images: Any) -> Any:
            restored = expected(network, torch.from_numpy(images)).copy()
            # One pixel of one channel is enough.
            restored[0, 0, 0, 0] += share * max(2.0, float(np.abs(restored).max()))
            return restored

        return verify(network, run, precision=precision)

    assert off_by(0.9 * bound).passed
    assert not off_by(1.1 * bound).passed
    assert not off_by(float("nan")).passed


def test_the_bound_of_int8_is_on_the_mean() -> None:
    def with_rms(rms: float) -> Verification:
        return Verification("int8", (Comparison((1, 3, 8, 8), 0.5, rms, 1.0),))

    assert with_rms(0.031).passed
    assert not with_rms(0.032).passed
    assert not with_rms(float("inf")).passed


def test_another_shape_is_an_error(network: nn.Module) -> None:
    with pytest.raises(IrkdError, match="returns"):
        verify(network, lambda images: images[..., :-1], precision="fp32")


@pytest.mark.parametrize(
    ("path", "format", "precision", "calibrate", "words"),
    [
        ("net.onnx", "openvino", "fp32", None, r"\.xml"),
        ("net.xml", "openvino", "int8", Path(), "onnx"),
        ("net.onnx", "onnx", "int8", None, "--calibrate"),
        ("net.onnx", "onnx", "fp16", Path(), "--calibrate"),
        ("net.onnx", "onnx", "bf16", None, "fp16"),
        ("net.tflite", "tflite", "fp32", None, "openvino"),
    ],
)
def test_impossible_requests_are_told(
    path: str, format: str, precision: str, calibrate: Path | None, words: str
) -> None:
    with pytest.raises(IrkdError, match=words):
        check_request(Path(path), format, precision, calibrate)


@pytest.mark.parametrize(
    ("format", "package"),
    [("onnx", "onnxruntime"), ("onnx", "onnxscript"), ("openvino", "openvino")],
)
def test_a_missing_package_is_named(
    format: Any,
    package: str,
    network: nn.Module,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(IrkdError, match=rf"{package}.*pip install 'irkd\[export\]'"):
        export_network(network, tmp_path / f"net{SUFFIXES[format]}", format=format)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("format", ["onnx", "openvino", "pt2"])
@pytest.mark.parametrize(
    ("arch", "options"),
    [
        ("restormer", {"dim": 24, "num_blocks": [1, 2, 2, 4]}),
        ("nafnet", {"width": 16, "enc_blk_nums": [1, 1, 1, 18]}),
        ("nafnet_local", {"width": 16, "enc_blk_nums": [2, 2, 2, 4]}),
    ],
)
def test_whole_students_export(
    arch: str, options: dict[str, Any], format: Any, precision: Any, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = create_network(arch, **options)
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)
    exported = export_network(
        network, tmp_path / f"net{SUFFIXES[format]}", format=format, precision=precision
    )
    assert exported.verification.passed


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("format", SUFFIXES)
def test_what_is_told_of_a_whole_image_is_told_in_the_graph(
    format: Any, precision: Any, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = create_network("dehazeunet", widths=[4, 6], blocks=[1, 1]).eval()
    with torch.no_grad():
        network.tail.bias[-8:] = 0.5  # half of each image without haze
    path = tmp_path / f"net{SUFFIXES[format]}"
    exported = export_network(network, path, format=format, precision=precision)
    assert exported.verification.passed
    hazy = 0.4 + 0.4 * torch.rand(1, 3, 72, 40)
    restored = open_exported(path, format).run(hazy.numpy())
    assert np.abs(restored - expected(network, hazy)).max() <= (
        1e-5 if precision == "fp32" else 5e-3
    )
    assert np.abs(restored - hazy.numpy()).max() > 0.1
