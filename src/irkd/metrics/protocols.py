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
from irkd.registry import suggestion

Image = NDArray[Any]


def _rgb(image: Image) -> Image:
    return image


@dataclass(frozen=True)
class Protocol:
    """How a restored image is compared with its reference.

    `quantize`: the restored image is rounded to 8 bits first, as if read back from a file.
    `planes` turns H x W x 3 RGB in 0..255 into what PSNR and SSIM are computed on.
    """

    name: str
    description: str
    used_for: str
    quantize: bool
    planes: Callable[[Image], Image]
    ssim: Callable[[Image, Image], float]

    def score(
        self, restored: Image, reference: Image, metrics: tuple[str, ...]
    ) -> dict[str, float]:
        """The `metrics` ("psnr", "ssim") of one image, under the names of `FIELDS`.

        `restored` is H x W x 3 RGB, uint8 or float in [0, 1] (clipped); `reference` is uint8.
        PSNR is in dB, infinite where both are equal.
        """
        x, y = self.planes(self.pixels(restored)), self.planes(reference)
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
)

PROTOCOLS = {entry.name: entry for entry in _ENTRIES}

_BY_TASK = {"derain": "y-matlab", "deblur": "rgb-matlab3d", "denoise": "rgb-matlab3d"}


def protocol(name: str) -> Protocol:
    """The protocol called `name`, or an error that lists the names there are."""
    if name not in PROTOCOLS:
        hint = suggestion(name, PROTOCOLS)
        raise IrkdError(f"unknown protocol {name!r}.{hint} Known: {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]


def default_protocol(task: str | None, *, built_in: bool) -> Protocol:
    """What a task's papers use on their test sets; `rgb` for built-in images and unknown tasks."""
    return PROTOCOLS["rgb" if built_in else _BY_TASK.get(task or "", "rgb")]
