"""A small network that tells how sure one can be of haze, from all of an image in small.

Haze is seen best from afar: what is paler is also of less contrast, and farther away. Squares at
full size, from which the other damage is told (`irkd.inference.sight`), show a part of that.
Learned from procedural images (`bench/overview.py`).
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irkd.inference.picture import Pixels, to_float
from irkd.inference.sight import LARGEST_AMOUNT, WIDTHS, stages

SIDE = 128
# What it tells: the logarithm of the odds that there is haze, and by how many levels of 255 (rms)
# it changed the image, log2(1 + n).
FACTS = ("odds of haze", "levels of haze")

_HIDDEN = 48
_DARK_WINDOW = 7
_LEAST_VARIANCE = 1e-4


class Overview(nn.Module):
    """RGB images B x 3 x SIDE x SIDE in [0, 1] to FACTS, B x 2."""

    def __init__(self) -> None:
        super().__init__()
        # A dark channel beside the colours; four pixels as one.
        self.layers, self.norms = stages(16)
        self.hidden = nn.Linear(2 * sum(WIDTHS[-2:]), _HIDDEN)
        self.dropout = nn.Dropout(0.2)
        self.facts = nn.Linear(_HIDDEN, len(FACTS))

    def forward(self, images: Tensor) -> Tensor:
        least = -images.amin(1, keepdim=True)
        dark = -F.max_pool2d(least, _DARK_WINDOW, 1, _DARK_WINDOW // 2)
        features = F.pixel_unshuffle(torch.cat([images, dark], 1), 2) * 4 - 2
        found = []
        for layer, norm in zip(self.layers, self.norms, strict=True):
            features = F.leaky_relu(norm(layer(features)), 0.1)
            deviation = (features.var((2, 3)) + _LEAST_VARIANCE).sqrt()
            found.append(torch.cat([features.mean((2, 3)), deviation], 1))
        seen = self.dropout(F.relu(self.hidden(torch.cat(found[-2:], 1))))
        return self.facts(seen) * torch.tensor([1.0, LARGEST_AMOUNT])


def in_small(image: Pixels) -> Tensor:
    """All of an image H x W or H x W x 3 of any depth, as `Overview` takes it: 3 x SIDE x SIDE."""
    small = cv2.resize(np.ascontiguousarray(image), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(to_float(small)).permute(2, 0, 1)
