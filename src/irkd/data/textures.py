"""Textures of procedural images: periodic tiles, looked up for every pixel of every shape."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import scipy.fft
from numpy.typing import NDArray

from irkd.data.seeds import log_uniform

Floats = NDArray[Any]  # float32
Labels = NDArray[np.int32]

# Side of a tile, a power of two so that wrapping is a bit mask.
_TILE = 256


def plain_texture(rng: np.random.Generator, labels: Labels, count: int, sky: bool) -> Floats:
    """H x W values of about zero mean and unit deviation within each of `count` shapes.

    `labels`: the shape seen in each pixel. `sky`: shape 0 is a sky.
    """
    tiles = _plain_tiles(rng)
    kind = rng.choice(len(tiles), count, p=[0.2, 0.2, 0.2, 0.12, 0.08, 0.2])
    if sky:
        kind[0] = 0
    c, s, first, second = _placed(rng, labels, count, (0.3, 1.3))
    x, y = _grid(labels)
    kinds = kind.astype(np.int32)[labels]
    return _look_up(tiles, kinds, c * x + s * y + first, c * y - s * x + second)


def detailed_texture(rng: np.random.Generator, labels: Labels, count: int, sky: bool) -> Floats:
    """As `plain_texture`, of more kinds, which flow over surfaces and whose contrast varies."""
    shares, tiles = zip(*_detailed_tiles(rng), strict=True)
    # An image has a few kinds of texture, and hardly any of the others.
    share = np.array(shares) * rng.gamma(0.7, 1.0, len(shares))
    kind = rng.choice(len(tiles), count, p=share / share.sum())
    if sky:
        kind[0] = 0
    c, s, first, second = _placed(rng, labels, count, (0.25, 1.5))
    x, y = _grid(labels)
    x, y = x + _slow(rng, labels.shape), y + _slow(rng, labels.shape)
    stack = np.stack(tiles).astype(np.float32)
    kinds = kind.astype(np.int32)[labels]
    texture = _look_up(stack, kinds, c * x + s * y + first, c * y - s * x + second)
    np.clip(texture, -4, 4, out=texture)
    contrast = _look_up(_smooth_noise(rng)[None], np.int32(0), x + second, y + first)
    texture *= np.exp(np.float32(rng.uniform(0, 0.8)) * contrast)
    return texture


def relief(rng: np.random.Generator, labels: Labels, count: int) -> Floats:
    """H x W x 1 factors on linear light: fine irregular texture of most of `count` shapes.

    As fine as the pixels of `labels`, strong on some shapes and weak on others: that is how grass,
    fur or gravel differ from noise, which is equal everywhere.
    """
    tiles = [
        _unit(_tailed(rng, rng.uniform(0.0, 1.1), rng.uniform(0.8, 1.5))),
        _unit(_tailed(rng, rng.uniform(0.3, 1.2), rng.uniform(0.8, 1.4))),
        _unit(_tailed(rng, rng.uniform(0.3, 1.1), 1.2, float(np.exp(rng.uniform(0.7, 2.3))))),
        _unit(_tailed(rng, rng.uniform(0.3, 1.1), 1.2, float(np.exp(rng.uniform(0.7, 2.3))))),
    ]
    kind = rng.integers(0, len(tiles), count)
    strength = np.exp(rng.normal(np.log(0.065), 0.9, count)) * rng.uniform(0.6, 1.4)
    strength[rng.random(count) < 0.25] = 0
    c, s, first, second = _placed(rng, labels, count, (0.5, 1.0))
    x, y = _grid(labels)
    kinds = kind.astype(np.int32)[labels]
    texture = _look_up(np.stack(tiles), kinds, c * x + s * y + first, c * y - s * x + second)
    contrast = _look_up(_smooth_noise(rng)[None], np.int32(0), x + second, y + first)
    texture = np.clip(texture, -4, 4) * np.exp(np.float32(rng.uniform(0.2, 0.9)) * contrast)
    texture *= strength.astype(np.float32)[labels]
    # What is rare and beyond all bounds would overflow.
    factors: Floats = np.exp(np.minimum(texture, 2))[..., None]
    return np.clip(factors, 0.1, 4)


def _placed(
    rng: np.random.Generator, labels: Labels, count: int, zooms: tuple[float, float]
) -> tuple[Floats, Floats, Floats, Floats]:
    """How each shape's texture lies, for every pixel: scaled cosine and sine, and its offset."""
    low, high = np.log(zooms)
    zoom, turn = np.exp(rng.uniform(low, high, count)), rng.uniform(0, 2 * np.pi, count)
    offset = rng.uniform(0, _TILE, (count, 2))
    each = (zoom * np.cos(turn), zoom * np.sin(turn), offset[:, 0], offset[:, 1])
    along, across, first, second = (values.astype(np.float32)[labels] for values in each)
    return along, across, first, second


def _grid(labels: Labels) -> tuple[Floats, Floats]:
    """x as a row, y as a column."""
    height, width = labels.shape
    return np.arange(width, dtype=np.float32)[None], np.arange(height, dtype=np.float32)[:, None]


def _look_up(tiles: Floats, kind: NDArray[np.int32] | np.int32, u: Floats, v: Floats) -> Floats:
    column = u.astype(np.int32) & (_TILE - 1)
    row = v.astype(np.int32) & (_TILE - 1)
    found: Floats = tiles.ravel()[(kind * _TILE + row) * _TILE + column]
    return found


def _slow(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Displacements of some pixels that change slowly over the image."""
    grid = rng.normal(0, rng.uniform(0, 14), (9, 9)).astype(np.float32)
    return cv2.resize(grid, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)


def _plain_tiles(rng: np.random.Generator) -> Floats:
    """Periodic patterns of zero mean and unit deviation, K x tile x tile."""
    tiles = [_coloured_noise(rng, slope) for slope in rng.uniform(0.2, 1.4, 3)]
    line = np.arange(_TILE) * (2 * np.pi * 16 / _TILE)
    wave = np.broadcast_to(np.sin(line), (_TILE, _TILE))
    tiles += [wave, wave * wave.T]
    # Grain along one direction: wood, grass, hair, water.
    stretched = _coloured_noise(rng, 1.0, stretch=float(rng.uniform(4, 12)))
    tiles.append(stretched)
    stack = np.stack(tiles).astype(np.float32)
    stack -= stack.mean((1, 2), keepdims=True)
    return stack / stack.std((1, 2), keepdims=True)


def _detailed_tiles(rng: np.random.Generator) -> list[tuple[float, Floats]]:
    """How often a pattern is used, and the pattern, of zero mean and unit deviation."""
    line = np.arange(_TILE) * (2 * np.pi * int(rng.integers(8, 32)) / _TILE)
    wave = np.broadcast_to(np.sin(line), (_TILE, _TILE))
    stretch = log_uniform(rng, 3, 14)
    ridges = 1 - np.abs(_unit(_coloured_noise(rng, rng.uniform(0.9, 1.6)))) ** 0.7
    patterns = [
        *((0.12, _tailed(rng, rng.uniform(0.4, 1.7), rng.uniform(0.7, 1.8))) for _ in range(3)),
        (0.07, _tailed(rng, rng.uniform(0.1, 0.7), 1.2)),
        (0.12, _tailed(rng, rng.uniform(0.6, 1.2), 1.2, stretch)),
        (0.07, ridges),
        (0.12, _pebbles(rng)),
        (0.06, _pebbles(rng)),
        (0.12, _strands(rng)),
        (0.06, _cells(rng)),
        (0.05, wave if rng.random() < 0.5 else np.sign(wave)),
        (0.03, wave * wave.T),
    ]
    return [(share, _unit(pattern)) for share, pattern in patterns]


def _tailed(rng: np.random.Generator, slope: float, power: float, stretch: float = 1.0) -> Floats:
    """Coloured noise with heavier (power above 1) or lighter tails than the normal distribution."""
    noise = _unit(_coloured_noise(rng, slope, stretch))
    return np.sign(noise) * np.abs(noise) ** power


def _coloured_noise(rng: np.random.Generator, slope: float, stretch: float = 1.0) -> Floats:
    """Noise whose amplitude spectrum falls as 1 / f^slope."""
    spectrum = rng.standard_normal((_TILE, _TILE // 2 + 1, 2), np.float32).view(np.complex64)
    fy = np.fft.fftfreq(_TILE)[:, None] * stretch
    fx = np.fft.rfftfreq(_TILE)[None]
    frequency = np.sqrt(fx**2 + fy**2)
    frequency[0, 0] = np.inf
    # Below a sixteenth of a tile the slope is cut: large waves would only shift the colour.
    fall = np.maximum(frequency, 2 / _TILE) ** -slope
    fall[0, 0] = 0
    return scipy.fft.irfft2(spectrum[..., 0] * fall.astype(np.float32), (_TILE, _TILE))


def _smooth_noise(rng: np.random.Generator) -> Floats:
    """Slow waves of unit deviation."""
    spectrum = rng.standard_normal((_TILE, _TILE // 2 + 1, 2), np.float32).view(np.complex64)
    frequency = np.hypot(np.fft.fftfreq(_TILE)[:, None], np.fft.rfftfreq(_TILE)[None]) * _TILE
    band = np.where(frequency > 0, np.exp(-frequency / 4), 0).astype(np.float32)
    return _unit(scipy.fft.irfft2(spectrum[..., 0] * band, (_TILE, _TILE)))


def _unit(tile: Floats) -> Floats:
    tile = tile - tile.mean()
    return (tile / max(float(tile.std()), 1e-6)).astype(np.float32)


def _shifts(x: float, y: float, reach: float) -> list[tuple[int, int]]:
    """How to move a shape within `reach` of (x, y) to each of its copies that reach into the tile.

    Plain numbers: an image has ten thousand such shapes, and NumPy's start costs more than this.
    """
    across, down = (
        [step for step in (-_TILE, 0, _TILE) if -reach < at + step < _TILE + reach] for at in (x, y)
    )
    return [(dx, dy) for dx in across for dy in down]


def _pebbles(rng: np.random.Generator) -> Floats:
    """Small dead leaves, lit from one side: pebbles, foliage, bark."""
    tile = np.zeros((_TILE, _TILE), np.float32)
    smallest = rng.uniform(1.5, 5)
    largest = smallest * rng.uniform(2, 6)
    mean_area = 2 * np.pi * smallest**2 * np.log(largest / smallest)
    count = int(min(3.0 * _TILE**2 / mean_area, 3000))
    radius = rng.uniform(largest**-2.0, smallest**-2.0, count) ** -0.5
    if rng.random() < 0.3:
        radius = np.sort(radius)[::-1]
    centre = rng.uniform(0, _TILE, (count, 2))
    value = rng.normal(0, 1, count)
    ratio = np.exp(rng.normal(0, 0.5, count))
    tilt = rng.uniform(0, 180, count)
    if rng.random() < 0.4:
        tilt = rng.normal(rng.uniform(0, 180), 15, count)
    axes = np.maximum(np.stack((radius * ratio, radius / ratio), 1), 0.5)
    sizes = np.rint(axes * 16).astype(int).tolist()  # in sixteenths of a pixel, as positions are
    reaches = (axes.max(1) + 1).tolist()
    pebbles = zip(centre.tolist(), sizes, reaches, value.tolist(), tilt.tolist(), strict=True)
    for (x, y), size, reach, shade, angle in pebbles:
        for dx, dy in _shifts(x, y, reach):
            at = round((x + dx) * 16), round((y + dy) * 16)
            cv2.ellipse(tile, at, size, angle, 0, 360, shade, -1, cv2.LINE_8, 4)
    light = np.float32(rng.uniform(0, 1.5)) * (tile - np.roll(tile, 1, int(rng.integers(2))))
    return tile + light


def _strands(rng: np.random.Generator) -> Floats:
    """Thin curved lines about one direction: hair, grass, needles."""
    tile = np.zeros((_TILE, _TILE), np.float32)
    count = int(rng.integers(300, 1200))
    start = rng.uniform(0, _TILE, (count, 2))
    angle = rng.normal(rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 0.6), count)
    bend = rng.normal(0, 0.012, count)
    length = rng.uniform(15, 70) * rng.uniform(0.5, 1.5, count)
    value = rng.normal(0, 1, count)
    thickness = rng.integers(1, 4, count).tolist()
    along = np.linspace(0, 1, 7) * length[:, None]
    turn = angle[:, None] + bend[:, None] * along
    points = start[:, None] + np.stack((np.cos(turn), np.sin(turn)), -1) * along[..., None]
    reaches = (length + 2).tolist()
    for number, ((x, y), shade) in enumerate(zip(start.tolist(), value.tolist(), strict=True)):
        for shift in _shifts(x, y, reaches[number]):
            path = np.rint((points[number] + shift) * 16).astype(np.int32)
            cv2.polylines(tile, [path], False, shade, thickness[number], cv2.LINE_8, 4)
    return tile


def _cells(rng: np.random.Generator) -> Floats:
    """Rows of cells with gaps: bricks, tiles, windows, cloth."""
    rows, columns = int(2 ** rng.integers(3, 6)), int(2 ** rng.integers(2, 6))
    high, wide = _TILE // rows, _TILE // columns
    value = rng.normal(0, rng.uniform(0.1, 1), (rows, columns))
    tile = np.kron(value, np.ones((high, wide))).astype(np.float32)
    gap, width = float(rng.normal(0, 2)), int(rng.integers(1, 3))
    shift = wide // 2 if rng.random() < 0.5 else 0
    for row in range(rows):
        band = tile[row * high : (row + 1) * high]
        band[:width] = gap
        for step in range(width):
            band[:, (np.arange(columns) * wide + (row % 2) * shift + step) % _TILE] = gap
    return tile
