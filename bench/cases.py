"""What is compared with what."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import torch
from torch import Tensor, nn

from bench.ratios import Ratio, take_turns
from irkd.data.opening import open_pairs
from irkd.data.sampler import training_loader
from irkd.errors import IrkdError
from irkd.methods.base import methods
from irkd.models.base import NetworkSpec, build_network, family, reference_path
from irkd.presets.load import list_presets, load_preset
from irkd.training.task import build_task

SIDE = 256
PATCH = 64


def students() -> dict[str, NetworkSpec]:
    """One student of every family that has a preset."""
    found: dict[str, NetworkSpec] = {}
    for name in list_presets():
        spec = load_preset(name).student
        found.setdefault(spec.arch, spec)
    return found


def forward(seconds: float) -> Iterator[Ratio]:
    """A student's forward pass: as the paper writes it, in another package, and irkd's."""
    for arch, spec in students().items():
        network = build_network(spec).eval()
        images = torch.rand(1, network.in_channels, SIDE, SIDE)  # type: ignore[arg-type]
        cases: dict[str, Callable[[], object]] = {"as the paper writes it": plain(network, images)}
        peer = spandrel_peer(network, images)
        if peer is not None:
            cases["spandrel"] = lambda peer=peer, images=images: peer(images)  # type: ignore[misc]
        cases["irkd"] = lambda network=network, images=images: network(images)  # type: ignore[misc]
        title = f"forward, {family(arch).title} student, {SIDE}x{SIDE}"
        with torch.inference_mode():
            yield from take_turns(title, cases, seconds=seconds)


def plain(network: nn.Module, images: Tensor) -> Callable[[], object]:
    def run() -> object:
        with reference_path():
            return network(images)

    return run


def spandrel_peer(network: nn.Module, images: Tensor) -> nn.Module | None:
    """The same network in spandrel, where it has it: of local pooling, say, it knows nothing."""
    with suppress(ImportError):
        import spandrel
        import spandrel_extra_arches

        spandrel_extra_arches.install(ignore_duplicates=True)
        with suppress(spandrel.UnsupportedModelError):
            found = spandrel.ModelLoader().load_from_state_dict(network.state_dict())
            peer: nn.Module = found.model.eval()
            with torch.inference_mode():
                return peer if torch.allclose(peer(images), network(images), atol=1e-3) else None
    return None


def training_step(seconds: float) -> Iterator[Ratio]:
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
        f"training step, Restormer pair, two {PATCH}x{PATCH} crops", cases, seconds=seconds
    )


def loader(seconds: float) -> Iterator[Ratio]:
    """Loading a batch of built-in pairs, over the forward pass of a student on it."""
    pairs = open_pairs("procedural", task="derain", split="train", count=8, size=SIDE)
    batches = iter(
        training_loader(pairs, patch=PATCH, batch_size=4, steps=10**6, seed=0, workers=0)
    )
    network = build_network(students()["restormer"]).eval()
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
    yield from take_turns(title, cases, seconds=seconds)


TOPICS: dict[str, Callable[[float], Iterator[Ratio]]] = {
    "forward": forward,
    "step": training_step,
    "loader": loader,
}
