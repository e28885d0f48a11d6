"""The loop: steps, logs, samples, validation, checkpoints; stops and resumes without a trace."""

from __future__ import annotations

import math
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn

from irkd.errors import IrkdError
from irkd.presets.schema import TrainingSection
from irkd.report.run_directory import RunDirectory
from irkd.training.balance import balance_terms
from irkd.training.batches import unit_images
from irkd.training.checkpoint import load_newest, save_checkpoint
from irkd.training.observer import Observer
from irkd.training.optimization import build_average, build_optimizer, learning_rate
from irkd.training.task import DistillTask, StepResult

# A run whose loss is not finite this often in a row will not recover.
_NON_FINITE_LIMIT = 5
# Of the time between two lines of the log, and after how many steps it is said.
_MUCH_WAITING = 30.0
_SETTLED = 50

Batch = dict[str, Any]


@dataclass
class Hooks:
    """What the loop calls besides stepping; all run on the main process only.

    loader(start_step): the batches from `start_step` on. validate(network, step): scores by metric.
    sample(network, step): writes a sample grid. keep(network, step, scores): writes the student.
    teach(degraded, damages), which all processes call: the outputs that the crops' teachers give.
    """

    loader: Callable[[int], Iterable[Batch]]
    validate: Callable[[nn.Module, int], dict[str, float]]
    sample: Callable[[nn.Module, int], None]
    keep: Callable[[nn.Module, int, dict[str, float]], None]
    teach: Callable[[Tensor, Sequence[str] | None], Tensor] | None = None


@dataclass
class Outcome:
    """How a run ended: after `step` of `steps`, `stopped` by a signal or the time limit."""

    step: int
    steps: int
    stopped: str | None = None
    scores: dict[str, float] = field(default_factory=dict)


class Trainer:
    """Trains `task` for `steps` optimizer steps.

    Everything that decides a step (weights, averages, optimizer, scaler, random state) is in the
    checkpoint, and a batch is a function of the seed and its number: a resumed run ends with the
    same bits as an uninterrupted one.
    """

    def __init__(
        self,
        task: DistillTask,
        training: TrainingSection,
        steps: int,
        run: RunDirectory,
        accelerator: Accelerator,
        hooks: Hooks,
        identity: dict[str, Any],
        observer: Observer,
    ) -> None:
        self.training, self.steps, self.run = training, steps, run
        self.accelerator, self.hooks, self.observer = accelerator, hooks, observer
        self.identity = identity
        task.to(accelerator.device)
        optimizer = build_optimizer(task.trained_parameters(), training)
        self.average = build_average(task.student, training.average) if training.average else None
        self.task = task
        self.wrapped, self.optimizer = accelerator.prepare(task, optimizer)
        self.step = 0
        self.best: float | None = None
        self.elapsed = 0.0
        self.final_scores: dict[str, float] | None = None
        self._non_finite = 0
        self._stop: str | None = None
        self._told_of_waiting = False

    @property
    def network(self) -> nn.Module:
        """The student that is validated and kept: the averaged one where there is an average."""
        if self.average is not None and self.step > 0:
            module: nn.Module = self.average.module
            return module
        return self.task.student

    def resume(self, *, allow_teacher_change: bool = False) -> None:
        """Take up the newest complete checkpoint of the run directory."""
        state = load_newest(self.run.checkpoints)
        changed = state["identity"]["teacher_sha256"] != self.identity["teacher_sha256"]
        if changed and not allow_teacher_change:
            raise IrkdError(
                "the teacher's weights are not those this run began with. Give the same file,"
                " or add --allow-teacher-change."
            )
        self.task.load_state_dict(state["task"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.step, self.best, self.elapsed = state["step"], state["best"], state["elapsed"]
        self.final_scores = state["final_scores"]
        torch.set_rng_state(state["rng"]["torch"])
        if torch.cuda.is_available() and state["rng"]["cuda"]:
            torch.cuda.set_rng_state_all(state["rng"]["cuda"])

    def train(self, max_seconds: float | None = None) -> Outcome:
        """Step until `steps`, a stop signal, or `max_seconds` of this call; then validate and save.

        The time limit counts whole training, over all resumes.
        """
        if self.step >= self.steps and self.final_scores is not None:
            return Outcome(self.step, self.steps, None, self.final_scores)
        scores: dict[str, float] = {}
        last_scored = -1
        self.wrapped.train()
        self.observer.started(self.step, self.steps)
        with self._stop_signals():
            if self.step == 0:
                self._on_main(lambda: self.hooks.sample(self.network, 0))
                if self.training.balance == "grad_norm_at_init":
                    self._balance()
            batches = iter(self.hooks.loader(self.step)) if self.step < self.steps else iter(())
            meter, losses = _Meter(self.elapsed), _Losses()
            while self.step < self.steps and self._stop is None:
                with meter.waiting():
                    batch = next(batches)
                result, gradient_norm = self._train_step(batch)
                self.step += 1
                self.elapsed = meter.elapsed()
                meter.count(len(batch["degraded"]))
                losses.add(result)
                entry = None
                if self.step % self.training.log_every == 0 or self.step in (1, self.steps):
                    entry = self._log(losses.read(), gradient_norm, meter)
                    self._tell_of_waiting(entry)
                self.observer.stepped(self.step, entry)
                if self.step in (100, 500):
                    self._on_main(lambda: self.hooks.sample(self.network, self.step))
                if self.step % self.training.validate_every == 0 and self.step < self.steps:
                    scores, last_scored = self._validate(), self.step
                if max_seconds is not None and self.elapsed >= max_seconds:
                    self._stop = "time"
                self._agree_to_stop()
                due = self.step % self.training.checkpoint_every == 0
                if due or self._stop is not None or self.step == self.steps:
                    self._save()
            if self._stop == "signal":
                self.observer.note(f"stopped by a signal; step {self.step} is saved")
            # A signal means: be gone soon. Reaching the end or the time limit means: finish well.
            if self._stop != "signal" and last_scored != self.step:
                scores = self._validate()
                self.final_scores = scores if self.step == self.steps else None
                self._save()
        self.observer.finished()
        return Outcome(self.step, self.steps, self._stop, scores)

    def _tell_of_waiting(self, entry: dict[str, Any]) -> None:
        """Say once that the data are the bottleneck; a run's first steps fill caches."""
        share = entry["data_wait_percent"]
        if self._told_of_waiting or self.step < _SETTLED or share < _MUCH_WAITING:
            return
        self._told_of_waiting = True
        self.observer.note(
            f"training waits for data {share:.0f} % of the time: a run with --set data.workers=N"
            " loads them in N processes beside it"
        )

    def _balance(self) -> None:
        """Scale the terms by their gradients on the first batch, alike in all processes."""
        images = self._images(next(iter(self.hooks.loader(0))))
        scales: list[Any] = [balance_terms(self.task, **images)]
        if self.accelerator.num_processes > 1:
            broadcast_object_list(scales)
        self.task.scales = scales[0]
        self._on_main(
            lambda: self.run.append_log({"kind": "balance", "step": 0, "scales": scales[0]})
        )

    def _train_step(self, batch: Batch) -> tuple[StepResult, float]:
        rate = learning_rate(self.training, self.step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)
        images = self._images(batch)
        parts = self.training.accumulate
        chunks = {name: each.chunk(parts) for name, each in images.items()}
        self.optimizer.zero_grad()
        results = []
        for part in range(parts):
            last = part == parts - 1
            with nullcontext() if last else self.accelerator.no_sync(self.wrapped):
                result = self.wrapped(
                    step=self.step, **{name: each[part] for name, each in chunks.items()}
                )
                # accelerate divides by the number of parts: the mean over the whole batch.
                self.accelerator.backward(result.loss)
                results.append(StepResult(result.loss.detach(), result.terms, {}))
        self.task.drop_untrained_gradients(self.step)
        limit = self.training.clip_norm or math.inf
        norm = self.accelerator.clip_grad_norm_(self.wrapped.parameters(), limit)
        result = _mean(results)
        # A loss scaler wants its step called every time: it skips by itself, and shrinks its scale.
        if self._is_finite(result, norm) or self.accelerator.scaler is not None:
            self.optimizer.step()
            if self.average is not None and not self.optimizer.step_was_skipped:
                self.average.update_parameters(self.task.student)
            self.task.after_step(images["degraded"], images["reference"], self.step)
        return result, float(norm) if norm is not None else math.nan

    def _images(self, batch: Batch) -> dict[str, Tensor]:
        """What the task takes, of a loader's batch."""
        images = unit_images(batch, self.accelerator.device)
        if self.hooks.teach is not None:
            with self.accelerator.autocast():
                taught = self.hooks.teach(images["degraded"], batch.get("damages"))
            images["teacher_restored"] = taught
        return images

    def _is_finite(self, result: StepResult, norm: Tensor | None) -> bool:
        """Whether to take this step; ends the run after too many losses that are not finite."""
        flag = torch.isfinite(result.loss).float().to(self.accelerator.device)
        if self.accelerator.scaler is None and norm is not None:
            # The loss scaler skips steps whose gradient overflowed by itself, and counts on seeing
            # them; without one, a gradient that is not finite must not reach the weights.
            flag = flag * torch.isfinite(norm).float()
        if self.accelerator.num_processes > 1:
            # All processes take a step or none does, or their weights part ways.
            flag = self.accelerator.reduce(flag, reduction="mean")
        finite = bool(flag == 1)
        self._non_finite = 0 if finite else self._non_finite + 1
        if self._non_finite >= _NON_FINITE_LIMIT:
            bad = [name for name, value in result.terms.items() if not bool(value.isfinite())]
            what = f"the term {bad[0]!r}" if bad else "the gradient"
            raise IrkdError(
                f"{what} was not finite for {_NON_FINITE_LIMIT} steps (up to step {self.step})."
                " Lower training.lr, set training.clip_norm, or train in fp32."
                f" The last checkpoint is in {self.run.checkpoints}."
            )
        return finite

    def _agree_to_stop(self) -> None:
        """One process that stops stops all: the others would wait for it for ever."""
        if self.accelerator.num_processes == 1:
            return
        codes = {None: 0.0, "time": 1.0, "signal": 2.0}
        flag = torch.tensor(codes[self._stop], device=self.accelerator.device)
        most = float(self.accelerator.gather(flag).max())
        self._stop = next(name for name, code in codes.items() if code == most)

    def _log(self, result: StepResult, gradient_norm: float, meter: _Meter) -> dict[str, Any]:
        entry = {
            "kind": "train",
            "step": self.step,
            "loss": float(result.loss),
            "terms": {name: float(value) for name, value in result.terms.items()},
            "lr": learning_rate(self.training, self.step - 1, self.steps),
            "gradient_norm": gradient_norm,
            "elapsed_s": round(self.elapsed, 3),
            "peak_memory_mib": _peak_memory_mib(self.accelerator.device),
            **meter.read(),
        }
        self._on_main(lambda: self.run.append_log(entry))
        return entry

    def _validate(self) -> dict[str, float]:
        scores: dict[str, float] = {}

        def validate() -> None:
            network = self.network
            was_training = network.training
            network.eval()
            scores.update(self.hooks.validate(network, self.step))
            self.hooks.sample(network, self.step)
            self._keep(network, scores)
            network.train(was_training)
            if scores:
                entry = {"kind": "validation", "step": self.step, "elapsed_s": self.elapsed}
                self.run.append_log({**entry, **scores})

        self._on_main(validate)
        self.accelerator.wait_for_everyone()
        return scores

    def _keep(self, network: nn.Module, scores: dict[str, float]) -> None:
        field_name = {"psnr": "psnr_db", "ssim": "ssim"}.get(self.training.select)
        if field_name is None or field_name not in scores:
            self.hooks.keep(network, self.step, scores)
        elif self.best is None or scores[field_name] > self.best:
            self.best = scores[field_name]
            self.hooks.keep(network, self.step, scores)

    def _save(self) -> None:
        def save() -> None:
            scaler = self.accelerator.scaler
            cuda = torch.cuda.is_available()
            state = {
                "step": self.step,
                "best": self.best,
                "elapsed": self.elapsed,
                "final_scores": self.final_scores,
                "identity": self.identity,
                "task": self.task.state_dict(),
                "average": self.average.state_dict() if self.average is not None else None,
                "optimizer": self.optimizer.state_dict(),
                "scaler": scaler.state_dict() if scaler is not None else None,
                "rng": {
                    "torch": torch.get_rng_state(),
                    "cuda": torch.cuda.get_rng_state_all() if cuda else [],
                },
            }
            save_checkpoint(self.run.checkpoints, self.step, state, self.training.keep_checkpoints)

        self._on_main(save)
        self.accelerator.wait_for_everyone()

    def _on_main(self, action: Callable[[], None]) -> None:
        if self.accelerator.is_main_process:
            action()

    @contextmanager
    def _stop_signals(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM end the run after the current step; a second Ctrl-C ends it now."""

        def stop(number: int, _frame: Any) -> None:
            if self._stop == "signal" and number == signal.SIGINT:
                raise KeyboardInterrupt
            # No more than this: a handler runs in the middle of anything, imports included.
            self._stop = "signal"

        numbers = (signal.SIGINT, signal.SIGTERM)
        try:
            before = {number: signal.signal(number, stop) for number in numbers}
        except ValueError:  # not the main thread, as in a server: signals stay with their owner
            yield
            return
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _Meter:
    """Images per second and the share of time spent waiting for data, since last read."""

    def __init__(self, elapsed_before: float) -> None:
        self._begin = time.perf_counter() - elapsed_before
        self._reset()

    def _reset(self) -> None:
        self._since, self._images, self._waited = time.perf_counter(), 0, 0.0

    def elapsed(self) -> float:
        return time.perf_counter() - self._begin

    def count(self, images: int) -> None:
        self._images += images

    @contextmanager
    def waiting(self) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self._waited += time.perf_counter() - begin

    def read(self) -> dict[str, float]:
        span = max(time.perf_counter() - self._since, 1e-9)
        values = {
            "images_per_s": round(self._images / span, 3),
            "data_wait_percent": round(100 * self._waited / span, 2),
        }
        self._reset()
        return values


class _Losses:
    """The mean loss and terms of the steps since last read: one batch says little.

    Sums stay where the losses are, so that adding does not wait for a GPU. Where a method takes
    part in some of the steps alone, a term's mean is over those.
    """

    def __init__(self) -> None:
        self._sums: dict[str | None, Tensor] = {}
        self._counts: dict[str | None, int] = {}

    def add(self, result: StepResult) -> None:
        values: list[tuple[str | None, Tensor]] = [(None, result.loss), *result.terms.items()]
        for name, tensor in values:
            value = tensor.detach()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def read(self) -> StepResult:
        means = {name: total / self._counts[name] for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        loss = means.pop(None)
        return StepResult(loss, {name: mean for name, mean in means.items() if name}, {})


def _mean(results: list[StepResult]) -> StepResult:
    """The mean over the parts of an accumulated batch."""
    if len(results) == 1:
        return results[0]
    loss = torch.stack([result.loss for result in results]).mean()
    terms = {
        name: torch.stack([result.terms[name] for result in results]).mean()
        for name in results[0].terms
    }
    return StepResult(loss, terms, {})


def _peak_memory_mib(device: torch.device) -> float:
    """The most memory held so far: of the GPU, or of this process."""
    if device.type == "cuda":
        return float(np.round(torch.cuda.max_memory_allocated(device) / 2**20, 1))
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return float(np.round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1))
