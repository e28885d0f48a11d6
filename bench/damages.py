"""Damage of all kinds for `bench.marks`: irkd's with other seeds, rules that irkd does not use, and
other people's programs, scikit-image and, where they are installed, imagecorruptions and
albumentations. Each has the peer that a model is held against, if there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.peers import bm3d, dark_channel_prior, rounded, streaks_removed, veiled
from irkd.data.degrade import draw_haze, draw_rain, plausible_depth
from irkd.data.srgb import decode_srgb, encode_srgb

Image = NDArray[np.uint8]
Floats = NDArray[Any]
Degrade = Callable[[Floats, np.random.Generator], Floats]
Peer = Callable[[Image, Image], Image | None]


# In the place of a task: images that lack nothing which any model is for; and several things.
ANY, MIXED = "any", "mixed"


@dataclass(frozen=True)
class Condition:
    """One kind of damage of a task; `peer(degraded, clean)` is what the models are held against."""

    task: str  # ANY and MIXED: every model is tried on it
    name: str
    degrade: Degrade
    peer_name: str = ""
    peer: Peer | None = None
    whole: bool = False  # the image as it is, not its centre


def conditions() -> Iterator[Condition]:
    for sigma in (15, 25, 50):
        degrade = partial(white_noise, sigma=sigma)
        peer = partial(bm3d, sigma=sigma)
        yield Condition("denoise", f"sigma {sigma}", degrade, "BM3D, told sigma", peer)
    peer = partial(bm3d, sigma=None)
    yield Condition("denoise", "camera, then JPEG 85", camera_noise, "BM3D, sigma measured", peer)
    yield Condition("deblur", "mild shake", partial(shake, low=3, high=7))
    yield Condition("deblur", "strong shake", partial(shake, low=12, high=24))
    yield Condition("derain", "light", light_rain)
    name = "perfect streak remover"
    yield Condition("derain", "heavy, with veil", heavy_rain, name, streaks_removed)
    yield Condition("dehaze", "haze", hazed, "dark channel prior", dark_channel_prior)
    yield from by_scikit_image()
    if find_spec("imagecorruptions"):
        yield from by_imagecorruptions()
    if find_spec("albumentations"):
        yield from by_albumentations()
    for name, damages in MIXTURES.items():
        yield Condition(MIXED, name, partial(mixed, damages=damages))
    yield Condition(ANY, "clean", as_it_is)
    for quality in (50, 90):
        yield Condition(ANY, f"JPEG {quality} alone", partial(as_jpeg, quality=quality))
    # Centres hide what a model does to one thing somewhere in a photograph.
    yield Condition(ANY, "whole, clean", as_it_is, whole=True)
    yield Condition(ANY, "whole, JPEG 85 alone", partial(as_jpeg, quality=85), whole=True)


def as_it_is(image: Floats, rng: np.random.Generator) -> Floats:
    return image


def white_noise(image: Floats, rng: np.random.Generator, *, sigma: float) -> Floats:
    return image + np.float32(sigma / 255) * rng.standard_normal(image.shape, np.float32)


def camera_noise(image: Floats, rng: np.random.Generator) -> Floats:
    """Shot and read noise in linear light, at the strong end of phones, then JPEG at 85."""
    linear = decode_srgb(image)
    deviation = np.sqrt(6e-3 * linear + 4e-5)
    noisy = np.clip(linear + deviation * rng.standard_normal(image.shape), 0, 1)
    return as_jpeg(encode_srgb(noisy), rng, quality=85)


def as_jpeg(image: Floats, rng: np.random.Generator, *, quality: int) -> Floats:
    bgr = np.ascontiguousarray(rounded(image)[..., ::-1])
    encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    decoded: Any = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    return decoded[..., ::-1].astype(np.float32) / 255


def shake(image: Floats, rng: np.random.Generator, *, low: int, high: int) -> Floats:
    """Blur by `shake_kernel`, in linear light."""
    kernel = shake_kernel(rng, low=low, high=high)
    return encode_srgb(
        cv2.filter2D(decode_srgb(image), -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    )


def shake_kernel(rng: np.random.Generator, *, low: int, high: int) -> Floats:
    """A random walk's point spread function, `low` to `high` pixels wide, of odd sides.

    Drawn at a higher resolution and averaged, by other rules than irkd's own generator.
    """
    extent = rng.uniform(low, high)
    velocity = np.cumsum(rng.normal(0, 1, (64, 2)), 0) * 0.15 + rng.normal(0, 1, 2)
    path = np.cumsum(velocity, 0)
    path = (path - path.mean(0)) / max(float(np.ptp(path, axis=0).max()), 1e-6) * extent
    side = 2 * (high // 2 + 2) + 1
    fine = np.zeros((side * 4, side * 4), np.float32)
    points = np.rint((path + side / 2) * 4 * 16).astype(np.int32)[None]
    cv2.polylines(fine, [points], False, 1.0, 3, cv2.LINE_8, 4)
    kernel: Floats = cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA)
    return kernel / kernel.sum()


def light_rain(image: Floats, rng: np.random.Generator) -> Floats:
    streaks = next(drawn for drawn in rains(image, rng) if not drawn.veil).streaks * 0.7
    return 1 - (1 - image) * (1 - streaks[..., None])


def rains(image: Floats, rng: np.random.Generator) -> Iterator[Any]:
    while True:
        yield draw_rain(image.shape[:2], rng)


def heavy_rain(image: Floats, rng: np.random.Generator) -> Floats:
    drawn = next(each for each in rains(image, rng) if each.veil and each.streaks.mean() > 0.05)
    rained = 1 - (1 - image) * (1 - drawn.streaks[..., None])
    return veiled(rained)


def hazed(image: Floats, rng: np.random.Generator) -> Floats:
    transmission, air = draw_haze(plausible_depth(image.shape[:2], rng), rng)
    return image * transmission + air * (1 - transmission)


def mixed(image: Floats, rng: np.random.Generator, *, damages: tuple[Degrade, ...]) -> Floats:
    """One damage after the other, in the order in which a photograph meets them."""
    for degrade in damages:
        image = np.clip(degrade(image, rng), 0, 1).astype(np.float32)
    return image


MIXTURES: dict[str, tuple[Degrade, ...]] = {
    "haze, then sigma 15": (hazed, partial(white_noise, sigma=15)),
    "haze and light rain": (hazed, light_rain),
    "light rain, then camera and JPEG 85": (light_rain, camera_noise),
    "heavy rain with veil, then sigma 15": (heavy_rain, partial(white_noise, sigma=15)),
    "mild shake, then camera and JPEG 85": (partial(shake, low=3, high=7), camera_noise),
}


def by_scikit_image() -> Iterator[Condition]:
    for mode in ("gaussian", "poisson", "speckle"):
        yield Condition("denoise", f"scikit-image's {mode}", partial(scikit_noise, mode=mode))


def scikit_noise(image: Floats, rng: np.random.Generator, *, mode: str) -> Floats:
    from skimage.util import random_noise

    options = {"gaussian": {"var": (20 / 255) ** 2}, "poisson": {}, "speckle": {"var": 0.02}}[mode]
    return np.asarray(random_noise(image, mode, rng=rng, **options), np.float32)


def by_imagecorruptions() -> Iterator[Condition]:
    """Hendrycks and Dietterich's corruptions (ICLR 2019), at two of their five severities."""
    kinds = (
        ("denoise", "gaussian_noise", (1, 3)),
        ("denoise", "shot_noise", (1, 3)),
        ("deblur", "motion_blur", (1, 3)),
        ("dehaze", "fog", (1, 3)),
    )
    for task, kind, severities in kinds:
        for severity in severities:
            degrade = partial(corrupted, kind=kind, severity=severity)
            yield Condition(task, f"imagecorruptions' {kind} {severity}", degrade)


def corrupted(image: Floats, rng: np.random.Generator, *, kind: str, severity: int) -> Floats:
    np.__dict__.setdefault("float_", np.float64)  # the package is older than NumPy 2
    from imagecorruptions import corrupt

    # It draws from the global generator.
    np.random.seed(int(rng.integers(1 << 31)))  # noqa: NPY002
    done = corrupt(rounded(image), corruption_name=kind, severity=severity)
    return np.asarray(done, np.float32) / 255


def by_albumentations() -> Iterator[Condition]:
    """Its rain darkens the image and softens it, its fog is a haze of blobs."""
    for task, kind, options in (
        ("derain", "RandomRain", {"rain_type": "drizzle"}),
        ("derain", "RandomRain", {"rain_type": "heavy"}),
        ("deblur", "MotionBlur", {"blur_limit": (5, 11)}),
        ("dehaze", "RandomFog", {}),
    ):
        name = " ".join(["albumentations'", kind, *map(str, options.values())])
        yield Condition(task, name, partial(augmented, kind=kind, options=options))


def augmented(
    image: Floats, rng: np.random.Generator, *, kind: str, options: dict[str, Any]
) -> Floats:
    import albumentations

    transform = getattr(albumentations, kind)(**options, p=1)
    chain = albumentations.Compose([transform], seed=int(rng.integers(1 << 31)))
    return chain(image=rounded(image))["image"].astype(np.float32) / 255
