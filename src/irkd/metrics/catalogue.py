"""Every metric that can be asked for by name: the protocol's, PIQE, BRISQUE, those of pyiqa."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irkd.errors import IrkdError
from irkd.metrics.brisque import open_brisque_model
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
    detail: str | None = None
    """What else its values depend on, such as a model file."""


_OWN = {
    "psnr": Metric("psnr", FIELDS["psnr"], "PSNR (dB)", 2, True, True),
    "ssim": Metric("ssim", FIELDS["ssim"], "SSIM", 4, True, True),
    "piqe": Metric("piqe", "piqe", "PIQE", 2, False, False, lambda image, _: piqe(image)),
}

# pyiqa's metrics that fetch nothing, and those that are no function of one image and its reference.
_PYIQA_OFFLINE = (
    "cw_ssim, entropy, fsim, gmsd, mad, ms_ssim, nlpd, psnry, ssimc, vif, vsi"  # and irkd's names
)
_PYIQA_OF_SETS = ("fid", "fid_dinov2", "sfid", "inception_score")
_PYIQA_OF_MORE = {"clipscore": "captions", "fgresq_pair": "pairs of restored images"}


def open_metrics(
    names: Iterable[str], device: str = "cpu", *, brisque_model: str | Path | None = None
) -> tuple[Metric, ...]:
    """The metrics called `names`, in that order. Names that irkd does not know are pyiqa's.

    `device`: where pyiqa's run. `brisque_model`: the model files of the BRISQUE release; "brisque"
    is then computed by irkd, and without them by pyiqa.

    Raises IrkdError for an unknown name, or when pyiqa cannot make the metric ready (most of its
    metrics download weights when first used).
    """
    wanted = list(dict.fromkeys(name.strip().lower() for name in names if name.strip()))
    if not wanted:
        raise IrkdError("no metric given. Known: psnr, ssim, piqe, brisque, and pyiqa's names.")
    own = dict(_OWN)
    if brisque_model is not None:
        if "brisque" not in wanted:
            raise IrkdError(
                f"a BRISQUE model, but the metrics are {', '.join(wanted)}. Add brisque to them."
            )
        own["brisque"] = _open_brisque(brisque_model)
    return tuple(own[name] if name in own else _open_pyiqa(name, device) for name in wanted)


def _open_brisque(path: str | Path) -> Metric:
    model = open_brisque_model(path)
    return Metric(
        "brisque",
        "brisque",
        "BRISQUE",
        2,
        False,
        False,
        lambda image, _: model(image),
        detail=model.name,
    )


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
    if name in _PYIQA_OF_SETS:
        raise IrkdError(f"{name} scores a set of images as a whole; choose a metric of one image.")
    if name in _PYIQA_OF_MORE:
        raise IrkdError(f"{name} needs {_PYIQA_OF_MORE[name]}, which an evaluation has none of.")
    try:
        # It prints what it loads; standard output is for results.
        with contextlib.redirect_stdout(io.StringIO()):
            model: Any = pyiqa.create_metric(name, device=torch.device(device))
    except OSError as error:
        # Every failure of the network is one: urllib's, requests', the Hugging Face hub's.
        other = ", or brisque's own files with --brisque-model" if name == "brisque" else ""
        raise IrkdError(
            f"pyiqa cannot fetch the weights of metric {name!r}: {error}. Connect once, and they "
            f"are kept; or choose one that needs none ({', '.join(_OWN)}, {_PYIQA_OFFLINE}){other}."
        ) from error
    except Exception as error:
        raise IrkdError(
            f"pyiqa cannot make metric {name!r} ready: {error}. Choose another metric."
        ) from error

    def tensor(image: Picture) -> Any:
        batch = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
        return (batch.to(device) / 255).float()

    def score(restored: Picture, reference: Picture | None) -> float:
        images = [restored] if reference is None else [restored, reference]
        try:
            with torch.inference_mode():
                return float(model(*map(tensor, images)))
        except Exception as error:
            # Too small an image, out of memory, ...: of this one image.
            raise IrkdError(f"pyiqa's {name} failed: {error}") from error

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
