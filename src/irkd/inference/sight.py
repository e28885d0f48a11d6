"""A small network that tells how much of each damage squares of an image show.

Learned from procedural images with known damage (`bench/judge.py`).
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DAMAGES = ("blur", "haze", "rain", "noise", "jpeg")

WIDTHS = (16, 24, 40, 64, 96)
_STRIDES = (1, 2, 2, 2, 1)
_HIDDEN = 64
_LEAST_VARIANCE = 1e-3
LARGEST_AMOUNT = 7.0  # of log2(1 + n): the layer before has values about 1


def stages(channels: int) -> tuple[nn.ModuleList, nn.ModuleList]:
    """Convolutions from `channels` to WIDTHS, and their normalisations."""
    pairs = itertools.pairwise((channels, *WIDTHS))
    layers = [
        nn.Conv2d(*pair, 3, stride=stride, padding=1)
        for pair, stride in zip(pairs, _STRIDES, strict=True)
    ]
    return nn.ModuleList(layers), nn.ModuleList(nn.BatchNorm2d(width) for width in WIDTHS)


class Sight(nn.Module):
    """RGB images B x 3 x H x W in [0, 1] to the logarithm of the odds that there is each of
    DAMAGES, and by how many levels of 255 (rms) it changed them, log2(1 + n), B x 10: what it would
    be if there is any, times how likely that is.

    From means and deviations at every scale.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.norms = stages(12)
        found = 2 * sum(WIDTHS)
        self.found = nn.BatchNorm1d(found, affine=False)
        self.hidden = nn.Linear(found, _HIDDEN)
        self.dropout = nn.Dropout(0.2)
        self.facts = nn.Linear(_HIDDEN, 2 * len(DAMAGES))

    def forward(self, images: Tensor) -> Tensor:
        odds, amounts = self.of_hidden(self.hidden_of(images))
        return torch.cat([odds, odds.sigmoid() * amounts], 1)

    def of_hidden(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """The odds, and the amounts if there is any, each B x 5."""
        odds, amounts = self.facts(self.dropout(hidden)).chunk(2, 1)
        return odds, LARGEST_AMOUNT * amounts

    def hidden_of(self, images: Tensor) -> Tensor:
        height, width = (side // 2 * 2 for side in images.shape[-2:])
        features = F.pixel_unshuffle(images[..., :height, :width], 2) * 4 - 2
        found = []
        for layer, norm in zip(self.layers, self.norms, strict=True):
            features = norm(layer(features))
            variance = features.var((2, 3)) + _LEAST_VARIANCE
            found += [features.mean((2, 3)), variance.log()]
            features = F.leaky_relu(features, 0.1)
        known = self.found(torch.cat(found, 1)).clamp(-5, 5)
        return F.relu(self.hidden(known))
