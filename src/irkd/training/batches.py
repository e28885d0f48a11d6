"""From a loader's batch to what the task takes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_IMAGES = ("degraded", "reference", "teacher_restored")


def unit_images(batch: dict[str, Any], device: torch.device) -> dict[str, Tensor]:
    """The images of a batch on `device`, float32 in [0, 1], B x 3 x H x W.

    8-bit images are divided by 255. "teacher_restored" is there when the batch has it.
    """
    images = {}
    for name in _IMAGES:
        if name in batch:
            stored: Tensor = batch[name]
            image = stored.to(device, non_blocking=True).float()
            images[name] = image.div_(255) if stored.dtype == torch.uint8 else image
    return images
