"""Tracing a network once for all image sizes: what ONNX, OpenVINO and pt2 files are made from."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from irkd.errors import IrkdError
from irkd.profiling.macs import round_up

_SMALLEST_SIDE = 64


class HalfInside(nn.Module):
    """A float16 copy of a network that takes and returns float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).half().eval()

    def forward(self, degraded: Tensor) -> Tensor:
        restored: Tensor = self.network(degraded.half()).float()
        return restored


def trace(network: nn.Module, *, half: bool = False) -> ExportedProgram:
    """The graph of `network` in evaluation mode for one image of any height and width.

    Height and width are multiples of the network's `size_multiple`; the graph does not pad.
    Raises IrkdError for a network whose computation depends on sizes in a way no graph can hold.
    """
    stated: str | None = getattr(network, "no_graph", None)
    if stated is not None:
        raise _not_traceable(network, stated)
    module = HalfInside(network) if half else _Plain(network)
    multiple: int = network.size_multiple  # type: ignore[assignment]
    height, width = Dim("height", min=1), Dim("width", min=1)
    sizes = {2: multiple * height, 3: multiple * width}
    # A side of one multiple would be taken for a constant.
    side = max(round_up(_SMALLEST_SIDE, multiple), 2 * multiple)
    channels: int = network.in_channels  # type: ignore[assignment]
    images = torch.rand(1, channels, side, side + multiple)
    try:
        with torch.no_grad(), quiet():
            return torch.export.export(
                module.eval(), (images,), dynamic_shapes={"degraded": sizes}, strict=False
            )
    except Exception as error:
        raise _not_traceable(network, str(error).strip().splitlines()[0]) from error


def _not_traceable(network: nn.Module, reason: str) -> IrkdError:
    return IrkdError(
        f"{type(network).__name__} cannot be traced for all image sizes: {reason}\n"
        "Export it as safetensors instead."
    )


class _Plain(nn.Module):
    """Names the input, whatever the network's forward calls it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval()

    def forward(self, degraded: Tensor) -> Tensor:
        restored: Tensor = self.network(degraded)
        return restored


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what exporters print and warn about, which are their own insides."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def onnx_program(program: ExportedProgram) -> Any:
    """The traced graph as a torch ONNXProgram, named and optimised."""
    with torch.no_grad(), quiet():
        return torch.onnx.export(
            program,
            dynamo=True,
            input_names=["degraded"],
            output_names=["restored"],
            verbose=False,
            optimize=True,
        )
