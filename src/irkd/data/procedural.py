"""Procedural training images: textured dead leaves with exact depth.

A scene is a stack of opaque shapes, far to near, whose radii follow a power law. Such images share
with photographs the scale invariance and the sharp occlusion edges that restoration relies on
(Achddou, Gousseau, Ladjal, "Synthetic images as a regularity prior for image restoration neural
networks", SSVM 2021); textures and depth of field narrow the remaining gap ("VibrantLeaves",
arXiv 2504.10201). Different from both: the shapes are drawn into one label map, and colours,
textures and depth are looked up from it, so that no photograph is needed and an image takes tens
of milliseconds.

In eight styles: `plain`, quick and simple; `detailed`, with smaller shapes, more and richer
textures, and what a lens and a developer do, measured to be closer to photographs (docs/data.md);
`textured`, in which surfaces also have a relief as fine as the pixels, as grass, fur, snow and
water have; `built`, detailed and with what people build, long and straight, some in pale light;
`lit`, built and every other one with shadows, and `sunlit`, of which none is pale; `woven`,
textured and with fine regular patterns, points of light, and colours as sharp as shapes; `toned`,
sunlit, with colours and contrasts as photographs have them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from irkd.data.development import developed, pale, toned
from irkd.data.fabrics import draw_fabric
from irkd.data.lights import draw_lights
from irkd.data.seeds import (
    DAYLIGHT,
    FABRICS,
    PROCEDURAL,
    SCENES,
    STREETS,
    SUNLIGHT,
    SURFACES,
    TONES,
    generator,
    log_uniform,
)
from irkd.data.shadows import draw_shadows
from irkd.data.srgb import encode_srgb
from irkd.data.structures import Bars, draw_bars, outlines
from irkd.data.textures import detailed_texture, plain_texture, relief

Image = NDArray[np.uint8]
Floats = NDArray[Any]  # float32
Style = Literal["plain", "detailed", "textured", "built", "lit", "sunlit", "woven", "toned"]
_STREAMS: dict[Style, int] = {
    "plain": PROCEDURAL,
    "detailed": SCENES,
    "textured": SURFACES,
    "built": STREETS,
    "lit": DAYLIGHT,
    "sunlit": SUNLIGHT,
    "woven": FABRICS,
    "toned": TONES,
}

# Shapes are drawn at twice the resolution, then averaged in linear light.
OVERSAMPLING = 2
_VERTICES = 32
_FIXED_POINT_BITS = 4
_MAX_LEAVES = 6000
# Shape and scale of the gamma distribution that the strength of textures has.
_TEXTURE: dict[Style, tuple[float, float]] = {
    "plain": (2.0, 0.6),
    "detailed": (2.5, 0.7),
    "textured": (2.5, 0.45),
    "built": (2.5, 0.7),
    "lit": (2.5, 0.7),
    "sunlit": (2.5, 0.7),
    "woven": (2.5, 0.5),
    "toned": (2.5, 0.5),
}
_SHADED = ("lit", "sunlit", "toned")


def procedural_image(
    seed: int, index: int, size: int | tuple[int, int], style: Style = "plain"
) -> tuple[Image, Floats]:
    """Image number `index` of the endless set `seed`.

    Args:
        seed, index: non-negative; the image is a pure function of both, of `size` and `style`.
        size: side in pixels, or (height, width).
        style: "plain", or the slower and richer "detailed", "textured", "built",
            "lit", "sunlit", "woven" and "toned".

    Returns:
        The image, H x W x 3 RGB uint8 (sRGB), and its depth, H x W float32 from 0 (nearest) to
        1 (farthest). Depth is that of the shape seen in each pixel; a pixel across an edge has
        the mean of its four samples.
    """
    height, width = (size, size) if isinstance(size, int) else size
    rng = generator(_STREAMS[style], seed, index)
    scene = _Scene.draw_parameters(rng, style)
    canvas = (height * OVERSAMPLING, width * OVERSAMPLING)
    leaves = _place_leaves(rng, scene, canvas)
    if style in ("built", *_SHADED) or (style == "woven" and rng.random() < 0.5):
        leaves = _with_bars(leaves, draw_bars(rng, height, width))
    labels = _rasterise(rng, scene, leaves, canvas)
    linear = _paint(rng, scene, leaves, labels)
    depth = _shrink(leaves.depth[labels])
    linear = _light(rng, _shrink(linear))
    if style in _SHADED and rng.random() < 0.5:
        linear = linear * draw_shadows(rng, depth)
    seen, count = labels[::OVERSAMPLING, ::OVERSAMPLING], len(leaves.radius)
    if style in ("textured", "woven", "toned"):
        linear = linear * relief(rng, seen, count)
    if style == "woven":
        linear = linear * draw_fabric(rng, seen, count)
        if rng.random() < 0.06:
            linear = draw_lights(rng, linear)
    linear = _depth_of_field(rng, scene, linear, depth)
    srgb = encode_srgb(np.clip(linear, 0, 1))
    if style in ("built", "lit"):
        srgb = pale(rng, srgb)
    if style == "toned":
        srgb = toned(rng, srgb)
    if style != "plain":
        sharp, fine_colours = style in ("textured", "woven"), style == "woven"
        srgb = developed(rng, srgb, sharp=sharp, fine_colours=fine_colours)
    return np.rint(srgb * 255).astype(np.uint8), depth


@dataclass(frozen=True)
class _Scene:
    """What holds for a whole image."""

    style: Style
    smallest_radius: float  # pixels of the final image
    coverage: float  # expected number of leaves over a point
    horizon: float | None  # height of a clear sky above which leaves are rare, as a fraction
    ground: float  # how much depth follows the height in the image, 0 to 1
    texture: float  # strength of textures
    blur: float  # standard deviation of the depth-of-field blur, pixels

    @classmethod
    def draw_parameters(cls, rng: np.random.Generator, style: Style) -> _Scene:
        plain = style == "plain"
        smallest = log_uniform(rng, 3 if plain else 1.5, 30)
        sky = rng.random() < 0.3
        return cls(
            style=style,
            smallest_radius=smallest,
            coverage=float(rng.uniform(2.0, 4.0)),
            horizon=float(rng.uniform(0.15, 0.7)) if sky else None,
            ground=float(rng.uniform(0, 0.8)) if rng.random() < 0.6 or sky else 0.0,
            texture=float(rng.gamma(*_TEXTURE[style])),
            blur=float(rng.uniform(0.4, 1.5)) if rng.random() < 0.35 else 0.0,
        )


@dataclass(frozen=True)
class _Leaves:
    """N leaves from far to near; leaf 0 is the background. Lengths in canvas pixels."""

    centre: Floats  # N x 2 (x, y)
    radius: Floats  # N
    depth: Floats  # N, falling from 1
    bars: Bars | None = None  # which take the place of some of them
    bar_numbers: NDArray[np.intp] | None = None  # of the leaves that are bars


def _place_leaves(rng: np.random.Generator, scene: _Scene, canvas: tuple[int, int]) -> _Leaves:
    height, width = canvas
    smallest = scene.smallest_radius * OVERSAMPLING
    largest = max(height, width, 4 * smallest)
    # Radii of density r^-3 between both: each octave of sizes covers the same area.
    mean_area = 2 * np.pi * np.log(largest / smallest) / (smallest**-2 - largest**-2)
    count = int(np.clip(scene.coverage * height * width / mean_area, 8, _MAX_LEAVES))
    radius = rng.uniform(largest**-2.0, smallest**-2.0, count) ** -0.5
    x, y = rng.uniform(0, width, count), rng.uniform(0, 1, count)
    if scene.horizon is not None:
        # A few leaves remain in the sky; the others stand below the horizon.
        below = rng.random(count) < 0.95
        y = np.where(below, scene.horizon + (1 - scene.horizon) * y, y)
        # Nothing large hangs in the sky: what stands below may reach into it by a part.
        room = np.maximum(0.25 * height, (y - scene.horizon) * height + 0.2 * height)
        radius = np.minimum(radius, np.maximum(room, smallest))
    key = (1 - scene.ground) * rng.random(count) + scene.ground * (1 - y)
    order = np.argsort(-key, kind="stable")
    # Of iid depths mostly the nearest are seen; this spreads the visible ones over [0, 1].
    rank = (np.arange(count) + 0.5) / count
    depth = (1 - np.exp(-scene.coverage * (1 - rank))) / (1 - np.exp(-scene.coverage))
    return _Leaves(
        centre=np.concatenate(
            ([[width / 2, height / 2]], np.stack((x, y * height), 1)[order])
        ).astype(np.float32),
        radius=np.concatenate(([largest], radius[order])).astype(np.float32),
        depth=np.concatenate(([1.0], 0.95 * depth)).astype(np.float32),
    )


def _with_bars(leaves: _Leaves, bars: Bars) -> _Leaves:
    """`leaves` and the bars at their places among them."""
    number = len(leaves.radius)
    before = 1 + (bars.place * (number - 1)).astype(np.intp)
    centre = (bars.centre * OVERSAMPLING).astype(np.float32)
    # Shading changes over a bar's width as over that of a shape of its length.
    radius = (bars.length * OVERSAMPLING / 2).astype(np.float32)
    return replace(
        leaves,
        centre=np.insert(leaves.centre, before, centre, axis=0),
        radius=np.insert(leaves.radius, before, radius),
        depth=np.insert(leaves.depth, before, leaves.depth[before - 1]),
        bars=bars,
        bar_numbers=before + np.arange(len(before)),
    )


def _outlines(rng: np.random.Generator, leaves: _Leaves) -> NDArray[np.int32]:
    """Closed outlines, N x vertices x 2, in fixed-point canvas coordinates."""
    count = len(leaves.radius)
    angle = np.linspace(0, 2 * np.pi, _VERTICES, endpoint=False)
    circle = np.stack((np.cos(angle), np.sin(angle)), 1)
    square = circle / np.abs(circle).max(1, keepdims=True) * 0.9
    shapes = np.empty((count, _VERTICES, 2))
    kind = rng.random(count)
    shapes[:] = circle
    shapes[kind < 0.3] = square
    wavy = kind > 0.5
    number = int(wavy.sum())
    # Smooth blobs: a few Fourier terms of falling amplitude on the circle.
    order = np.arange(2, 8)
    amplitude = rng.normal(0, 0.35, (number, 6)) / order
    phase = rng.uniform(0, 2 * np.pi, (number, 6, 1))
    waves = amplitude[..., None] * np.cos(order[:, None] * angle + phase)
    shapes[wavy] = circle * np.clip(1 + waves.sum(1), 0.2, 2)[..., None]
    angular = kind > 0.8
    # Random polygons of eight corners, with straight edges between them.
    corners = circle[::4] * rng.uniform(0.5, 1.2, (int(angular.sum()), 8, 1))
    share = np.arange(4)[:, None] / 4
    following = np.roll(corners, -1, axis=1)
    edges = corners[:, :, None] * (1 - share) + following[:, :, None] * share
    shapes[angular] = edges.reshape(-1, _VERTICES, 2)
    stretch = np.exp(rng.normal(0, 0.35, count))[:, None]
    shapes *= np.stack((stretch, 1 / stretch), -1)
    turn = rng.uniform(0, 2 * np.pi, count)
    # Things made by people and gravity stand upright more often than not.
    turn = np.where(rng.random(count) < 0.4, np.rint(turn / (np.pi / 2)) * (np.pi / 2), turn)
    cos, sin = np.cos(turn)[:, None], np.sin(turn)[:, None]
    x, y = shapes[..., 0], shapes[..., 1]
    turned = np.stack((cos * x - sin * y, sin * x + cos * y), -1)
    points = turned * leaves.radius[:, None, None] + leaves.centre[:, None]
    if leaves.bars is not None:
        points[leaves.bar_numbers] = outlines(leaves.bars, _VERTICES) * OVERSAMPLING
    return np.rint(points * (1 << _FIXED_POINT_BITS)).astype(np.int32)


def _rasterise(
    rng: np.random.Generator, scene: _Scene, leaves: _Leaves, canvas: tuple[int, int]
) -> NDArray[np.int32]:
    """The number of the leaf seen in every canvas pixel."""
    labels = np.zeros(canvas, np.int32)
    shapes = _outlines(rng, leaves)
    thin = set(_thin_leaves(rng, len(shapes)))
    if leaves.bar_numbers is not None:
        thin -= set(leaves.bar_numbers.tolist())
    for number in range(1, len(shapes)):
        outline = shapes[number]
        if number in thin:
            part = outline[: _VERTICES // 2].reshape(1, -1, 2)
            thickness = 1 + number % 4
            cv2.polylines(labels, part, False, number, thickness, cv2.LINE_8, _FIXED_POINT_BITS)
        else:
            cv2.fillPoly(labels, outline[None], number, cv2.LINE_8, _FIXED_POINT_BITS)
    return labels


def _thin_leaves(rng: np.random.Generator, count: int) -> list[int]:
    """Leaves drawn as open lines (twigs, wires): none in most images, a few in some."""
    if rng.random() > 0.3:
        return []
    return rng.integers(1, count, int(rng.integers(1, 8))).tolist()


def _palette(rng: np.random.Generator, count: int) -> Floats:
    """Lab colours of `count` leaves: few hues per image, mostly muted, any lightness."""
    size = int(rng.integers(4, 12))
    lightness = rng.normal(rng.uniform(32, 62), rng.uniform(10, 24), size)
    # Natural colours spread along a yellow-blue axis (illumination) more than across it.
    axis = rng.normal(1.2, 0.5)
    spread = rng.gamma(2.0, 6.0)
    along = rng.normal(rng.normal(5, 6), spread, size)
    across = rng.normal(rng.normal(1, 4), 0.5 * spread, size)
    a = along * np.cos(axis) - across * np.sin(axis)
    b = along * np.sin(axis) + across * np.cos(axis)
    vivid = rng.random(size) < 0.08
    a, b = np.where(vivid, 3 * a, a), np.where(vivid, 3 * b, b)
    palette = np.stack((lightness, a, b), 1)
    jitter = rng.normal(0, 1, (count, 3)) * [8, 3, 3]
    return (palette[rng.integers(0, size, count)] + jitter).astype(np.float32)


def _paint(
    rng: np.random.Generator, scene: _Scene, leaves: _Leaves, labels: NDArray[np.int32]
) -> Floats:
    """Linear RGB of the canvas: per leaf a colour, a linear shading and a texture."""
    height, width = labels.shape
    count = len(leaves.radius)
    colour = _palette(rng, count)
    if leaves.bars is not None:
        colour[leaves.bar_numbers, 0] = leaves.bars.lightness
        # Metal, paint and wire are mostly grey.
        colour[leaves.bar_numbers, 1:] *= np.float32(0.4)
    if scene.horizon is not None:
        # A bright background, bluish or grey.
        colour[0] = rng.normal([82, -3, -10], [9, 3, 8])
    shading = rng.normal(0, 1, (count, 2)) * (8 / leaves.radius[:, None])
    shading[rng.random(count) < 0.3] = 0
    if scene.horizon is not None:
        shading[0] = (rng.normal(0, 4) / width, rng.uniform(0, 30) / height)
    # A texture swings between the leaf's colour and a second one, mostly in lightness.
    swing = rng.normal(0, 1, (count, 3)) * [7, 2, 2] * scene.texture
    plain = scene.style == "plain"
    swing *= rng.gamma(1.5, 0.6 if plain else 0.7, (count, 1))
    swing[rng.random(count) < (0.1 if plain else 0.06)] = 0
    if scene.horizon is not None:
        swing[0] *= 0.3 * (rng.random() < 0.5)
    draw_texture = plain_texture if plain else detailed_texture
    texture = draw_texture(rng, labels, count, scene.horizon is not None)
    x = np.arange(width, dtype=np.float32)[None]
    y = np.arange(height, dtype=np.float32)[:, None]
    shade = shading.astype(np.float32)
    base = colour[:, 0] - (shade * leaves.centre).sum(1)
    lab = np.empty((height, width, 3), np.float32)
    swing = swing.astype(np.float32)
    lab[..., 0] = base[labels] + shade[:, 0][labels] * x + shade[:, 1][labels] * y
    lab[..., 0] += swing[:, 0][labels] * texture
    for channel in (1, 2):
        lab[..., channel] = colour[:, channel][labels] + swing[:, channel][labels] * texture
    np.clip(lab[..., 0], 1, 99, out=lab[..., 0])
    return np.clip(cv2.cvtColor(lab, cv2.COLOR_Lab2LRGB), 0, 1)


def _shrink(canvas: Floats) -> Floats:
    height, width = canvas.shape[:2]
    size = (width // OVERSAMPLING, height // OVERSAMPLING)
    return cv2.resize(canvas, size, interpolation=cv2.INTER_AREA)


def _light(rng: np.random.Generator, linear: Floats) -> Floats:
    """Exposure and a slow change of light across the image."""
    height, width = linear.shape[:2]
    grid = np.exp2(rng.normal(0, 0.25, (3, 3))).astype(np.float32)
    slow = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    exposure = np.float32(np.exp2(rng.normal(0, 0.35)))
    return linear * (exposure * np.maximum(slow, 0.3))[..., None]


def _depth_of_field(
    rng: np.random.Generator, scene: _Scene, linear: Floats, depth: Floats
) -> Floats:
    """Blur what lies away from the plane in focus."""
    focus = rng.uniform(0, 1)
    if scene.blur == 0:
        return linear
    soft = cv2.GaussianBlur(linear, (0, 0), scene.blur, borderType=cv2.BORDER_REFLECT_101)
    weight: Floats = np.clip(np.abs(depth - focus) * 3 - 0.3, 0, 1).astype(np.float32)
    weight = cv2.GaussianBlur(weight, (0, 0), scene.blur)[..., None]
    return linear + weight * (soft - linear)
