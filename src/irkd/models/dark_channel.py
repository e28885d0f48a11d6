"""Haze and veils from the image alone: how bright its darkest spots are, and what is left without.

Almost every small part of an outdoor photograph has something dark in at least one colour; what
light is there came from the air (He, Sun, Tang, "Single Image Haze Removal Using Dark Channel
Prior", CVPR 2009 and IEEE TPAMI 2011). Different: all is computed on blocks of pixels, the
transmission is refined by a guided filter instead of matting (He, Sun, Tang, "Guided Image
Filtering", IEEE TPAMI 2013, on blocks as in He and Sun, "Fast Guided Filter", 2015), the air light
is a mean, and whether there is any haze is judged first.

Images are B x C x H x W in [0, 1], their sides multiples of BLOCK.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 4  # pixels along a side that are taken as one
# In blocks: of the dark channel's window, and of the guided filter's.
_WINDOW, _GUIDED = 3, 21
_GUIDED_EPS = 1e-3
_KEPT = 0.95  # of the haze is removed: without any, far things look unnatural
_LEAST_TRANSMISSION = 0.15
# What is told of a whole image is told from so many places along each side: graphs that are
# exported need a fixed number.
_PLACES = 48
_AIRY = 5  # of all places: those with the most haze
_TWENTIETH, _QUARTER = 115, 576  # of all places
_VEIL_LIGHT = 0.8
# Where trust begins and where it is whole, white is 1: in a veil by the darkest twentieth, in haze
# by the darkest quarter. Of good photographs one in ten has a twentieth brighter than the first.
_VEILED, _HAZY = (0.12, 0.17), (0.18, 0.26)


class Shadows(NamedTuple):
    """What all but the darkest twentieth, and the darkest quarter, of the dark channel exceeds;
    each B."""

    twentieth: Tensor
    quarter: Tensor


def dark_channel(images: Tensor) -> Tensor:
    """To B x 1 x H/BLOCK x W/BLOCK: the least of any colour in the surroundings."""
    return -_largest(F.max_pool2d(-images.amin(1, keepdim=True), BLOCK))


def shadows(dark: Tensor) -> Shadows:
    """How bright the dark spots of images are, of their dark channel."""
    darkest = -(-_places(dark)).flatten(1).topk(_QUARTER, 1).values
    return Shadows(darkest[:, _TWENTIETH - 1], darkest[:, _QUARTER - 1])


def trust_in_veil(dark: Shadows) -> Tensor:
    """B in [0, 1]: 0 where spots so dark speak against any veil, 1 where one must be."""
    return _rise(dark.twentieth, *_VEILED)


def trust_in_haze(dark: Shadows) -> Tensor:
    """B in [0, 1]: the same for haze, which grows with the distance and leaves no quarter dark."""
    return _rise(dark.quarter, *_HAZY)


def air_light(images: Tensor, dark: Tensor) -> Tensor:
    """The colour of the air, B x C: the mean of where `dark`, their dark channel, is brightest."""
    where = _places(dark).flatten(1).topk(_AIRY, 1).indices
    colours = _places(F.avg_pool2d(images, BLOCK)).flatten(2)
    return colours.gather(2, where[:, None].expand(-1, images.shape[1], -1)).mean(2)


def transmission(images: Tensor, air: Tensor, guide: Tensor) -> Tensor:
    """What share of the light comes through the haze, B x 1 x H' x W' in (0, 1].

    `air`: B x C; `guide`: the images, perhaps in a higher resolution H' x W', whose edges the
    transmission takes.
    """
    through = 1 - _KEPT * dark_channel(images / air[..., None, None].clamp(min=0.1))
    coarse = F.avg_pool2d(images.mean(1, keepdim=True), BLOCK)
    mean, mean_through = _mean(coarse), _mean(through)
    covariance = _mean(coarse * through) - mean * mean_through
    slope = covariance / (_mean(coarse * coarse) - mean * mean + _GUIDED_EPS)
    line = torch.cat([slope, mean_through - slope * mean], 1)
    line = F.interpolate(_mean(line), guide.shape[-2:], mode="bilinear", align_corners=False)
    through = line[:, :1] * guide.mean(1, keepdim=True) + line[:, 1:]
    return through.clamp(_LEAST_TRANSMISSION, 1.0)


def without_haze(images: Tensor, air: Tensor, through: Tensor) -> Tensor:
    """Koschmieder's law solved for the scene, clamped to [0, 1]."""
    air = air[..., None, None]
    return ((images - air) / through + air).clamp(0.0, 1.0)


def without_veil(images: Tensor, dark: Shadows) -> Tensor:
    """The images less an even veil as bright as their darkest spots."""
    level = dark.twentieth[:, None, None, None].clamp(max=_VEIL_LIGHT / 2)
    return ((images - level) / (1 - level / _VEIL_LIGHT)).clamp(0.0, 1.0)


def _rise(values: Tensor, low: float, high: float) -> Tensor:
    share = ((values - low) / (high - low)).clamp(0.0, 1.0)
    return share * share * (3 - 2 * share)


def _places(values: Tensor) -> Tensor:
    return F.interpolate(values, (_PLACES, _PLACES))


def _largest(values: Tensor) -> Tensor:
    return F.max_pool2d(values, _WINDOW, 1, _WINDOW // 2)


def _mean(values: Tensor) -> Tensor:
    """Of a window that ends at the border."""
    half = _GUIDED // 2
    rows = F.avg_pool2d(values, (1, _GUIDED), 1, (0, half), count_include_pad=False)
    return F.avg_pool2d(rows, (_GUIDED, 1), 1, (half, 0), count_include_pad=False)
