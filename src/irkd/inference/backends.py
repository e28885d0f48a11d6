"""Loading anything a user calls a model as a network that restores, whatever runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from irkd.environment import choose_device
from irkd.errors import IrkdError
from irkd.export.runtimes import Runtime, open_onnx, open_openvino
from irkd.models.base import NetworkSpec
from irkd.models.weights import load_network_file, read_metadata, resolve_model

BACKENDS = ("auto", "torch", "onnxruntime", "openvino")

# Which runtimes run a kind of file, the preferred one first.
_RUNTIMES: dict[str, tuple[str, ...]] = {
    "safetensors": ("torch",),
    "checkpoint": ("torch",),
    "onnx": ("onnxruntime", "openvino"),
    "openvino": ("openvino",),
}


def load_network(
    model: str | Path,
    *,
    backend: str = "auto",
    device: str = "cpu",
    task: str | None = None,
    options: Mapping[str, object] | None = None,
) -> nn.Module:
    """The network of `model`, in evaluation mode: images B x C x H x W in its value range to same.

    `model`: a run directory, a .safetensors, .pth, .pt, .ckpt, .onnx or OpenVINO .xml file, or the
    name of a model that ships with irkd. `backend`: what runs it; "auto" is torch for weights,
    onnxruntime for .onnx, openvino for .xml; openvino runs .onnx too. `device`: auto, cpu,
    cuda[:N] or mps. `task` and `options` (an `arch`, an `img_size`, a `value_range`, ...) say what
    released weights do not tell of their network; without them the `assumptions` say what was
    taken instead.

    The network has the attributes `spec.value_range`, `size_multiple` (height and width must be
    multiples of it), `in_channels`, `out_channels`, `assumptions` (words for the user, mostly none)
    and `metadata` (task, preset, training; empty for files of another origin).

    Raises IrkdError when there is no such model, its file is damaged, holds values that are not
    finite, or cannot be run by `backend`.
    """
    if backend not in BACKENDS:
        raise IrkdError(f"unknown backend {backend!r}. Known: {', '.join(BACKENDS)}.")
    resolved = resolve_model(model)
    runtimes = _RUNTIMES[resolved.kind]
    chosen = runtimes[0] if backend == "auto" else backend
    if chosen not in runtimes:
        advice = "." if chosen == "torch" else f"; make one with: irkd export {model} --to onnx"
        raise IrkdError(
            f"{resolved.path.name} is run by {' or '.join(runtimes)}; {chosen} needs "
            f"{_needs(chosen)}{advice}"
        )
    if options and chosen != "torch":
        raise IrkdError(
            f"{resolved.path.name} is an exported file: its network is fixed, and takes no"
            f" {', '.join(options)}."
        )
    network: nn.Module
    if chosen == "torch":
        network = load_network_file(resolved.path, options, task=task).to(choose_device(device))
        network.metadata = read_metadata(resolved.path)  # type: ignore[assignment]
    else:
        # onnxruntime runs on whatever it has a provider for; OpenVINO is for Intel's processors.
        place = "cpu" if device == "auto" else device
        opener = open_onnx if chosen == "onnxruntime" else open_openvino
        network = RuntimeNetwork(opener(resolved.path, device=place), resolved.path)
    return network.eval()


def _needs(backend: str) -> str:
    kinds = [kind for kind, runtimes in _RUNTIMES.items() if backend in runtimes]
    names = {"onnx": "an .onnx", "openvino": "an OpenVINO .xml", "safetensors": "weights"}
    return " or ".join(names[kind] for kind in kinds if kind in names) + " file"


class RuntimeNetwork(nn.Module):
    """An opened file as a network: images B x C x H x W to the same, computed on its own device.

    Of a file without irkd's metadata the value range is taken to be [0, 1] and the size multiple
    is found by trying.
    """

    # No runtime tells its working memory. As much as the heaviest family needs (Restormer's teacher
    # 13 KB); an allocation that fails all the same is met with smaller tiles.
    bytes_per_pixel = 16384.0

    def __init__(self, runtime: Runtime, path: Path) -> None:
        super().__init__()
        self.assumptions: tuple[str, ...] = ()
        self._run: Callable[..., Any] = runtime.run
        self.metadata = runtime.metadata
        shape = runtime.input_shape
        if len(shape) != 4:
            raise IrkdError(
                f"{path}: its input has {len(shape)} dimensions; a network for images takes "
                "batch x channels x height x width."
            )
        self.spec = _spec_of(self.metadata, path)
        self.fixed_size = (shape[2], shape[3]) if shape[2] and shape[3] else None
        """Height and width of the only input that the file was compiled for."""
        self.in_channels = int(self.metadata.get("in_channels") or shape[1] or 3)
        self.out_channels = int(self.metadata.get("out_channels") or self.in_channels)
        stated = self.metadata.get("size_multiple")
        if stated is None:
            stated = 1 if self.fixed_size else self._find_size_multiple(path)
        self.size_multiple = int(stated)

    def forward(self, images: Tensor) -> Tensor:
        # One image at a time: files may be compiled for a batch of one.
        contiguous = images.detach().float().cpu().contiguous().numpy()
        restored = [self._run(contiguous[i : i + 1]) for i in range(len(contiguous))]
        joined = restored[0] if len(restored) == 1 else np.concatenate(restored)
        return torch.from_numpy(joined).to(images.device)

    def _find_size_multiple(self, path: Path) -> int:
        """The smallest power of two, 8 to 128, whose odd multiples the file takes as sides."""
        failure: Exception | None = None
        for multiple in (8, 16, 32, 64, 128):
            images = np.zeros((1, self.in_channels, 3 * multiple, 5 * multiple), np.float32)
            try:
                if self._run(images).shape == images.shape:
                    return multiple
            except Exception as error:
                failure = error
        reason = f": {str(failure).splitlines()[0]}" if failure is not None else "."
        raise IrkdError(
            f"{path} does not turn images B x {self.in_channels} x H x W into images of the same "
            f"size{reason}"
        )


def _spec_of(metadata: dict[str, Any], path: Path) -> NetworkSpec:
    """The part of a network's spec that a runtime needs: its value range."""
    stated = metadata.get("spec")
    value_range = stated.get("value_range", (0, 1)) if isinstance(stated, dict) else (0, 1)
    try:
        return NetworkSpec.model_validate({"arch": path.stem, "value_range": value_range})
    except ValidationError as error:
        raise IrkdError(
            f"{path}: the value range in its metadata, {value_range}, makes no sense."
        ) from error
