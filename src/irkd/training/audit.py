"""The balance of a method's terms: what each one asks of the student, measured on one batch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from irkd.errors import IrkdError
from irkd.training.task import DistillTask


def audit(
    task: DistillTask,
    degraded: Tensor,
    reference: Tensor,
    teacher_restored: Tensor | None = None,
) -> list[dict[str, Any]]:
    """Per term: value, weight, gradient norms of the weighted term, and its share.

    degraded, reference: [0, 1], B x 3 x H x W; teacher_restored likewise, where the teacher's
    output is known already. The norms are those at the student's output, at its
    tapped features (all together), at its parameters and at the projectors'. `share` is the term's
    part of the sum of the parameter norms: what it has to say about the next step. `trains` is
    "student", or "method" for a term of a method's own parts.
    """
    step = _first_common_step(task)
    context = task.context(degraded, reference, step, teacher_restored)
    result = task.losses(context, step)
    features = list(context.student_features.values())
    student = [p for p in task.student.parameters() if p.requires_grad]
    projectors = [p for p in task.methods.parameters() if p.requires_grad]
    own = task.own_terms()
    rows: list[dict[str, Any]] = []
    for name, weighted in result.weighted.items():
        places: list[list[Tensor]] = [[context.restored], features, [*student], [*projectors]]
        gradients = iter(_gradients(weighted, [tensor for place in places for tensor in place]))
        norms = [_norm([next(gradients) for _ in place]) for place in places]
        value = float(result.terms[name])
        rows.append(
            {
                "term": name,
                "trains": "method" if name in own else "student",
                "value": value,
                "weight": float(weighted.detach()) / value if value else 0.0,
                "gradient_at_output": norms[0],
                "gradient_at_taps": norms[1],
                "gradient_at_parameters": norms[2],
                "gradient_at_projectors": norms[3],
            }
        )
    total = sum(row["gradient_at_parameters"] for row in rows) or 1.0
    return [{**row, "share": row["gradient_at_parameters"] / total} for row in rows]


def require_gradients(rows: Iterable[dict[str, Any]]) -> None:
    """Raise IrkdError when a term has no gradient at what it trains: it could teach nothing."""
    places = {"student": "parameters", "method": "projectors"}
    for row in rows:
        if row[f"gradient_at_{places[row['trains']]}"] == 0.0:
            raise IrkdError(
                f"the term {row['term']!r} has no gradient at the {row['trains']}'s parameters, so"
                " that it teaches nothing. Leave it out (weight 0), or change its options."
            )


def _first_common_step(task: DistillTask) -> int:
    """A step at which every method counts, or the latest start where they never all do."""
    return max(method.parameters_spec.start for method in task.methods)  # type: ignore[union-attr, type-var, return-value]


def _gradients(value: Tensor, tensors: list[Tensor]) -> tuple[Tensor | None, ...]:
    if not value.requires_grad:
        return (None,) * len(tensors)
    return torch.autograd.grad(value, tensors, retain_graph=True, allow_unused=True)


def _norm(gradients: list[Tensor | None]) -> float:
    norms = [gradient.norm() for gradient in gradients if gradient is not None]
    return float(torch.stack(norms).norm()) if norms else 0.0
