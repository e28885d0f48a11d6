"""Several teachers: what is loaded, what they agree on, and how that is learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from method_harness import OPTIONS, Bench, build, network, photographs
from pydantic import ValidationError
from torch import nn

from irkd.errors import IrkdError
from irkd.methods.multi_teacher import Correction, Gate, MultiTeacherParameters
from irkd.models.weights import save_network
from irkd.training.audit import audit, require_gradients
from irkd.training.task import DistillTask


def _spec(folder: Path, other: nn.Module, **changed: Any) -> dict[str, Any]:
    save_network(folder / "other.safetensors", other, task=None, overwrite=True)
    content = other.spec.model_dump(mode="json")
    return {**content, "weights": str(folder / "other.safetensors"), **changed}


def _bench(folder: Path, **options: object) -> Bench:
    """A student and a teacher in [0, 1], a second teacher of another family in [-1, 1]."""
    student, teacher = network("nafnet", 1), network("nafnet", 2)
    teachers = [_spec(folder, network("restormer", 3, (-1.0, 1.0)))]
    method = build({"name": "multi-teacher", "teachers": teachers, **options}, student, teacher)
    return Bench(student, teacher, method)


@pytest.mark.parametrize("aggregator", ["mean", "gate", "conv"])
def test_the_aggregate_begins_as_the_mean_of_all_teachers(tmp_path: Path, aggregator: str) -> None:
    tried = _bench(tmp_path, aggregator=aggregator)
    context = tried.context()
    other = network("restormer", 3, (-1.0, 1.0))
    with torch.no_grad():
        outputs = [tried.teacher(context.degraded), (other(2 * context.degraded - 1) + 1) / 2]
    mean = (outputs[0] + outputs[1]) / 2
    terms = tried.method(context)
    distance = (context.restored - mean).abs().mean()
    torch.testing.assert_close(terms["distillation"], distance)
    if aggregator != "mean":
        torch.testing.assert_close(terms["aggregation"], (mean - context.reference).abs().mean())


@pytest.mark.parametrize("aggregator", ["gate", "conv"])
def test_student_and_aggregator_learn_from_their_own_terms_alone(
    tmp_path: Path, aggregator: str
) -> None:
    tried = _bench(tmp_path, aggregator=aggregator)
    aggregating = list(tried.method.parameters())
    assert aggregating
    terms = tried.method(tried.context())
    terms["aggregation"].backward()
    assert any(parameter.grad.abs().max() > 0 for parameter in aggregating)
    assert all(parameter.grad is None for parameter in tried.student.parameters())
    tried.method.zero_grad(set_to_none=True)
    tried.method(tried.context())["distillation"].backward()
    assert all(parameter.grad is None for parameter in aggregating)
    assert all(parameter.grad is not None for parameter in tried.student.parameters())


def test_an_audit_asks_of_each_term_a_gradient_where_it_trains(tmp_path: Path) -> None:
    tried = _bench(tmp_path)
    task = DistillTask(tried.student, [tried.method], tried.teacher)
    images = photographs(16, 2)
    rows = audit(task, images.flip(-1), images)
    require_gradients(rows)
    trains = {row["term"]: row["trains"] for row in rows}
    assert trains == {"reconstruction": "student", "distillation": "student"} | {
        "aggregation": "method"
    }
    with pytest.raises(IrkdError, match="'aggregation' has no gradient at the method's"):
        require_gradients([{**row, "gradient_at_projectors": 0.0} for row in rows])
    with pytest.raises(IrkdError, match="no gradient at the student's"):
        require_gradients([{**row, "gradient_at_parameters": 0.0} for row in rows])


@pytest.mark.parametrize("kind", [Gate, Correction])
def test_an_aggregator_learns_which_teacher_is_right_where(kind: type[nn.Module]) -> None:
    """Two teachers, each noisy in one half: the learned aggregate beats both and their mean."""
    reference = photographs(16, 2)
    noise = 0.2 * torch.randn(2, *reference.shape, generator=torch.Generator().manual_seed(0))
    left = (torch.arange(16) < 8).float()
    taught = torch.stack([reference + noise[0] * left, reference + noise[1] * (1 - left)], 1)
    torch.manual_seed(0)
    aggregator = kind(2, 16)
    optimizer = torch.optim.Adam(aggregator.parameters(), 1e-2)

    def off() -> torch.Tensor:
        return (aggregator(reference, taught) - reference).abs().mean()

    before = off().item()
    for _ in range(100):
        optimizer.zero_grad()
        loss = off()
        loss.backward()
        optimizer.step()
    single = (taught - reference[:, None]).abs().mean((0, 2, 3, 4)).min().item()
    assert before == pytest.approx(single, rel=0.1)  # halves of the noise everywhere
    assert off().item() < 0.75 * single


def test_a_gate_stays_between_the_teachers() -> None:
    torch.manual_seed(0)
    gate = Gate(3, 4)
    for parameter in gate.parameters():
        nn.init.normal_(parameter)
    taught = torch.rand(2, 3, 3, 8, 8)
    aggregate = gate(torch.rand(2, 3, 8, 8), taught)
    assert (aggregate >= taught.amin(1) - 1e-6).all()
    assert (aggregate <= taught.amax(1) + 1e-6).all()


def test_further_teachers_are_frozen_and_no_part_of_the_state(tmp_path: Path) -> None:
    tried = _bench(tmp_path, aggregator="gate")
    (other,) = tried.method._teachers
    assert not other.training
    assert not any(parameter.requires_grad for parameter in other.parameters())
    held = {id(parameter) for parameter in tried.method.parameters()}
    assert held.isdisjoint(id(parameter) for parameter in other.parameters())
    tensors = [k for k, v in tried.method.state_dict().items() if isinstance(v, torch.Tensor)]
    assert all(key.startswith("aggregator.") for key in tensors)
    tried.method.double()
    assert next(other.parameters()).dtype == torch.float64


def test_another_file_does_not_take_a_teachers_place(tmp_path: Path) -> None:
    state = _bench(tmp_path).method.state_dict()
    _bench(tmp_path).method.load_state_dict(state)
    student, teacher = network("nafnet", 1), network("nafnet", 2)
    changed = [_spec(tmp_path, network("restormer", 4, (-1.0, 1.0)))]
    other = build({"name": "multi-teacher", "teachers": changed}, student, teacher)
    with pytest.raises(IrkdError, match=r"other\.safetensors of teacher 0 is not the file"):
        other.load_state_dict(state)


def test_teachers_that_cannot_be_loaded(tmp_path: Path) -> None:
    student, teacher = network("nafnet", 1), network("nafnet", 2)
    other = network("nafnet", 3)

    def load(**changed: Any) -> None:
        spec = _spec(tmp_path, other, **changed)
        build({"name": "multi-teacher", "teachers": [spec]}, student, teacher)

    with pytest.raises(IrkdError, match=r"teacher 0 \(nafnet\) has no weights. Write weights:"):
        load(weights=None)
    with pytest.raises(IrkdError, match="no model"):
        load(weights=str(tmp_path / "nowhere.safetensors"))
    with pytest.raises(IrkdError, match=r"does not fit the NAFNet network.*width"):
        load(width=12)
    with pytest.raises(IrkdError, match="Write value_range"):
        load(value_range=[-1, 1])
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "other.safetensors").read_bytes()[:99])
    with pytest.raises(IrkdError, match=r"cut\.safetensors"):
        load(weights=str(tmp_path / "cut.safetensors"))
    grey = {**OPTIONS["nafnet"], "img_channel": 1}
    from irkd.models.base import create_network

    other = create_network("nafnet", **grey)
    with pytest.raises(IrkdError, match="maps 1 channels to 1; 3 and 3"):
        load()


def test_wrong_presets_say_which_teacher_and_why() -> None:
    def message(*teachers: Any) -> str:
        with pytest.raises(ValidationError) as caught:
            MultiTeacherParameters(teachers=teachers)
        return str(caught.value)

    assert "at least 1 item" in message()
    assert "teacher 1: unknown arch 'nafnt'. Did you mean 'nafnet'?" in message(
        {"arch": "nafnet"}, {"arch": "nafnt"}
    )
    assert "teacher 0: unknown key 'widht'. Did you mean 'width'?" in message(
        {"arch": "nafnet", "widht": 8}
    )
    assert "teacher 0 must be a network" in message("nafnet")
    assert "teacher 0 must be a network" in message({"weights": "a.pth"})
