"""Every metric that can be asked for by name: the protocol's own, PIQE, and those of pyiqa."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irkd.errors import IrkdError
from irkd.metrics.no_reference import piqe
from irkd.metrics.protocols import FIELDS
from irkd.registry import suggestion

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Metric:
    """A metric as tables and files show it.

    `function(restored, reference)` takes H x W x 3 RGB uint8; it is None for the metrics that the
    protocol defines. `reference` is None where `needs_reference` is false.
    """

    name: str
    field: str
    title: str
    digits: int
    higher_is_better: bool
    needs_reference: bool
    function: Callable[[Picture, Picture | None], float] | None = None
    package: str | None = None
    """The package that computes it, where that is not irkd."""


_OWN = {
    "psnr": Metric("psnr", FIELDS["psnr"], "PSNR (dB)", 2, True, True),
    "ssim": Metric("ssim", FIELDS["ssim"], "SSIM", 4, True, True),
    "piqe": Metric("piqe", "piqe", "PIQE", 2, False, False, lambda image, _: piqe(image)),
}


def open_metrics(names: Iterable[str], device: str = "cpu") -> tuple[Metric, ...]:
    """The metrics called `names`, in that order. Names that irkd does not know are pyiqa's.

    Raises IrkdError for an unknown name, or when pyiqa cannot make the metric ready (most of its
    metrics download weights when first used).
    """
    wanted = list(dict.fromkeys(name.strip().lower() for name in names if name.strip()))
    if not wanted:
        raise IrkdError("no metric given. Known: psnr, ssim, piqe, and pyiqa's names.")
    return tuple(_OWN[name] if name in _OWN else _open_pyiqa(name, device) for name in wanted)


def _open_pyiqa(name: str, device: str) -> Metric:
    try:
        import pyiqa
        import torch
    except ImportError as error:
        raise IrkdError(
            f"unknown metric {name!r}. Known without pyiqa: {', '.join(_OWN)}. "
            "Install pyiqa for its metrics (mind its non-commercial licence)."
        ) from error
    known = [*_OWN, *pyiqa.list_models()]
    if name not in known:
        raise IrkdError(
            f"unknown metric {name!r}.{suggestion(name, known)} Known: {', '.join(_OWN)}, "
            "and the names that pyiqa.list_models() gives."
        )
    try:
        # It prints what it loads; standard output is for results.
        with contextlib.redirect_stdout(io.StringIO()):
            model: Any = pyiqa.create_metric(name, device=torch.device(device))
    except Exception as error:
        raise IrkdError(
            f"pyiqa cannot make metric {name!r} ready: {error}. Most of its metrics download "
            "weights when first used; check the connection, or choose another metric."
        ) from error

    def tensor(image: Picture) -> Any:
        batch = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
        return (batch.to(device) / 255).float()

    def score(restored: Picture, reference: Picture | None) -> float:
        images = [restored] if reference is None else [restored, reference]
        with torch.inference_mode():
            return float(model(*map(tensor, images)))

    return Metric(
        name,
        name,
        name.upper(),
        4,
        not model.lower_better,
        model.metric_mode == "FR",
        score,
        "pyiqa",
    )
