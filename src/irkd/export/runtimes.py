"""Running exported files: ONNX with onnxruntime, OpenVINO's IR with openvino.

Both packages are optional (`pip install 'irkd[export]'`) and imported when a file is opened.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irkd.errors import IrkdError

Images = NDArray[np.float32]


@dataclass(frozen=True)
class Runtime:
    """An opened file: `run` maps B x C x H x W float32 images in the network's value range to same.

    `metadata`: what irkd wrote into the file; empty for a file of another origin. `input_shape`:
    what the file says of its input; None for a side that may vary.
    """

    run: Callable[[Images], Images]
    metadata: dict[str, Any]
    input_shape: tuple[int | None, ...]


def require(package: str, purpose: str, extra: str = "export") -> Any:
    """The optional package called `package`, or an IrkdError that names irkd's extra with it."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise IrkdError(
            f"{purpose} needs the package {package}. Install it with: pip install 'irkd[{extra}]'"
        ) from error


def open_onnx(path: str | Path, *, device: str = "cpu", threads: int | None = None) -> Runtime:
    """Open an ONNX file. `device`: cpu or cuda[:N]; `threads`: None leaves it to onnxruntime.

    Raises IrkdError for a file that onnxruntime refuses or a device that it has no provider for.
    """
    runtime = require("onnxruntime", "running an ONNX file")
    session = open_session(runtime, path, device=device, threads=threads)
    name = session.get_inputs()[0].name
    shape = tuple(
        side if isinstance(side, int) and side > 0 else None
        for side in session.get_inputs()[0].shape
    )

    def run(images: Images) -> Images:
        restored: Images = session.run(None, {name: images})[0]
        return restored

    stored = session.get_modelmeta().custom_metadata_map.get("irkd")
    return Runtime(run, parse_metadata(stored), shape)


def open_session(
    runtime: Any, path: str | Path, *, device: str = "cpu", threads: int | None = None
) -> Any:
    """A session of `runtime`, which is onnxruntime, for the file at `path`; see `open_onnx`."""
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    kind, _, index = device.partition(":")
    providers: list[Any] = ["CPUExecutionProvider"]
    if kind == "cuda":
        if "CUDAExecutionProvider" not in runtime.get_available_providers():
            raise IrkdError(
                "this onnxruntime has no CUDA provider. Install onnxruntime-gpu, or use"
                " --device cpu."
            )
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": int(index or 0)}))
    elif kind != "cpu":
        raise IrkdError(f"ONNX files run on cpu or cuda, not on {device!r}.")
    try:
        return runtime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:
        raise IrkdError(f"{path} is no ONNX file that onnxruntime can run: {error}") from error


def open_openvino(path: str | Path, *, device: str = "cpu", threads: int | None = None) -> Runtime:
    """Open an OpenVINO IR (.xml with its .bin beside it). `device`: cpu, or OpenVINO's own names.

    Computes in float32 on every device, whatever precision the weights are stored in.
    """
    openvino = require("openvino", "running an OpenVINO file")
    core = openvino.Core()
    name = device.upper()
    if name not in core.available_devices:
        known = ", ".join(core.available_devices).lower()
        raise IrkdError(f"OpenVINO has no device {device!r} here. It has: {known}.")
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
    if threads is not None and name == "CPU":
        settings["INFERENCE_NUM_THREADS"] = threads
    try:
        model = core.read_model(str(path))
        compiled = core.compile_model(model, name, settings)
    except Exception as error:
        raise IrkdError(f"{path} is no file that OpenVINO can run: {error}") from error
    request = compiled.create_infer_request()

    def run(images: Images) -> Images:
        # The result is copied: OpenVINO's own buffer is overwritten by the next call.
        return np.array(request.infer([images])[0])

    # OpenVINO keeps the metadata of an ONNX file under "framework".
    keys = [keys for keys in ("irkd", ["framework", "irkd"]) if model.has_rt_info(keys)]
    stored = model.get_rt_info(keys[0]).astype(str) if keys else None
    shape = tuple(
        side.get_length() if side.is_static else None for side in model.inputs[0].partial_shape
    )
    return Runtime(run, parse_metadata(stored), shape)


def parse_metadata(text: str | None) -> dict[str, Any]:
    """The JSON object in `text`; empty when there is none, since such a file is not irkd's."""
    try:
        metadata = json.loads(text or "{}")
    except ValueError:
        return {}
    return metadata if isinstance(metadata, dict) else {}
