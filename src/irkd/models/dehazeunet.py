"""A residual U-Net beside dehazings of its image: against haze, and the veil of heavy rain.

How much haze there is and of which colour is told from the image as a whole
(`irkd.models.dark_channel`: nothing there is learned). The U-Net (`irkd.models.resunet`) sees the
image without that haze, and without a veil that is the same everywhere, as further channels, the
transmission, and how bright the darkest spots are. Per pixel it says how much of each to take, and
what to add. A network for haze alone believes in none where an image has dark spots: both are the
image itself there. One for rain believes in a veil or else in haze: taking haze away thins streaks.
Networks that are given images derived from the hazy one are Ren et al., "Gated Fusion Network for
Single Image Dehazing", CVPR 2018; those are other images (white balance, contrast, gamma).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from irkd.models import dark_channel
from irkd.models.apply import from_range, to_range
from irkd.models.base import Family
from irkd.models.resunet import ResUNet, ResUNetSpec, grow_beside, read_beside, shrink_resunet

# Of the whole image in small, from which its haze is told.
_OVERVIEW_SIDE = 512
_DEHAZINGS = 2
_FACTS = 2  # further channels: transmission, brightness of the darkest spots


class DehazeUNetSpec(ResUNetSpec):
    arch: Literal["dehazeunet"] = "dehazeunet"  # type: ignore[assignment]
    gated: bool = Field(
        False,
        description="change an image only as far as it looks hazy: for haze alone",
    )


class Estimate(NamedTuple):
    """Of the haze in images: the air's colour, B x C, how bright their dark spots are, how far haze
    and a veil are believed in, B in [0, 1], and how many pixels along a side are taken as one where
    images are large."""

    air: Tensor
    dark: dark_channel.Shadows
    haze: Tensor
    veil: Tensor
    shrunk: int


class DehazeUNet(ResUNet):
    """B x img_channel x H x W in the spec's value range to the same, not clamped.

    `estimate` tells the haze of whole images, which `forward` takes for parts of them; without, it
    tells it from what it is given. Nothing is differentiated through the dehazings.
    """

    spec: DehazeUNetSpec

    def __init__(self, spec: DehazeUNetSpec) -> None:
        super().__init__(spec, added=_DEHAZINGS * spec.img_channel + _FACTS, answers=_DEHAZINGS)
        self.overview_side = _OVERVIEW_SIDE

    @torch.no_grad()
    def estimate(self, images: Tensor, shrunk: float = 1, sure: float | None = None) -> Estimate:
        """Of B x img_channel x H x W, which are `shrunk` times smaller than what they show.

        `sure`, 0 to 1: how far haze is believed in by somebody who knows, whatever is dark.
        """
        fine = self._light(self.padded(images, dark_channel.BLOCK))
        # Powers of two, for tiles begin at multiples of one.
        steps = next(step for step in (1, 2, 4) if shrunk < 1.5 * step or step == 4)
        dark = dark_channel.dark_channel(fine)
        air, spots = dark_channel.air_light(fine, dark), dark_channel.shadows(dark)
        veil = dark_channel.trust_in_veil(spots)
        if sure is not None:
            haze = torch.full_like(veil, sure)
        else:
            haze = dark_channel.trust_in_haze(spots) if self.spec.gated else 1 - veil
        return Estimate(air, spots, haze, veil, steps)

    def forward(self, images: Tensor, known: Estimate | None = None) -> Tensor:
        height, width = images.shape[-2:]
        known = self.estimate(images) if known is None else known
        padded = self.padded(images, dark_channel.BLOCK * known.shrunk)
        dehazed, facts = self._dehazed(padded, known)
        answer = self.answer(torch.cat([padded, *dehazed, facts], 1))
        channels = self.spec.img_channel
        change = answer[:, :channels]
        for index, each in enumerate(dehazed):
            change = change + answer[:, channels + index, None] * (each - padded)
        if self.spec.gated:
            change = change * _share(known.haze, images)
        return (padded + change)[..., :height, :width]

    def _light(self, images: Tensor) -> Tensor:
        """In [0, 1], in a precision in which haze may be divided out."""
        precise = images if images.dtype == torch.float64 else images.float()
        return from_range(precise, self.spec.value_range).clamp(0.0, 1.0)

    @torch.no_grad()
    def _dehazed(self, images: Tensor, known: Estimate) -> tuple[list[Tensor], Tensor]:
        """The images without haze and without veil, as far as there is any, and the facts."""
        value_range = self.spec.value_range
        fine = self._light(images)
        coarse = fine if known.shrunk == 1 else F.avg_pool2d(fine, known.shrunk)
        through = dark_channel.transmission(coarse, known.air, fine)
        without_haze = to_range(dark_channel.without_haze(fine, known.air, through), value_range)
        without_veil = to_range(dark_channel.without_veil(fine, known.dark), value_range)
        haze, veil = _share(known.haze, images), _share(known.veil, images)
        dehazed = [
            images + haze * (without_haze.to(images.dtype) - images),
            images + veil * (without_veil.to(images.dtype) - images),
        ]
        level = known.dark.twentieth[:, None, None, None].expand_as(through)
        facts = to_range(torch.cat([through, level], 1), value_range)
        return dehazed, facts.to(images.dtype)


def _share(trust: Tensor, images: Tensor) -> Tensor:
    return trust[:, None, None, None].to(images.dtype)


def read_dehazeunet_spec(state_dict: Mapping[str, Tensor]) -> dict[str, object] | None:
    """The options that the weights imply (`gated` they do not tell); None for other weights."""
    return read_beside(
        state_dict,
        lambda channels: ((1 + _DEHAZINGS) * channels + _FACTS, channels + _DEHAZINGS),
    )


FAMILIES = (
    Family(
        "dehazeunet",
        "Residual U-Net beside dehazings",
        DehazeUNetSpec,
        DehazeUNet,
        read_dehazeunet_spec,
        grow=grow_beside,
        shrink=shrink_resunet,
    ),
)
