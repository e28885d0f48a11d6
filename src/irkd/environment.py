"""The machine a number was made on: versions, device, threads."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from irkd.errors import IrkdError

if TYPE_CHECKING:
    import torch


def choose_device(name: str = "auto") -> torch.device:
    """The device called `name`: auto, cpu, cuda, cuda:N or mps. `auto` takes the fastest there is.

    Raises IrkdError when it is not there.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise IrkdError(f"unknown device {name!r}. Known: auto, cpu, cuda, cuda:N, mps.") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise IrkdError(
            f"device {name!r} is not there; torch sees {torch.cuda.device_count()} GPU."
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise IrkdError("device 'mps' is not there on this machine.")
    if device.type not in ("cpu", "cuda", "mps"):
        raise IrkdError(f"unknown device {name!r}. Known: auto, cpu, cuda, cuda:N, mps.")
    return device


def describe_environment(device: str | None = None) -> dict[str, Any]:
    """Versions and machine, for manifests and beside every table."""
    names = ("irkd", "torch", "numpy", "opencv-python-headless", "scikit-image", "onnxruntime")
    result: dict[str, Any] = {
        "versions": {name: found for name in names if (found := _version(name))},
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    if device is not None:
        import torch

        result["device"] = device
        result["threads"] = torch.get_num_threads()
        if device.startswith("cuda"):
            result["gpu"] = torch.cuda.get_device_name(torch.device(device))
    return result


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
