"""The loop's arithmetic: averages, accumulation, clipping, schedule, steps that are skipped."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tiny_runs import skd_preset, tiny_preset

from irkd.errors import IrkdError
from irkd.models.base import build_network
from irkd.training import trainer
from irkd.training.checkpoint import load_newest
from irkd.training.distill import distill
from irkd.training.observer import Observer
from irkd.training.optimization import build_average, build_optimizer, learning_rate


def test_accumulated_batch_equals_whole_batch(tmp_path: Path) -> None:
    """2 x 4 crops give the weights of 1 x 8, up to the order of sums.

    SGD-like comparison through Adam would hide a factor in the gradient; so the logged gradient
    norms are compared too.
    """
    runs = {}
    for accumulate in (1, 2):
        preset = tiny_preset(batch_size=8, accumulate=accumulate, steps=3, log_every=1)
        runs[accumulate] = distill(preset, out=tmp_path / str(accumulate), device="cpu")
    one, other = (load_file(run.directory / "student.safetensors") for run in runs.values())
    for key in one:
        torch.testing.assert_close(one[key], other[key], atol=1e-6, rtol=1e-4)
    from irkd.report.run_directory import RunDirectory

    norms = [
        [entry["gradient_norm"] for entry in RunDirectory(run.directory).log()]
        for run in runs.values()
    ]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def test_logged_losses_are_means_of_the_steps_since_the_last_entry(tmp_path: Path) -> None:
    from irkd.report.run_directory import RunDirectory

    entries = {}
    for every in (1, 3):
        run = distill(
            tiny_preset(log_every=every, steps=8), out=tmp_path / str(every), device="cpu"
        )
        log = RunDirectory(run.directory).log()
        entries[every] = {entry["step"]: entry for entry in log if entry["kind"] == "train"}
    single = {step: entry["loss"] for step, entry in entries[1].items()}
    assert sorted(single) == list(range(1, 9))
    # The first step and the last have entries of their own.
    for steps in ([1], [2, 3], [4, 5, 6], [7, 8]):
        mean = sum(single[step] for step in steps) / len(steps)
        entry = entries[3][steps[-1]]
        assert entry["loss"] == pytest.approx(mean, rel=1e-5)
        assert entry["terms"]["reconstruction"] == pytest.approx(mean, rel=1e-5)


def test_average_starts_at_the_student_and_follows_the_formula() -> None:
    student = build_network(tiny_preset().student)
    average = build_average(student, decay=0.9)
    for key, value in average.module.state_dict().items():
        assert torch.equal(value, student.state_dict()[key])
    weight = student.intro.weight
    values = [weight.detach().clone()]
    average.update_parameters(student)
    expected = values[0].clone()
    for step in range(1, 30):
        with torch.no_grad():
            weight.add_(1.0)
        average.update_parameters(student)
        momentum = min(0.9, (1 + step) / (10 + step))
        expected = momentum * expected + (1 - momentum) * weight.detach()
        torch.testing.assert_close(average.module.intro.weight.detach(), expected)


@given(st.integers(2, 500), st.integers(0, 50))
def test_cosine_schedule_runs_from_lr_to_min_lr(steps: int, warmup: int) -> None:
    warmup = min(warmup, steps - 2)
    training = tiny_preset(lr=2e-4, min_lr=1e-6, warmup_steps=warmup).training
    rates = [learning_rate(training, step, steps) for step in range(steps)]
    assert rates[warmup] == pytest.approx(2e-4)
    assert rates[-1] == pytest.approx(1e-6)
    assert all(a >= b for a, b in itertools.pairwise(rates[warmup:]))
    assert all(a <= b * (1 + 1e-9) for a, b in itertools.pairwise(rates[: warmup + 1]))


@pytest.mark.parametrize("kind", ["adam", "adamw", "muon"])
def test_weight_decay_is_coupled_for_adam_alone(kind: str) -> None:
    """With a zero gradient, AdamW shrinks by lr * decay; Adam's step is lr whatever the decay."""
    parameter = torch.nn.Parameter(torch.ones(3))
    training = tiny_preset(optimizer=kind, lr=0.1, weight_decay=0.5).training
    optimizer = build_optimizer([parameter], training)
    parameter.grad = torch.zeros(3)
    optimizer.step()
    expected = 1 - 0.1 if kind == "adam" else 1 - 0.1 * 0.5
    torch.testing.assert_close(parameter.detach(), torch.full((3,), expected))


def test_clipping_covers_student_and_projectors_and_logs_the_norm_before(tmp_path: Path) -> None:
    preset = skd_preset(tmp_path, clip_norm=1e-6, steps=2, log_every=1, average=None)
    result = distill(preset, out=tmp_path / "run", device="cpu")
    from irkd.report.run_directory import RunDirectory

    entries = [e for e in RunDirectory(result.directory).log() if e["kind"] == "train"]
    assert all(entry["gradient_norm"] > 1e-3 for entry in entries)
    state = load_newest(result.directory / "checkpoints")
    moments = [entry["exp_avg"] for entry in state["optimizer"]["state"].values()]
    norm = math.sqrt(sum(float(moment.square().sum()) for moment in moments))
    assert norm <= 1e-6


def test_projectors_are_task_state_and_the_teacher_is_not(tmp_path: Path) -> None:
    result = distill(skd_preset(tmp_path, steps=1), out=tmp_path / "run", device="cpu")
    keys = load_newest(result.directory / "checkpoints")["task"].keys()
    assert any(key.startswith("methods.") for key in keys)
    assert not any("teacher" in key for key in keys)
    exported = load_file(result.directory / "student.safetensors").keys()
    assert not any("methods" in key or "project" in key for key in exported)


def test_loss_that_stays_nan_ends_the_run_and_names_the_term(tmp_path: Path) -> None:
    preset = tiny_preset(steps=50, lr=1e30, average=None, warmup_steps=0)
    with pytest.raises(IrkdError, match="not finite") as caught:
        distill(preset, out=tmp_path / "run", device="cpu")
    assert "reconstruction" in str(caught.value) or "gradient" in str(caught.value)


def test_same_start_for_every_method(tmp_path: Path) -> None:
    """Student alone and distilled student begin with the same weights and see the same crops."""
    alone = distill(tiny_preset(steps=0), out=tmp_path / "alone", device="cpu")
    distilled = distill(skd_preset(tmp_path, steps=0), out=tmp_path / "skd", device="cpu")
    one, other = (load_file(run.directory / "student.safetensors") for run in (alone, distilled))
    for key in one:
        assert torch.equal(one[key], other[key])


def test_bf16_autocast_trains_with_float32_losses(tmp_path: Path) -> None:
    preset = skd_preset(tmp_path, steps=2, precision="bf16")
    result = distill(preset, out=tmp_path / "run", device="cpu")
    student = load_file(result.directory / "student.safetensors")
    assert all(value.dtype == torch.float32 for value in student.values())


def test_fp16_without_gpu_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(IrkdError, match="fp16 needs a GPU"):
        distill(tiny_preset(precision="fp16"), out=tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_patch_that_does_not_fit_the_network(tmp_path: Path) -> None:
    with pytest.raises(IrkdError, match="multiple of 2"):
        distill(tiny_preset(patch=17), out=tmp_path / "run", device="cpu")


def test_teacher_without_weights_says_what_to_do(tmp_path: Path) -> None:
    preset = skd_preset(tmp_path)
    preset = preset.model_copy(
        update={"teacher": preset.teacher.model_copy(update={"weights": None})}
    )
    with pytest.raises(IrkdError, match="--teacher FILE"):
        distill(preset, out=tmp_path / "run", device="cpu")


def test_a_starving_run_says_so_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Notes(Observer):
        def __init__(self) -> None:
            self.texts: list[str] = []

        def note(self, text: str) -> None:
            self.texts.append(text)

    def run(percent: float) -> list[str]:
        values = {"images_per_s": 1.0, "data_wait_percent": percent}
        monkeypatch.setattr(trainer._Meter, "read", lambda _: values)
        monkeypatch.setattr(trainer, "_SETTLED", 2)
        preset = tiny_preset(steps=5, log_every=1)
        notes = Notes()
        distill(preset, out=tmp_path / str(percent), device="cpu", observer=notes)
        return [text for text in notes.texts if "data.workers" in text]

    assert run(5.0) == []
    (told,) = run(80.0)
    assert "80 %" in told
