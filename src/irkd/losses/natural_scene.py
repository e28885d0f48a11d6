"""Natural scene statistics as differentiable features: what BRISQUE measures in an image.

Mittal, Moorthy, Bovik: No-reference image quality assessment in the spatial domain, IEEE TIP 2012.
Locally normalised images follow a generalised Gaussian, products of neighbours an asymmetric one;
degradations move their parameters. The common implementations look the shape parameter up by
`argmin` in a table, which has no gradient; here the table is interpolated.

Maps are ... x H x W: any leading axes, each map on its own.
"""

from __future__ import annotations

import functools
import math
from typing import Literal

import torch
from torch import Tensor

from irkd.losses.gaussian import gaussian_means
from irkd.losses.precision import full_precision

ShapeFeature = Literal["log_alpha", "moment_ratio", "alpha"]

WINDOW = 7
SIGMA = 7 / 6
SMALLEST_ALPHA, LARGEST_ALPHA = 0.2, 10.0
NODES = 512
# Rows and columns between the two neighbours of a product: across, down, and both diagonals.
SHIFTS = ((0, 1), (1, 0), (1, 1), (-1, 1))
EPS = 1e-6
RATIO_EPS = 1e-8
# Added to variances before the logarithm: those of flat parts would say too much.
LOG_EPS = 1e-5


@full_precision
def mscn(maps: Tensor, c: float = 0.1, *, batch: bool = False) -> Tensor:
    """Mean-subtracted, contrast-normalised maps, of the shape of `maps`.

    (z - m) / (s + C), with m and s the mean and the deviation under a Gaussian of 7 x 7 positions
    and standard deviation 7/6, borders replicated. BRISQUE takes C = 1 for images of 0 to 255. Here
    C is `c` times the deviation of the whole map, which carries no gradient: features have any
    scale, and on [0, 1] a C of 1 leaves maps of almost 0, whose statistics say nothing.

    Nor does a flat map say anything, but in units of its own deviation it would pull a thousand
    times harder than others. Maps fade to 0 where they deviate by less than a thousandth of their
    mean or, with `batch`, by less than a twentieth of what their like do along the first axis.
    """
    # In units of the map's own spread and around its mean, so that variances keep their digits.
    variance, mean = torch.var_mean(maps.detach(), (-2, -1), correction=0, keepdim=True)
    flat = (1e-3 * mean).square() + 1e-10
    if batch:
        flat = flat + 0.05**2 * variance.mean(0, keepdim=True)
    z = (maps - mean) * (variance / (variance + flat) ** 1.5)
    moments = torch.stack([z, z * z])
    local_mean, local_square = gaussian_means(moments, WINDOW, SIGMA, replicate=True)
    local_variance = (local_square - local_mean.square()).clamp_min(0)
    return (z - local_mean) / (torch.sqrt(local_variance + 1e-8) + c)


def cut(maps: Tensor, side: int) -> Tensor:
    """... x H x W as ... x n x side x side windows that do not overlap; a rest is left out."""
    windows = maps.unfold(-2, side, side).unfold(-2, side, side)
    return windows.flatten(-4, -3)


def log_rho(alpha: Tensor) -> Tensor:
    """log of Gamma(1/a) Gamma(3/a) / Gamma(2/a)^2: E[z^2] / E[|z|]^2 of a generalised Gaussian.

    It falls with the shape parameter a: rho is 2 at a = 1 (Laplace), pi/2 at 2 (Gauss), and nears
    4/3 (uniform).
    """
    inverse = 1 / alpha
    return torch.lgamma(inverse) + torch.lgamma(3 * inverse) - 2 * torch.lgamma(2 * inverse)


@functools.cache
def _table(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """log rho, rising, and log alpha at each; 512 nodes evenly spaced in log alpha."""
    limits = math.log(LARGEST_ALPHA), math.log(SMALLEST_ALPHA)
    log_alpha = torch.linspace(*limits, NODES, dtype=torch.float64, device="cpu")
    rising = log_rho(log_alpha.exp())
    return rising.to(device, dtype), log_alpha.to(device, dtype)


@full_precision
def inverse_log_rho(log_ratio: Tensor) -> Tensor:
    """log alpha whose `log_rho` is `log_ratio`, by linear interpolation between 512 nodes.

    Outside the shapes 0.2 to 10 it is constant, with gradient 0. Inside, d log alpha / d log ratio
    is -2 at alpha 1, -4.4 at 2, -15 at 5 and -31 at 8: light tails are told apart by little.
    """
    nodes, log_alpha = _table(log_ratio.device, log_ratio.dtype)
    inside = log_ratio.clamp(nodes[0], nodes[-1])
    right = torch.searchsorted(nodes, inside.detach().contiguous()).clamp(1, NODES - 1)
    left = right - 1
    share = (inside - nodes[left]) / (nodes[right] - nodes[left])
    return log_alpha[left] + share * (log_alpha[right] - log_alpha[left])


def _log_ratio(square: Tensor, absolute: Tensor) -> Tensor:
    """log E[z^2] / E[|z|]^2; 0, below that of any distribution, where all is 0."""
    return torch.log((square + RATIO_EPS) / (absolute.square() + RATIO_EPS))


def _shape(log_ratio: Tensor, feature: ShapeFeature) -> Tensor:
    """The entry that stands for the shape parameter, from the log of the ratio of moments."""
    if feature == "moment_ratio":
        return log_ratio
    log_alpha = inverse_log_rho(log_ratio)
    return log_alpha if feature == "log_alpha" else log_alpha.exp()


def _spread(variance: Tensor, feature: ShapeFeature) -> Tensor:
    return variance if feature == "alpha" else torch.log(variance + LOG_EPS)


@full_precision
def natural_features(maps: Tensor, feature: ShapeFeature = "log_alpha") -> Tensor:
    """Shape and variance of a generalised Gaussian fitted to each `mscn` map; ... x 2.

    By moments: rho(alpha) = E[z^2] / E[|z|]^2, sigma^2 = E[z^2]. `feature` says what stands for
    the two. log_alpha: log alpha and log sigma^2. moment_ratio: log rho and log sigma^2, the same
    optimum with the same gradient at any alpha. alpha: both as they are, as BRISQUE has them, where
    the gradient of alpha is a hundred times larger at light tails than at heavy ones.
    """
    square, absolute = maps.square().mean((-2, -1)), maps.abs().mean((-2, -1))
    log_ratio = _log_ratio(square, absolute)
    return torch.stack([_shape(log_ratio, feature), _spread(square, feature)], -1)


@full_precision
def color_features(maps: Tensor, feature: ShapeFeature = "log_alpha") -> Tensor:
    """Asymmetric generalised Gaussians fitted to products of neighbours in `mscn` maps; ... x 16.

    For each of the four directions: alpha, eta, left and right variance. With l and r the roots of
    the mean squares of negative and positive products, g = l / r:
    rho(alpha) = E[p^2] / E[|p|]^2 (g^2 + 1)^2 / ((g^3 + 1)(g + 1)), and
    eta = (r - l) Gamma(2/a) / sqrt(Gamma(1/a) Gamma(3/a)) = (r - l) / sqrt(rho(alpha)).
    Products stay within the map; common code wraps around its border. `feature` as in
    `natural_features`.
    """
    products = torch.stack([_product_moments(maps, *shift) for shift in SHIFTS], -1)
    left_square, right_square, square, absolute = products.unbind(-2)
    left, right = torch.sqrt(left_square + EPS), torch.sqrt(right_square + EPS)
    g = left / right
    asymmetry = (g.square() + 1).square() / ((g**3 + 1) * (g + 1))
    log_ratio = _log_ratio(square, absolute) + torch.log(asymmetry)
    # Where the table ends, eta is that of the alpha it ends with.
    nodes, _ = _table(log_ratio.device, log_ratio.dtype)
    eta = (right - left) * torch.exp(-log_ratio.clamp(nodes[0], nodes[-1]) / 2)
    entries = [_shape(log_ratio, feature), eta]
    entries += [_spread(variance, feature) for variance in (left_square, right_square)]
    return torch.stack(entries, -1).flatten(-2)


def _product_moments(maps: Tensor, down: int, across: int) -> Tensor:
    """... x 4: the mean squares of negative and of positive products, of all, and their size."""
    height, width = maps.shape[-2:]
    first = maps[..., max(0, -down) : height - max(0, down), : width - across]
    second = maps[..., max(0, down) : height + min(0, down), across:]
    product = first * second
    square = product.square()
    moments = []
    for side in (product < 0, product > 0):
        # How many there are is a constant for the gradient.
        moments.append((square * side).sum((-2, -1)) / (side.sum((-2, -1)) + EPS))
    moments += [square.mean((-2, -1)), product.abs().mean((-2, -1))]
    return torch.stack(moments, -1)


def natural_color_loss(
    student: Tensor, teacher: Tensor, *, window: int | None = 32, feature: ShapeFeature
) -> Tensor:
    """Mean absolute difference of natural features, plus that of color features.

    student, teacher: `mscn` maps ... x H x W. `window`: statistics of windows of that many
    positions a side, so that they say where; None: of the whole map.
    """
    if window is not None:
        student, teacher = cut(student, window), cut(teacher, window)
    with torch.no_grad():
        natural, color = natural_features(teacher, feature), color_features(teacher, feature)
    return (natural_features(student, feature) - natural).abs().mean() + (
        color_features(student, feature) - color
    ).abs().mean()
