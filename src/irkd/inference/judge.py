"""A small network that tells how much of each damage images show, and which model promises most.

Learned from procedural images with known damage (`bench/judge.py`); what it is told besides, and
what is made of its answer, stands in `irkd.inference.degradation`.
"""

from __future__ import annotations

import itertools
from functools import cache
from importlib import resources
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from irkd.models.dark_channel import BLOCK, dark_channel, shadows

# What is told of an image: how much each of these changed it.
DAMAGES = ("blur", "haze", "rain", "noise", "jpeg")
# The models that are promised from, and what is answered: one of them, or that none is needed.
MODELS = ("derain", "deblur", "dehaze", "denoise")
NONE = "none"
ANSWERS = (NONE, *MODELS)
# What `Judge.promises` takes beside the amounts of damage: measures of the image, and of what each
# model changed when it was tried.
MEASURES = (
    "steepness of edges",
    "darkest spots",
    "darkest twentieth",
    "darkest quarter",
    "brightness of the air",
    "colour of the air",
    "deviation of noise",
    "likeness of noise",
    "blocks of JPEG",
)
CHANGES = ("rms", "brighter", "mean")

_WIDTHS = (16, 24, 28, 28, 24)
_HIDDEN = 16
_WEIGHED = 40
_LEAST_VARIANCE = 1e-4


class Judge(nn.Module):
    """What `amounts` and `promises` answer; RGB images B x 3 x H x W in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        widths = (12, *_WIDTHS)
        layers = [
            nn.Conv2d(*pair, 3, stride=2 if place else 1, padding=1)
            for place, pair in enumerate(itertools.pairwise(widths))
        ]
        self.layers = nn.ModuleList(layers)
        seen = 2 * sum(_WIDTHS) + 2
        self.seen = nn.BatchNorm1d(seen, affine=False, momentum=0.01)
        self.hidden = nn.Linear(seen, _HIDDEN)
        self.levels = nn.Linear(_HIDDEN, len(DAMAGES))
        told = len(DAMAGES) + len(MEASURES) + len(MODELS) * len(CHANGES)
        self.register_buffer("told_mean", torch.zeros(told))
        self.register_buffer("told_scale", torch.ones(told))
        self.weighed = nn.Linear(told, _WEIGHED)
        self.answer = nn.Linear(_WEIGHED, len(ANSWERS))
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight, a=0.1)

    def amounts(self, images: Tensor) -> Tensor:
        """By how many levels of 255 (rms) each of DAMAGES changed the images: log2(1 + n), B x 5.

        From means and deviations at every scale, and the darkest spots.
        """
        height, width = (side // BLOCK * BLOCK for side in images.shape[-2:])
        images = images[..., :height, :width]
        dark = shadows(dark_channel(images))
        found = [dark.twentieth[:, None].sqrt(), dark.quarter[:, None].sqrt()]
        features = F.pixel_unshuffle(images, 2) * 4 - 2
        for layer in self.layers:
            features = layer(features)
            variance = features.var((2, 3)) + _LEAST_VARIANCE
            found += [features.mean((2, 3)), variance.log()]
            features = F.leaky_relu(features, 0.1)
        seen = self.seen(torch.cat(found, 1)).clamp(-5, 5)
        return self.levels(torch.tanh(self.hidden(seen)))

    def promises(self, told: Tensor) -> Tensor:
        """How likely each of ANSWERS is to come nearest to the undamaged image, B x 5; `told`: the
        amounts, MEASURES, and CHANGES by every model, B x 26; or without the changes, B x 14. NaN
        stands for what is not known."""
        mean, scale = self.get_buffer("told_mean"), self.get_buffer("told_scale")
        told = F.pad(told, (0, len(mean) - told.shape[1]), value=torch.nan)
        told = torch.where(told.isnan(), mean, told)
        weighed = torch.tanh(self.weighed(((told - mean) / scale).clamp(-4, 4)))
        return self.answer(weighed).softmax(1)


@cache
def trained_judge() -> Judge:
    """The judge that ships with irkd, in evaluation mode, on the CPU."""
    judge = Judge()
    weights = load_file(judge_file())
    judge.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    return judge.eval().requires_grad_(False)


def judge_file() -> Path:
    return Path(str(resources.files("irkd"))) / "inference" / "judge.safetensors"
