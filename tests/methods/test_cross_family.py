"""Teacher and student of different families: every registered method trains, or says why not."""

from __future__ import annotations

import pytest
import torch
from method_harness import network, pairs, required

from irkd.errors import IrkdError
from irkd.methods.base import methods
from irkd.training.task import build_task

# Teacher, student. Every family teaches, and every family learns; strides, widths, depths, the
# number of levels and the form of features (maps, tokens) differ.
FAMILY_PAIRS = [
    ("restormer", "nafnet"),
    ("nafnet", "drsformer"),
    ("uformer", "restormer"),
    ("drsformer", "uformer"),
    ("uformer", "nafnet"),
]
# The sizes that all four families' tiny networks take are multiples of 32.
SIDE = 32


@pytest.mark.parametrize("pair", FAMILY_PAIRS, ids=lambda pair: f"{pair[0]}-teaches-{pair[1]}")
@pytest.mark.parametrize("name", methods())
def test_a_step_with_another_family(name: str, pair: tuple[str, str]) -> None:
    teacher = network(pair[0], 2)
    student = network(pair[1], 1, (-1.0, 1.0))
    given = {"name": name, **required(name, teacher)}
    parameters = methods()[name].parameters.model_validate(given)
    torch.manual_seed(3)
    try:
        task = build_task(student, [parameters], teacher, "denoise")
    except IrkdError as refusal:
        _check_refusal(str(refusal), name)
        return
    images = pairs(SIDE, 2)
    result = task(*images)
    result.loss.backward()
    assert result.terms
    assert all(value.isfinite().all() for value in result.terms.values())
    gradients = [p.grad for p in student.parameters() if p.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert sum(gradient.abs().sum() for gradient in gradients) > 0
    assert all(p.grad is None for p in teacher.parameters())
    task.after_step(*images, 0)


def _check_refusal(message: str, name: str) -> None:
    """One sentence or two, in one line, that name the method."""
    assert "\n" not in message
    assert name in message
    assert message.endswith((".", "?"))
    assert len(message) > len(name) + 20


def test_a_pair_that_cannot_be_trained_is_refused_in_one_message() -> None:
    """The shared channels of slkd's scale space cannot be more than a teacher's tap has."""
    teacher, student = network("restormer", 2), network("nafnet", 1)
    parameters = methods()["slkd"].parameters.model_validate({"name": "slkd"})
    wider = parameters.model_copy(update={"scale_channels": 4096})
    with pytest.raises(IrkdError) as refused:
        build_task(student, [wider], teacher)
    _check_refusal(str(refused.value), "slkd")
