"""BRISQUE from its natural scene statistics and a model file that the user brings.

Mittal, Moorthy, Bovik, "No-reference image quality assessment in the spatial domain", IEEE TIP
2012. The features are those of the authors' release of 2011 (zero padding, C = 1, two scales, a
shape parameter from a table of steps of 0.001), and the model is its libsvm pair `allmodel` and
`allrange`. MATLAB's toolbox function `brisque` is another model with other figures.

On images with exactly flat areas the score of the release is decided by rounding: signs of values
around 1e-15 enter its statistics. Here differences from the local mean below 1e-9 count as zero, so
that the score is the same on every machine. Of five TID2013 images with published scores of the
release, three agree to 0.002; one is 0.5 apart, and one with 30 % of its pixels flat 2.2 points.
"""

from __future__ import annotations

import functools
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import gamma

from irkd.errors import IrkdError

Plane = NDArray[np.float64]

FEATURES = 36
_SMALLEST_SIDE = 16
_SHIFTS = ((0, 1), (1, 0), (1, 1), (-1, 1))
_MODEL, _RANGE = "allmodel", "allrange"


# The features.


def brisque_features(rgb: NDArray[np.uint8]) -> Plane:
    """The 36 statistics of an H x W x 3 RGB uint8 image: 18 of it, and 18 of its half.

    A scale has the shape and variance of a generalised Gaussian, then for the products of
    neighbours across, down and on both diagonals the shape, mean, left and right variance of an
    asymmetric one. Raises IrkdError for images below 16 x 16 pixels and for those without content.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise IrkdError(f"BRISQUE needs an H x W x 3 uint8 image, not {rgb.shape} {rgb.dtype}.")
    if min(rgb.shape[:2]) < _SMALLEST_SIDE:
        raise IrkdError(
            f"BRISQUE needs at least {_SMALLEST_SIDE} x {_SMALLEST_SIDE} pixels, not "
            f"{rgb.shape[0]} x {rgb.shape[1]}."
        )
    # MATLAB's rgb2gray, rounded to 8 bits.
    grey = np.floor(rgb @ np.array([0.298936021293775, 0.587043074451121, 0.114020904255103]) + 0.5)
    features = np.array([*_scale_features(grey), *_scale_features(_halved(grey))])
    if not np.isfinite(features).all():
        raise IrkdError("BRISQUE has no value for an image without content.")
    return features


def _scale_features(grey: Plane) -> list[float]:
    normalised = _normalised(grey)
    square, absolute = float(np.mean(normalised**2)), float(np.mean(np.abs(normalised)))
    if square == 0:
        return [math.nan]
    features = [_shape(absolute**2 / square), square]
    for shift in _SHIFTS:
        features += _asymmetric(normalised * np.roll(normalised, shift, axis=(0, 1)))
    return features


def _normalised(grey: Plane) -> Plane:
    """Mean-subtracted, contrast-normalised: 7 x 7 Gaussian of sigma 7/6, zeros beyond."""

    def window(plane: Plane) -> Any:
        return cv2.GaussianBlur(plane, (7, 7), 7 / 6, borderType=cv2.BORDER_CONSTANT)

    mean = window(grey)
    deviation = np.sqrt(np.abs(window(grey * grey) - mean * mean))
    difference = grey - mean
    difference[np.abs(difference) < 1e-9] = 0
    return difference / (deviation + 1)


def _asymmetric(products: Plane) -> list[float]:
    """Shape, mean, left and right variance of an asymmetric generalised Gaussian, by moments."""
    negative, positive = products[products < 0], products[products > 0]
    square = float(np.mean(products**2))
    if not (negative.size and positive.size) or square == 0:
        return [math.nan] * 4
    left, right = math.sqrt(np.mean(negative**2)), math.sqrt(np.mean(positive**2))
    ratio = left / right
    moments = float(np.mean(np.abs(products))) ** 2 / square
    asymmetry = (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    alpha = _shape(moments * asymmetry)
    scale = gamma(2 / alpha) / math.sqrt(gamma(1 / alpha) * gamma(3 / alpha))
    return [alpha, (right - left) * scale, left**2, right**2]


@functools.cache
def _shapes() -> tuple[Plane, Plane]:
    """Shape parameters 0.2 to 10, and E[|z|]^2 / E[z^2] for each."""
    alpha: Plane = np.asarray(0.2 + 0.001 * np.arange(9801), np.float64)
    table: Plane = gamma(2 / alpha) ** 2 / (gamma(1 / alpha) * gamma(3 / alpha))
    return alpha, table


def _shape(moments: float) -> float:
    """The shape parameter of the table whose E[|z|]^2 / E[z^2] is nearest to `moments`."""
    alpha, table = _shapes()
    return float(alpha[np.argmin(np.abs(table - moments))])


def _halved(image: Plane) -> Plane:
    """MATLAB's `imresize(image, 0.5)`: bicubic, widened against aliasing, borders mirrored."""
    for axis in (0, 1):
        image = _halved_along(image, axis)
    return image


def _halved_along(image: Plane, axis: int) -> Plane:
    length = image.shape[axis]
    target = -(-length // 2)
    centres = 2 * np.arange(target) + 0.5
    places = np.floor(centres[:, None]).astype(int) + np.arange(-4, 6)
    weights = _cubic((centres[:, None] - places) / 2)
    weights /= weights.sum(axis=1, keepdims=True)
    mirrored = np.concatenate([np.arange(length), np.arange(length)[::-1]])[places % (2 * length)]
    rows = np.moveaxis(image, axis, 0)
    halved = np.zeros((target, *rows.shape[1:]))
    for tap in range(places.shape[1]):
        halved += weights[:, tap, None] * rows[mirrored[:, tap]]
    return np.ascontiguousarray(np.moveaxis(halved, 0, axis))


def _cubic(distance: Plane) -> Plane:
    """Keys' cubic kernel with a = -1/2."""
    x = np.abs(distance)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0))


# The model.


@dataclass(frozen=True)
class BrisqueModel:
    """A support vector regression with a Gaussian kernel over features scaled to [-1, 1].

    `smallest`, `largest`: the features' ranges, 36 each. `vectors`: n x 36. `name`: the model's
    file and the beginning of the SHA-256 of both files.
    """

    name: str
    smallest: Plane
    largest: Plane
    lower: float
    upper: float
    gamma: float
    rho: float
    coefficients: Plane
    vectors: Plane

    def __call__(self, rgb: NDArray[np.uint8]) -> float:
        """The score of an H x W x 3 RGB uint8 image: about 0 (clean) to 100 (bad)."""
        return self.predict(brisque_features(rgb))

    def predict(self, features: Plane) -> float:
        share = (features - self.smallest) / (self.largest - self.smallest)
        scaled = self.lower + (self.upper - self.lower) * share
        distances = np.square(self.vectors - scaled).sum(axis=1)
        return float((self.coefficients * np.exp(-self.gamma * distances)).sum() - self.rho)


def open_brisque_model(path: str | Path) -> BrisqueModel:
    """The model in `path`: a folder that holds `allmodel` and `allrange`, or the model's file.

    Beside a model's file the ranges are looked for under its name with "range" for "model".
    Raises IrkdError when either is missing, or is not what libsvm writes for BRISQUE.
    """
    path = Path(path)
    model_path = path / _MODEL if path.is_dir() else path
    range_path = model_path.with_name(model_path.name.replace("model", "range"))
    if range_path == model_path:
        range_path = model_path.with_name(_RANGE)
    texts = []
    for file in (model_path, range_path):
        try:
            texts.append(file.read_text("ascii"))
        except (OSError, UnicodeDecodeError) as error:
            raise IrkdError(
                f"{file}: no BRISQUE model can be read here. Expected the pair {_MODEL} and "
                f"{_RANGE} of the BRISQUE release, in one folder."
            ) from error
    digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
    try:
        ranges = _read_range(texts[1])
    except (ValueError, IndexError) as error:
        raise IrkdError(f"{range_path}: not a libsvm range file: {error}.") from error
    try:
        model = _read_model(texts[0])
    except (ValueError, IndexError, KeyError) as error:
        raise IrkdError(f"{model_path}: not a libsvm model of BRISQUE: {error}.") from error
    return BrisqueModel(f"{model_path.name}, SHA-256 {digest}", *ranges, *model)


def _read_range(text: str) -> tuple[Plane, Plane, float, float]:
    lines = [line.split() for line in text.splitlines() if line.strip()]
    if not lines or lines[0] != ["x"]:
        raise ValueError("its first line is not x")
    lower, upper = map(float, lines[1])
    found = {int(index): (float(low), float(high)) for index, low, high in lines[2:]}
    if sorted(found) != list(range(1, FEATURES + 1)):
        raise ValueError(f"it has ranges of {len(found)} features, not of {FEATURES}")
    smallest, largest = np.array([found[index] for index in range(1, FEATURES + 1)]).T
    if not (np.isfinite([smallest, largest]).all() and (smallest < largest).all()):
        raise ValueError("a range is empty or not finite")
    if not -math.inf < lower < upper < math.inf:
        raise ValueError("the range to scale to is empty or not finite")
    return smallest, largest, lower, upper


def _read_model(text: str) -> tuple[float, float, Plane, Plane]:
    head, separator, body = text.partition("\nSV\n")
    if not separator:
        raise ValueError("it has no line SV")
    facts = dict(line.split(maxsplit=1) for line in head.splitlines() if line.strip())
    for name, expected in (("svm_type", "epsilon_svr"), ("kernel_type", "rbf")):
        if facts.get(name, "").strip() != expected:
            raise ValueError(f"its {name} is {facts.get(name, 'missing')}, not {expected}")
    lines = body.splitlines()
    count = int(facts["total_sv"])
    if count < 1 or len(lines) != count:
        raise ValueError(f"it has {len(lines)} support vectors, and says {count}")
    coefficients, vectors = np.zeros(count), np.zeros((count, FEATURES))
    for row, line in enumerate(lines):
        first, *entries = line.split()
        coefficients[row] = float(first)
        for entry in entries:
            index, value = entry.split(":")
            if not 1 <= int(index) <= FEATURES:
                raise ValueError(f"feature {index} is beyond {FEATURES}")
            vectors[row, int(index) - 1] = float(value)
    width, rho = float(facts["gamma"]), float(facts["rho"])
    if not (np.isfinite(coefficients).all() and np.isfinite(vectors).all()):
        raise ValueError("a support vector is not finite")
    if not (width > 0 and math.isfinite(width) and math.isfinite(rho)):
        raise ValueError("gamma or rho is out of range")
    return width, rho, coefficients, vectors
