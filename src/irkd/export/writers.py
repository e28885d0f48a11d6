"""Writing a network to one format. Nothing here checks the result; see `irkd.export.export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from irkd.errors import IrkdError
from irkd.export import metadata as labels
from irkd.export.runtimes import require
from irkd.export.trace import onnx_program, quiet, trace
from irkd.models.weights import save_network

# Protocol buffers end at 2 GiB; some room for the graph itself.
_LARGEST_ONNX = 2 * 2**30 - 32 * 2**20


def write_safetensors(
    network: nn.Module, path: Path, *, half: bool, metadata: dict[str, Any]
) -> None:
    """irkd's own format: the weights, and the network's spec to build it from."""
    save_network(
        path,
        network,
        task=metadata["task"],
        preset=metadata["preset"],
        training=metadata["training"],
        half=half,
        overwrite=True,
    )


def write_onnx(
    network: nn.Module, path: Path, *, half: bool, metadata: dict[str, Any] | None
) -> None:
    """One .onnx file with the weights inside, for one image of any height and width.

    Input `degraded` and output `restored` are float32, also where the inside is float16.
    """
    for package in ("onnx", "onnxscript"):
        require(package, "exporting to ONNX")
    itemsize = 2 if half else 4
    size = sum(parameter.numel() for parameter in network.parameters()) * itemsize
    if size > _LARGEST_ONNX:
        raise IrkdError(
            f"the network's weights take {size / 2**30:.1f} GiB; one ONNX file holds less than 2."
            " Export to safetensors or pt2, or with --precision fp16."
        )
    with quiet():
        program = onnx_program(trace(network, half=half))
        for node in program.model.graph.all_nodes():
            # Stack traces of whoever exported it: useless to others, and most of a small file.
            node.metadata_props.clear()
        program.model.producer_name = "irkd"
        if metadata is not None:
            program.model.metadata_props[labels.KEY] = labels.encode(metadata)
        program.save(path, external_data=False)


def write_openvino(network: nn.Module, path: Path, *, half: bool, metadata: dict[str, Any]) -> None:
    """OpenVINO's intermediate representation: `path` (.xml) and the weights beside it (.bin).

    `half` stores the weights as float16; the device chooses the precision it computes in.
    """
    openvino = require("openvino", "exporting to OpenVINO")
    intermediate = path.with_name("intermediate.onnx")
    write_onnx(network, intermediate, half=False, metadata=None)
    # Not convert_model, which reports its use to OpenVINO's makers.
    model = openvino.Core().read_model(str(intermediate))
    intermediate.unlink()
    model.set_rt_info(labels.encode(metadata), labels.KEY)
    openvino.save_model(model, str(path), compress_to_fp16=half)


def write_pt2(network: nn.Module, path: Path, *, half: bool, metadata: dict[str, Any]) -> None:
    """A torch.export archive for AOTInductor, ExecuTorch and `torch.export.load`."""
    program = trace(network, half=half)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    program.example_inputs = None
    with quiet():
        torch.export.save(program, path, extra_files={labels.KEY: labels.encode(metadata)})
