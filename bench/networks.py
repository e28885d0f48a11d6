"""Networks as the papers write them against irkd's form: time, memory, training."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress

import torch
from torch import Tensor, nn

from bench.ratios import Effort, Ratio, ratio, take_turns
from irkd.models.base import NetworkSpec, build_network, family, reference_path
from irkd.presets.load import load_preset
from irkd.profiling.macs import count_macs
from irkd.profiling.memory import peak_memory

PLAIN = "as the paper writes it"
# No rewriting of a network can be faster than its multiply-adds at the speed of a matrix product.
FLOOR = "its multiply-adds as 1024x1024 matrix products"
FLOOR_SIDE = 1024
# What the passes before a measurement run on: kernels are loaded then.
WARM_UP_SIDE = 128


def networks() -> dict[tuple[str, str], NetworkSpec]:
    """Teacher and student of every family: the published pairs, and NAFNet's two widths."""
    found: dict[tuple[str, str], NetworkSpec] = {}
    for name in ("res-skd", "ufor-skd", "drs-skd"):
        preset = load_preset(name)
        assert preset.teacher is not None
        found[family(preset.student.arch).title, "teacher"] = preset.teacher
        found[family(preset.student.arch).title, "student"] = preset.student
    for role, width in (("teacher", 64), ("student", 32)):
        spec = family("nafnet").spec.model_validate({"arch": "nafnet", "width": width})
        found[family("nafnet").title, role] = spec
    return found


def sides(effort: Effort) -> tuple[int, ...]:
    return (256,) if effort.quick else (256, 512)


def forward(effort: Effort) -> Iterator[Ratio]:
    """A forward pass: as the paper writes it, irkd's, and a student's in another package."""
    for (title, role), spec in networks().items():
        network = build_network(spec).eval()
        for side in sides(effort):
            images = torch.rand(1, network.in_channels, side, side)  # type: ignore[arg-type]
            cases = {PLAIN: plain(network, images), "irkd": lambda n=network, i=images: n(i)}  # type: ignore[misc]
            if role == "student" and side == sides(effort)[0]:
                peer = spandrel_peer(network, images)
                if peer is not None:
                    cases["spandrel"] = lambda p=peer, i=images: p(i)  # type: ignore[misc]
            cases[FLOOR] = floor(count_macs(spec, side, side))
            with torch.inference_mode():
                yield from take_turns(f"forward, {title} {role}, {side}x{side}", cases, effort)


def plain(network: nn.Module, images: Tensor) -> Callable[[], object]:
    def run() -> object:
        with reference_path():
            return network(images)

    return run


def floor(macs: int) -> Callable[[], object]:
    """As many multiply-adds in large matrix products, to the nearest product."""
    factor = torch.rand(FLOOR_SIDE, FLOOR_SIDE)
    result = torch.empty_like(factor)

    def run() -> object:
        for _ in range(max(1, round(macs / FLOOR_SIDE**3))):
            torch.mm(factor, factor, out=result)
        return result

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


def memory(effort: Effort) -> Iterator[Ratio]:
    """What the resident set of a fresh process grows by at the peak of one forward pass."""
    for (title, role), spec in networks().items():
        for side in sides(effort):
            topic = f"peak memory, {title} {role}, {side}x{side}"
            try:
                least, taken = (peak_apart(spec, side, on) for on in (True, False))
            except subprocess.CalledProcessError as error:
                print(f"{topic}: left out; its process ended with status {error.returncode}")
                continue
            yield ratio(topic, "irkd", PLAIN, [taken], [least], "MiB")


def peak_apart(spec: NetworkSpec, side: int, plainly: bool) -> float:
    request = {"spec": spec.model_dump(mode="json"), "side": side, "plainly": plainly}
    command = [sys.executable, "-m", "bench.networks"]
    done = subprocess.run(
        command, input=json.dumps(request), stdout=subprocess.PIPE, text=True, check=True
    )
    return float(done.stdout)


def peak_here(spec: dict[str, object], side: int, plainly: bool) -> float:
    """MiB of one forward pass in this process, which should have done nothing else."""
    torch.set_num_threads(1)
    network = build_network(family(str(spec["arch"])).spec.model_validate(spec)).eval()
    with torch.inference_mode(), reference_path() if plainly else nullcontext():
        network(torch.rand(1, network.in_channels, WARM_UP_SIDE, WARM_UP_SIDE))  # type: ignore[arg-type]
        images = torch.rand(1, network.in_channels, side, side)  # type: ignore[arg-type]
        size = peak_memory(lambda: network(images), torch.device("cpu"))
    assert size is not None, "this system does not tell a process's memory"
    return size / 2**20


def training(effort: Effort) -> Iterator[Ratio]:
    """Forward and backward of every student on two 128 x 128 crops."""
    images = torch.rand(2, 3, 128, 128)
    for (title, role), spec in networks().items():
        if role != "student":
            continue
        network = build_network(spec).train()

        def step(network: nn.Module = network) -> None:
            network(images).square().mean().backward()
            network.zero_grad()

        def plain_step(step: Callable[[], None] = step) -> None:
            with reference_path():
                step()

        topic = f"forward and backward, {title} student, two 128x128 crops"
        yield from take_turns(topic, {PLAIN: plain_step, "irkd": step}, effort)


if __name__ == "__main__":
    print(peak_here(**json.load(sys.stdin)))
