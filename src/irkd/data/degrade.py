"""Synthetic degradations: what rain, motion, haze, noise and JPEG do to a clean photograph.

Each is one small function in `DEGRADATIONS`: image [0, 1], depth [0, 1] and a generator in, image
out. Adding a task is adding a function there. Strengths are drawn per image within the ranges of
the public generators and cameras they model, so that a network sees weak and strong cases alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from irkd.data.noises import grain, mosaic_noise, noise, noise_in_fair_light, speckle
from irkd.data.seeds import log_uniform
from irkd.data.srgb import decode_srgb, encode_srgb
from irkd.errors import IrkdError
from irkd.registry import suggestion

Image = NDArray[np.uint8]
Floats = NDArray[Any]  # float32
Degradation = Callable[[Floats, Floats, np.random.Generator], Floats]

# Pixels around a crop that a degradation may look at; the widest blur kernel reaches half of 31.
MARGIN = 16

_NONE = np.float32(0)


def degrade(
    image: Image, task: str, rng: np.random.Generator, depth: Floats | None = None
) -> Image:
    """Degrade a clean H x W x 3 RGB uint8 image for `task`, a name in `DEGRADATIONS`.

    `depth` is H x W in [0, 1], 1 farthest; without it a plausible one is made up. The result is
    clipped and rounded to uint8 as a saved file would be.
    Raises IrkdError for an unknown task.
    """
    check_task(task)
    if depth is None:
        depth = plausible_depth(image.shape[:2], rng) if task in NEEDS_DEPTH else _NO_DEPTH
    clean = image.astype(np.float32) / np.float32(255)
    return _quantise(DEGRADATIONS[task](clean, depth, rng))


# The kind of damage of an image that has none.
UNDAMAGED = "undamaged"


@dataclass(frozen=True)
class Mixing:
    """What else training images go through, so that a network learns to leave good ones alone.

    `undamaged`: the share of images without the task's degradation; half of them are saved as JPEG.
    `saved`: the share of the others that are saved as JPEG after it.
    `mixture`: tasks whose degradation stands in the place of the task's own, with their weights.
    """

    undamaged: float = 0.0
    saved: float = 0.0
    mixture: tuple[tuple[str, float], ...] = ()

    def __bool__(self) -> bool:
        return self.undamaged > 0 or self.saved > 0 or bool(self.mixture)

    def degrade(
        self, image: Image, task: str, rng: np.random.Generator, depth: Floats | None = None
    ) -> tuple[Image, str]:
        """As `degrade`, or otherwise in the shares above; and the kind of damage, or `UNDAMAGED`.

        JPEG alone counts as none.
        """
        damaged, saved = rng.random() >= self.undamaged, rng.random()
        if damaged:
            if self.mixture:
                tasks, weights = zip(*self.mixture, strict=True)
                task = str(rng.choice(tasks, p=np.divide(weights, sum(weights))))
            image = degrade(image, task, rng, depth)
        if saved < (self.saved if damaged else 0.5):
            image = degrade(image, "jpeg", rng)
        return image, task if damaged else UNDAMAGED


def check_task(task: str) -> str:
    """`task` itself, or an IrkdError that lists the tasks with a synthetic degradation."""
    if task not in DEGRADATIONS:
        raise IrkdError(
            f"no synthetic degradation for task {task!r}.{suggestion(task, DEGRADATIONS)} "
            f"Known: {', '.join(DEGRADATIONS)}."
        )
    return task


def plausible_depth(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """H x W depth for a photograph without one: far at the top, near at the bottom, uneven."""
    height, width = shape[:2]
    ramp = np.linspace(1, 0, height, dtype=np.float32)[:, None]
    uneven: Floats = rng.normal(0, 0.5, (4, 4)).astype(np.float32)
    uneven = cv2.resize(uneven, (width, height), interpolation=cv2.INTER_CUBIC)
    weight = np.float32(rng.uniform(0.4, 0.8))
    return np.clip(weight * ramp + (1 - weight) * (0.5 + uneven), 0, 1)


@dataclass(frozen=True)
class Rain:
    """Streaks H x W in [0, 1], added to the image or screened over it; a veil of `veil_light`."""

    streaks: Floats
    added: bool
    veil: np.float32
    veil_light: np.float32


def draw_rain(shape: tuple[int, ...], rng: np.random.Generator, *, heavy: bool = False) -> Rain:
    """One to three layers of streaks, at times with a veil; `heavy`: two to four, always with."""
    streaks = np.zeros(shape, np.float32)
    tilt = rng.uniform(-45, 45)
    for _ in range(int(rng.integers(2, 5) if heavy else rng.integers(1, 4))):
        streaks += _streak_layer(shape, tilt + rng.normal(0, 4), rng)
    light = np.float32(rng.uniform(0.8, 1.0))
    streaks = np.minimum(streaks, 1) * light
    added = bool(rng.random() < 0.3)
    if not heavy and rng.random() >= 0.3:
        return Rain(streaks, added, _NONE, _NONE)
    veil = np.float32(rng.uniform(0.05, 0.3 if heavy else 0.25))
    return Rain(streaks, added, veil, np.float32(rng.uniform(0.6, 0.9)))


def rain(image: Floats, depth: Floats, rng: np.random.Generator) -> Floats:
    """Streaks of one to three layers, screened or added over the image, at times with a veil."""
    return _rained(image, draw_rain(image.shape[:2], rng))


def heavy_rain(image: Floats, depth: Floats, rng: np.random.Generator) -> Floats:
    """Rain of two to four layers through a veil of drops too far to be seen apart."""
    return _rained(image, draw_rain(image.shape[:2], rng, heavy=True))


def _rained(image: Floats, drawn: Rain) -> Floats:
    streaks = drawn.streaks[..., None]
    rained = image + streaks if drawn.added else 1 - (1 - image) * (1 - streaks)
    return rained * (1 - drawn.veil) + drawn.veil * drawn.veil_light


def _streak_layer(shape: tuple[int, ...], tilt: float, rng: np.random.Generator) -> Floats:
    """Seeds of rain drops, smeared along a line `tilt` degrees from the vertical."""
    height, width = shape[:2]
    length = int(rng.integers(9, 46))
    thickness = rng.uniform(0.4, 1.5)
    # The margin lets streaks enter from outside.
    area = (height + 2 * length, width + 2 * length)
    drops: Floats = np.zeros(area, np.float32)
    count = rng.poisson(rng.uniform(0.0004, 0.003) / thickness * area[0] * area[1])
    at = rng.integers(0, area[0], count), rng.integers(0, area[1], count)
    drops[at] = rng.uniform(0.4, 1.0, count)
    drops = cv2.GaussianBlur(drops, (0, 0), thickness)
    kernel = _line_kernel(length, 90 + tilt)
    streaks = cv2.filter2D(drops, cv2.CV_32F, kernel)[length:-length, length:-length]
    # A single drop at full strength would reach `peak`; the blurs have spread it.
    peak = rng.uniform(0.15, 0.8)
    spread = 2.507 * thickness * length
    return np.minimum(streaks * np.float32(peak * spread), 1)


def draw_blur_kernel(rng: np.random.Generator, longest: float = 31) -> Floats:
    """A point spread function of odd sides, summing to 1; short motions are drawn more often.

    longest: pixels that a straight motion covers at most (a shaken one 4 less), from 7 to 31.
    """
    if rng.random() < 0.35:
        return _line_kernel(log_uniform(rng, 3, longest), float(rng.uniform(0, 180)))
    return _trajectory_kernel(rng, longest - 4)


def blur(image: Floats, depth: Floats, rng: np.random.Generator) -> Floats:
    """Motion blur in linear light: the camera's path during exposure, straight or shaken."""
    return _blurred(image, draw_blur_kernel(rng))


def mild_blur(image: Floats, depth: Floats, rng: np.random.Generator) -> Floats:
    """Motion blur of 12 pixels at most."""
    return _blurred(image, draw_blur_kernel(rng, longest=12))


def noisy_blur(image: Floats, depth: Floats, rng: np.random.Generator) -> Floats:
    """Motion blur, then the noise of a camera in fair light, which nothing has smoothed."""
    return noise_in_fair_light(blur(image, depth, rng), rng)


def _blurred(image: Floats, kernel: Floats) -> Floats:
    linear = decode_srgb(image)
    blurred = cv2.filter2D(linear, cv2.CV_32F, kernel, borderType=cv2.BORDER_REFLECT_101)
    return encode_srgb(np.clip(blurred, 0, 1))


def draw_haze(depth: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Transmission H x W x 1 and the colour of the air light."""
    transmission = np.exp(-np.float32(rng.uniform(0.4, 1.6)) * (0.1 + depth))[..., None]
    air = rng.uniform(0.7, 1.0) + rng.normal(0, 0.02, 3)
    return transmission, np.clip(air, 0, 1).astype(np.float32)


def haze(image: Floats, depth: Floats, rng: np.random.Generator) -> Floats:
    """Koschmieder's law I = J t + A (1 - t), t = exp(-beta d), with slightly coloured air light.

    A in [0.7, 1] as in RESIDE's indoor set; beta in [0.4, 1.6] for d in [0, 1], where RESIDE has
    0.6 to 1.8: outdoor sets are lighter.
    """
    transmission, air = draw_haze(depth, rng)
    return image * transmission + air * (1 - transmission)


def jpeg(image: Floats, depth: Floats, rng: np.random.Generator) -> Floats:
    """JPEG at quality 30-95, with or without chroma subsampling."""
    quality = int(rng.integers(30, 96))
    sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
    if rng.random() < 0.3:
        sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    bgr = np.ascontiguousarray(_quantise(image)[..., ::-1])
    encoded = cv2.imencode(".jpg", bgr, options)[1]
    decoded: Any = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    return decoded[..., ::-1].astype(np.float32) / np.float32(255)


def general(image: Floats, depth: Floats, rng: np.random.Generator) -> Floats:
    """One degradation, or a chain in the order light meets them; one image in ten stays clean."""
    chosen = rng.random()
    if chosen < 0.1:
        return image
    weather = haze if rng.random() < 0.5 else rain
    chain = (blur, weather, noise, jpeg)
    wanted = np.arange(4) == rng.integers(4) if chosen < 0.6 else rng.random(4) < 0.5
    for step, applies in zip(chain, wanted, strict=True):
        if applies:
            image = np.clip(step(image, depth, rng), 0, 1)
    return image


DEGRADATIONS: dict[str, Degradation] = {
    "derain": rain,
    "deblur": blur,
    "dehaze": haze,
    "denoise": noise,
    "jpeg": jpeg,
    "general": general,
    # Parts of a task, for `data.mixture`.
    "derain-heavy": heavy_rain,
    "deblur-mild": mild_blur,
    "deblur-noisy": noisy_blur,
    "denoise-speckle": speckle,
    "denoise-mosaic": mosaic_noise,
    "denoise-grain": grain,
}
NEEDS_DEPTH = frozenset({"dehaze", "general"})
_NO_DEPTH = np.zeros((1, 1), np.float32)


def _line_kernel(length: float, angle: float) -> Floats:
    """A line of `length` pixels at `angle` degrees from the x axis, antialiased, summing to 1."""
    radius = int(np.ceil(length / 2)) + 1
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float32)
    cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    along, across = np.abs(x * cos + y * sin), np.abs(y * cos - x * sin)
    inside = np.clip(length / 2 - along + 0.5, 0, 1) * np.clip(1 - across, 0, 1)
    return (inside / inside.sum()).astype(np.float32)


def _trajectory_kernel(rng: np.random.Generator, widest: float) -> Floats:
    """The point spread function of a shaken camera, at most 31 x 31, summing to 1.

    A random walk with inertia and rare sudden shakes, after Boracchi and Foi, "Modeling the
    performance of image restoration from motion blur", IEEE TIP 2012; the exposure is the walk's
    extent, from hardly visible to `widest` pixels.
    """
    steps = 96
    shake = rng.normal(0, 1, (steps, 2)) * rng.uniform(0.05, 0.5)
    sudden = rng.random(steps) < rng.uniform(0, 0.04)
    shake[sudden] += rng.normal(0, 3, (int(sudden.sum()), 2))
    inertia = rng.uniform(0.7, 0.98)
    velocity = rng.normal(0, 1, 2)
    path = np.empty((steps, 2))
    position = np.zeros(2)
    for step in range(steps):
        velocity = inertia * velocity + (1 - inertia) * 2 * shake[step] + 0.3 * shake[step]
        position = position + velocity
        path[step] = position
    # Centred where the light's mean falls, so that blur moves nothing: an estimate of the kernel
    # from the image cannot tell any other middle.
    path = (path - path.mean(0)) / max(float(np.ptp(path, axis=0).max()), 1e-6)
    path *= log_uniform(rng, 2, widest)
    path *= min(1.0, 14.99 / max(float(np.abs(path).max()), 1e-6))  # what the kernel has room for
    kernel = np.zeros((31, 31), np.float32)
    corner = np.floor(path).astype(int)
    share = path - corner
    for dy in (0, 1):
        for dx in (0, 1):
            weight = np.abs(1 - dx - share[:, 0]) * np.abs(1 - dy - share[:, 1])
            np.add.at(kernel, (corner[:, 1] + dy + 15, corner[:, 0] + dx + 15), weight)
    return kernel / kernel.sum()


def _quantise(image: Floats) -> Image:
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
