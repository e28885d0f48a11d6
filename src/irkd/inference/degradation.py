"""What damage an image shows: rain, noise, haze, blur, or none that is clear.

Four measures without learned weights, each a number with a threshold. They look for what irkd's
degradations and real ones have in common: streaks that agree in direction, noise that differs
between colours, a picture without dark spots, and edges that are nowhere sharp. Thresholds were set
on textures, grey photographs and procedural images; docs/restore.md states how often the answer is
right on others.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from irkd.inference.picture import Pixels, as_colour, to_float

Floats = NDArray[np.floating[Any]]

# Measured on the middle of the image: this many pixels a side tell enough.
_SIDE = 640
_SMALLEST_SIDE = 96
# Deviation of the light below which there is nothing to see.
_PLAIN = 0.01
# Streaks are sought in fewer: it takes most of the time.
_STREAK_SIDE = 384

# Rain: share of the picture whose streaks agree, how much more they hold together along their
# direction than across others, and how much brighter than dark they are (skewness).
_AGREEMENT, _COHERENCE, _BRIGHTNESS = 0.45, 1.9, 0.3
# Degrees from the vertical that rain falls at, at most.
_STEEPEST = 52.5
_STREAK = 15
# Noise: deviation in levels of 255, and correlation between colours. A camera's or a drawing's
# finest detail is nearly the same in all colours, noise is not.
_DEVIATION, _CORRELATION = 0.9, 0.4
# Haze: what the darkest spots still reflect (the dark channel of He, Sun, Tang, CVPR 2009).
_DARKEST = 0.055
_DARK_WINDOW, _DARK_SIDE = 9, 400
# Blur: of the sharpest edges, the share of a step that is made within one pixel rather than three.
_SHARPNESS = 0.43


class Degradation(NamedTuple):
    """`task`: derain, denoise, dehaze, deblur, or general where the damage is unclear or none.
    `reasons`: what it was judged by, in words."""

    task: str
    reasons: tuple[str, ...]


def degradation_of(image: Pixels) -> Degradation:
    """Judge an image H x W or H x W x 3, uint8, uint16 or float32 in [0, 1].

    Of several, the first of rain, noise, blur and haze is named: each spoils the measures of those
    after it. Images with a side below 96 pixels, and plain ones, do not tell: general.
    """
    height, width = image.shape[:2]
    if min(height, width) < _SMALLEST_SIDE:
        return Degradation("general", ("too small to judge",))
    middle = to_float(as_colour(_middle(image, _SIDE)))
    light: Floats = np.ascontiguousarray(middle.mean(axis=2))
    if float(light.std()) < _PLAIN:
        return Degradation("general", ("too plain to judge",))
    angle, coherence, agreement, brightness = streaks(_middle(light, _STREAK_SIDE))
    if coherence > _COHERENCE and agreement > _AGREEMENT and brightness > _BRIGHTNESS:
        lean = f"{abs(angle):.0f} degrees from the vertical"
        return Degradation("derain", (f"bright streaks, {lean}, in {agreement:.0%} of it",))
    deviation, correlation = noise(middle)
    if deviation > _DEVIATION and correlation < _CORRELATION:
        return Degradation("denoise", (f"noise of deviation {deviation:.1f} of 255",))
    sharpness = edge_sharpness(light)
    if sharpness < _SHARPNESS:
        return Degradation(
            "deblur", (f"edges at most {sharpness / 0.5:.0%} as steep as sharp ones",)
        )
    darkest = dark_channel(image)
    if darkest > _DARKEST:
        return Degradation("dehaze", (f"no spot darker than {darkest:.0%} of white",))
    return Degradation("general", ("no clear damage",))


def streaks(light: Floats) -> tuple[float, float, float, float]:
    """The lines that fall through H x W light: their angle from the vertical in degrees; how
    coherent they are along it, over the median direction; the share of blocks that agree; and their
    skewness, positive for bright lines.
    """
    detail: Any = light - cv2.GaussianBlur(light, (0, 0), 3)
    # An edge must not outweigh all streaks.
    limit = 6 * (1.4826 * float(np.median(np.abs(detail))) + 1e-4)
    detail = np.clip(detail, -limit, limit)
    variance = _blocks(detail, 32).var(axis=1) + 1e-8
    angles = np.arange(-90, 90, 15)
    coherence = np.empty((len(angles), len(variance)))
    skewness = np.empty_like(coherence)
    for i, angle in enumerate(angles):
        lines = _blocks(cv2.filter2D(detail, cv2.CV_32F, _line(90 + float(angle))), 32)
        centred = lines - lines.mean(axis=1, keepdims=True)
        spread = (centred**2).mean(axis=1)
        coherence[i] = spread / variance
        skewness[i] = (centred**3).mean(axis=1) / (spread**1.5 + 1e-9)
    typical = np.median(coherence, axis=1)
    best = int(np.argmax(np.where(np.abs(angles) <= _STEEPEST, typical, -1)))
    turned = coherence.argmax(axis=0) - best
    apart = np.abs((turned + len(angles) // 2) % len(angles) - len(angles) // 2)
    return (
        float(angles[best]),
        float(typical[best] / (np.median(typical) + 1e-6)),
        float((apart <= 1).mean()),
        float(np.median(skewness[best])),
    )


def noise(colours: Floats) -> tuple[float, float]:
    """Of H x W x 3 colours: the deviation of the noise in levels of 255, from the quietest blocks
    of the finest diagonal detail, and the correlation between colours in them.

    A grey image's colours are the same: its correlation is 1.
    """
    height, width = (side // 2 * 2 for side in colours.shape[:2])
    even = colours[:height, :width]
    # Haar's diagonal wavelet: white noise keeps its deviation.
    finest = (even[::2, ::2] - even[1::2, ::2] - even[::2, 1::2] + even[1::2, 1::2]) / 2
    mean = _blocks(even[::2, ::2].mean(axis=2), 8).mean(axis=1)
    detail = np.stack([_blocks(finest[..., colour], 8) for colour in range(3)])
    # Clipped light has no noise.
    open_ = (mean > 0.04) & (mean < 0.96)
    if open_.sum() >= 20:
        detail = detail[:, open_]
    power = (detail**2).mean(axis=(0, 2))
    quiet = detail[:, power <= np.percentile(power, 30)]
    red, green, blue = quiet.reshape(3, -1)
    correlations = [
        float((a * b).mean() / np.sqrt((a * a).mean() * (b * b).mean() + 1e-12))
        for a, b in ((red, green), (green, blue))
    ]
    return 255 * float(np.sqrt(np.percentile(power, 15))), max(correlations)


def dark_channel(image: Pixels) -> float:
    """The brightness, 0 to 1, that all but the darkest hundredth of an image's surroundings have:
    haze and veils leave nothing dark."""
    step = max(max(image.shape[:2]) // (4 * _DARK_SIDE), 1)
    thinned = to_float(as_colour(image)[::step, ::step])
    scale = min(1.0, _DARK_SIDE / max(thinned.shape[:2]))
    small = cv2.resize(thinned, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    dark = cv2.erode(small.min(axis=2), np.ones((_DARK_WINDOW, _DARK_WINDOW), np.uint8))
    return float(np.percentile(dark, 1))


def edge_sharpness(light: Floats) -> float:
    """How steep the steepest edges of H x W light are, where they are least: the
    difference over one pixel over that over three. 1 is a step, 1/3 a ramp."""
    height, width = light.shape
    shares = []
    for angle in np.arange(0, np.pi, np.pi / 8):
        steep = []
        for distance in (1, 3):
            across, down = distance * np.cos(angle), distance * np.sin(angle)
            move = np.array([[1, 0, across], [0, 1, down]], np.float32)
            moved = cv2.warpAffine(light, move, (width, height), borderMode=cv2.BORDER_REFLECT)
            steep.append(np.percentile(np.abs(light - moved)[4:-4, 4:-4], 99.7))
        shares.append(float(steep[0] / (steep[1] + 1e-6)))
    return min(shares)


def _middle(image: Pixels, side: int) -> Pixels:
    top, left = (max(length - side, 0) // 2 for length in image.shape[:2])
    return image[top : top + side, left : left + side]


def _blocks(values: Any, side: int) -> Floats:
    """H x W as blocks x pixels; what does not fill a block is left out."""
    height, width = (length // side * side for length in values.shape)
    cut = values[:height, :width].reshape(height // side, side, width // side, side)
    return cut.swapaxes(1, 2).reshape(-1, side * side)


def _line(degrees: float) -> NDArray[np.float32]:
    """A line through the middle of a kernel of 15 x 15, antialiased, summing to 1."""
    radius = _STREAK // 2
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float32)
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    along, across = np.abs(x * cosine + y * sine), np.abs(y * cosine - x * sine)
    inside = np.clip(radius + 0.5 - along, 0, 1) * np.clip(1 - across, 0, 1)
    return (inside / inside.sum()).astype(np.float32)
