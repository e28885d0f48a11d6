"""The teacher's running statistics, for comparing features in units of their own spread."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_DECAY = 0.99
_SPREAD_FLOOR = 1e-4


class RunningStatistics(nn.Module):
    """Mean and standard deviation of each channel of a map, averaged over the last 100 or so steps.

    They are task state: saved with a run, so that a resumed one goes on with the same bits. Updated
    while training only. From the first batch on they are unbiased, as Adam's moments are.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.variance: Tensor
        self.weight: Tensor
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.zeros(channels))
        self.register_buffer("weight", torch.zeros(()))

    @torch.no_grad()
    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, 1 x C x 1 x 1 each, having seen `features` B x C x H x W."""
        variance, mean = torch.var_mean(features.float(), (0, 2, 3), correction=0)
        if self.training:
            self.mean.lerp_(mean, 1 - _DECAY)
            self.variance.lerp_(variance, 1 - _DECAY)
            self.weight.lerp_(torch.ones_like(self.weight), 1 - _DECAY)
        # Without a step behind them there is but this batch.
        seen = self.weight > 0
        share = torch.where(seen, self.weight, 1.0)
        mean = torch.where(seen, self.mean / share, mean)
        variance = torch.where(seen, self.variance / share, variance)
        spread = torch.sqrt(variance + _SPREAD_FLOOR**2)
        return mean.view(1, -1, 1, 1), spread.view(1, -1, 1, 1)
