"""The feed-forward network of DRSformer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irkd.models import strips
from irkd.models.base import on_reference_path
from irkd.models.layers import ChannelLayerNorm


class MixedScaleFeedForward(nn.Module):
    """Mixed-scale feed-forward network (MSFN): B x C x H x W to the same.

    As in the original, the second pair of convolutions combines two neighbouring channels each,
    which are of the same scale but for the middle pair of an odd number of hidden channels: the
    scales meet in `project_out` only.
    """

    def __init__(self, channels: int, expansion: float, bias: bool) -> None:
        super().__init__()
        hidden = int(channels * expansion)

        def convolution(inputs: int, outputs: int, size: int, groups: int) -> nn.Conv2d:
            return nn.Conv2d(inputs, outputs, size, padding=size // 2, groups=groups, bias=bias)

        self.project_in = convolution(channels, 2 * hidden, 1, 1)
        self.dwconv3x3 = convolution(2 * hidden, 2 * hidden, 3, 2 * hidden)
        self.dwconv5x5 = convolution(2 * hidden, 2 * hidden, 5, 2 * hidden)
        self.dwconv3x3_1 = convolution(2 * hidden, hidden, 3, hidden)
        self.dwconv5x5_1 = convolution(2 * hidden, hidden, 5, hidden)
        self.project_out = convolution(2 * hidden, channels, 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        if on_reference_path():
            return self._by_definition(features)
        # What becomes the input of the second 3 x 3 and of the second 5 x 5 convolution are two
        # networks that share nothing: one after the other needs half the memory.
        return self._branch(features, 0, self.dwconv3x3_1) + self._branch(
            features, 1, self.dwconv5x5_1
        )

    def _by_definition(self, features: Tensor) -> Tensor:
        x = self.project_in(features)
        first3, second3 = F.relu(self.dwconv3x3(x)).chunk(2, dim=1)
        first5, second5 = F.relu(self.dwconv5x5(x)).chunk(2, dim=1)
        x3 = F.relu(self.dwconv3x3_1(torch.cat([first3, first5], 1)))
        x5 = F.relu(self.dwconv5x5_1(torch.cat([second3, second5], 1)))
        return self.project_out(torch.cat([x3, x5], 1))

    def _branch(self, features: Tensor, half: int, combine: nn.Conv2d) -> Tensor:
        """What `combine` adds to the output: the first or second half of the hidden channels."""

        def own(parameter: Tensor | None) -> Tensor | None:
            return None if parameter is None else parameter.chunk(2)[half]

        project, *scales = self.project_in, self.dwconv3x3, self.dwconv5x5
        x = F.conv2d(features, project.weight.chunk(2)[half], own(project.bias))
        x = torch.cat(
            [_depthwise(x, scale.weight.chunk(2)[half], own(scale.bias)) for scale in scales], 1
        ).relu_()
        # Groups of two inputs have no fast kernels on a CPU, depthwise convolution has: weigh each
        # channel by itself, then add up the pairs.
        x = _depthwise(x, combine.weight.flatten(0, 1)[:, None])
        x = x[:, 0::2] + x[:, 1::2]
        if combine.bias is not None:
            x = x + combine.bias.view(-1, 1, 1)
        weight = self.project_out.weight.chunk(2, dim=1)[half]
        return F.conv2d(x.relu_(), weight, self.project_out.bias if half else None)

    def add_in_strips(self, image: Tensor, norm: ChannelLayerNorm) -> None:
        """Add the network's output for norm(image) to the H x W x C image in place."""
        project_out, combines = self.project_out, (self.dwconv3x3_1, self.dwconv5x5_1)
        branches = [
            self._branch_in_strips(image, norm, half, combine)
            for half, combine in enumerate(combines)
        ]
        matrix = torch.cat([_by_slots(part) for part in project_out.weight.flatten(1).T.chunk(2)])
        biases = [_by_slots(combine.bias) for combine in combines if combine.bias is not None]
        hidden = len(matrix) // 2
        for first, end in strips.strips(image, len(matrix)):
            x = image.new_empty(end - first, image.shape[1], len(matrix))
            for half, branch in enumerate(branches):
                branch(first, end, x[..., half * hidden : (half + 1) * hidden])
            if biases:
                x += torch.cat(biases)
            # Both branches have read the rows that are changed here.
            pixels = image[first:end].flatten(0, 1)
            pixels.addmm_(x.relu_().flatten(0, 1), matrix)
            if project_out.bias is not None:
                pixels += project_out.bias

    def _branch_in_strips(
        self, image: Tensor, norm: ChannelLayerNorm, half: int, combine: nn.Conv2d
    ) -> strips.Compute:
        """What computes rows of one half's sums of pairs, in the order of `_by_slots`."""

        def own(layer: nn.Conv2d) -> tuple[Tensor, Tensor | None]:
            weight, bias = layer.weight.chunk(2)[half], layer.bias
            own_bias = None if bias is None else _evens_then_odds(bias.chunk(2)[half])
            return _evens_then_odds(weight), own_bias

        project, project_bias = own(self.project_in)
        small, small_bias = own(self.dwconv3x3)
        large, large_bias = own(self.dwconv5x5)
        filters = combine.weight.flatten(0, 1)[:, None].chunk(2)
        combining = torch.cat([_evens_then_odds(weight) for weight in filters])
        hidden, pairs = len(small), len(combine.weight)
        slots, odd = hidden // 2, pairs % 2

        def projected(first: int, end: int, out: Tensor) -> None:
            strips.pointwise(norm.pixels(image[first:end]), project.flatten(1), project_bias, out)

        def scaled(first: int, end: int, out: Tensor) -> None:
            rows = projected_rows.around(first, end)
            x = strips.depthwise(rows[1:-1], small, small_bias)
            torch.clamp_min(x, 0, out=out[..., :hidden])
            x = strips.depthwise(rows, large, large_bias)
            torch.clamp_min(x, 0, out=out[..., hidden:])

        def combined(first: int, end: int, out: Tensor) -> None:
            x = strips.depthwise(scaled_rows.around(first, end), combining, None)
            of3x3, of5x5 = x.split(hidden, -1)
            torch.add(of3x3[..., :slots], of3x3[..., slots:], out=out[..., :slots])
            # Of an odd number of channels, the second scale's first one belongs to the middle pair
            # and each other odd channel to the even one before it.
            odds = of5x5[..., slots - odd : hidden - odd]
            torch.add(of5x5[..., :slots], odds, out=out[..., slots:])
            if odd:
                out[..., pairs // 2] += of5x5[..., 0]

        projected_rows = strips.Window(image, hidden, 2, projected)
        scaled_rows = strips.Window(image, 2 * hidden, combine.kernel_size[0] // 2, scaled)
        return combined


def _evens_then_odds(parameter: Tensor) -> Tensor:
    """Even channels, then odd ones, each filled up: neighbours become the halves' counterparts."""
    evens, odds = parameter[0::2], parameter[1::2]
    size = strips.padded(len(evens))
    return torch.cat([strips.fill(evens, size), strips.fill(odds, size)])


def _by_slots(parameter: Tensor) -> Tensor:
    """The first scale's pairs, then the second's, each filled up to the size of `_evens_then_odds`.

    The middle pair of an odd number counts to the first; a zero takes its place in the second.
    """
    pairs = len(parameter)
    first, second = parameter[: (pairs + 1) // 2], parameter[(pairs + 1) // 2 :]
    size = strips.padded(len(first))
    if pairs % 2:
        second = torch.cat([torch.zeros_like(parameter[:1]), second])
    return torch.cat([strips.fill(first, size), strips.fill(second, size)])


def _depthwise(features: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.conv2d(features, weight, bias, padding=weight.shape[-1] // 2, groups=len(weight))
