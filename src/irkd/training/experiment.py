"""One run: what a preset's networks, data and device become, and the directory it leaves."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import torch
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn

from irkd.data.data_sets import published
from irkd.data.opening import BUILT_IN
from irkd.data.sampler import training_loader
from irkd.environment import describe_environment
from irkd.errors import IrkdError
from irkd.files import write_bytes, write_text
from irkd.metrics.protocols import choose_protocol
from irkd.models.base import build_network
from irkd.models.weights import load_weights, resolve_model, save_network
from irkd.presets.load import dump
from irkd.presets.schema import Preset
from irkd.report.run_directory import RunDirectory, command_line
from irkd.training.acceleration import build_accelerator
from irkd.training.batches import unit_images
from irkd.training.checkpoint import any_completed
from irkd.training.observer import Observer
from irkd.training.plan import needs_teacher, plan_steps
from irkd.training.sources import open_training_pairs
from irkd.training.specialists import Specialists, require_outputs_alone
from irkd.training.suitability import refuse_impossible
from irkd.training.task import DistillTask, build_task
from irkd.training.teacher_outputs import TeacherOutputs, check_context, context_of
from irkd.training.teachers import load_teacher, with_teacher_weights
from irkd.training.trainer import Hooks, Outcome, Trainer
from irkd.training.validation import sample_picture, score

# Before training, so many images show a wrong weight file or value range without a long wait.
_SANITY_IMAGES = 2


@dataclass
class RunResult:
    """What a run left behind; `scores` of the last validation, {} where there was none."""

    directory: Path
    step: int
    steps: int
    stopped: str | None = None
    scores: dict[str, float] = field(default_factory=dict)


class Experiment:
    """Networks, data and device of one run, built from its preset in a fixed order.

    Raises IrkdError for everything in the preset that a user can mend.
    """

    def __init__(self, preset: Preset, device: str, observer: Observer) -> None:
        preset = with_teacher_weights(preset, observer.note)
        self.preset, self.observer = preset, observer
        training = preset.training
        self.accelerator = build_accelerator(preset.training, device, observer)
        refuse_impossible(preset, self.accelerator.device)
        seed = training.seed
        self.train_pairs, self.validation_pairs = open_training_pairs(
            preset.data, preset.task, seed
        )
        unmatched = getattr(self.train_pairs, "unmatched", ())
        if unmatched:
            observer.note(
                f"{len(unmatched)} files of {self.train_pairs.name} have no partner and are left"
                f" out, {unmatched[0]} among them (see `irkd data inspect`)"
            )
        known = getattr(self.train_pairs, "data_set", None)
        if known is not None and preset.task not in (known.task, "general"):
            observer.note(f"{known.title} is for {known.task}; the preset trains {preset.task}")
        self.steps, self.epochs = plan_steps(
            preset, len(self.train_pairs), self.accelerator.num_processes
        )
        torch.manual_seed(seed)
        # First of all that is random, so that every method starts from the same student.
        student = build_network(preset.student)
        if preset.student.weights is not None:
            load_weights(student, resolve_model(preset.student.weights).path)
        teacher: nn.Module | None = None
        self.teacher_sha256: str | None = None
        if needs_teacher(preset):
            teacher, self.teacher_sha256 = load_teacher(preset, observer.note)
        torch.manual_seed(seed + 1)
        self.task: DistillTask = build_task(student, preset.methods, teacher, preset.task)
        _check_patch(preset, self.task)
        self.outputs = self._teacher_outputs()
        self.specialists = self._specialists()
        built_in = self.validation_pairs is not None and self.validation_pairs.name in BUILT_IN
        choice = choose_protocol(
            preset.evaluation.protocol,
            task=preset.task,
            built_in=built_in,
            published=published(self.validation_pairs),
            asked="as the preset says",
        )
        self.protocol, self.protocol_reason = choice.protocol.name, choice.reason

    def first_batch(self) -> dict[str, Tensor]:
        """The crops of the first step as the task takes them, with the task on their device."""
        device = self.accelerator.device
        self.task.to(device)
        batch = next(iter(self.loader(0)))
        images = unit_images(batch, device)
        images.pop("teacher_restored", None)
        if self.specialists is not None:
            taught = self.specialists.restored(images["degraded"], batch.get("damages"))
            images["teacher_restored"] = taught
        return images

    def _specialists(self) -> Specialists | None:
        preset = self.preset
        if not preset.specialists or self.teacher_sha256 is None:
            return None
        if self.outputs is not None:
            raise IrkdError(
                "specialists see the crops of each step, which must not be mixed with a cache of"
                " outputs for full images. Train with --cache-teacher off."
            )
        require_outputs_alone(self.task)
        assert self.task.teacher is not None
        return Specialists(preset.specialists, self.task.teacher, self.accelerator.device)

    @property
    def _identity(self) -> dict[str, Any]:
        """What a resumed run must find again: the teacher, and the specialists beside it."""
        if self.specialists is None:
            return {"teacher_sha256": self.teacher_sha256}
        return {"teacher_sha256": f"{self.teacher_sha256} {self.specialists.sha256}"}

    def _teacher_outputs(self) -> TeacherOutputs | None:
        if self.preset.data.teacher_cache == "off":
            return None
        if self.teacher_sha256 is None:
            self.observer.note("no method learns from the teacher: none of its outputs are kept")
            return None
        accelerator = self.accelerator
        return TeacherOutputs(
            self.preset,
            self.train_pairs,
            self.task,
            self.teacher_sha256,
            accelerator.device,
            self.observer,
            (accelerator.process_index, accelerator.num_processes),
        )

    def _prepare_outputs(self, directory: RunDirectory, resume: bool) -> None:
        """Before anything is written, so that the same command may go on after an interruption."""
        if resume:
            before = directory.manifest()
            taught = "crop" if before["teacher"] is not None else None
            now = context_of(self.preset, self.task)
            check_context(now, before.get("teacher_context", taught))
        if self.outputs is None:
            return
        try:
            self.outputs.prepare()
        except BaseException:
            if not resume:
                directory.drop_if_empty()
            raise
        self.accelerator.wait_for_everyone()

    def loader(self, start_step: int) -> Any:
        training = self.preset.training
        outputs = self.outputs
        return training_loader(
            outputs.pairs if outputs is not None and outputs.ready else self.train_pairs,
            patch=training.patch,
            batch_size=training.batch_size,
            steps=self.steps,
            start_step=start_step,
            seed=training.seed,
            workers=self.preset.data.workers,
            rank=self.accelerator.process_index,
            world_size=self.accelerator.num_processes,
            repeat=self.preset.data.repeat,
        )

    def run(
        self,
        out: Path | None,
        resume: bool,
        max_seconds: float | None,
        allow_teacher_change: bool,
        check_first: bool,
    ) -> RunResult:
        directory = self._directory(out, resume)
        self._prepare_outputs(directory, resume)
        main = self.accelerator.is_main_process
        lock = directory.locked() if main else nullcontext()
        with lock:
            # A run killed before its first checkpoint is begun again: nothing of it would be lost.
            continues = resume and any_completed(directory.checkpoints)
            if main and not continues:
                directory.write_preset(dump(self.preset), overwrite=resume)
                directory.write_manifest(self._manifest(), overwrite=resume)
            trainer = Trainer(
                self.task,
                self.preset.training,
                self.steps,
                directory,
                self.accelerator,
                self._hooks(directory),
                self._identity,
                self.observer,
            )
            if continues:
                trainer.resume(allow_teacher_change=allow_teacher_change)
                self.observer.note(f"resuming {directory.path} after step {trainer.step}")
            elif resume:
                self.observer.note(f"{directory.path} has no checkpoint yet: beginning again")
            elif main and check_first:
                self._sanity_check(directory)
            self.accelerator.wait_for_everyone()
            outcome = trainer.train(max_seconds)
            if main and outcome.stopped != "signal":
                _write_report(directory, self, outcome)
        return RunResult(
            directory.path, outcome.step, outcome.steps, outcome.stopped, outcome.scores
        )

    def _directory(self, out: Path | None, resume: bool) -> RunDirectory:
        """Chosen by the main process alone, so that all processes agree on the name."""
        chosen: list[Any] = [None]
        if self.accelerator.is_main_process:
            if resume:
                run = RunDirectory.latest() if out is None else RunDirectory.open(out)
            else:
                run = RunDirectory.create(out, self.preset.name)
            chosen = [str(run.path)]
        if self.accelerator.num_processes > 1:
            broadcast_object_list(chosen)
        return RunDirectory(Path(chosen[0]))

    def _manifest(self) -> dict[str, Any]:
        teacher = self.preset.teacher
        return {
            "command": command_line(),
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "preset": self.preset.name,
            "task": self.preset.task,
            "seed": self.preset.training.seed,
            "steps": self.steps,
            "epochs": self.epochs,
            "training_pairs": len(self.train_pairs),
            "training_data": self.train_pairs.name,
            "validation_data": None
            if self.validation_pairs is None
            else self.validation_pairs.name,
            "protocol": self.protocol,
            "protocol_reason": self.protocol_reason,
            "precision": self.accelerator.mixed_precision,
            "processes": self.accelerator.num_processes,
            "teacher": None
            if self.teacher_sha256 is None
            else {"arch": teacher.arch, "weights": teacher.weights, "sha256": self.teacher_sha256},
            "specialists": {} if self.specialists is None else dict(self.preset.specialists),
            "teacher_context": context_of(self.preset, self.task),
            "teacher_cache": None if self.outputs is None else self.outputs.description(),
            **describe_environment(str(self.accelerator.device)),
        }

    def _hooks(self, directory: RunDirectory) -> Hooks:
        pairs, device = self.validation_pairs, self.accelerator.device

        def validate(network: nn.Module, step: int) -> dict[str, float]:
            if pairs is None:
                return {}
            scores = score(network, pairs, self.protocol, device, self.preset.data.validation_limit)
            self.observer.note(
                f"step {step}: validation PSNR {scores['psnr_db']:.2f} dB,"
                f" SSIM {scores['ssim']:.4f} ({self.protocol})"
            )
            return scores

        def sample(network: nn.Module, step: int) -> None:
            shown = self.train_pairs if pairs is None else pairs
            picture = sample_picture(network, self.task.teacher, shown, device)
            # Encoded in memory: OpenCV would hide why a file could not be written.
            _, png = cv2.imencode(".png", picture[..., ::-1])
            path = directory.samples / f"step-{step:08d}.png"
            write_bytes(path, png.tobytes(), overwrite=True)

        def keep(network: nn.Module, step: int, scores: dict[str, float]) -> None:
            summary = {
                "step": step,
                "steps": self.steps,
                "methods": [method.name for method in self.preset.methods],
                "data": self.train_pairs.name,
                "seed": self.preset.training.seed,
                "protocol": self.protocol,
                **scores,
            }
            save_network(
                directory.student,
                network,
                task=self.preset.task,
                preset=self.preset.name,
                training=summary,
                overwrite=True,
            )

        teach = None if self.specialists is None else self.specialists.restored
        return Hooks(self.loader, validate, sample, keep, teach)

    def _sanity_check(self, directory: RunDirectory) -> None:
        """Score degraded images, teacher and untouched student: mistakes show before hours pass."""
        if self.validation_pairs is None:
            return
        networks = {"degraded input": None, "untouched student": self.task.student}
        if self.task.teacher is not None:
            networks["teacher"] = self.task.teacher
        self.observer.note(
            f"validation on {self.validation_pairs.name}, protocol {self.protocol}:"
            f" {self.protocol_reason}"
        )
        limit = min(_SANITY_IMAGES, self.preset.data.validation_limit)
        rows: list[dict[str, Any]] = []
        for name, network in networks.items():
            scores = score(
                network, self.validation_pairs, self.protocol, self.accelerator.device, limit
            )
            rows.append({"network": name, **scores})
        self.observer.table(f"before training, {limit} validation images ({self.protocol})", rows)
        directory.append_log({"kind": "before", "step": 0, "images": limit, "rows": rows})
        if self.task.teacher is not None and rows[-1]["psnr_db"] < rows[0]["psnr_db"]:
            self.observer.note(
                "warning: the teacher scores below its degraded input. Wrong weights, task or"
                " value range?"
            )


def _check_patch(preset: Preset, task: DistillTask) -> None:
    for role, network in (("student", task.student), ("teacher", task.teacher)):
        if network is None:
            continue
        multiple: int = network.size_multiple  # type: ignore[assignment]
        if preset.training.patch % multiple:
            raise IrkdError(
                f"training.patch {preset.training.patch} must be a multiple of {multiple} for the"
                f" {role}."
            )


def _write_report(directory: RunDirectory, experiment: Experiment, outcome: Outcome) -> None:
    """report.md: a page for whoever opens the folder later."""
    preset = experiment.preset
    lines = [
        f"# {preset.title or preset.name}",
        "",
        f"- task: {preset.task}; methods: {', '.join(m.name for m in preset.methods)}",
        f"- steps: {outcome.step} of {outcome.steps}"
        + (f" (stopped: {outcome.stopped})" if outcome.stopped else ""),
        f"- training data: {experiment.train_pairs.name}, {len(experiment.train_pairs)} pairs;"
        f" seed {preset.training.seed}",
    ]
    if outcome.scores and experiment.validation_pairs is not None:
        images = min(preset.data.validation_limit, len(experiment.validation_pairs))
        lines.append(
            f"- validation ({experiment.validation_pairs.name}, {images} images,"
            f" protocol {experiment.protocol}): PSNR {outcome.scores['psnr_db']:.2f} dB,"
            f" SSIM {outcome.scores['ssim']:.4f}"
        )
    lines += ["", f"Made by `{command_line()}`. Samples are in samples/.", ""]
    write_text(directory.path / "report.md", "\n".join(lines), overwrite=True)
