"""Dynamic contrast: the history model, the negatives it makes, and turned teachers."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from method_harness import Bench, bench, build, network
from pydantic import ValidationError

from irkd.losses.contrast import contrast_ratio
from irkd.methods.context import build_interlude
from irkd.methods.dynamic_contrast import DynamicContrastParameters, turn, undo
from irkd.training.task import DistillTask

PAIR = ("nafnet", "nafnet", (0.0, 1.0))


def _bench(**options: object) -> Bench:
    return bench({"name": "dynamic-contrast", **options}, PAIR)


def test_history_is_refreshed_by_the_formula_and_on_time() -> None:
    tried = _bench(refresh=(2, 3), stage_steps=4, history_decay=0.1)
    images = torch.rand(1, 3, 16, 16)
    expected = copy.deepcopy(tried.student.state_dict())
    refreshed = []
    for step in range(12):
        with torch.no_grad():
            for parameter in tried.student.parameters():
                parameter.add_(0.1)
        before = copy.deepcopy(tried.method.history.state_dict())
        interlude = build_interlude(tried.student, tried.teacher, images, images)
        tried.method.after_step(interlude, step)
        now = tried.method.history.state_dict()
        if all(torch.equal(value, before[name]) for name, value in now.items()):
            continue
        refreshed.append(step + 1)
        student = tried.student.state_dict()
        expected = {name: 0.1 * value + 0.9 * student[name] for name, value in expected.items()}
        for name, value in now.items():
            torch.testing.assert_close(value, expected[name])
    assert refreshed == [2, 4, 6, 9, 12]


def test_history_begins_as_the_student_and_is_never_trained() -> None:
    tried = _bench()
    student = tried.student.state_dict()
    history = {
        name.removeprefix("history."): value
        for name, value in tried.method.state_dict().items()
        if name.startswith("history.")
    }
    assert history.keys() == student.keys()
    assert all(torch.equal(value, student[name]) for name, value in history.items())
    task = DistillTask(tried.student, [tried.method], tried.teacher)
    trained = {id(parameter) for parameter in task.trained_parameters()}
    assert trained == {id(parameter) for parameter in tried.student.parameters()}
    task.train()
    assert not tried.method.history.training
    assert tried.student.training
    task(*torch.rand(2, 2, 3, 16, 16)).loss.backward()
    assert all(parameter.grad is None for parameter in tried.method.parameters())


def test_without_contrast_there_is_no_history() -> None:
    tried = _bench(contrast=0)
    assert not [key for key in tried.method.state_dict() if key.startswith("history")]
    assert not tried.method.needs.teacher_encoder


def test_ratio_of_several_negatives_by_hand() -> None:
    def layers(*values: float) -> list[torch.Tensor]:
        return [torch.full((2, 3, 4, 4), float(value)) for value in values]

    loss = contrast_ratio(layers(1, 2), layers(3, 1), layers(0, 0), layers(5, 1))
    expected = 1 / 4 * 2 / (1 + 4 + 1e-7) + 1 * 1 / (2 + 1 + 1e-7)
    torch.testing.assert_close(loss, torch.tensor(expected))


def test_the_contrast_is_the_formula() -> None:
    tried = _bench(noised=2)
    context = tried.context()
    images = [context.degraded, *tried.method._noised(context)]
    assert len(images) == 3

    @torch.no_grad()
    def phi(picture: torch.Tensor) -> list[torch.Tensor]:
        names = ["encoder_level1", "encoder_level2", "middle"]
        return list(context.encode(picture, names).values())

    history = tried.method.history
    expected = contrast_ratio(
        phi(context.restored), phi(context.teacher_restored), *(phi(history(i)) for i in images)
    )
    torch.testing.assert_close(tried.method(context)["contrast"].detach(), expected)


def test_negatives_are_noised_inside_the_range_and_by_seed_and_step() -> None:
    tried = bench(
        {"name": "dynamic-contrast", "noised": 40, "noise_sigma": (10, 30)},
        ("nafnet", "nafnet", (-1.0, 1.0)),
    )
    context = tried.context(32)
    context.degraded = torch.zeros(4, 3, 32, 32)
    noise = torch.stack(tried.method._noised(context)).flatten(0, 1)
    deviation = noise.std((1, 2, 3)) * 255 / 2
    assert deviation.min() > 9
    assert deviation.max() < 31
    assert deviation.std() > 4  # drawn for every image
    grey = (noise[:, 0] == noise[:, 1]).flatten(1).all(1).float().mean()
    assert 0.35 < grey < 0.65
    again = tried.method._noised(context)
    assert torch.equal(torch.stack(again).flatten(0, 1), noise)
    context.step = 1
    assert not torch.equal(torch.stack(tried.method._noised(context)).flatten(0, 1), noise)
    context.degraded = torch.ones(4, 3, 32, 32)
    noised = torch.stack(tried.method._noised(context))
    assert noised.max() == 1
    assert noised.min() > -1


@pytest.mark.parametrize("drawn", list(itertools.product([False, True], repeat=4)))
def test_turned_images_are_turned_back(drawn: tuple[bool, bool, bool, bool]) -> None:
    """A flip and a transposition do not commute: undone in the wrong order, four of them differ."""
    image = torch.arange(3.0 * 4 * 4).reshape(3, 4, 4) / 48
    turned = turn(image, drawn, (-1.0, 1.0))
    assert torch.equal(turned, image) != any(drawn)
    torch.testing.assert_close(undo(turned, drawn, (-1.0, 1.0)), image)


def test_turns_in_their_order() -> None:
    image = torch.tensor([[[0.1, 0.2], [0.3, 0.4]]])

    def turned(*drawn: bool) -> list[float]:
        values = turn(image, drawn, (0.0, 1.0)).flatten()
        return [round(float(value), 3) for value in values]

    assert turned(True, False, False, False) == [0.9, 0.8, 0.7, 0.6]
    assert turned(False, True, False, False) == [0.3, 0.4, 0.1, 0.2]
    assert turned(False, False, True, False) == [0.2, 0.1, 0.4, 0.3]
    assert turned(False, False, False, True) == [0.1, 0.3, 0.2, 0.4]
    assert turned(False, True, False, True) == [0.3, 0.1, 0.4, 0.2]


def test_a_teacher_that_does_not_care_is_consistent_with_itself() -> None:
    """A teacher that returns its input: whatever the turns, undone they leave its output."""
    tried = _bench()
    context = tried.context(16, 4)
    context.run_teacher = lambda images: images
    context.restored = context.degraded
    for context.step in range(4):
        assert tried.method(context)["consistency"] < 1e-6
    context.run_teacher = lambda images: images * torch.linspace(0, 1, 16)  # darker to the left
    assert tried.method(context)["consistency"] > 1e-2


def test_oblong_images_are_not_transposed() -> None:
    tried = _bench(contrast=0)
    context = tried.context()
    context.degraded = context.restored = torch.rand(8, 3, 16, 32)
    context.run_teacher = lambda images: images
    assert tried.method._taught_turned(context).shape == (8, 3, 16, 32)


def test_value_ranges_of_parameters() -> None:
    with pytest.raises(ValidationError, match="vgg19: the file"):
        DynamicContrastParameters(phi="vgg19")
    with pytest.raises(ValidationError, match="noise_sigma must rise"):
        DynamicContrastParameters(noise_sigma=(3, 1))
    with pytest.raises(ValidationError, match="1 or more"):
        DynamicContrastParameters(refresh=(0,))
    with pytest.raises(ValidationError, match="all weights are 0"):
        DynamicContrastParameters(reconstruction=0, distillation=0, consistency=0, contrast=0)
    printed = DynamicContrastParameters()
    assert printed.weights() == {
        "reconstruction": 1,
        "distillation": 1,
        "consistency": 1,
        "contrast": 0.1,
    }


def test_seed_comes_back_with_the_state() -> None:
    tried = _bench()
    other = build({"name": "dynamic-contrast"}, network("nafnet", 1), network("nafnet", 2))
    other.seed += 1
    other.load_state_dict(tried.method.state_dict())
    assert other.seed == tried.method.seed
