"""Exporting a network: written, compared with PyTorch, and kept only if it agrees."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from irkd.errors import IrkdError
from irkd.export import metadata as labels
from irkd.export import writers
from irkd.export.runtimes import Images, Runtime, open_onnx, open_openvino, parse_metadata
from irkd.export.verify import Verification, verify
from irkd.files import move_into_place, refuse_existing
from irkd.models.weights import load_network_file, read_metadata

Format = Literal["safetensors", "onnx", "openvino", "pt2"]
Precision = Literal["fp32", "fp16", "int8"]

SUFFIXES: dict[str, str] = {
    "safetensors": ".safetensors",
    "onnx": ".onnx",
    "openvino": ".xml",
    "pt2": ".pt2",
}
PRECISIONS: dict[str, tuple[str, ...]] = {
    "safetensors": ("fp32", "fp16"),
    "onnx": ("fp32", "fp16", "int8"),
    "openvino": ("fp32", "fp16"),
    "pt2": ("fp32", "fp16"),
}


@dataclass(frozen=True)
class Exported:
    """A file that was written and agrees with PyTorch. `files`: all of them, the main one first."""

    files: tuple[Path, ...]
    metadata: dict[str, Any]
    verification: Verification


def check_request(path: Path, format: str, precision: str, calibrate: Path | None) -> None:
    """Raise IrkdError for a combination that cannot be, before anything is loaded."""
    if format not in SUFFIXES:
        raise IrkdError(f"unknown format {format!r}. Known: {', '.join(SUFFIXES)}.")
    if precision not in PRECISIONS[format]:
        where = [name for name, known in PRECISIONS.items() if precision in known]
        hint = f" {precision} is available for {', '.join(where)}." if where else ""
        raise IrkdError(
            f"{format} is exported in {' or '.join(PRECISIONS[format])}, not in {precision!r}."
            f"{hint}"
        )
    if precision == "int8" and calibrate is None:
        raise IrkdError(
            "int8 needs --calibrate DIR: a folder with images such as the network will see, from"
            " which the ranges of its features are read."
        )
    if precision != "int8" and calibrate is not None:
        raise IrkdError(f"--calibrate is for --precision int8; {precision} needs no images.")
    if path.suffix.lower() != SUFFIXES[format]:
        raise IrkdError(f"{path}: {format} files end in {SUFFIXES[format]}.")


def export_network(
    network: nn.Module,
    path: str | Path,
    *,
    format: Format,
    precision: Precision = "fp32",
    calibrate: str | Path | None = None,
    source: dict[str, Any] | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write `network` (float32, on the CPU) to `path` and compare the file with it.

    `source`: the model's own metadata (task, preset, training), carried over. `calibrate`: a folder
    of images for int8. OpenVINO writes a second file beside `path`, with the suffix .bin.
    Raises IrkdError, and leaves nothing behind, when the file differs from the network by more than
    `irkd.export.verify` allows.
    """
    path = Path(path)
    calibrate = None if calibrate is None else Path(calibrate)
    check_request(path, format, precision, calibrate)
    names = [path.name] + ([path.with_suffix(".bin").name] if format == "openvino" else [])
    for name in names:
        refuse_existing(path.with_name(name), overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    network = network.eval()
    metadata = labels.describe_network(network, precision=precision, source=source)
    with tempfile.TemporaryDirectory(prefix=f".{path.stem}.", dir=path.parent) as directory:
        temporary = Path(directory) / path.name
        inputs: list[Tensor] | None = None
        if precision == "int8":
            from irkd.export.quantize import (
                calibration_images,
                checking_images,
                write_int8_onnx,
            )

            assert calibrate is not None
            images = calibration_images(network, calibrate)
            write_int8_onnx(network, temporary, images=images, metadata=metadata)
            # Noise is not what the ranges were read from; the images are.
            inputs = checking_images(network, images)
        else:
            _WRITERS[format](network, temporary, half=precision == "fp16", metadata=metadata)
        written = open_exported(temporary, format)
        missing = [key for key in metadata if key not in written.metadata]
        if format != "safetensors" and written.metadata != metadata:
            raise IrkdError(f"the exported file has lost its metadata ({', '.join(missing)}).")
        verification = verify(network, written.run, precision=precision, inputs=inputs)
        if not verification.passed:
            raise IrkdError(
                f"the {format} file differs from PyTorch by {verification.largest:.2g} of the value"
                f" range (root mean square {verification.rms:.2g}); allowed: {verification.bound}."
                " Nothing is kept." + (" Try --precision fp32." if precision != "fp32" else "")
            )
        # The main file last: where it stands, everything it needs stands too.
        for name in reversed(names):
            refuse_existing(path.with_name(name), overwrite)
            move_into_place(Path(directory) / name, path.with_name(name))
    return Exported(tuple(path.with_name(name) for name in names), metadata, verification)


def open_exported(path: Path, format: str) -> Runtime:
    """Open a file of any export format for running on the CPU."""
    if format == "onnx":
        return open_onnx(path)
    if format == "openvino":
        return open_openvino(path)
    if format == "pt2":
        extra = {labels.KEY: ""}
        module = torch.export.load(path, extra_files=extra).module()
        return Runtime(_run_module(module), parse_metadata(extra[labels.KEY]), _ANY_IMAGE)
    network = load_network_file(path).eval()
    return Runtime(_run_module(network), read_metadata(path), _ANY_IMAGE)


_ANY_IMAGE = (None, None, None, None)


def _run_module(module: Callable[[Tensor], Tensor]) -> Callable[[Images], Images]:
    def run(images: Images) -> Images:
        with torch.inference_mode():
            restored: Images = module(torch.from_numpy(images)).numpy()
        return restored

    return run


_WRITERS: dict[str, Callable[..., None]] = {
    "safetensors": writers.write_safetensors,
    "onnx": writers.write_onnx,
    "openvino": writers.write_openvino,
    "pt2": writers.write_pt2,
}
