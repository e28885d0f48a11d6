"""Methods with a state of their own in the real loop: resumed to the bit, audited, kept apart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from test_resume import _assert_same, _StopAt
from tiny_runs import NETWORK, tiny_content, tiny_teacher

from irkd.cli.main import main
from irkd.methods.base import Method, MethodParameters, Needs
from irkd.models.base import build_network
from irkd.presets.load import validate
from irkd.presets.schema import Preset
from irkd.training.checkpoint import load_newest
from irkd.training.distill import audit_preset, describe_plan, distill
from irkd.training.task import DistillTask, build_task

METHODS: dict[str, dict[str, Any]] = {
    "dual-cross": {},
    "data-free": {
        "student_steps": 2,
        "size": 32,
        "width": 8,
        "latent": 16,
        "generator_lr": 1e-3,
    },
    "dynamic-contrast": {"noised": 1, "refresh": [2]},
    "multi-teacher": {},
}


def _content(folder: Path, name: str, **training: Any) -> dict[str, Any]:
    content = tiny_content(**training)
    content["teacher"] = tiny_teacher(folder / "teacher.safetensors")
    options = dict(METHODS[name])
    if name == "multi-teacher":
        options["teachers"] = [tiny_teacher(folder / "second.safetensors", width=8)]
    content["methods"] = [{"name": name, **options}]
    return content


def _preset(folder: Path, name: str, **training: Any) -> Preset:
    return validate(_content(folder, name, **training), name)


@pytest.mark.parametrize("name", METHODS)
def test_resumed_run_equals_uninterrupted(tmp_path: Path, name: str) -> None:
    """Generator and its Adam, history, aggregator, adapters: all of it is in the checkpoint."""
    preset = _preset(tmp_path, name, steps=5, average=0.9, accumulate=2)
    whole = distill(preset, out=tmp_path / "whole", device="cpu")
    stopped = distill(preset, out=tmp_path / "parts", device="cpu", observer=_StopAt(3))
    assert stopped.stopped == "signal"
    resumed = distill(preset, out=tmp_path / "parts", resume=True, device="cpu")
    one, other = (load_newest(run.directory / "checkpoints") for run in (whole, resumed))
    for part in ("task", "average", "optimizer"):
        _assert_same(one[part], other[part])
    _assert_same(*(load_file(run.directory / "student.safetensors") for run in (whole, resumed)))


def test_generator_and_history_move_and_are_in_the_checkpoint(tmp_path: Path) -> None:
    """What is compared above is not always the same from the start."""
    states = {}
    for name in ("data-free", "dynamic-contrast"):
        folder = tmp_path / name
        folder.mkdir()
        preset = _preset(folder, name, steps=3, checkpoint_every=1, keep_checkpoints=3)
        run = distill(preset, out=folder / "run", device="cpu")
        states[name] = [
            torch.load(path)["task"]
            for path in sorted((run.directory / "checkpoints").glob("step-*.pt"))
        ]
        exported = load_file(run.directory / "student.safetensors")
        assert not [key for key in exported if "generator" in key or "history" in key]
    key = "methods.0.generator.first.weight"
    first, second, third = (state[key] for state in states["data-free"])
    assert not torch.equal(first, second)
    assert torch.equal(second, third)
    moments = states["data-free"][2]["methods.0._extra_state"]["optimizer"]["state"]
    assert moments[0]["exp_avg"].abs().max() > 0
    key = "methods.0.history.intro.weight"
    first, second, third = (state[key] for state in states["dynamic-contrast"])
    assert not torch.equal(first, second)
    assert torch.equal(second, third)


@pytest.mark.parametrize("name", METHODS)
def test_every_term_has_a_gradient_where_it_trains(tmp_path: Path, name: str) -> None:
    rows = audit_preset(_preset(tmp_path, name), device="cpu")
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    own = [row["term"] for row in rows if row["trains"] == "method"]
    assert own == (["aggregation"] if name == "multi-teacher" else [])


@pytest.mark.parametrize("name", METHODS)
def test_a_plan_costs_no_teacher(tmp_path: Path, name: str) -> None:
    """Planned on the meta device, with weights that are not there yet."""
    content = _content(tmp_path, name)
    for spec in (content["teacher"], *content["methods"][0].get("teachers", [])):
        spec["weights"] = "later.safetensors"
    plan = describe_plan(validate(content, name))
    assert plan["memory_estimate_mib"] > 0


def test_distill_command_with_two_teachers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = _content(tmp_path, "multi-teacher", steps=2, log_every=1)
    file, run = tmp_path / "two.yaml", tmp_path / "run"
    file.write_text(yaml.safe_dump(content))
    arguments = ["distill", "--preset", str(file), "--device", "cpu"]

    def call(*more: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as end:
            main([*arguments, *more])
        return int(end.value.code or 0), "".join(capsys.readouterr())

    code, printed = call("--out", str(run))
    assert code == 0, printed
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    terms = [entry["terms"] for entry in log if entry["kind"] == "train"]
    assert terms[0].keys() == {"reconstruction", "distillation", "aggregation"}
    # What is kept of the preset is enough to read it again.
    kept = yaml.safe_load((run / "preset.yaml").read_text())
    assert kept["methods"][0]["teachers"][0]["width"] == 8

    code, printed = call("--set", "methods.0.teachers.0.width=6")
    assert code == 2
    assert "second.safetensors does not fit the NAFNet network" in printed.replace("\n", " ")
    code, printed = call("--set", "methods.0.teachers.0.weights=missing.pth")
    assert code == 2
    assert "no model 'missing.pth'" in printed.replace("\n", " ")
    code, printed = call("--set", "methods.0.teachers.0.arch=restormr")
    assert code == 2
    assert "Did you mean 'restormer'?" in printed.replace("\n", " ")
    code, printed = call("--set", "methods.0.teachers=[]")
    assert code == 2
    assert "methods.0.teachers" in printed


def test_trained_parts_stay_alike_in_two_processes(tmp_path: Path) -> None:
    """Trap R, for parts that the main optimizer trains and for those that a method trains."""
    files = []
    for name in METHODS:
        folder = tmp_path / name
        folder.mkdir()
        files.append(folder / "preset.yaml")
        files[-1].write_text(yaml.safe_dump(_content(folder, name)))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    script = Path(__file__).with_name("two_processes.py")
    done = subprocess.run(
        [*launch, str(script), *map(str, files)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    moved = dict(zip(METHODS, done.stdout.splitlines(), strict=True))
    # A history of the student has been refreshed at the second step: all of it has moved too.
    for name, line in moved.items():
        _, count, _, total, _ = line.split()
        assert int(count) > 0.9 * int(total), (name, line)


class _OwnParameters(MethodParameters):
    name: str = "own"


class _Own(Method):
    """A method that trains one parameter by itself and another with the student."""

    def __init__(self, parameters: MethodParameters) -> None:
        super().__init__(parameters)
        self.needs = Needs(teacher=True)
        self.term_weights = {"distance": 1.0}
        self.mine = torch.nn.Parameter(torch.zeros(3))
        self.shared = torch.nn.Parameter(torch.zeros(3))
        self.seen: list[Any] = []

    def forward(self, context: Any) -> dict[str, torch.Tensor]:
        shift = (self.mine + self.shared).view(3, 1, 1)
        return {"distance": (context.restored + shift - context.teacher_restored).abs().mean()}

    def own_parameters(self) -> list[torch.nn.Parameter]:
        return [self.mine]

    def after_step(self, interlude: Any, step: int) -> None:
        trained = [p.requires_grad for p in interlude.student.parameters()]
        images = interlude.degraded.clone().requires_grad_()
        gradients = [
            torch.autograd.grad(run(images).sum(), images)[0]
            for run in (interlude.run_student, interlude.run_teacher)
        ]
        self.seen.append((step, interlude, any(trained), gradients))


def _own_task(value_range: tuple[float, float] = (0.0, 1.0), **options: Any) -> DistillTask:
    preset = validate({**tiny_content(), "teacher": {**NETWORK, "width": 6}}, "tiny")
    torch.manual_seed(0)
    student = build_network(preset.student.model_copy(update={"value_range": value_range}))
    return DistillTask(student, [_Own(_OwnParameters(**options))], build_network(preset.teacher))


def test_own_parameters_are_left_out_of_the_main_optimizer() -> None:
    task = _own_task()
    method = task.methods[0]
    trained = {id(parameter) for parameter in task.trained_parameters()}
    assert id(method.mine) not in trained
    assert id(method.shared) in trained
    assert {id(p) for p in task.student.parameters()} < trained
    # They are wrapped and saved with everything else all the same.
    assert {id(p) for p in task.parameters()} - trained == {id(method.mine)}
    assert "methods.0.mine" in task.state_dict()


def test_after_step_sees_the_images_and_networks_without_the_students_gradient() -> None:
    task = _own_task((-1.0, 1.0))
    degraded, reference = torch.rand(2, 2, 3, 16, 16)
    task.after_step(degraded, reference, step=5)
    ((step, interlude, trained, gradients),) = task.methods[0].seen
    assert step == 5
    assert not trained
    assert interlude.student is task.student
    assert torch.equal(interlude.degraded, 2 * degraded - 1)
    assert torch.equal(interlude.reference, 2 * reference - 1)
    for gradient in gradients:
        assert gradient.abs().max() > 0
    with torch.no_grad():
        torch.testing.assert_close(
            interlude.run_teacher(interlude.degraded), 2 * task.teacher(degraded) - 1
        )
    assert all(parameter.requires_grad for parameter in task.student.parameters())
    assert all(parameter.grad is None for parameter in task.parameters())


def test_after_step_is_for_methods_that_count() -> None:
    task = _own_task(start=3, stop=5)
    for step in range(8):
        task.after_step(*torch.rand(2, 1, 3, 16, 16), step)
    assert [entry[0] for entry in task.methods[0].seen] == [3, 4]


def test_images_of_a_method_are_those_of_all(tmp_path: Path) -> None:
    """Beside data-free, another method sees the generated images and their clean candidates."""
    content = _content(tmp_path, "data-free")
    content["methods"].append({"name": "none"})
    preset = validate(content, "two")
    student, teacher = build_network(preset.student), build_network(preset.teacher)
    task = build_task(student, preset.methods, teacher, preset.task)
    context = task.context(torch.zeros(2, 3, 16, 16), torch.zeros(2, 3, 16, 16), step=1)
    made, clean = task.methods[0].generate(2, 1, 0, 0)
    assert torch.equal(context.degraded, made)
    assert torch.equal(context.reference, clean)
    result = task(torch.zeros(2, 3, 16, 16), torch.zeros(2, 3, 16, 16), 2)
    assert result.terms.keys() == {"data-free.distillation", "none.reconstruction"}
