"""Losses run in float32 or wider, also inside an autocast region."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def outside_autocast(device_type: str) -> AbstractContextManager[object]:
    """No autocast within. The meta device, on which costs are counted, has none to begin with."""
    if device_type == "meta":
        return nullcontext()
    return torch.autocast(device_type, enabled=False)


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Run `function`, whose first argument holds a tensor, outside autocast, on float32 or float64.

    Half-precision tensors among the arguments, also those in lists and tuples, are widened: in
    bfloat16 `1 - exp(-z)` is 0 already at z = 1e-3.
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        first = args[0]
        while isinstance(first, list | tuple):
            first = first[0]
        assert isinstance(first, Tensor)
        with outside_autocast(first.device.type):
            wide: Any = [_widen(argument) for argument in args]
            named: Any = {name: _widen(argument) for name, argument in kwargs.items()}
            return function(*wide, **named)

    return wrapped


def _widen(argument: Any) -> Any:
    if isinstance(argument, Tensor):
        half = argument.dtype in (torch.float16, torch.bfloat16)
        return argument.float() if half else argument
    if isinstance(argument, list | tuple):
        return type(argument)(_widen(part) for part in argument)
    return argument
