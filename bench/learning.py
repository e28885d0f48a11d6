"""How `bench.judge` trains its networks: on the CPU, and on from where it was stopped."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from irkd.files import atomic_path

RATE, DECAY, WARM = 2e-3, 0.05, 100
EVERY = 200  # steps, a line and a checkpoint
SURE = 0.98  # of damage, where there is some: photographs are not quite what is learned from

# From a generator of random numbers to losses, which are summed: of one step.
Losses = Callable[[np.random.Generator], Tensor]


def learn(
    network: nn.Module,
    ready: Callable[[], Losses],
    names: Sequence[str],
    *,
    steps: int,
    seed: int,
    file: Path,
) -> None:
    """Train `network`, and leave it in evaluation mode. `ready` makes what gives the losses, called
    only where something is left to do; `names` of the losses are for the lines that are printed;
    `file` holds how far it came."""
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    done = 0
    if file.exists():
        state = torch.load(file, weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["step"]
    losses = ready() if done < steps else None
    network.train()
    found: list[Tensor] = []
    for step in range(done, steps):
        assert losses is not None
        rate = RATE * min(1, (step + 1) / WARM) * (1 + math.cos(math.pi * step / steps)) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed(seed + step)  # of what is dropped
        loss = losses(np.random.default_rng([seed, step]))
        optimizer.zero_grad()
        loss.sum().backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        found.append(loss.detach())
        if (step + 1) % EVERY == 0 or step + 1 == steps:
            shown = zip(names, torch.stack(found[-EVERY:]).mean(0).tolist(), strict=True)
            print(
                f"step {step + 1}:", *(f"{name} {value:.4f}" for name, value in shown), flush=True
            )
            state = {"step": step + 1, "network": network.state_dict()}
            with atomic_path(file, overwrite=True) as path:
                torch.save(state | {"optimizer": optimizer.state_dict()}, path)
    network.eval()


def of_odds(odds: Tensor, there: Tensor) -> Tensor:
    """What the logarithms of odds of damage lose where it is `there`, or is not."""
    wanted = torch.where(there, SURE, 1 - SURE)
    return nn.functional.binary_cross_entropy_with_logits(odds, wanted, reduction="none")
