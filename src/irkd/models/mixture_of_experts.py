"""The mixture of experts of DRSformer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irkd.models import strips
from irkd.models.base import on_reference_path

EXPERTS = 8

# Rows from the first to before the second: strip after strip, each once.
Rows = Callable[[int, int], Tensor]


class Expert(nn.Module):
    """One expert of a mixture: B x C x H x W to the same."""

    def __init__(self, op: nn.Sequential) -> None:
        super().__init__()
        self.op = op

    def forward(self, features: Tensor) -> Tensor:
        return self.op(features)

    def split(self, features: Tensor) -> Tensor:
        """Features before the last 1 x 1 convolution."""
        for layer in self.op[:-1]:
            features = layer(features)
        return features

    def split_in_strips(self, image: Tensor) -> Rows:
        """What gives the rows of `split` of an H x W x C image, from the first to the last."""
        convolutions = [layer for layer in self.op[:-1] if isinstance(layer, nn.Conv2d)]
        weights = [convolution.weight for convolution in convolutions]
        dilation = convolutions[0].dilation[0]
        halo = convolutions[0].padding[0]
        assert isinstance(halo, int)

        def depthwise(first: int, end: int) -> Tensor:
            rows = strips.rows_around(image, first, end, halo)
            return strips.depthwise(rows, weights[0], None, dilation)

        if len(weights) == 1:
            return depthwise
        _, mix, second = weights

        def mixed(first: int, end: int, out: Tensor) -> None:
            strips.pointwise(depthwise(first, end), mix.flatten(1), None, out)
            out.relu_()

        window = strips.Window(image, image.shape[-1], second.shape[-1] // 2, mixed)
        return lambda first, end: strips.depthwise(window.around(first, end), second, None)

    def last_matrix(self) -> Tensor | None:
        """The C x C matrix of the last 1 x 1 convolution; None without one."""
        return self.op[-1].get_parameter("weight").flatten(1)


class PointwiseExpert(Expert):
    """The separable convolution of 1 x 1 pixels, whose depthwise layers only scale channels."""

    def split(self, features: Tensor) -> Tensor:
        return F.conv2d(features, self._first_matrix()[:, :, None, None]).relu_()

    def split_in_strips(self, image: Tensor) -> Rows:
        matrix = self._first_matrix()

        def rows(first: int, end: int) -> Tensor:
            return F.linear(image[first:end], matrix).relu_()

        return rows

    def _first_matrix(self) -> Tensor:
        scale, mix = (self.op[i].get_parameter("weight") for i in (0, 1))
        return mix.flatten(1) * scale.flatten()

    def last_matrix(self) -> Tensor | None:
        scale, last = (self.op[i].get_parameter("weight") for i in (3, 4))
        return last.flatten(1) * scale.flatten()


class PoolingExpert(Expert):
    """The expert without weights: the mean of 3 x 3 pixels, at the border of those there are."""

    def __init__(self) -> None:
        pool = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
        super().__init__(nn.Sequential(pool))

    def split(self, features: Tensor) -> Tensor:
        return self.op(features)

    def split_in_strips(self, image: Tensor) -> Rows:
        def rows(first: int, end: int) -> Tensor:
            top, bottom = min(first, 1), min(len(image) - end, 1)
            # With the neighbouring rows that there are, whose own means are left out.
            seen = image[first - top : end + bottom]
            means = self.op(seen[None].permute(0, 3, 1, 2))[0].permute(1, 2, 0)
            return means[top : len(means) - bottom]

        return rows

    def last_matrix(self) -> Tensor | None:
        return None


def _experts(channels: int) -> Iterator[Expert]:
    def depthwise(size: int, dilation: int = 1) -> nn.Conv2d:
        padding = dilation * (size // 2)
        return nn.Conv2d(
            channels,
            channels,
            size,
            padding=padding,
            dilation=dilation,
            groups=channels,
            bias=False,
        )

    def pointwise() -> nn.Conv2d:
        return nn.Conv2d(channels, channels, 1, bias=False)

    for size in (1, 3, 5, 7):
        relu = nn.ReLU(inplace=True)
        expert = PointwiseExpert if size == 1 else Expert
        yield expert(
            nn.Sequential(depthwise(size), pointwise(), relu, depthwise(size), pointwise())
        )
    for size in (3, 5, 7):
        yield Expert(nn.Sequential(depthwise(size, dilation=2), pointwise()))
    yield PoolingExpert()


class MixtureStep(nn.Module):
    """All experts on B x C x H x W, weighted per image by B x 8, joined and added to the input.

    The input must not be negative, as after a ReLU; the output is not negative either.
    """

    # As much as several transformer blocks: see `irkd.models.taps.encode`.
    recomputed = True

    def __init__(self, channels: int) -> None:
        super().__init__()
        self._ops = nn.ModuleList(_experts(channels))
        self._out = nn.Sequential(
            nn.Conv2d(EXPERTS * channels, channels, 1, bias=False), nn.ReLU(inplace=True)
        )

    def forward(self, features: Tensor, weights: Tensor) -> Tensor:
        if on_reference_path():
            weighted = [
                expert(features) * weight.view(-1, 1, 1, 1)
                for expert, weight in zip(self._ops, weights.unbind(1), strict=True)
            ]
            return F.relu(self._out(torch.cat(weighted, 1)) + features)
        matrices = self._matrices(weights).to(features.dtype)
        if strips.in_strips(features):
            return strips.each_image(features, self._in_strips, matrices)
        total = None
        for expert, matrix in zip(self._ops, matrices.unbind(1), strict=True):
            x = cast(Expert, expert).split(features)
            pixels = x.permute(0, 2, 3, 1).flatten(1, 2)
            total = pixels @ matrix if total is None else torch.baddbmm(total, pixels, matrix)
        assert total is not None
        joined = total.relu_().unflatten(1, features.shape[-2:]).permute(0, 3, 1, 2)
        # Neither term is negative: the original's last ReLU changes nothing.
        return features + joined

    def _matrices(self, weights: Tensor) -> Tensor:
        """B x 8 x C x C: what is left of every expert, for pixels times matrix.

        An expert's last convolution, its weight and its part of the joining convolution are one
        matrix per image; adding up what it gives needs no 8 C channels.
        """
        parts = self._out[0].get_parameter("weight").flatten(1).chunk(EXPERTS, dim=1)
        matrices = []
        for expert, part in zip(self._ops, parts, strict=True):
            last = cast(Expert, expert).last_matrix()
            matrices.append(part if last is None else part @ last)
        return weights[:, :, None, None] * torch.stack(matrices).mT

    def _in_strips(self, image: Tensor, out: Tensor, matrices: Tensor) -> None:
        experts = [cast(Expert, expert).split_in_strips(image) for expert in self._ops]
        # Large convolutions share more rows between strips: larger ones pay.
        for first, end in strips.strips(image, image.shape[-1]):
            total = out[first:end].flatten(0, 1)
            for expert, matrix in zip(experts, matrices, strict=True):
                pixels = expert(first, end).flatten(0, 1)
                total.addmm_(pixels, matrix, beta=expert is not experts[0])
            total.relu_()
            out[first:end] += image[first:end]


class MixtureWeights(nn.Module):
    """The experts' weights in every step, B x steps x 8, from the mean of B x C x H x W."""

    def __init__(self, channels: int, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.ca_fc = nn.Sequential(
            nn.Linear(channels, 2 * EXPERTS * steps),
            nn.ReLU(),
            nn.Linear(2 * EXPERTS * steps, EXPERTS * steps),
        )

    def forward(self, features: Tensor) -> Tensor:
        scores = self.ca_fc(features.mean((2, 3)))
        return scores.unflatten(1, (self.steps, EXPERTS)).softmax(-1)


class MixtureLayer(nn.Module):
    """B x C x H x W to the same, in steps; `weights` as `MixtureWeights` gives them."""

    def __init__(self, channels: int, steps: int) -> None:
        super().__init__()
        self.preprocess = Expert(
            nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.ReLU(inplace=True))
        )
        self._ops = nn.ModuleList(MixtureStep(channels) for _ in range(steps))

    def forward(self, features: Tensor, weights: Tensor) -> Tensor:
        features = self.preprocess(features)
        for step, step_weights in zip(self._ops, weights.unbind(1), strict=True):
            features = step(features, step_weights)
        return features


class MixtureOfExperts(nn.Module):
    """Mixture of experts feature compensator (MEFC): B x C x H x W to the same."""

    def __init__(self, channels: int, layers: int, steps: int) -> None:
        super().__init__()
        # Weights and layers take turns, as the official names have it.
        self.layers = nn.ModuleList()
        for _ in range(layers):
            self.layers.append(MixtureWeights(channels, steps))
            self.layers.append(MixtureLayer(channels, steps))

    def forward(self, features: Tensor) -> Tensor:
        for weigh, layer in zip(self.layers[0::2], self.layers[1::2], strict=True):
            features = layer(features, weigh(features))
        return features
