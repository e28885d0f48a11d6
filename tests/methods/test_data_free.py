"""Data-free distillation: what the generator makes, learns and leaves alone."""

from __future__ import annotations

import copy

import pytest
import torch
from method_harness import Bench, build, network
from torch import Tensor, nn

from irkd.errors import IrkdError
from irkd.methods.base import Interlude, Setting, build_method
from irkd.methods.context import build_interlude
from irkd.methods.data_free import DataFreeParameters, total_variation
from irkd.training.task import DistillTask

SMALL = {"name": "data-free", "size": 32, "width": 8, "latent": 16}
GENERATORS = 1


def _bench(**options: object) -> Bench:
    student, teacher = network("nafnet", 1, (-1.0, 1.0)), network("nafnet", 2)
    return Bench(student, teacher, build({**SMALL, **options}, student, teacher))


def _for_task(task: str, **options: object):
    student = network("nafnet", 1)
    setting = Setting(student.taps(), student.taps(), (0.0, 1.0), student.spec, student.spec, task)
    return build_method(DataFreeParameters(**{**SMALL, **options}), setting)


def _interlude(tried: Bench, count: int = 4) -> Interlude:
    images = torch.zeros(count, 3, 16, 16)
    return build_interlude(tried.student, tried.teacher, images, images)


def _discrepancy(tried: Bench, step: int) -> float:
    with torch.no_grad():
        interlude = _interlude(tried)
        made, _ = tried.method.generate(4, step, GENERATORS)
        return float((interlude.run_student(made) - interlude.run_teacher(made)).abs().mean())


def test_generator_steps_raise_the_discrepancy_on_a_fixed_z() -> None:
    tried = _bench(consistency=0, generator_lr=1e-3)
    before = _discrepancy(tried, step=7)
    values = []
    for _ in range(10):
        tried.method.train_generator(_interlude(tried), step=7)
        values.append(_discrepancy(tried, step=7))
    assert values[0] > before
    assert values[-1] > 1.05 * before


def test_the_loss_is_the_formula() -> None:
    for form, task in (("degraded", "denoise"), ("idempotence", "denoise")):
        tried = _bench(consistency_form=form, consistency=0.7, smoothness=0.3)
        interlude = _interlude(tried)
        made, clean = tried.method.generate(4, 3, GENERATORS)
        taught, restored = interlude.run_teacher(made), interlude.run_student(made)
        expected = -torch.log(1 + (restored - taught).abs().mean())
        if form == "degraded":
            assert not torch.equal(made, clean), task
            expected = expected + 0.7 * (taught - clean).abs().mean()
        else:
            assert torch.equal(made, clean)
            expected = expected + 0.7 * (interlude.run_teacher(taught) - taught).abs().mean()
            expected = expected + 0.3 * total_variation((made + 1) / 2)
        loss = tried.method.adversarial_loss(interlude, made, clean)
        torch.testing.assert_close(loss, expected)


def test_total_variation_by_hand() -> None:
    image = torch.tensor([[[[0.0, 1.0], [0.0, 3.0]]]])
    assert total_variation(image) == (0 + 2) / 2 + (1 + 3) / 2


def test_a_generator_step_leaves_student_and_teacher_untouched() -> None:
    tried = _bench(student_steps=1)
    task = DistillTask(tried.student, [tried.method], tried.teacher)
    before = copy.deepcopy((tried.student.state_dict(), tried.teacher.state_dict()))
    generator = copy.deepcopy(tried.method.generator.state_dict())
    images = torch.rand(2, 3, 16, 16)
    task.after_step(images, images, step=0)
    for network_, state in zip((tried.student, tried.teacher), before, strict=True):
        for name, value in network_.state_dict().items():
            assert torch.equal(value, state[name]), name
        assert all(parameter.grad is None for parameter in network_.parameters())
    assert all(parameter.requires_grad for parameter in tried.student.parameters())
    changed = tried.method.generator.state_dict()
    assert any(not torch.equal(value, generator[name]) for name, value in changed.items())


def test_the_student_leaves_the_generator_untouched() -> None:
    tried = _bench(student_steps=1000)
    task = DistillTask(tried.student, [tried.method], tried.teacher)
    optimizer = torch.optim.AdamW(task.trained_parameters(), 1e-2, weight_decay=0.1)
    before = copy.deepcopy(tried.method.generator.state_dict())
    for step in range(2):
        task(*torch.rand(2, 2, 3, 16, 16), step).loss.backward()
        optimizer.step()
        task.after_step(*torch.rand(2, 2, 3, 16, 16), step)
    for name, value in tried.method.generator.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_the_generator_steps_after_every_so_many_steps_of_the_student(monkeypatch) -> None:
    tried = _bench(student_steps=3)
    steps: list[int] = []
    monkeypatch.setattr(tried.method, "train_generator", lambda _, step: steps.append(step))
    for step in range(10):
        tried.method.after_step(_interlude(tried), step)
    assert steps == [2, 5, 8]


@pytest.mark.parametrize("task", ["derain", "deblur", "dehaze", "denoise", "general", "jpeg"])
def test_every_generated_pixel_is_reached_by_the_loss(task: str) -> None:
    """Trap O: nothing in the generator's path ends a gradient, also where images are saturated."""
    teacher, method = network("nafnet", 2), _for_task(task, size=48)
    with torch.no_grad():
        method.generator.body[-1].weight.mul_(4)
    values: list[Tensor] = []
    method.generator.register_forward_hook(lambda _m, _i, output: values.append(output))
    made, clean = method.generate(2, 0, GENERATORS)
    assert values[0].min() < 0.02
    assert values[0].max() > 0.98
    reached = torch.zeros_like(values[0], dtype=torch.bool)
    for seed in (1, 3):  # Sums of one loss can cancel at a pixel; a path that ends gives 0 to both.
        interlude = _interlude(Bench(network("nafnet", seed), teacher, method), 2)
        loss = method.adversarial_loss(interlude, made, clean)
        (gradient,) = torch.autograd.grad(loss, values[0], retain_graph=True)
        assert gradient.isfinite().all()
        assert (gradient != 0).float().mean() > 0.99
        reached |= gradient != 0
    assert reached.all()


def test_samples_stay_apart_over_fifty_rounds() -> None:
    tried = _bench(student_steps=1, generator_lr=1e-3)
    task = DistillTask(tried.student, [tried.method], tried.teacher)
    optimizer = torch.optim.Adam(task.trained_parameters(), 1e-3)
    images = torch.zeros(2, 3, 32, 32)
    for step in range(50):
        optimizer.zero_grad()
        task(images, images, step).loss.backward()
        optimizer.step()
        task.after_step(images, images, step)
    _, clean = tried.method.generate(16, 0, GENERATORS)
    assert ((clean + 1) / 2).std(0).mean() > 0.05


def test_images_are_a_function_of_seed_and_step() -> None:
    method = _bench().method
    given = torch.zeros(3, 3, 16, 16)
    state = torch.get_rng_state()
    first = method.images(given, given, step=5)
    assert torch.equal(torch.get_rng_state(), state)
    assert [image.shape for image in first] == [(3, 3, 32, 32)] * 2
    assert all(not image.requires_grad for image in first)
    part = method.images(given, given, step=5)  # of an accumulated batch
    other = method.images(given, given, step=6)
    again = method.images(given, given, step=5)
    for one, same in zip(first, again, strict=True):
        assert torch.equal(one, same)
    for different in (part, other, method.generate(3, 5, GENERATORS)):
        assert not torch.equal(first[0], different[0])
    twin = _bench().method
    assert torch.equal(twin.images(given, given, step=5)[0], first[0])
    twin.seed += 1
    assert not torch.equal(twin.images(given, given, step=6)[0], other[0])


def test_the_loaders_images_do_not_matter() -> None:
    method = _bench().method
    one, other = (method.images(torch.full((2, 3, 16, 16), v), None, 4)[0] for v in (0.0, 1.0))
    assert not torch.equal(one, other)  # two parts of one step
    method._part = (-1, 0)
    assert torch.equal(method.images(torch.ones(2, 3, 24, 24), None, 4)[0], one)


def test_what_the_degradation_is() -> None:
    assert _for_task("derain").degradation == "derain"
    assert _for_task("derain", consistency_form="idempotence").degradation is None
    assert _for_task("jpeg").degradation is None
    with pytest.raises(IrkdError, match=r"the task jpeg has no.*consistency_form: idempotence"):
        _for_task("jpeg", consistency_form="degraded")


def test_size_must_fit_both_networks() -> None:
    student, teacher = network("nafnet", 1), network("uformer", 2)
    with pytest.raises(IrkdError, match=r"size 36 must be a multiple of 32 for the teacher"):
        build({**SMALL, "size": 36}, student, teacher)


def test_generator_and_its_adam_go_through_the_state() -> None:
    tried, again = _bench(), _bench()
    for step in range(3):
        tried.method.train_generator(_interlude(tried), step)
    again.method.seed += 1
    again.method.load_state_dict(copy.deepcopy(tried.method.state_dict()))
    for bench_ in (tried, again):
        bench_.method.train_generator(_interlude(bench_), 9)
    pairs = zip(tried.method.parameters(), again.method.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_generator_layers_are_the_papers() -> None:
    generator = _for_task("denoise", size=48, width=128, latent=256).generator
    kinds = [type(layer).__name__ for layer in generator.body]
    block = ["Upsample", "Conv2d", "InstanceNorm2d", "LeakyReLU"]
    assert kinds == ["InstanceNorm2d", *block, *block, "Conv2d"]
    assert generator.first.weight.shape == (128 * 12 * 12, 256)
    maps = torch.randn(5)
    torch.testing.assert_close(torch.sigmoid(2 * maps), (nn.Tanh()(maps) + 1) / 2)
