"""Pieces that several network families share."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def channels_last(images: Tensor) -> Tensor:
    """Store B x C x H x W with the channels of a pixel side by side; convolutions keep it so.

    Layer normalisation over channels is then contiguous, and depthwise convolution on a CPU
    takes less than half the time.
    """
    return images.contiguous(memory_format=torch.channels_last)


def channel_layer_norm(features: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Layer normalisation over the channels of each pixel of B x C x H x W, biased variance.

    The native kernel accumulates in float32 whatever the input's precision, so that float16
    features do not overflow their variance.
    """
    last = features.permute(0, 2, 3, 1)
    return F.layer_norm(last, weight.shape, weight, bias, eps).permute(0, 3, 1, 2)


class Downsample2d(nn.Sequential):
    """3 x 3 convolution to half the channels, then 2 x 2 pixels into channels: C -> 2C, H -> H/2."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.Conv2d(channels, channels // 2, 3, padding=1, bias=False), nn.PixelUnshuffle(2)
        )


class Upsample2d(nn.Sequential):
    """3 x 3 convolution to twice the channels, then channels into 2 x 2 pixels: C -> C/2, H -> 2H."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.Conv2d(channels, channels * 2, 3, padding=1, bias=False), nn.PixelShuffle(2)
        )


def children_of(keys: Iterable[str], prefix: str) -> list[str]:
    """The distinct next components of the state-dict keys below `prefix`, in order of appearance.

    >>> children_of(["middle.0.weight", "middle.0.bias", "middle.1.weight"], "middle.")
    ['0', '1']
    """
    below = (key[len(prefix) :].split(".", 1)[0] for key in keys if key.startswith(prefix))
    return list(dict.fromkeys(below))
