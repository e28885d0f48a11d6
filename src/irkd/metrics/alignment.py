"""Scores of a restored image that first has to be laid over its reference, as RealBlur needs it.

RealBlur's blurred and sharp photographs come from two cameras, which agree neither in geometry nor
in exposure to the pixel. Its evaluation (Rim, Lee, Won, Cho, "Real-world blur dataset for learning
and benchmarking deblurring algorithms", ECCV 2020, `evaluation_RealBlur_ecc.py`) aligns before it
compares.

The alignment is OpenCV's (Evangelidis and Psarakis, "Parametric image alignment using enhanced
correlation coefficient maximization", TPAMI 2008), whose releases do not agree to the last digit:
on one pair of 680 x 773 pixels 4.14 gives 39.49 dB and 5.0 gives 39.51 dB. The published script was
run with 4.2.0. Compare figures of one release only; every table names it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from irkd.errors import IrkdError
from irkd.metrics.full_reference import similarity_map

Plane = NDArray[np.float32]

_ITERATIONS = 100
_SMOOTHING = 5
_MARGIN = 5


@dataclass(frozen=True)
class AlignedPair:
    """Two images over each other, H x W x 3 float32 in [0, 1], 0 where `mask` is 0.

    `mask` is 1 where the warped image has content, else 0; of the same shape. `homography` (3 x 3)
    maps points (x, y, 1) of the reference to points of the restored image.
    """

    restored: Plane
    reference: Plane
    mask: Plane
    homography: Plane

    def psnr(self) -> float:
        """PSNR in dB of the pixels in the mask; infinite where they are equal."""
        difference = np.subtract(self.restored, self.reference, dtype=np.float64)
        error = float(np.square(difference).sum()) / float(self.mask.sum(dtype=np.float64))
        return math.inf if error == 0 else -10 * math.log10(error)

    def ssim(self) -> float:
        """SSIM (11 x 11 Gaussian, valid area) averaged over the mask, then over the channels."""
        inside = (slice(_MARGIN, -_MARGIN),) * 2
        mask = self.mask[inside]
        similar = similarity_map(self.restored, self.reference, peak=1.0) * mask
        weights = mask.sum(axis=(0, 1), dtype=np.float64)
        if not weights.all():
            raise IrkdError("after alignment, restored image and reference do not overlap.")
        return float(np.mean(similar.sum(axis=(0, 1)) / weights))


def align(restored: NDArray[Any], reference: NDArray[Any]) -> AlignedPair:
    """Lay `restored` over `reference`: both H x W x 3 RGB of one size with values of 0 to 255.

    The restored image is scaled in intensity (least squares), aligned by a homography (ECC, 100
    iterations, grey images under a 5 x 5 Gaussian) and resampled (bicubic, reflected border).

    Raises IrkdError where the iterations do not converge, as with unrelated or empty images.
    """
    if restored.shape != reference.shape:
        raise IrkdError("only images of one size can be aligned.")
    x, z = _unit(reference), _unit(restored)
    energy = float(np.vdot(z, z))
    if energy == 0:
        raise IrkdError("the restored image is black: it cannot be aligned to its reference.")
    z *= float(np.vdot(x, z)) / energy
    homography = _homography(x, z)
    size = (x.shape[1], x.shape[0])
    mask: Any = cv2.warpPerspective(
        np.ones_like(z), homography, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    )
    if not mask.any():
        raise IrkdError("after alignment, restored image and reference do not overlap.")
    warped: Any = cv2.warpPerspective(
        z,
        homography,
        size,
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT,
    )
    return AlignedPair(warped * mask, x * mask, mask, homography)


def _unit(image: NDArray[Any]) -> Plane:
    return np.divide(image, 255, dtype=np.float32)


def _homography(template: Plane, image: Plane) -> Plane:
    grey = [cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in (template, image)]
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, _ITERATIONS, 0)
    start = np.eye(3, dtype=np.float32)
    try:
        # The stubs do not know that there may be no mask.
        _, found = cv2.findTransformECC(  # type: ignore[call-overload]
            *grey, start, cv2.MOTION_HOMOGRAPHY, criteria, None, _SMOOTHING
        )
    except cv2.error as error:
        raise IrkdError(
            "it cannot be aligned to its reference: OpenCV's ECC iterations do not converge. Check "
            "that both show the same picture, or choose another --protocol."
        ) from error
    if not np.isfinite(found).all():
        raise IrkdError("it cannot be aligned to its reference: no finite homography was found.")
    return np.asarray(found, np.float32)
