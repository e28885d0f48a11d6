"""The teacher's running statistics, for comparing features in units of their own spread."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_DECAY = 0.99
_SPREAD_FLOOR = 1e-4


class RunningSpread(nn.Module):
    """The standard deviation of each channel of a map, averaged over the last 100 or so steps.

    Features of restoration networks differ in scale from level to level and from family to family
    (standard deviations of 0.05 are as ordinary as those of 10); divided by the teacher's, a weight
    or a temperature means the same everywhere.

    It is task state: saved with a run, so that a resumed one goes on with the same bits. Updated
    while training only. From the first batch on it is unbiased, as Adam's moments are.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.variance: Tensor
        self.weight: Tensor
        self.register_buffer("variance", torch.zeros(channels))
        self.register_buffer("weight", torch.zeros(()))

    @torch.no_grad()
    def forward(self, features: Tensor) -> Tensor:
        """The standard deviations, 1 x C x 1 x 1, having seen `features` B x C x H x W."""
        variance = features.float().var((0, 2, 3), correction=0)
        if self.training:
            self.variance.lerp_(variance, 1 - _DECAY)
            self.weight.lerp_(torch.ones_like(self.weight), 1 - _DECAY)
        # Without a step behind it there is but this batch.
        seen = self.weight > 0
        variance = torch.where(seen, self.variance / torch.where(seen, self.weight, 1.0), variance)
        return torch.sqrt(variance + _SPREAD_FLOOR**2).view(1, -1, 1, 1)
