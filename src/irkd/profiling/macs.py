"""Counting a network's multiply-adds as the papers do.

The papers' "FLOPs" are multiply-adds (MACs): convolutions, linear layers and both attention
products, counted on the network as the paper writes it. They were read off with fvcore, which adds
two small extras (see `MacCount.fvcore`); everything else that is element-wise counts nothing.

Nothing is computed: the network is copied to torch's `meta` device, where tensors have shapes and
no values, and takes its reference path, so that a faster form of a block changes no count.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

from irkd.models.base import NetworkSpec, build_network, reference_path


@dataclass(frozen=True)
class MacCount:
    """Multiply-adds of one forward pass over one image.

    `macs`: convolutions, linear layers and attention products.
    `fvcore`: the same as fvcore counts it, which is what the papers print: plus 5 per element that
    goes through an `nn.LayerNorm` (4 without weights), and 1 per element that is averaged over the
    whole image.
    """

    macs: int
    fvcore: int


def count_macs(network_or_spec: nn.Module | NetworkSpec, height: int, width: int) -> int:
    """Multiply-adds of one image of `height` x `width` pixels; see `count`."""
    return count(network_or_spec, height, width).macs


def count(network_or_spec: nn.Module | NetworkSpec, height: int, width: int) -> MacCount:
    """Count one forward pass in evaluation mode, without running it.

    Sides that are no multiples of the network's `size_multiple` count as the padded image does,
    since that is what runs.
    """
    network = on_meta(network_or_spec)
    multiple: int = network.size_multiple  # type: ignore[assignment]
    shape = (1, network.in_channels, round_up(height, multiple), round_up(width, multiple))
    image = torch.empty(shape, device="meta")  # type: ignore[arg-type]
    flops = FlopCounterMode(display=False)
    extras = _Extras(network)
    with torch.no_grad(), reference_path(), flops, extras:
        network(image)
    macs = flops.get_total_flops() // 2
    return MacCount(macs=macs, fvcore=macs + extras.total)


def round_up(side: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is not below `side`."""
    return -(-side // multiple) * multiple


def on_meta(network_or_spec: nn.Module | NetworkSpec) -> nn.Module:
    """A copy in evaluation mode whose parameters and buffers have shapes and no values."""
    if isinstance(network_or_spec, NetworkSpec):
        with torch.device("meta"):
            return build_network(network_or_spec).eval()
    # Replacing the tensors while copying keeps a second copy of the weights out of memory.
    tensors = [*network_or_spec.parameters(), *network_or_spec.buffers()]
    memo: dict[int, Any] = {id(tensor): _to_meta(tensor) for tensor in tensors}
    return copy.deepcopy(network_or_spec, memo).eval()


def _to_meta(tensor: Tensor) -> Tensor:
    empty = torch.empty_like(tensor, device="meta")
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(empty, requires_grad=tensor.requires_grad)
    return empty


class _Extras(TorchDispatchMode):
    """What fvcore adds: layer norms by module, averages over the image by operation."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.total = 0
        self._network = network
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> _Extras:
        for module in self._network.modules():
            if type(module) is nn.LayerNorm:
                self._handles.append(module.register_forward_hook(self._add_layer_norm))
        return super().__enter__()

    def __exit__(self, *details: Any) -> None:
        super().__exit__(*details)
        for handle in self._handles:
            handle.remove()

    def _add_layer_norm(
        self, module: nn.LayerNorm, inputs: tuple[Tensor, ...], _output: Any
    ) -> None:
        self.total += (5 if module.elementwise_affine else 4) * inputs[0].numel()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # adaptive_avg_pool2d to one pixel arrives here as a mean over the last two axes.
        if func is torch.ops.aten.mean.dim and args[0].ndim == 4:
            if {axis % 4 for axis in args[1]} == {2, 3}:
                self.total += args[0].numel()
        elif func is torch.ops.aten._adaptive_avg_pool2d.default:
            self.total += args[0].numel()
        return func(*args, **(kwargs or {}))
