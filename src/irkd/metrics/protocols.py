"""Evaluation protocols: which pixels, which PSNR and which SSIM a published figure was made with.

For one pair of images the SSIMs in use range over more than 0.1, so a figure without its protocol
says little. Adding a protocol is one entry of `_ENTRIES`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irkd.errors import IrkdError
from irkd.metrics import full_reference as fr
from irkd.metrics.alignment import AlignedPair, align
from irkd.registry import suggestion

Image = NDArray[Any]


def _rgb(image: Image) -> Image:
    return image


@dataclass(frozen=True)
class Protocol:
    """How a restored image is compared with its reference.

    `quantize`: the restored image is rounded to 8 bits first, as if read back from a file.
    `planes` turns H x W x 3 RGB in 0..255 into what PSNR and SSIM are computed on. `align` lays the
    restored image over its reference first; the pair that it returns knows its PSNR and SSIM.
    """

    name: str
    description: str
    used_for: str
    quantize: bool
    planes: Callable[[Image], Image]
    ssim: Callable[[Image, Image], float]
    align: Callable[[Image, Image], AlignedPair] | None = None

    def score(
        self, restored: Image, reference: Image, metrics: tuple[str, ...]
    ) -> dict[str, float]:
        """The `metrics` ("psnr", "ssim") of one image, under the names of `FIELDS`.

        `restored` is H x W x 3 RGB, uint8 or float in [0, 1] (clipped); `reference` is uint8.
        PSNR is in dB, infinite where both are equal. Raises IrkdError for images that are too small
        for the SSIM, of different sizes, or cannot be aligned.
        """
        x, y = self.planes(self.pixels(restored)), self.planes(reference)
        if self.align is not None:
            pair = self.align(x, y)
            of_pair = {"psnr": pair.psnr, "ssim": pair.ssim}
            return {FIELDS[metric]: of_pair[metric]() for metric in metrics}
        functions = {"psnr": fr.psnr, "ssim": self.ssim}
        return {FIELDS[metric]: functions[metric](x, y) for metric in metrics}

    def pixels(self, restored: Image) -> Image:
        """`restored` in 0..255 as it is compared: uint8, or float where nothing is rounded."""
        if restored.dtype == np.uint8:
            return restored
        return quantized(restored) if self.quantize else np.clip(restored, 0, 1) * 255.0


FIELDS = {"psnr": "psnr_db", "ssim": "ssim"}
"""The full-reference metrics that a protocol defines, and their names in tables and files."""


def quantized(image: Image) -> NDArray[np.uint8]:
    """An image in [0, 1], clipped and rounded to 8 bits; uint8 is returned as it is."""
    if image.dtype == np.uint8:
        return image
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


_ENTRIES = (
    Protocol(
        "rgb",
        "8-bit RGB; SSIM per channel, 11 x 11 Gaussian, valid area",
        "new work; the same as scikit-image and mmagic",
        True,
        _rgb,
        fr.ssim,
    ),
    Protocol(
        "y-matlab",
        "8-bit Y of MATLAB's rgb2ycbcr; SSIM_index of 2003",
        "Rain100, Test100/1200/2800, SPA: MPRNet, Restormer, DRSformer",
        True,
        fr.luma_matlab_rounded,
        fr.ssim,
    ),
    Protocol(
        "y-matlab-float-ds",
        "Y of MATLAB's rgb2ycbcr, not rounded; ssim.m of 2009, decimated",
        "Rain1400, DID-Data, DDN-Data: PReNet, RCDNet, DRSformer",
        True,
        fr.luma_matlab,
        fr.ssim_decimated,
    ),
    Protocol(
        "rgb-matlab3d",
        "8-bit RGB; MATLAB's ssim over the colour image as a volume",
        "GoPro, HIDE: MPRNet, Restormer, NAFNet",
        True,
        _rgb,
        fr.ssim_volume,
    ),
    Protocol(
        "rgb-matlab3d-float",
        "RGB, restored not rounded; MATLAB's ssim over the colour image as a volume",
        "SIDD: MPRNet, Restormer, Uformer, NAFNet",
        False,
        _rgb,
        fr.ssim_volume,
    ),
    Protocol(
        "rgb-skimage018",
        "RGB, restored not rounded; SSIM 7 x 7 uniform with a range of 2 (scikit-image <= 0.18)",
        "GoPro, HIDE: Uformer",
        False,
        _rgb,
        functools.partial(fr.ssim_uniform, peak=510.0),
    ),
    Protocol(
        "dehaze-ffa",
        "RGB, restored not rounded; SSIM 11 x 11 Gaussian, zeros beyond the border",
        "SOTS: FFA-Net, MSBDN",
        False,
        _rgb,
        fr.ssim_zero_padded,
    ),
    Protocol(
        "dehaze-pooled",
        "RGB, restored not rounded; SSIM 11 x 11 Gaussian after average pooling",
        "SOTS: DehazeFormer, gUNet",
        False,
        _rgb,
        fr.ssim_pooled,
    ),
    Protocol(
        "realblur-ecc",
        "8-bit RGB, scaled in intensity and aligned by an ECC homography; means over the overlap",
        "RealBlur-J, RealBlur-R: their authors, MPRNet, Restormer, Uformer",
        True,
        _rgb,
        fr.ssim,
        align,
    ),
)

PROTOCOLS = {entry.name: entry for entry in _ENTRIES}

_BY_TASK = {"derain": "y-matlab", "deblur": "rgb-matlab3d", "denoise": "rgb-matlab3d"}


def protocol(name: str) -> Protocol:
    """The protocol called `name`, or an error that lists the names there are."""
    if name not in PROTOCOLS:
        hint = suggestion(name, PROTOCOLS)
        raise IrkdError(f"unknown protocol {name!r}.{hint} Known: {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]


@dataclass(frozen=True)
class Choice:
    """A protocol, and why this one: words that follow its name."""

    protocol: Protocol
    reason: str


def choose_protocol(
    name: str | None,
    *,
    task: str | None = None,
    built_in: bool = False,
    published: tuple[str, str] | None = None,
    asked: str = "as asked for",
) -> Choice:
    """The protocol called `name`, or by default what published figures follow.

    `published`: the data set's title and the protocol of its published figures, where both are
    known; else the task's papers decide. `rgb` for built-in images and unknown tasks.
    `asked`: the reason to give where there is a name.
    """
    if name is not None:
        if published is not None and published[1] != name:
            asked += f"; published figures on {published[0]} follow {published[1]}"
        return Choice(protocol(name), asked)
    if built_in:
        return Choice(PROTOCOLS["rgb"], "the default for irkd's own images")
    if published is not None:
        title, followed = published
        return Choice(protocol(followed), f"what published figures on {title} follow")
    if task in _BY_TASK:
        reason = f"what most papers on {task} follow; the data set is not a known one"
        return Choice(PROTOCOLS[_BY_TASK[task]], reason)
    known = f"the default for {task}" if task else "the default, since no task is known"
    return Choice(PROTOCOLS["rgb"], known)
