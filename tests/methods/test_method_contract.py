"""What every registered method promises, with student and teacher of two families."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from method_harness import FAMILY_PAIRS, SMALL_PAIR, VARIANTS, bench, between, label, network, twins
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from irkd.methods.projector import Projectors
from irkd.training.task import DistillTask

every_method = pytest.mark.parametrize("variant", VARIANTS, ids=label)
every_pair = pytest.mark.parametrize("families", FAMILY_PAIRS, ids=lambda f: f"{f[0]}-{f[1]}")


CONTENTS = {
    "ordinary": lambda x: x,
    "black": torch.zeros_like,
    "constant": lambda x: torch.full_like(x, 0.5),
    "saturated": lambda x: torch.where(x > 0, 1.0, -1.0),
    "huge": lambda x: 1e4 * x,
    "tiny": lambda x: 1e-6 * x,
}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@every_method
def test_terms_and_gradients_are_finite(variant, precision):
    """L1"""
    tried = bench(variant, FAMILY_PAIRS[0])
    for content, function in CONTENTS.items():
        context = tried.transformed(function)
        leaves = [context.restored, *context.student_features.values()]
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            terms = tried.method(context)
        assert set(terms) == set(tried.method.term_weights)
        for term, value in terms.items():
            assert value.dtype == torch.float32, (content, term)
            assert value.isfinite(), (content, term)
        sum(terms.values()).backward()
        for leaf in leaves:
            assert leaf.grad is None or leaf.grad.isfinite().all(), content


@pytest.mark.parametrize("family", ["nafnet", "restormer"])
@every_method
def test_terms_are_finite_where_student_and_teacher_agree(variant, family):
    """L1"""
    tried = twins(variant, family)
    context = between(tried.context(), tried, 1.0)
    terms = tried.method(context)
    sum(terms.values()).backward()
    assert all(value.isfinite() for value in terms.values())
    for leaf in (context.restored, *context.student_features.values()):
        assert leaf.grad is None or leaf.grad.isfinite().all()


@every_pair
@every_method
def test_every_term_reaches_all_it_should(variant, families):
    """L2: the output, or every tap and every projector."""
    tried = bench(variant, families)
    for term in set(tried.method.term_weights) - tried.method.own_terms:
        tried.method.zero_grad()
        context = tried.leaves()
        tried.method(context)[term].backward()
        if context.restored.grad is not None:
            assert context.restored.grad.abs().max() > 0, term
            continue
        taps = tried.method.term_taps.get(term, tuple(context.student_features))
        assert taps or term in tried.method.term_taps
        for tap in taps:
            feature = context.student_features[tap]
            assert feature.grad is not None, (term, tap)
            assert feature.grad.abs().max() > 0, (term, tap)
        for projectors in (m for m in tried.method.modules() if isinstance(m, Projectors)):
            for projector, pair in zip(projectors, projectors.pairs, strict=True):
                if pair.student in taps:
                    for parameter in projector.parameters():
                        assert parameter.grad.abs().max() > 0, (term, pair)


@every_method
def test_the_teacher_stays_as_it_is(variant):
    """L3: three steps in training mode."""
    tried = bench(variant, FAMILY_PAIRS[1])
    before = {name: value.clone() for name, value in tried.teacher.state_dict().items()}
    task = DistillTask(tried.student, [tried.method], tried.teacher)
    optimizer = torch.optim.Adam(task.parameters(), 1e-3)
    degraded, reference = torch.rand(2, 2, 3, 16, 16)
    for step in range(3):
        task.train()
        optimizer.zero_grad()
        task(degraded, reference, step).loss.backward()
        optimizer.step()
    assert not tried.teacher.training
    for name, value in tried.teacher.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(parameter.grad is None for parameter in tried.teacher.parameters())


@pytest.mark.parametrize("family", ["nafnet", "restormer"])
@every_method
def test_terms_fall_on_the_way_to_the_teacher(variant, family):
    """L4 and L5: never up on the straight path, and at its end the declared floor."""
    tried = twins(variant, family)
    start = tried.context()
    path = [tried.method(between(start, tried, a)) for a in (0, 0.25, 0.5, 0.75, 0.9, 1)]
    for term in tried.method.term_weights:
        values = [point[term].item() for point in path]
        if term not in tried.method.not_monotone:
            slack = 1e-6 * abs(values[0])
            steps = itertools.pairwise(values)
            assert all(after <= before + slack for before, after in steps), (term, values)
            assert values[-1] < values[0], (term, values)
        floor = tried.method.floors.get(term, 0.0)
        assert math.isnan(floor) or values[-1] == pytest.approx(floor, abs=2e-6), (term, values)


@every_method
def test_values_do_not_depend_on_batch_or_image_size(variant):
    """L6: means, never sums."""
    tried = bench(variant, SMALL_PAIR)

    def values(size: int, copies: int = 1) -> dict[str, float]:
        generator = torch.Generator().manual_seed(11)

        def alike(tensor: torch.Tensor) -> torch.Tensor:
            # The same draws whatever the number of copies: sampling is no part of the comparison.
            return torch.rand(4, *tensor.shape[1:], generator=generator).repeat(copies, 1, 1, 1)

        context = tried.transformed(alike, size, 4 * copies)
        context.degraded, context.reference = alike(context.degraded), alike(context.degraded)
        return {term: value.item() for term, value in tried.method(context).items()}

    base, wider, longer = values(32), values(64), values(32, copies=2)
    for term, value in base.items():
        if term not in tried.method.size_dependent:
            assert wider[term] == pytest.approx(value, rel=0.05, abs=1e-5), term
        if term not in tried.method.batch_dependent:
            assert longer[term] == pytest.approx(value, rel=0.05, abs=1e-5), term


class LargestTensor(TorchDispatchMode):
    """Records the element count of the largest tensor any operation returns."""

    largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.largest = max(self.largest, leaf.numel())
        return result


@every_method
def test_memory_is_linear_in_positions(variant):
    """L7: at 128 x 128, nothing much larger than the largest feature map, forward or backward.

    Or than what is inside the networks, where a method runs parts of them.
    """
    tried = bench(variant, FAMILY_PAIRS[1])
    context = tried.leaves(128, 1)
    given = [context.restored, *context.student_features.values()]
    given += context.teacher_features.values()
    images = context.degraded.clone().requires_grad_()
    with LargestTensor() as inside:
        tried.student(images)
        tried.teacher(images)
    with LargestTensor() as record:
        sum(tried.method(context).values()).backward()
    bound = 8 * max(tensor.numel() for tensor in given)
    assert record.largest <= max(bound, inside.largest)


@every_method
def test_thirty_steps_learn_without_collapse(variant):
    """L8: the total falls by a fifth and the projected student keeps its spread."""
    tried = bench(variant, SMALL_PAIR)
    task = DistillTask(tried.student, [tried.method], tried.teacher)
    optimizer = torch.optim.Adam(task.parameters(), 3e-3)
    context = tried.context()
    degraded, reference = context.degraded, context.reference
    totals = []
    for step in range(31):
        optimizer.zero_grad()
        loss = task(degraded, reference, step).loss
        totals.append(loss.item())
        loss.backward()
        optimizer.step()
    assert totals[-1] <= 0.8 * totals[0]
    context = tried.context()
    for projectors in (m for m in tried.method.modules() if hasattr(m, "pairs")):
        for student, teacher in projectors(context):
            assert student.std() > 0.1 * teacher.std()


@every_method
def test_a_method_survives_its_checkpoint(variant):
    """Projectors are task state: parameters, and the same terms after loading."""
    tried = bench(variant, FAMILY_PAIRS[0])
    again = bench(variant, FAMILY_PAIRS[0])
    with torch.no_grad():
        for parameter in tried.method.parameters():
            parameter.add_(1)
    again.method.load_state_dict(tried.method.state_dict())
    context = tried.context()
    # Once each: running statistics move with every call.
    loaded = again.method(context)
    for term, value in tried.method(context).items():
        assert torch.equal(value, loaded[term])


@every_method
def test_a_method_can_be_built_without_memory(variant):
    """Plans are made on the meta device."""
    with torch.device("meta"):
        tried = bench(variant, FAMILY_PAIRS[0])
    assert all(parameter.is_meta for parameter in tried.method.parameters())


def test_the_families_differ():
    """The harness is of use only while the two families' taps have different widths."""
    widths = [
        {tap.channels for tap in network(family, 0).taps().values()}
        for family in ("nafnet", "restormer")
    ]
    assert widths[0] != widths[1]
