"""Kullback-Leibler divergences between images."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from irkd.losses.precision import full_precision


@full_precision
def spatial_softmax_kl(restored: Tensor, taught: Tensor, tau: float = 1.0) -> Tensor:
    """tau^2 KL(softmax(taught / tau) || softmax(restored / tau)), the softmax over positions.

    restored, taught: B x C x H x W. A sum over positions and a mean over images and channels:
    PyTorch's `reduction="mean"` divides by the number of positions too, which leaves next to
    nothing. For values of about 1 and tau 1 it is half the variance of the difference: a squared
    error that does not see a constant change of brightness. A smaller tau looks at bright places.
    """
    log_taught, log_restored = ((x.flatten(2) / tau).log_softmax(-1) for x in (taught, restored))
    divergence = F.kl_div(log_restored, log_taught, reduction="none", log_target=True)
    return tau**2 * divergence.sum(-1).mean()


@full_precision
def gaussian_kl(restored: Tensor, taught: Tensor, sigma: float = 1.0) -> Tensor:
    """KL of normal distributions of deviation `sigma` around every value: MSE / (2 sigma^2)."""
    return F.mse_loss(restored, taught) / (2 * sigma**2)
