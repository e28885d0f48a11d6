"""python -m bench.judge OUT [--work DIR] [--images N] [--thousands N] [--steps N] [--examples N]

Makes the networks by which `irkd restore` chooses a model (`irkd.inference.judge`), in four parts,
the first three of which go on where they were stopped: one learns to see damage in procedural
images, one haze from afar (`bench.overview`); the models that ship restore other such images; and
from what each of them gained is learned which to choose. No photograph is used.
"""

from __future__ import annotations

import argparse
import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn

from bench.learning import Losses, learn, of_odds
from bench.overview import learn_overview
from irkd.data.degrade import DEGRADATIONS, plausible_depth
from irkd.data.opening import open_pairs
from irkd.files import atomic_path
from irkd.inference.backends import load_network
from irkd.inference.degradation import changes_of, tell, tried_part
from irkd.inference.judge import ANSWERS, CHANGES, MEASURES, MODELS, NONE, Judge
from irkd.inference.overview import FACTS
from irkd.inference.restorer import Restorer
from irkd.inference.sight import DAMAGES, LARGEST_AMOUNT, Sight
from irkd.metrics.full_reference import psnr

Image = NDArray[np.uint8]
Floats = NDArray[Any]

SEED = 901
STYLES = ("tones", "sunlight", "daylight", "surfaces", "scenes", "streets", "fabrics")
SOFT = 0.1  # of these are out of focus
SIDE = 384  # of the procedural images
SIDES = (160, 192, 224, 256)  # of what is judged, and tried: no larger than what irkd tries
BATCH = 24
# Levels of 255 below which damage hardly shows, and how much such an image counts.
FAINT, COUNTS = 1.5, 0.2
# Each damage, in the order in which an image meets them, by irkd's kinds and their shares.
KINDS: dict[str, tuple[tuple[str, float], ...]] = {
    "blur": (("deblur", 0.55), ("deblur-mild", 0.45)),
    "haze": (("dehaze", 1.0),),
    "rain": (("derain", 0.65), ("derain-heavy", 0.35)),
    "noise": (("denoise", 1.0),),
    "jpeg": (("jpeg", 1.0),),
}
# In decibels: what an equal image counts as; by how much models differ that are hardly alike; what
# a wrong choice costs at most; how much a model must gain, to be better than none; and by how
# little an image changes that is left alone: a model that does so is no answer.
MOST, ALIKE, LARGEST, LEAD, IDLE = 50.0, 0.5, 25.0, 0.15, 0.05


@dataclass(frozen=True)
class Example:
    """An image, and what it was; `levels`: by how much each damage changed it, rms of 255."""

    degraded: Image
    clean: Image
    levels: Floats


class Examples:
    """Damaged crops of `images` procedural images of each of STYLES, others with another seed; the
    same for the same words of a seed."""

    def __init__(self, images: int, seed: int) -> None:
        self._pool = [
            source.clean(index)
            for style in STYLES
            for source in [
                open_pairs(style, task="denoise", split="train", count=images, size=SIDE, seed=seed)
            ]
            for index in range(images)
        ]

    def draw(self, rng: np.random.Generator, side: int) -> Example:
        image, depth = self._crop(rng, side)
        image = _varied(image, rng)
        clean = _rounded(image)
        levels = np.zeros(len(DAMAGES), np.float32)
        for place in np.flatnonzero(_wanted(rng)):
            names, shares = zip(*KINDS[DAMAGES[place]], strict=True)
            degrade = DEGRADATIONS[str(rng.choice(names, p=shares))]
            damaged = np.clip(degrade(image, depth, rng), 0, 1).astype(np.float32)
            levels[place] = 255 * np.sqrt(((damaged - image) ** 2).mean())
            image = damaged
        return Example(_rounded(image), clean, levels)

    def _crop(self, rng: np.random.Generator, side: int) -> tuple[Floats, Floats]:
        image, depth = self._pool[rng.integers(len(self._pool))]
        if depth is None:
            depth = plausible_depth(image.shape, rng)
        if rng.random() < 0.3:
            size = (round(SIDE * rng.uniform((side + 8) / SIDE, 0.95)),) * 2
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            depth = cv2.resize(depth, size, interpolation=cv2.INTER_AREA)
        top, left = rng.integers(0, image.shape[0] - side + 1, 2)
        crop = (slice(top, top + side), slice(left, left + side))
        turn = -1 if rng.random() < 0.5 else 1
        return image[crop][:, ::turn].astype(np.float32) / 255, depth[crop][:, ::turn].copy()


def _varied(image: Floats, rng: np.random.Generator) -> Floats:
    """Colours, contrast and sharpness as they differ between cameras."""
    image = image[..., rng.permutation(3)]
    if rng.random() < 0.3:
        grey = image.mean(2, keepdims=True)
        image = grey + (image - grey) * np.float32(rng.uniform(0, 1.3))
    image = np.clip(image, 0, 1)
    if rng.random() < 0.3:
        image = image ** np.float32(rng.uniform(0.7, 1.5))
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 0.65))
    image = np.clip(image, 0, 1)
    if rng.random() < SOFT:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.8, 2.2))
    return np.ascontiguousarray(image)


def _wanted(rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which of DAMAGES: none, JPEG alone, one (at times saved as JPEG), or any of them together."""
    wanted = np.zeros(len(DAMAGES), bool)
    kind = rng.random()
    if kind < 0.15:
        return wanted
    if kind < 0.72:
        wanted[4 if kind < 0.25 else rng.integers(4)] = True
        wanted[4] |= rng.random() < 0.2
        return wanted
    return rng.random(len(DAMAGES)) < (0.4, 0.35, 0.35, 0.5, 0.35)


def _rounded(image: Floats) -> Image:
    return np.rint(image * 255).astype(np.uint8)


def learn_sight(sight: Sight, examples: Callable[[], Examples], steps: int, file: Path) -> None:
    """Train `sight` to tell the odds of each damage, and its amount, which is fitted later."""

    def ready() -> Losses:
        pool = examples()

        def losses(rng: np.random.Generator) -> Tensor:
            images, levels = _batch(pool, rng)
            odds, amounts = sight.of_hidden(sight.hidden_of(images))
            there = levels > 0
            counts = torch.where(there & (levels < FAINT), COUNTS, 1.0)
            lost = counts * of_odds(odds, there)
            short = F.mse_loss(amounts, (1 + levels).log2(), reduction="none")
            # An octave of levels counts a tenth.
            return torch.cat([lost.mean(0), 0.1 * short.mean(0)]) / len(DAMAGES)

        return losses

    names = [*DAMAGES, *(f"levels of {name}" for name in DAMAGES)]
    learn(sight, ready, names, steps=steps, seed=SEED, file=file)


def fit_amounts(sight: Sight, pool: Examples, count: int) -> None:
    """Fit the amounts that `sight` tells to those of the damage that is there, by least squares
    over `count` batches: where it may be absent, learned means are too low."""
    hidden, levels = [], []
    for index in range(count):
        images, changed = _batch(pool, np.random.default_rng([SEED, 3, index]))
        with torch.inference_mode():
            hidden.append(sight.hidden_of(images))
        levels.append(changed)
    known, changed = torch.cat(hidden).double(), torch.cat(levels).double()
    known = F.pad(known, (0, 1), value=1.0)
    slight = 0.01 * torch.eye(known.shape[1], dtype=torch.float64)
    for place in range(len(DAMAGES)):
        there = changed[:, place] >= FAINT
        if not there.any():
            continue
        given, wanted = known[there], (1 + changed[there, place]).log2() / LARGEST_AMOUNT
        normal = given.T @ given + len(given) * slight
        fitted = torch.linalg.solve(normal, given.T @ wanted).float()
        with torch.no_grad():
            sight.facts.weight[len(DAMAGES) + place] = fitted[:-1]
            sight.facts.bias[len(DAMAGES) + place] = fitted[-1]


def _batch(pool: Examples, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Damaged crops B x 3 x side x side in [0, 1], and by how much each damage changed them."""
    side = int(rng.choice(SIDES))
    drawn = [pool.draw(rng, side) for _ in range(BATCH)]
    images = torch.stack([as_tensor(each.degraded) for each in drawn])
    return images, torch.from_numpy(np.stack([each.levels for each in drawn]))


def as_tensor(image: Image) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1).float() / 255


def gains(
    examples: Callable[[], Examples], judge: Judge, count: int, file: Path
) -> list[tuple[Tensor, Floats]]:
    """What the judge is told of images, and what each of ANSWERS gained at them in decibels:
    `count` examples, and of some what the best model made of them, at which little is left to gain.
    """
    state = pickle.loads(file.read_bytes()) if file.exists() else {"drawn": 0, "found": []}
    found: list[tuple[Tensor, Floats]] = state["found"]
    if state["drawn"] >= count:
        return found
    restorers = {name: Restorer(load_network(name)) for name in MODELS}
    pool = examples()
    for index in range(state["drawn"], count):
        rng = np.random.default_rng([SEED, 2, index])
        drawn = pool.draw(rng, int(rng.choice(SIDES)))
        told, values, best = _restored(drawn.degraded, drawn.clean, restorers, judge)
        found.append((told, values))
        if values.max() > ALIKE and rng.random() < 0.35:
            found.append(_restored(best, drawn.clean, restorers, judge)[:2])
        if (index + 1) % 20 == 0 or index + 1 == count:
            print(f"{index + 1} of {count} images restored by every model", flush=True)
            with atomic_path(file, overwrite=True) as path:
                path.write_bytes(pickle.dumps({"drawn": index + 1, "found": found}))
    return found


def _restored(
    image: Image, clean: Image, restorers: dict[str, Restorer], judge: Judge
) -> tuple[Tensor, Floats, Image]:
    """What the judge is told of an image, what each answer gained at it, and the best result."""
    results = {name: np.clip(restorer(image), 0, 1) for name, restorer in restorers.items()}
    told = torch.cat([tell(image, judge), changes_of(tried_part(image), results)])
    answers = [image, *(_rounded(result) for result in results.values())]
    values = np.array([min(psnr(each, clean), MOST) for each in answers])
    return told, values - values[0], answers[int(values.argmax())]


def learn_choice(judge: Judge, found: list[tuple[Tensor, Floats]], steps: int = 1500) -> None:
    """Train what `judge` promises, on what it is told of images and the gains of ANSWERS at them.

    As several small networks, each from other random weights, whose answers are averaged.
    """
    torch.manual_seed(SEED)
    told = torch.stack([each for each, _ in found])
    gained = torch.from_numpy(np.stack([values for _, values in found])).float()
    none = ANSWERS.index(NONE)
    gained[:, none] += LEAD
    short = (gained - gained.max(1, keepdim=True).values).clamp(min=-LARGEST)
    idle = gained.abs() < IDLE
    idle[:, none] = False
    wanted = (short / ALIKE).masked_fill(idle, -math.inf).softmax(1)
    mean, scale = told.mean(0), told.std(0) + 1e-6
    known = ((told - mean) / scale).clamp(-4, 4)
    counts = [2 * len(DAMAGES), len(FACTS), len(MEASURES), len(MODELS) * len(CHANGES)]
    source = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    members = 5
    width = judge.weighed.out_features // members
    parts = [
        nn.Sequential(nn.Linear(told.shape[1], width), nn.Tanh(), nn.Linear(width, len(ANSWERS)))
        for _ in range(members)
    ]
    for part in parts:
        optimizer = torch.optim.AdamW(part.parameters(), 1e-2, weight_decay=0.1)
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = 1e-2 * (1 - step / steps)
            batch = torch.randint(len(known), (256,))
            given = known[batch] + 0.4 * torch.randn(256, known.shape[1])
            # Photographs are not quite what it learns from: it must rely on no source alone.
            given = given * (torch.rand(256, len(counts)) > 0.1).float()[:, source]
            answer = part(given).log_softmax(1)
            loss = -(wanted[batch] * answer).sum(1) - 0.3 * (short[batch] * answer.exp()).sum(1)
            optimizer.zero_grad()
            loss.mean().backward()
            optimizer.step()
    with torch.no_grad():
        judge.get_buffer("told_mean").copy_(mean)
        judge.get_buffer("told_scale").copy_(scale)
        for name in ("weight", "bias"):
            first = torch.cat([getattr(part[0], name) for part in parts])
            getattr(judge.weighed, name).copy_(first)
        judge.answer.weight.copy_(torch.cat([part[2].weight for part in parts], 1) / members)
        judge.answer.bias.copy_(torch.stack([part[2].bias for part in parts]).mean(0))
        chosen = judge.promises(told).argmax(1)
    lost = short[torch.arange(len(short)), chosen].mean().abs()
    print(f"of the best answer's gain at {len(found)} images, {lost:.2f} dB are lost by the choice")


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.judge", description=__doc__)
    parser.add_argument("out", metavar="OUT", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/shipped/judge"))
    parser.add_argument("--images", type=int, default=120, help="procedural ones of each style")
    parser.add_argument("--thousands", type=float, default=10, help="of images seen from afar")
    parser.add_argument("--steps", type=int, default=8000, help="of each of the first two")
    parser.add_argument("--examples", type=int, default=1400, help="that all models restore")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    work = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    judge = Judge()
    # Seen too often, images are known too well for what is learned of the answers.
    others = partial(Examples, 3 * arguments.images, SEED + 1)
    steps = arguments.steps
    learn_sight(judge.sight, others, steps, work / "sight.pt")
    learn_overview(judge.overview, arguments.thousands, steps, work / "overview.pt")
    examples = cache(partial(Examples, arguments.images, SEED))
    fit_amounts(judge.sight, examples(), -(-steps // 40))
    learn_choice(judge, gains(examples, judge, arguments.examples, work / "gains.pickle"))
    weights = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in judge.state_dict().items()
    }
    arguments.out.write_bytes(save(weights))


if __name__ == "__main__":
    main()
