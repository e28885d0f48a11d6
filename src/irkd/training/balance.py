"""Scaling the terms of a loss so that their weights mean shares of the gradient."""

from __future__ import annotations

from torch import Tensor

from irkd.training.audit import audit
from irkd.training.task import DistillTask


def balance_terms(
    task: DistillTask,
    degraded: Tensor,
    reference: Tensor,
    teacher_restored: Tensor | None = None,
) -> dict[str, float]:
    """Scale every term of `task` to the gradient of its reconstruction term, and return the scales.

    The images are as in `audit`, a batch of the untrained student. The weights that
    papers print were tuned for reductions they do not state, so that a term of weight 0.2 may
    outweigh all others tenfold. After this, a term of weight w has w times the gradient norm (at
    the student's parameters) that the unweighted reconstruction term has at the first step.
    Without a reconstruction term, the first term takes its place. A term without a gradient keeps
    its scale.
    """
    rows = audit(task, degraded, reference, teacher_restored)
    norms = {
        row["term"]: row["gradient_at_parameters"] / row["weight"] if row["weight"] else 0.0
        for row in rows
    }
    anchors = [term for term in norms if term.rpartition(".")[2] == "reconstruction"]
    anchor = norms[(anchors or list(norms))[0]]
    task.scales = {
        term: anchor / norm if norm > 0 and anchor > 0 else 1.0 for term, norm in norms.items()
    }
    return task.scales
