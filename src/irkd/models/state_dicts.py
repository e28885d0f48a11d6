"""Reading weights from files. No code from a file is ever executed."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from irkd.errors import IrkdError

# What training code wraps weights in. Averaged weights are preferred where a file holds both.
WRAPPERS = ("params_ema", "params", "state_dict", "model")

_DTYPES = (
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.int32,
    torch.int64,
    torch.bool,
)


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The weights in a .safetensors or checkpoint file, without what training code wraps them in.

    They are dense, finite, and of the precision they were stored in. Raises IrkdError for files
    that hold no such weights, and for checkpoints that would need to run code.
    """
    path = Path(path)
    if not path.is_file():
        raise IrkdError(f"{path}: no such file.")
    if path.stat().st_size == 0:
        raise IrkdError(f"{path} is empty.")
    if path.suffix.lower() == ".safetensors":
        try:
            content: object = safetensors.torch.load_file(path)
        except safetensors.SafetensorError as error:
            raise damaged(path, error) from error
    else:
        content = _load_checkpoint(path)
    state_dict = {
        key.removeprefix("module."): value
        for key, value in _unwrap(content).items()
        if isinstance(key, str) and isinstance(value, Tensor)
    }
    if not state_dict:
        raise IrkdError(f"{path} holds no weights.")
    _refuse_strange(state_dict, path)
    refuse_non_finite(state_dict, str(path))
    return state_dict


def _load_checkpoint(path: Path) -> object:
    with path.open("rb") as file:
        start = file.read(4)
    # A zip archive since PyTorch 1.6, a pickle before.
    if start != b"PK\x03\x04" and start[:1] != b"\x80":
        raise IrkdError(f"{path} is no PyTorch checkpoint.")
    try:
        with warnings.catch_warnings():
            # Advice to the author of the file, on its way to the errors below.
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"(?:GLOBAL|class|global:?) ([\w.]+\.[\w.]+)", str(error))
        reason = f" ({wanted.group(1)})" if wanted else ""
        raise IrkdError(
            f"{path} is refused: besides weights it holds objects that only running code from "
            f"the file could make{reason}. Save its state dict alone."
        ) from error
    # A damaged archive or pickle fails in as many ways as there are damages.
    except (
        RuntimeError,
        EOFError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        AssertionError,
        OverflowError,
        MemoryError,
        OSError,
    ) as error:
        if "TorchScript" in str(error):
            raise IrkdError(
                f"{path} is refused: a TorchScript program, not weights. Save its state dict."
            ) from error
        raise IrkdError(f"{path} is damaged or cut short.") from error


def damaged(path: Path, error: Exception) -> IrkdError:
    return IrkdError(f"{path} is damaged or cut short ({error}).")


def _unwrap(content: object) -> Mapping[Any, Any]:
    # A pickle can hold itself: unwrap a few times only.
    for _ in range(4):
        if not isinstance(content, Mapping):
            return {}
        wrapped = [content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)]
        if not wrapped:
            return content
        content = wrapped[0]
    return {}


def _refuse_strange(state_dict: Mapping[str, Tensor], path: Path) -> None:
    for key, tensor in state_dict.items():
        plain = tensor.layout == torch.strided and not tensor.is_meta and tensor.dtype in _DTYPES
        # A file can claim a tensor of any size by repeating one number.
        if not plain or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise IrkdError(
                f"{path}: {key} is no plain tensor; irkd reads real-valued, dense, "
                "unquantised weights."
            )


def refuse_non_finite(state_dict: Mapping[str, Tensor], what: str) -> None:
    bad = [
        key
        for key, tensor in state_dict.items()
        if tensor.is_floating_point() and not tensor.float().isfinite().all()
    ]
    if bad:
        raise IrkdError(
            f"{what} holds NaN or infinite weights: {some_of(bad)}. Its training "
            "diverged, or they do not fit into float16, or the file is damaged."
        )


def some_of(items: Iterable[str], limit: int = 3) -> str:
    items = list(items)
    rest = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + rest
