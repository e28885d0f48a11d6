"""irkd: compress image-restoration networks by knowledge distillation, and use the result.

>>> import irkd
>>> network = irkd.load_network("denoise")
>>> restored = irkd.restore("photo.jpg")
"""

from __future__ import annotations

import importlib
from typing import Any

_WHERE = {
    "create_network": "irkd.models.base",
    "load_network": "irkd.inference.backends",
    "load_preset": "irkd.presets.load",
    "distill": "irkd.training.distill",
    "evaluate": "irkd.inference.evaluate",
    "evaluate_detections": "irkd.inference.detection",
    "restore": "irkd.inference.restore",
    "IrkdError": "irkd.errors",
}

__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    # Imported on first use: `import irkd` and the command line's help stay free of torch.
    if name not in _WHERE:
        raise AttributeError(f"module 'irkd' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
