"""How much memory a network needs per pixel, and when it ran out."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from irkd.models.strips import shortest_strips

# Convolution kernels keep reordered copies of their inputs that the probe cannot see: a process
# took 2.5 times the visible tensors for NAFNet, 1.3 times for Restormer.
_HIDDEN_SHARE = 2.5
_PROBE_SIDE = 64


def bytes_per_pixel(network: nn.Module, device: torch.device) -> float:
    """Working memory of one forward pass per pixel of the input, measured on a small image.

    Counts the tensors alive at a time; memory grows linearly with the pixels in every network that
    irkd has, but for strips of rows, which are a few MB however large the image. A network that
    runs outside torch states its `bytes_per_pixel`.
    """
    stated = getattr(network, "bytes_per_pixel", None)
    if stated is not None:
        return float(stated)
    multiple: int = network.size_multiple  # type: ignore[assignment]
    channels: int = network.in_channels  # type: ignore[assignment]
    side = -(-_PROBE_SIDE // multiple) * multiple
    with torch.no_grad(), shortest_strips(), _PeakStorage(network) as storage:
        network(torch.zeros(1, channels, side, side, device=device))
    return storage.peak * _HIDDEN_SHARE / side**2


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that an allocation failed, in the words of any of the runtimes."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, Exception) and any(
        phrase in text
        for phrase in (
            "can't allocate memory",
            "out of memory",
            "not enough memory",
            "failed to allocate",
            "bad allocation",
            "bad_alloc",
        )
    )


class _PeakStorage(TorchDispatchMode):
    """Adds up the storages alive during a forward pass, parameters aside."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.peak = 0
        self._current = 0
        self._known = {
            tensor.untyped_storage()._cdata
            for tensor in (*network.parameters(), *network.buffers())
        }

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Nothing is compiled under this mode, and shielding it would import the compiler: seconds.
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self._current += size
        self.peak = max(self.peak, self._current)
        weakref.finalize(storage, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._current -= size
