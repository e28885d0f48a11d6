"""Taps: named places inside a network where a method may look, and how two networks' taps pair."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.hooks import RemovableHandle

from irkd.errors import IrkdError

Role = Literal["encoder", "middle", "decoder"]


@dataclass(frozen=True)
class Tap:
    """A place where a method may look into a network.

    `module` is the dotted path of the submodule whose output is tapped (B x channels x H/stride x
    W/stride); `role` and `stride` are what taps of two families are paired by.
    """

    module: str
    role: Role
    channels: int
    stride: int


@dataclass(frozen=True)
class TapPair:
    """Tap names in the student and in the teacher whose features are compared."""

    student: str
    teacher: str


def pair_taps(
    student: Mapping[str, Tap], teacher: Mapping[str, Tap], names: Iterable[str] | None = None
) -> tuple[TapPair, ...]:
    """Pair the student's taps with the teacher's.

    Taps of one name, role and stride pair directly (networks of one blueprint). Otherwise the
    teacher's tap of the same role and stride is taken, or, where the strides do not meet, the one
    of the same role whose stride is nearest. `names` restricts the student's taps; None takes all
    but `refinement`, which only some families have.
    """
    wanted = list(names) if names is not None else [n for n in student if n != "refinement"]
    pairs = []
    for name in wanted:
        if name not in student:
            raise IrkdError(f"the student has no tap {name!r}. Its taps: {', '.join(student)}.")
        tap = student[name]
        same = teacher.get(name)
        if same is not None and (same.role, same.stride) == (tap.role, tap.stride):
            pairs.append(TapPair(name, name))
            continue
        candidates = {
            other: abs(candidate.stride - tap.stride)
            for other, candidate in teacher.items()
            if candidate.role == tap.role and other != "refinement"
        }
        if not candidates:
            raise IrkdError(f"the teacher has no {tap.role} tap to pair with the student's {name}.")
        pairs.append(TapPair(name, min(candidates, key=candidates.__getitem__)))
    return tuple(pairs)


class TapRecorder:
    """Collects the outputs of tapped modules during forward passes.

    >>> with TapRecorder(network, ["encoder_level1", "middle"]) as features:
    ...     restored = network(degraded)
    >>> features["middle"].shape
    """

    def __init__(self, network: nn.Module, names: Iterable[str]) -> None:
        taps = network.taps()  # type: ignore[operator]
        names = list(names)
        missing = [name for name in names if name not in taps]
        if missing:
            raise IrkdError(f"the network has no tap {missing[0]!r}. Its taps: {', '.join(taps)}.")
        self.features: dict[str, Tensor] = {}
        self._modules = {name: network.get_submodule(taps[name].module) for name in names}
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> dict[str, Tensor]:
        self.features.clear()
        for name, module in self._modules.items():
            self._handles.append(module.register_forward_hook(self._keep(name)))
        return self.features

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _keep(self, name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            self.features[name] = output

        return hook


class _Reached(Exception):
    """Ends a forward pass once its last wanted tap is known."""


@contextmanager
def _recomputed_blocks(network: nn.Module) -> Iterator[None]:
    """Let every block of the tapped stages keep only its input, and run again for its gradient.

    So do modules elsewhere that ask for it by an attribute `recomputed`.
    """
    taps = network.taps()  # type: ignore[operator]
    stages = [network.get_submodule(tap.module) for tap in taps.values()]
    blocks = [
        block for stage in stages if isinstance(stage, nn.Sequential) for block in stage.children()
    ] + [module for module in network.modules() if getattr(module, "recomputed", False)]
    try:
        for block in blocks:
            plain = block.forward
            block.forward = functools.partial(checkpoint, plain, use_reentrant=False)
        yield
    finally:
        for block in blocks:
            # Uncovers the class's own forward again.
            block.__dict__.pop("forward", None)


def encode(network: nn.Module, images: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
    """The features of `images` at taps `names`, without running what comes after the last of them.

    Differentiable with respect to `images`, which are in the network's own value range. A large
    teacher's activations for that would take several times the memory of its student's training
    (Restormer, 8 x 128 x 128: 7 GB), so they are computed again in the backward pass.
    """
    names = tuple(names)
    recompute = torch.is_grad_enabled() and images.requires_grad
    with (
        TapRecorder(network, names) as features,
        _recomputed_blocks(network) if recompute else nullcontext(),
    ):

        def stop(*_: Any) -> None:
            if all(name in features for name in names):
                raise _Reached

        taps = network.taps()  # type: ignore[operator]
        handles = [
            network.get_submodule(taps[name].module).register_forward_hook(stop) for name in names
        ]
        try:
            network(images)
        except _Reached:
            pass
        finally:
            for handle in handles:
                handle.remove()
    return dict(features)


def tail(network: nn.Module, images: Tensor, features: Mapping[str, Tensor]) -> Tensor:
    """The network's output for `images` when its taps' outputs are replaced by `features`.

    features: by tap name, each of the shape that the tap has for `images`. Replaced stages are not
    run. Of a U-shaped network all skips must be replaced to cut it in two: every encoder level and
    the middle. Differentiable with respect to `features`.
    """
    taps = network.taps()  # type: ignore[operator]
    missing = [name for name in features if name not in taps]
    if missing:
        raise IrkdError(f"the network has no tap {missing[0]!r}. Its taps: {', '.join(taps)}.")
    modules = {name: network.get_submodule(taps[name].module) for name in features}
    try:
        for name, module in modules.items():
            module.forward = _given(features[name])
        output: Tensor = network(images)
        return output
    finally:
        for module in modules.values():
            # Uncovers the class's own forward again.
            module.__dict__.pop("forward", None)


def _given(feature: Tensor) -> Callable[..., Tensor]:
    return lambda *_arguments, **_named: feature
