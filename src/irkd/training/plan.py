"""What a run will cost, known before it begins and without allocating it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from irkd.models.base import NetworkSpec, build_network, parameter_count
from irkd.presets.schema import Preset
from irkd.profiling.macs import count_macs
from irkd.training.task import build_task

ROLES = ("teacher", "student")


def plan_steps(preset: Preset, images: int, processes: int = 1) -> tuple[int, float]:
    """(steps, epochs) of a preset on `images` pairs: `steps` wins, else `epochs` is turned into it.

    An epoch shows `data.repeat` crops of every pair.
    """
    batch = preset.training.batch_size * processes
    steps_per_epoch = max(1, images * preset.data.repeat // batch)
    steps = preset.training.steps
    if steps is None:
        assert preset.training.epochs is not None
        steps = max(1, round(preset.training.epochs * steps_per_epoch))
    return steps, steps * batch / (images * preset.data.repeat)


def network_rows(preset: Preset, roles: Iterable[str] = ROLES) -> list[dict[str, Any]]:
    """Parameters and MACs of the preset's networks, counted on the meta device."""
    rows = []
    for role in roles:
        spec = getattr(preset, role)
        if spec is None:
            continue
        parameters, macs = _cost(spec.model_copy(update={"weights": None}))
        rows.append(
            {
                "network": role,
                "arch": spec.arch,
                "params_m": parameters / 1e6,
                "macs_g_512": macs / 1e9,
            }
        )
    return rows


@cache
def _cost(spec: NetworkSpec) -> tuple[int, int]:
    """Parameters, and MACs of one 512x512 image. Presets share networks; counting takes time."""
    with torch.device("meta"):
        parameters = parameter_count(build_network(spec))
    return parameters, count_macs(spec, 512, 512)


def memory_estimate_mib(preset: Preset) -> float:
    """Memory of one optimizer step in float32: weights, optimizer state, saved activations.

    A forward pass on the meta device records what autograd keeps, at no cost; the teacher's
    momentary activations and the libraries' own few hundred MiB come on top.
    """
    training = preset.training
    micro_batch = training.batch_size // training.accumulate
    teacher_spec = preset.teacher if needs_teacher(preset) else None
    with torch.device("meta"):
        student = build_network(preset.student)
        teacher = None if teacher_spec is None else build_network(teacher_spec)
        task = build_task(student, preset.methods, teacher, preset.task)
        channels: int = student.in_channels  # type: ignore[assignment]
        images = torch.empty(micro_batch, channels, training.patch, training.patch)
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        return tensor

    weights = {parameter.untyped_storage()._cdata for parameter in task.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        # Held until the sum is taken: a freed storage's address may be given to another.
        result = task(images, images[:, :3])
    activations = sum(size for address, size in kept.items() if address not in weights)
    del result
    trained = parameter_count(task) * 4
    copies = 4 if training.average is None else 5  # weights, gradients, two moments, average
    frozen = 0 if teacher is None else parameter_count(teacher) * 4
    return (activations + trained * copies + frozen) / 2**20


def needs_teacher(preset: Preset) -> bool:
    """Whether any of the preset's methods looks at the teacher."""
    with torch.device("meta"):
        student = build_network(preset.student)
        teacher = None if preset.teacher is None else build_network(preset.teacher)
        return build_task(student, preset.methods, teacher, preset.task).needs.uses_teacher
