"""Networks that take the teacher's place where they know the damage better.

A student of many kinds of damage learns each from the network made for it, as in Chen et al.,
"Learning Multiple Adverse Weather Removal via Two-stage Knowledge Learning and Multi-contrastive
Regularization", CVPR 2022. Different: their features are projected and compared as well; here the
methods compare output images alone, and every crop has one teacher.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from irkd.data.degrade import UNDAMAGED, check_task
from irkd.errors import IrkdError
from irkd.files import sha256_file
from irkd.methods.base import Method
from irkd.methods.context import freeze
from irkd.models.apply import apply_network
from irkd.models.weights import load_network_file, resolve_model
from irkd.training.task import DistillTask


class Specialists:
    """The frozen specialists by kind of damage, beside the teacher that sees all other crops."""

    def __init__(self, models: Mapping[str, str], teacher: nn.Module, device: torch.device) -> None:
        self._networks: dict[str, nn.Module] = {}
        hashes = []
        for damage, model in sorted(models.items()):
            if damage != UNDAMAGED:
                check_task(damage)
            path = resolve_model(model).path
            network = load_network_file(path)
            if (network.in_channels, network.out_channels) != (3, 3):
                raise IrkdError(
                    f"specialists: {model} maps {network.in_channels} channels to"
                    f" {network.out_channels}; 3 and 3 are needed."
                )
            freeze(network)
            self._networks[damage] = network.to(device)
            hashes.append(f"{damage} {sha256_file(path)}")
        self.sha256 = hashlib.sha256("\n".join(hashes).encode()).hexdigest()
        self._teacher = teacher

    @torch.no_grad()
    def restored(self, degraded: Tensor, damages: Sequence[str] | None) -> Tensor:
        """What each crop's teacher makes of it: B x 3 x H x W in [0, 1] to the same, not clamped.

        Raises IrkdError when `damages`, a name for each crop, are not known.
        """
        if damages is None:
            raise IrkdError(
                "specialists: the training pairs do not say how they were degraded; only those that"
                " irkd degrades itself do. Leave specialists out."
            )
        result = torch.empty_like(degraded)
        for damage in dict.fromkeys(damages):
            network = self._networks.get(damage, self._teacher)
            crops = [index for index, name in enumerate(damages) if name == damage]
            result[crops] = apply_network(network, degraded[crops]).to(result.dtype)
        return result


def require_outputs_alone(task: DistillTask) -> None:
    """Raise IrkdError where a method looks at more of the teacher than its output images."""
    for method in task.methods:
        assert isinstance(method, Method)
        name = method.parameters_spec.name
        if method.own_teachers or method.needs.beyond_outputs:
            raise IrkdError(
                f"specialists: the method {name!r} asks for more than the teacher's output for the"
                " degraded images, which is all that specialists give. Leave one of the two out."
            )
        if type(method).images is not Method.images:
            raise IrkdError(
                f"specialists: the method {name!r} makes its own images, whose damage is not known."
                " Leave one of the two out."
            )
