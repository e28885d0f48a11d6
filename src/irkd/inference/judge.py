"""Small networks that tell how much of each damage images show, and which model promises most.

Learned from procedural images with known damage (`bench/judge.py`); what it is told besides, and
what is made of its answer, stands in `irkd.inference.degradation`.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from irkd.inference.overview import FACTS, Overview
from irkd.inference.sight import DAMAGES, Sight

# The models that are promised from, and what is answered: one of them, or that none is needed.
MODELS = ("derain", "deblur", "dehaze", "denoise")
NONE = "none"
ANSWERS = (NONE, *MODELS)
# What `Judge.promises` takes beside what is seen: measures of the image, and of what each model
# changed when it was tried.
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
# What is told before a model is tried.
SEEN = 2 * len(DAMAGES) + len(FACTS)
UNTRIED = SEEN + len(MEASURES)

_WEIGHED = 40


class Judge(nn.Module):
    """`sight` of squares of an image, `overview` of all of it, and what `promises` makes of both
    and of more."""

    def __init__(self) -> None:
        super().__init__()
        self.sight, self.overview = Sight(), Overview()
        told = UNTRIED + len(MODELS) * len(CHANGES)
        self.register_buffer("told_mean", torch.zeros(told))
        self.register_buffer("told_scale", torch.ones(told))
        self.weighed = nn.Linear(told, _WEIGHED)
        self.answer = nn.Linear(_WEIGHED, len(ANSWERS))

    def promises(self, told: Tensor) -> Tensor:
        """How likely each of ANSWERS is to come nearest to the undamaged image, B x 5; `told`: what
        `sight` and `overview` see, MEASURES, and CHANGES by every model, B x 33; or without the
        changes, B x 21. NaN stands for what is not known."""
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
