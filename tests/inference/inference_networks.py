"""Small networks with known answers, as irkd's restoring code sees a network."""

from types import SimpleNamespace

import torch
from torch import nn


class Identity(nn.Module):
    """Gives back its input and keeps the sizes it saw."""

    def __init__(self, channels=3, size_multiple=1, value_range=(0.0, 1.0)):
        super().__init__()
        self.spec = SimpleNamespace(value_range=value_range)
        self.size_multiple = size_multiple
        self.in_channels = self.out_channels = channels
        self.metadata = {}
        self.seen = []
        self.limit = None
        self.bytes_per_pixel = 100.0

    def forward(self, images):
        self.seen.append(tuple(images.shape[-2:]))
        assert images.shape[-2] % self.size_multiple == images.shape[-1] % self.size_multiple == 0
        if self.limit is not None and images.shape[-2] * images.shape[-1] > self.limit:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return images * 1.0


class Convolutions(nn.Module):
    """A small U-Net: receptive field `radius` pixels to each side, stride `size_multiple`."""

    radius = 10
    size_multiple = 4

    def __init__(self, seed=0, value_range=(0.0, 1.0)):
        super().__init__()
        self.spec = SimpleNamespace(value_range=value_range)
        self.in_channels = self.out_channels = 3
        self.metadata = {}
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.intro = nn.Conv2d(3, 8, 3, padding=1)
            self.down = nn.Conv2d(8, 8, 4, 4)
            self.middle = nn.Conv2d(8, 8, 3, padding=1)
            self.up = nn.Sequential(nn.Conv2d(8, 128, 1), nn.PixelShuffle(4))
            self.ending = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, images):
        features = self.intro(images).relu()
        features = features + self.up(self.middle(self.down(features)).relu())
        return images + self.ending(features)
