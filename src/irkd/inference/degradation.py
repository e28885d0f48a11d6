"""What damage an image shows, and which model is for it.

Small networks (`irkd.inference.judge`), trained on procedural images, tell from squares all over
the image how much blur, haze, rain, noise and JPEG there is, and from the image as a whole whether
there is haze. With some measures of the image, and what each model changes in a square of it where
that is not plain before, they say which model promises most, if any; and, from that square as this
model restored it, whether another should follow. docs/restore.md states how often the answer is
right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from irkd.inference.judge import (
    ANSWERS,
    CHANGES,
    MEASURES,
    MODELS,
    NONE,
    SEEN,
    Judge,
    trained_judge,
)
from irkd.inference.measures import MEASURED_SIDE, measures_of
from irkd.inference.overview import FACTS, in_small
from irkd.inference.picture import Pixels, as_colour, middle, to_float
from irkd.inference.sight import DAMAGES

# Restores a square, H x W x 3 of any depth, by the model of a name, to float32; told how sure it is
# that there is the damage that the model is for, None where that is not known.
Try = Callable[[str, Pixels, float | None], NDArray[np.float32]]

# Squares of this many pixels a side are judged, so many along each side of the image at most.
_SQUARE, _SQUARES = 256, 3
# The models are tried on the middle of the image: this many pixels a side.
_TRIED_SIDE = 256
_SMALLEST_SIDE = 96
# Deviation of the light below which there is nothing to see.
_PLAIN = 0.01
# How sure it must be of a model, else none is taken. `deblur` leaves images alone in which it finds
# no motion.
_SURE = {"derain": 0.3, "deblur": 0.25, "denoise": 0.85}
# The same where JPEG is plain, by the logarithm of its odds.
_PLAIN_JPEG, _SURE_IF_JPEG = 4.0, _SURE | {"denoise": 0.6}
# How far haze is believed in, from none to whole, by the sum of two logarithms of odds: of what
# `dehaze` promises, and that there is haze, as the image is seen as a whole. Of BSDS500's 200
# training images four are above, all of them in some haze, the next is at -0.8; with haze added all
# but one are above the second.
_BELIEVED = (1.0, 1.5)
# The same where nobody speaks of haze. A quarter of the dark channel must be brighter there too,
# from none to whole, white is 1: many a landscape is hazy far away, and would be too dark at its
# near side.
_BELIEVED_UNTOLD, _NOT_DARK = (2.0, 2.5), (0.18, 0.2)
# Where to leave an image promises less, the likeliest model is taken, however unsure: there are
# several kinds of damage. Of 80 such crops without damage none is touched for it.
_LEFT_ALONE = 0.1
# How sure before any is tried, so that only this one is; of haze by the sum. Of 925 such crops of
# photographs (training images of BSDS500) 16 would be given another answer after trying all.
_SURE_UNTRIED = {"derain": 0.8, "deblur": 0.8, "denoise": 0.9}
_BELIEVED_UNTRIED = 4.0
# How sure of one that follows another: what a model leaves of a single damage is not to be mended.
_SURE_TO_FOLLOW = {"derain": 0.6, "denoise": 0.7}
_BELIEVED_TO_FOLLOW = 5.0
# What one promises before any is tried, so that trying may end in its following: of 346 such crops
# with less three would be followed, of which one gained.
_MAY_FOLLOW = 0.25
_MOST_MODELS = 3
# No promise is nearer to none, or to certainty.
_LEAST = 1e-4
# Levels of 255 below which damage is not named.
_SEEN = 1.5
_NAMES = {"jpeg": "JPEG"}
_FOR = {"derain": "rain", "deblur": "blur", "dehaze": "haze", "denoise": "noise or JPEG"}


class Degradation(NamedTuple):
    """`tasks`: derain, denoise, dehaze and deblur, in the order in which their models should follow
    each other; none where an image should stay as it is. `reason`: what it was judged by, in
    words. `sure`: how sure it is of haze, 0 to 1, where `dehaze` is the first; None: the model
    judges for itself."""

    tasks: tuple[str, ...]
    reason: str
    sure: float | None = None


def degradation_of(image: Pixels, try_model: Try) -> Degradation:
    """Judge an image H x W or H x W x 3, uint8, uint16 or float32 in [0, 1]; `try_model` is called
    with names of `judge.MODELS`, of each at most once for every model that may be followed by
    another, and once more for `dehaze` where it is taken.

    Images with a side below 96 pixels, and plain ones, do not tell: no task.
    """
    if (unclear := _says_nothing(image)) is not None:
        return Degradation((), f"{unclear}, it stays as it was")
    judge = trained_judge()
    square = tried_part(image)
    told = tell(image, judge)
    promised = _promised(told, judge)
    bright = _brightness(told)
    hazy = bright > 0 and _haze(promised, told) >= _BELIEVED_UNTRIED
    first = _most_promising(promised, _SURE_UNTRIED, hazy)
    results: dict[str, NDArray[np.float32]] = {}
    if first is None:
        results = _try_all(square, try_model)
        promised = _promised(torch.cat([told, changes_of(square, results)]), judge)
        hazy = bright > 0 and _haze(promised, told) > _BELIEVED_UNTOLD[0]
        plain_jpeg = float(told[DAMAGES.index("jpeg")]) > _PLAIN_JPEG
        first = _most_promising(promised, _SURE_IF_JPEG if plain_jpeg else _SURE, hazy)
        if first is None and promised[NONE] < _LEFT_ALONE:
            first = max(MODELS, key=promised.__getitem__)
    odds, amounts = told[: len(DAMAGES)].tolist(), told[len(DAMAGES) : 2 * len(DAMAGES)].tolist()
    # Haze as the surer sees it: squares of a large image show little of it.
    place, afar = DAMAGES.index("haze"), told[2 * len(DAMAGES) : SEEN].tolist()
    odds[place], amounts[place] = max((odds[place], amounts[place]), tuple(afar))
    levels = {name: 2**amount - 1 for name, amount in zip(DAMAGES, amounts, strict=True)}
    likely = [name for name, each in zip(DAMAGES, odds, strict=True) if each > 0]
    found = sorted((name for name in likely if levels[name] >= _SEEN), key=levels.__getitem__)
    words = ", ".join(
        f"{_NAMES.get(name, name)} of {levels[name]:.0f} levels" for name in reversed(found)
    )
    if first is None:
        stays = "it stays as it was"
        return Degradation((), f"perhaps {words}, {stays}" if words else f"no damage, {stays}")
    # Not believed in but the likeliest: `dehaze` judges for itself.
    sure = None
    if first == "dehaze" and hazy:
        sure = bright * _believed(promised, told, _BELIEVED_UNTOLD)
    if first not in results or sure is not None:
        results[first] = try_model(first, square, sure)
    tasks = (first, *_following(first, results[first], judge, try_model))
    return Degradation(tasks, words or f"little {_FOR[first]}, if any", sure)


def said_haze(image: Pixels, try_model: Try) -> float | None:
    """How sure it is of haze, 0 to 1, in an image of which somebody says that there is some; None
    where it cannot be judged. `try_model` is called with "dehaze"."""
    if _says_nothing(image) is not None:
        return None
    judge = trained_judge()
    square = tried_part(image)
    told = tell(image, judge)
    changes = changes_of(square, _try_all(square, try_model, ("dehaze",)))
    return _believed(_promised(torch.cat([told, changes]), judge), told)


def _haze(promised: Mapping[str, float], told: Tensor) -> float:
    """The sum that _BELIEVED states."""
    seen = float(told[2 * len(DAMAGES) + FACTS.index("odds of haze")])
    promise = promised["dehaze"]
    return seen + math.log(max(promise, _LEAST) / max(1 - promise, _LEAST))


def _brightness(told: Tensor) -> float:
    """0 where a quarter of the dark channel is too dark for haze all over an image, up to 1."""
    quarter = float(told[SEEN + MEASURES.index("darkest quarter")]) ** 2
    return float(np.interp(quarter, _NOT_DARK, (0, 1)))


def _believed(
    promised: Mapping[str, float], told: Tensor, bounds: tuple[float, float] = _BELIEVED
) -> float:
    """How far it believes in haze, 0 to 1."""
    return float(np.interp(_haze(promised, told), bounds, (0, 1)))


def _says_nothing(image: Pixels) -> str | None:
    """Why it cannot be judged."""
    if min(image.shape[:2]) < _SMALLEST_SIDE:
        return "too small to judge"
    return "too plain to judge" if _is_plain(middle(image, MEASURED_SIDE)) else None


def _following(
    first: str, restored: NDArray[np.float32], judge: Judge, try_model: Try
) -> list[str]:
    """The tasks whose models should follow that of `first`, whose result for the tried part of an
    image is `restored`."""
    tasks: list[str] = []
    while 1 + len(tasks) < _MOST_MODELS:
        square = np.clip(restored, 0, 1)
        if _is_plain(square):
            break
        done = (first, *tasks)
        left = {name: least for name, least in _SURE_TO_FOLLOW.items() if name not in done}
        told = tell(square, judge)
        promised = _promised(told, judge)
        if max(promised[name] for name in ("dehaze", *left) if name not in done) < _MAY_FOLLOW:
            break
        results = _try_all(square, try_model, (name for name in MODELS if name != "deblur"))
        # Motion is not looked for again: `deblur` takes as long as the others together.
        results["deblur"] = square
        promised = _promised(torch.cat([told, changes_of(square, results)]), judge)
        hazy = "dehaze" not in done and _haze(promised, told) >= _BELIEVED_TO_FOLLOW
        task = _most_promising(promised, left, hazy)
        if task is None:
            break
        tasks.append(task)
        restored = results[task]
    return tasks


def _promised(told: Tensor, judge: Judge) -> dict[str, float]:
    with torch.inference_mode():
        promises = judge.promises(told[None])[0].tolist()
    return dict(zip(ANSWERS, promises, strict=True))


def _most_promising(
    promised: Mapping[str, float], least: Mapping[str, float], hazy: bool
) -> str | None:
    """Of those that promise at least so much; `dehaze`, where it is `hazy`, if none promises
    more."""
    sure = [name for name, bound in least.items() if promised[name] >= bound]
    if hazy and all(promised["dehaze"] >= promised[name] for name in least):
        return "dehaze"
    return max(sure, key=promised.__getitem__) if sure else None


def _try_all(
    square: Pixels, try_model: Try, names: Iterable[str] = MODELS
) -> dict[str, NDArray[np.float32]]:
    return {name: try_model(name, square, None) for name in names}


def tried_part(image: Pixels) -> Pixels:
    """The part of an image on which the models are tried, H x W x 3."""
    return np.ascontiguousarray(as_colour(middle(image, _TRIED_SIDE)))


def tell(image: Pixels, judge: Judge) -> Tensor:
    """What `Judge.promises` is told of an image before a model is tried: what it sees of damage all
    over the image, of haze in the image as a whole, and the measures."""
    with torch.inference_mode():
        overview = judge.overview(in_small(image)[None])[0]
    return torch.cat([seen_in(image, judge), overview, torch.tensor(measures_of(image))])


def seen_in(image: Pixels, judge: Judge) -> Tensor:
    """The mean of what `Judge.sight` sees all over an image: odds, and amounts, of DAMAGES."""
    squares = torch.from_numpy(np.stack([to_float(each) for each in _squares(as_colour(image))]))
    with torch.inference_mode():
        return judge.sight(squares.permute(0, 3, 1, 2)).mean(0)


def changes_of(square: Pixels, results: Mapping[str, NDArray[np.float32]]) -> Tensor:
    """What it is told of models that were tried: `judge.CHANGES` by each of `judge.MODELS`, in
    levels of 255, from `tried_part` and what they made of it: one that finds nothing to mend
    changes little. NaN of one that was not tried."""
    before = np.rint(255 * to_float(square))
    found: list[float] = []
    for name in MODELS:
        if name not in results:
            found += [math.nan] * len(CHANGES)
            continue
        change = np.rint(255 * np.clip(results[name], 0, 1)) - before
        rms, mean = np.sqrt((change**2).mean()), np.abs(change).mean()
        found += [float(np.log2(1 + rms)), float(change.mean()) / 16, float(np.log2(1 + mean))]
    return torch.tensor(found)


def _is_plain(image: Pixels) -> bool:
    return float(to_float(image).mean(axis=2).std()) < _PLAIN


def _squares(image: Pixels) -> list[Pixels]:
    """Spread evenly over H x W x 3; all of it where it is small."""
    places = []
    for length in image.shape[:2]:
        count = min(_SQUARES, -(-length // _SQUARE))
        places.append(np.linspace(0, max(length - _SQUARE, 0), count).round().astype(int))
    return [
        image[top : top + _SQUARE, left : left + _SQUARE] for top in places[0] for left in places[1]
    ]
