"""Random numbers of methods: functions of the run's seed and the step, so that a run resumes."""

from __future__ import annotations

import numpy as np
import torch
import torch.distributed

from irkd.data.seeds import METHOD, generator


def draw_seed() -> int:
    """A seed for `step_generator`, itself drawn from torch's, which the run's seed has set."""
    return int(torch.randint(2**31, (), device="cpu"))


def step_generator(seed: int, step: int, *numbers: int) -> np.random.Generator:
    """The generator of one step in one process; `numbers` tell its purposes apart."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    rank = torch.distributed.get_rank() if distributed else 0
    return generator(METHOD, seed, step, rank, *numbers)
