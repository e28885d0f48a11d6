"""Structural similarity as a differentiable function."""

from __future__ import annotations

import torch
from torch import Tensor

from irkd.errors import IrkdError
from irkd.losses.gaussian import gaussian_means
from irkd.losses.precision import full_precision

WINDOW = 11
SIGMA = 1.5


@full_precision
def ssim(a: Tensor, b: Tensor, *, data_range: float) -> Tensor:
    """The mean structural similarity of two B x C x H x W batches, 1 where they agree.

    Wang et al., IEEE TIP 2004: Gaussian window of 11 pixels and sigma 1.5, k1 0.01, k2 0.03, each
    channel on its own, over the area where the window fits ("valid"). `data_range` is white minus
    black: 1 for [0, 1], 2 for [-1, 1]. Equals scikit-image's with `gaussian_weights=True,
    use_sample_covariance=False`.

    Raises IrkdError for images smaller than the window.
    """
    height, width = a.shape[-2:]
    if min(height, width) < WINDOW:
        raise IrkdError(
            f"SSIM needs images of at least {WINDOW} x {WINDOW} pixels, not {height} x {width}."
        )
    # Variances are differences of means of squares: taken around 0, they lose digits on bright
    # images, and a common shift of both images leaves every variance as it is.
    centre = ((a.mean() + b.mean()) / 2).detach()
    c, d = a - centre, b - centre
    moments = torch.stack([c, d, c * c, d * d, c * d])
    mean_c, mean_d, mean_cc, mean_dd, mean_cd = gaussian_means(moments, WINDOW, SIGMA)
    variances = (mean_cc - mean_c**2) + (mean_dd - mean_d**2)
    covariance = mean_cd - mean_c * mean_d
    mean_a, mean_b = mean_c + centre, mean_d + centre
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (variances + c2)
    return (luminance * structure).mean()
