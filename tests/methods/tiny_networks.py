"""Two tiny U-Nets of plain convolutions, each a network family in miniature."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from irkd.models.base import NetworkSpec
from irkd.models.taps import Tap


class PlainUNet(nn.Module):
    """A U-Net with additive skips (as in NAFNet) or concatenated ones (as in Restormer)."""

    in_channels = out_channels = 3

    def __init__(
        self,
        width: int,
        levels: int,
        *,
        concatenate: bool = False,
        value_range: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        super().__init__()
        self.spec = NetworkSpec(arch="plain", value_range=value_range)
        self.size_multiple = 2**levels
        self.levels = levels
        self.concatenate = concatenate
        widths = [width * 2**level for level in range(levels + 1)]
        self.widths = widths
        self.intro = nn.Conv2d(3, width, 3, padding=1)
        self.encoders = nn.ModuleList(_block(w) for w in widths[:-1])
        self.downs = nn.ModuleList(nn.Conv2d(w, 2 * w, 2, 2) for w in widths[:-1])
        self.middle = _block(widths[-1])
        self.ups = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, 2) for w in widths[:-1])
        joined = 2 if concatenate else 1
        self.decoders = nn.ModuleList(_block(joined * w, w) for w in widths[:-1])
        self.ending = nn.Conv2d(width, 3, 3, padding=1)

    def taps(self) -> dict[str, Tap]:
        taps = {
            f"encoder_level{level + 1}": Tap(
                f"encoders.{level}", "encoder", self.widths[level], 2**level
            )
            for level in range(self.levels)
        }
        taps["middle"] = Tap("middle", "middle", self.widths[-1], 2**self.levels)
        for level in reversed(range(self.levels)):
            taps[f"decoder_level{level + 1}"] = Tap(
                f"decoders.{level}", "decoder", self.widths[level], 2**level
            )
        return taps

    def forward(self, degraded: Tensor) -> Tensor:
        features = self.intro(degraded)
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            features = encoder(features)
            skips.append(features)
            features = down(features)
        features = self.middle(features)
        for level in reversed(range(self.levels)):
            features = self.ups[level](features)
            if self.concatenate:
                features = torch.cat([features, skips[level]], 1)
            else:
                features = features + skips[level]
            features = self.decoders[level](features)
        return degraded + self.ending(features)


def _block(channels: int, out_channels: int | None = None) -> nn.Sequential:
    out = out_channels or channels
    return nn.Sequential(nn.Conv2d(channels, out, 3, padding=1), nn.GELU(), nn.Conv2d(out, out, 1))
