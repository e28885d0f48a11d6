"""Muon: momentum whose update is made orthogonal, for the weights of convolutions and projections.

Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024, with their
coefficients and Nesterov momentum. PyTorch's own Muon takes matrices alone; here a convolution's
weight is taken as the matrix of its output channels by everything else, and what is no large matrix
(biases, gains, depthwise kernels, a last layer of few channels) is Adam's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

# A matrix with a shorter side has too few directions to be worth balancing.
_SHORTEST_SIDE = 32
# Of a Newton-Schulz step, X <- a X + (b X X^T + c (X X^T)^2) X; five bring all singular values of a
# matrix near 1 (0.7 to 1.2).
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Muon for large matrices at `matrix_lr`, Adam (AdamW with `weight_decay`) for all else.

    Both are groups of one optimizer. A group's `lr` is the rate of Adam times the group's
    `lr_scale`, which who changes the rate from step to step has to keep.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        lr: float,
        matrix_lr: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        every = list(parameters)
        matrices = [parameter for parameter in every if is_large_matrix(parameter)]
        others = [parameter for parameter in every if not is_large_matrix(parameter)]
        groups: list[dict[str, Any]] = [
            {"params": matrices, "lr": matrix_lr, "lr_scale": matrix_lr / lr},
            {"params": others, "lr": lr, "lr_scale": 1.0},
        ]
        defaults = {"momentum": momentum, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__([group for group in groups if group["params"]], defaults)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            learning = [each for each in group["params"] if each.grad is not None]
            if learning and is_large_matrix(learning[0]):
                self._muon(learning, group)
            elif learning:
                self._adam(learning, group)
        return loss

    def _muon(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        rate, momentum = group["lr"], group["momentum"]
        for parameter in parameters:
            gradient, state = parameter.grad, self.state[parameter]
            assert gradient is not None
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            average = state["momentum"].lerp_(gradient, 1 - momentum)
            update = orthogonalised(gradient.lerp(average, momentum).flatten(1))
            tall = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
            parameter.mul_(1 - rate * group["weight_decay"])
            parameter.add_(update.view_as(parameter), alpha=-rate * tall)

    def _adam(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        states = [self.state[parameter] for parameter in parameters]
        for parameter, state in zip(parameters, states, strict=True):
            if not state:
                state["step"] = torch.zeros((), dtype=torch.float32)
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
        adam(
            [*parameters],
            [each.grad for each in parameters if each.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=0.0,
            eps=group["eps"],
            maximize=False,
        )


def is_large_matrix(parameter: Tensor) -> bool:
    """Whether `parameter` is Muon's: a matrix, or a kernel taken as one, with no short side."""
    if parameter.ndim < 2:
        return False
    rows = parameter.shape[0]
    return min(rows, parameter.numel() // max(rows, 1)) >= _SHORTEST_SIDE


def orthogonalised(matrix: Tensor) -> Tensor:
    """`matrix` with all its singular values brought near 1, its singular vectors kept.

    In float32: bfloat16, which GPUs take for this, is slow on most processors.
    """
    a, b, c = _COEFFICIENTS
    update = matrix.float()
    update = update / (update.norm() + 1e-7)
    if transposed := matrix.shape[0] > matrix.shape[1]:
        update = update.T
    for _ in range(_ITERATIONS):
        square = update @ update.T
        update = a * update + (b * square + c * square @ square) @ update
    return (update.T if transposed else update).to(matrix.dtype)
