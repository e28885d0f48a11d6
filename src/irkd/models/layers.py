"""Pieces that several network families share."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irkd.models.base import on_reference_path


def channels_last(images: Tensor) -> Tensor:
    """Store B x C x H x W with the channels of a pixel side by side; convolutions keep it so.

    Layer normalisation over channels is then contiguous, and depthwise convolution on a CPU
    takes less than half the time.
    """
    if on_reference_path():
        return images
    return images.contiguous(memory_format=torch.channels_last)


def channel_layer_norm(features: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Layer normalisation over the channels of each pixel of B x C x H x W, biased variance.

    The native kernel accumulates in float32 whatever the input's precision, so that float16
    features do not overflow their variance.
    """
    if on_reference_path():
        variance, mean = torch.var_mean(features, 1, correction=0, keepdim=True)
        normal = (features - mean) / torch.sqrt(variance + eps)
        return normal * weight.view(-1, 1, 1) + bias.view(-1, 1, 1)
    last = features.permute(0, 2, 3, 1)
    return F.layer_norm(last, weight.shape, weight, bias, eps).permute(0, 3, 1, 2)


class ChannelLayerNorm(nn.Module):
    """`channel_layer_norm` with its parameters under `body`, as Restormer's weights name them.

    `with_bias=False` is Restormer's BiasFree form: divided by the standard deviation of the
    channels, but not centred (neither layer normalisation nor RMS normalisation).
    """

    def __init__(self, channels: int, *, with_bias: bool = True, eps: float = 1e-5) -> None:
        super().__init__()
        self.body = nn.LayerNorm(channels, eps, bias=with_bias)

    def forward(self, features: Tensor) -> Tensor:
        weight, bias, eps = self.body.weight, self.body.bias, self.body.eps
        if not on_reference_path():
            return self.pixels(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        if bias is not None:
            return channel_layer_norm(features, weight, bias, eps)
        variance = features.var(1, correction=0, keepdim=True)
        return features / torch.sqrt(variance + eps) * weight.view(-1, 1, 1)

    def pixels(self, features: Tensor) -> Tensor:
        """Of ... x C features: the channels of a pixel side by side."""
        weight, bias, eps = self.body.weight, self.body.bias, self.body.eps
        if bias is not None:
            return F.layer_norm(features, weight.shape, weight, bias, eps)
        # float16 would overflow in the variance of channels that differ by more than 256.
        precise = features if features.dtype == torch.float64 else features.float()
        # torch's own variance takes ten times as long over a short last axis.
        centred = precise - precise.mean(-1, keepdim=True)
        length = torch.linalg.vector_norm(centred, dim=-1, keepdim=True)
        scale = torch.rsqrt(length.square() / len(weight) + eps)
        return (precise * scale * weight).to(features.dtype)


class PatchEmbedding(nn.Module):
    """3 x 3 convolution of the image to the first features; never has a bias."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images)


class Downsample(nn.Module):
    """B x C x H x W to B x 2C x H/2 x W/2: 3 x 3 convolution to C/2, 2 x 2 pixels to channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels // 2, 3, padding=1, bias=False), nn.PixelUnshuffle(2)
        )

    def forward(self, features: Tensor) -> Tensor:
        return self.body(features)


class Upsample(nn.Module):
    """B x C x H x W to B x C/2 x 2H x 2W: 3 x 3 convolution to 2C, channels to 2 x 2 pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels * 2, 3, padding=1, bias=False), nn.PixelShuffle(2)
        )

    def forward(self, features: Tensor) -> Tensor:
        return self.body(features)


def children_of(keys: Iterable[str], prefix: str) -> list[str]:
    """The distinct next components of the state-dict keys below `prefix`, in order of appearance.

    >>> children_of(["middle.0.weight", "middle.0.bias", "middle.1.weight"], "middle.")
    ['0', '1']
    """
    below = (key[len(prefix) :].split(".", 1)[0] for key in keys if key.startswith(prefix))
    return list(dict.fromkeys(below))
