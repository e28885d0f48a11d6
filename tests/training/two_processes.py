"""Run by torchrun in two processes: methods with trained parts of their own stay alike in both.

Arguments: the preset files. Each process sees its own images; after every step all parameters of
the task are compared between them, to the bit.
"""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from irkd.models.base import build_network
from irkd.presets.load import load_preset
from irkd.training.task import build_task


def main() -> None:
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    for file in sys.argv[1:]:
        preset = load_preset(file)
        torch.manual_seed(0)
        student, teacher = build_network(preset.student), build_network(preset.teacher)
        task = build_task(student, preset.methods, teacher, preset.task)
        wrapped = DistributedDataParallel(task)
        optimizer = torch.optim.Adam(task.trained_parameters(), 1e-2)
        before = [parameter.detach().clone() for parameter in task.parameters()]
        torch.manual_seed(rank)
        for step in range(4):
            images = torch.rand(2, 2, 3, 16, 16)
            seen = task.context(*images, step).degraded
            assert not _same_in_both(seen), f"{file}: both processes see the same images"
            optimizer.zero_grad()
            wrapped(*images, step).loss.backward()
            optimizer.step()
            task.after_step(*images, step)
            for name, value in task.named_parameters():
                assert _same_in_both(value.detach()), f"{file}: {name} differs after step {step}"
        moved = [
            not torch.equal(old, new) for old, new in zip(before, task.parameters(), strict=True)
        ]
        if rank == 0:
            print(file, sum(moved), "of", len(moved), "moved")


def _same_in_both(value: torch.Tensor) -> bool:
    values = [torch.empty_like(value) for _ in range(2)]
    dist.all_gather(values, value.contiguous())
    return torch.equal(*values)


if __name__ == "__main__":
    main()
