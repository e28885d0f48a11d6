"""What is compared with what: methods, loading, and all topics by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import nn

from bench.data import data
from bench.networks import forward, memory, networks, training
from bench.ratios import Effort, Ratio, take_turns
from bench.restoring import restore
from irkd.data.opening import open_pairs
from irkd.data.sampler import training_loader
from irkd.errors import IrkdError
from irkd.methods.base import methods
from irkd.models.base import build_network, family
from irkd.training.task import build_task

SIDE = 256
PATCH = 64


def training_step(effort: Effort) -> Iterator[Ratio]:
    """A training step by every method, over a step of the student alone."""
    blueprint = {"arch": "restormer", "num_refinement_blocks": 1}
    student_spec = family("restormer").spec.model_validate(
        {**blueprint, "dim": 12, "num_blocks": [1, 1, 1, 1]}
    )
    teacher_spec = family("restormer").spec.model_validate(
        {**blueprint, "dim": 24, "num_blocks": [1, 2, 2, 4]}
    )
    degraded, reference = torch.rand(2, 2, 3, PATCH, PATCH)
    cases: dict[str, Callable[[], object]] = {}
    for name, entry in sorted(methods().items(), key=lambda item: item[0] != "none"):
        try:
            parameters = entry.parameters.model_validate({"name": name})
            teacher = build_network(teacher_spec)
            task = build_task(build_network(student_spec), [parameters], teacher).train()
        except IrkdError as error:
            print(f"step, {name}: left out; {error}")
            continue
        optimizer = torch.optim.Adam(task.parameters(), foreach=False)

        def step(task: nn.Module = task, optimizer: torch.optim.Optimizer = optimizer) -> None:
            optimizer.zero_grad(set_to_none=True)
            task(degraded, reference).loss.backward()
            optimizer.step()

        cases["student alone" if name == "none" else name] = step
    yield from take_turns(
        f"training step, Restormer pair, two {PATCH}x{PATCH} crops", cases, effort
    )


def loader(effort: Effort) -> Iterator[Ratio]:
    """Loading a batch of built-in pairs, over the forward pass of a student on it."""
    pairs = open_pairs("procedural", task="derain", split="train", count=8, size=SIDE)
    batches = iter(
        training_loader(pairs, patch=PATCH, batch_size=4, steps=10**6, seed=0, workers=0)
    )
    network = build_network(networks()["Restormer", "student"]).eval()
    images = torch.rand(4, 3, PATCH, PATCH)
    # The first pass over the images makes them.
    for _ in range(2):
        next(batches)

    def run() -> object:
        with torch.inference_mode():
            return network(images)

    title = f"loading four {PATCH}x{PATCH} crops, in the training process"
    cases: dict[str, Callable[[], object]] = {
        "Restormer student's forward pass on them": run,
        "loading": lambda: next(batches),
    }
    yield from take_turns(title, cases, effort)


TOPICS: dict[str, Callable[[Effort], Iterator[Ratio]]] = {
    "forward": forward,
    "memory": memory,
    "training": training,
    "methods": training_step,
    "loader": loader,
    "data": data,
    "restore": restore,
}
