"""A residual U-Net beside blind deconvolutions of its image: against the blur of a moved camera.

The image's motion is estimated (`irkd.models.blind_deconvolution`: nothing there is learned), the
image deconvolved by it in linear light, and the U-Net (`irkd.models.resunet`) sees the results as
further channels. Per pixel it says how much of each to take, and what to add: where the estimate
failed it leaves the image as it is. Networks that refine a deconvolution are Schuler et al., "A
Machine Learning Approach for Non-blind Image Deconvolution", CVPR 2013, and "Learning to Deblur",
IEEE TPAMI 2016. Different: several deconvolutions stand side by side, of kernels of several sizes
and for several amounts of noise, since which of them holds is not known.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field, field_validator
from torch import Tensor

from irkd.models.apply import from_range, to_range
from irkd.models.base import Family
from irkd.models.blind_deconvolution import deconvolve, estimate_kernel, moved, trust
from irkd.models.resunet import ResUNet, ResUNetSpec, grow_beside, read_beside, shrink_resunet
from irkd.models.srgb import decode_srgb, encode_srgb

Side = Annotated[int, Field(ge=3, le=127)]
Ratio = Annotated[float, Field(gt=0, le=1)]
# Of the square from which kernels are estimated for a whole image: more takes long, tells little.
_ESTIMATE_SIDE = 512


class DeconvUNetSpec(ResUNetSpec):
    arch: Literal["deconvunet"] = "deconvunet"  # type: ignore[assignment]
    kernels: tuple[Side, ...] = Field(
        (13, 33), min_length=1, description="sides of the kernels that are estimated, odd"
    )
    noises: tuple[Ratio, ...] = Field(
        (3e-3, 3e-2),
        min_length=1,
        description="of each deconvolution, against the image at a tenth of a cycle per pixel",
    )

    @field_validator("kernels")
    @classmethod
    def _have_a_middle(cls, sides: tuple[int, ...]) -> tuple[int, ...]:
        if any(side % 2 == 0 for side in sides):
            raise ValueError("kernels must have odd sides, so that they have a middle")
        return sides


class Estimate(NamedTuple):
    """Of how images were blurred: kernels, B x side x side, and how far to trust each, B."""

    kernel: Tensor
    trust: Tensor


class DeconvUNet(ResUNet):
    """B x img_channel x H x W in the spec's value range to the same, not clamped.

    `estimate` gives the kernels of whole images, which `forward` takes for parts of them; without,
    it estimates them from what it is given. Nothing is differentiated through the deconvolutions.
    """

    spec: DeconvUNetSpec
    no_graph = "its Fourier transforms have lengths that go by the image's."

    def __init__(self, spec: DeconvUNetSpec) -> None:
        count = len(spec.kernels) * len(spec.noises)
        super().__init__(spec, added=count * spec.img_channel, answers=count)
        self.estimate_side = _ESTIMATE_SIDE

    @torch.no_grad()
    def estimate(self, images: Tensor) -> list[Estimate]:
        """What blurred B x img_channel x H x W, one for each of the spec's kernels.

        None is trusted more than one before it, nor where another is a point: there nothing moved,
        whatever one of them takes for motion (a large one a glow at dusk).
        """
        with _without_autocast(images):
            light = self._linear(images).mean(1)
            kernels = [estimate_kernel(light, side) for side in self.spec.kernels]
            sure = torch.stack([moved(kernel) for kernel in kernels]).amin(0)
            found: list[Estimate] = []
            for kernel in kernels:
                sure = torch.minimum(sure, trust(kernel, light))
                found.append(Estimate(kernel, sure))
            return found

    def forward(self, images: Tensor, known: list[Estimate] | None = None) -> Tensor:
        height, width = images.shape[-2:]
        padded = self.padded(images)
        sharp = self._deconvolved(padded, self.estimate(images) if known is None else known)
        answer = self.answer(torch.cat([padded, *sharp], 1))
        channels = self.spec.img_channel
        restored = padded + answer[:, :channels]
        for index, each in enumerate(sharp):
            share = answer[:, channels + index, None]
            restored = restored + share * (each - padded)
        return restored[..., :height, :width]

    def _linear(self, images: Tensor) -> Tensor:
        """In a precision that spectra can be made from; what lies outside [0, 1] is cut."""
        precise = images if images.dtype == torch.float64 else images.float()
        return decode_srgb(from_range(precise, self.spec.value_range).clamp(0, 1))

    @torch.no_grad()
    def _deconvolved(self, images: Tensor, known: list[Estimate]) -> list[Tensor]:
        """The images as they are, the less the kernel is trusted."""
        with _without_autocast(images):
            linear = self._linear(images)
            sharp = deconvolve(linear, [each.kernel for each in known], self.spec.noises)
            sharp = [
                to_range(encode_srgb(each.clamp(0, 1)), self.spec.value_range) for each in sharp
            ]
            trusts = [each.trust for each in known for _ in self.spec.noises]
            return [
                torch.lerp(images.to(each), each, share[:, None, None, None]).to(images.dtype)
                for each, share in zip(sharp, trusts, strict=True)
            ]


def _without_autocast(images: Tensor) -> contextlib.AbstractContextManager[object]:
    """Spectra need more than half precision."""
    kind = images.device.type
    if torch.amp.autocast_mode.is_autocast_available(kind):
        return torch.autocast(kind, enabled=False)
    return contextlib.nullcontext()


def read_deconvunet_spec(state_dict: Mapping[str, Tensor]) -> dict[str, object] | None:
    """The options that the weights imply; None for weights of another family.

    The weights do not tell the kernels' sides and the noises, only their number: the usual ones are
    taken where it fits.
    """
    defaults = DeconvUNetSpec()
    count = len(defaults.kernels) * len(defaults.noises)
    head, tail = state_dict.get("head.weight"), state_dict.get("tail.weight")
    if head is None or tail is None or head.ndim != 4 or head.shape[1] == tail.shape[0]:
        return None  # nothing beside the image
    return read_beside(state_dict, lambda channels: (channels * (1 + count), channels + count))


FAMILIES = (
    Family(
        "deconvunet",
        "Residual U-Net beside deconvolutions",
        DeconvUNetSpec,
        DeconvUNet,
        read_deconvunet_spec,
        grow=grow_beside,
        shrink=shrink_resunet,
    ),
)
