"""Attention transfer: where in the image a network's features are strong."""

from __future__ import annotations

from torch import Tensor

from irkd.losses.kernels import unit
from irkd.losses.precision import full_precision
from irkd.losses.resolution import to_common_size


@full_precision
def attention_transfer_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """mean over images of || A_S / ||A_S|| - A_T / ||A_T|| ||^2, A = sum over channels of F^2.

    Zagoruyko and Komodakis (ICLR 2017), equation 2 with p = 2, squared as in the authors' code.
    student: B x C x H x W, teacher: B x C' x H' x W'; the finer attention map is averaged down. In
    [0, 2], whatever the resolution; the authors' code takes a mean over positions too, which falls
    with their number, and undoes it by its weight.
    """
    maps = to_common_size(*(each.square().mean(1, keepdim=True) for each in (student, teacher)))
    mine, taught = (unit(each.flatten(1)) for each in maps)
    return (mine - taught).square().sum(1).mean()
