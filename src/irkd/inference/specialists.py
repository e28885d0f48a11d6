"""Which model restores an image: the one named, a task's, or those that its damage asks for.

The last is what happens when nothing else is said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
import safetensors
from numpy.typing import NDArray
from torch import nn

from irkd.environment import choose_device
from irkd.errors import IrkdError
from irkd.inference.backends import RuntimeNetwork, load_network
from irkd.inference.degradation import degradation_of, said_haze
from irkd.inference.judge import MODELS, judge_file, trained_judge
from irkd.inference.picture import Pixels, change_depth, to_float
from irkd.inference.restorer import Restorer
from irkd.models.weights import GENERAL, read_metadata, shipped_models
from irkd.presets.schema import Task

AUTO = "auto"
DEHAZE = "dehaze"

Tile = Literal["auto", "off"] | int

# Of tiles on the CPU, where larger ones are no faster. Networks that judge by their surroundings
# need context: tiles of a NAFNet with local pooling differed from the whole by 13 of 255 levels at
# 512 pixels a side, by less than 0.1 from 768 on.
LARGEST_TILE = 1024
# Names of models that show something and are not meant for photographs.
_DEMONSTRATION = "demo"


@dataclass(frozen=True)
class Choice:
    """What restores an image: `models`, one after the other; it stays as it is where there are no
    `restorers`. `found`: the tasks that its damage
    asks for, where it was judged; `reason` says in words why. `sure`: how far it is known that
    there is the damage that the first of them is for (`Restorer`), None where that is not known."""

    restorers: tuple[Restorer, ...]
    models: tuple[str, ...]
    found: tuple[str, ...] = ()
    reason: str | None = None
    sure: float | None = None

    def restore(
        self, degraded: Pixels, watch: Callable[[float], None] | None = None
    ) -> NDArray[np.float32]:
        """H x W x 3 of any depth to H x W x 3 float32, not clamped; `watch` is called with the
        share that is done, up to 1."""
        if not self.restorers:
            return to_float(degraded)
        restored: Any = degraded
        for place, restorer in enumerate(self.restorers):
            if place:
                restored = change_depth(np.clip(restored, 0, 1, out=restored), np.uint16)
            restorer.watch = self._watch(watch, place)
            try:
                restored = restorer(restored, sure=None if place else self.sure)
            finally:
                restorer.watch = None
        return restored

    def _watch(
        self, watch: Callable[[float], None] | None, place: int
    ) -> Callable[[float], None] | None:
        if watch is None:
            return None
        return lambda share: watch((place + share) / len(self.restorers))

    @property
    def tile(self) -> tuple[int, int] | None:
        """Height and width of the tiles that were used last; None for the whole image."""
        return self.restorers[-1].last_tile if self.restorers else None


# Of an image that is to stay as it is.
NOTHING = Choice((), ())


class Chooser(Protocol):
    """Chooses for each image."""

    def choose(self, pixels: Pixels) -> Choice: ...

    @property
    def device(self) -> str: ...


class OneModel:
    """The same model for every image."""

    def __init__(self, restorer: Restorer, model: str) -> None:
        self.restorer, self.model = restorer, model

    def choose(self, pixels: Pixels) -> Choice:
        return Choice((self.restorer,), (self.model,))

    @property
    def device(self) -> str:
        return str(self.restorer.device)


class SaidHaze(OneModel):
    """The model for haze, where somebody says that there is some: how much, irkd's judge says, or
    nobody is asked, since they are `sure`."""

    def __init__(self, restorer: Restorer, model: str, sure: bool) -> None:
        super().__init__(restorer, model)
        self.sure = sure

    def choose(self, pixels: Pixels) -> Choice:
        if self.sure:
            return Choice((self.restorer,), (self.model,), sure=1.0)
        believed = said_haze(pixels, lambda _, square, sure: self.restorer(square, sure=sure))
        if believed == 0:
            stays = "no haze found, it stays as it was (sure there is some: --sure)"
            return Choice((), (self.model,), reason=stays)
        return Choice((self.restorer,), (self.model,), sure=believed)


class Specialists:
    """The shipped models for the damage that each image shows, one after the other: `general`."""

    def __init__(self, open_model: Callable[[str], Restorer], device: str) -> None:
        self._open = open_model
        self.device = device
        self._names: dict[str, str] = {}
        for task in MODELS:
            name = choose_model(task)
            if name is None:
                raise IrkdError(f"no model for {task} ships with this irkd. Name one with --model.")
            self._names[task] = name
        # Opened before the work, so that options which no model takes are refused once.
        self._opened = {self._names[MODELS[0]]: open_model(self._names[MODELS[0]])}

    def choose(self, pixels: Pixels) -> Choice:
        found = degradation_of(
            pixels, lambda task, square, sure: self._restorer(task)(square, sure=sure)
        )
        models = tuple(self._names[task] for task in found.tasks)
        restorers = tuple(self._restorer(task) for task in found.tasks)
        return Choice(restorers, models, found.tasks, found.reason, found.sure)

    def __call__(self, image: Pixels) -> NDArray[np.float32]:
        """As `Restorer` does: of any depth to H x W x 3 float32, not clamped."""
        return self.choose(image).restore(image)

    @property
    def network(self) -> nn.ModuleDict:
        """All of it: the judge and the networks between which it chooses."""
        networks = {task: self._restorer(task).network for task in MODELS}
        return nn.ModuleDict({"judge": trained_judge(), **networks})

    def _restorer(self, task: str) -> Restorer:
        name = self._names[task]
        if name not in self._opened:
            self._opened[name] = self._open(name)
        return self._opened[name]


def open_chooser(
    model: str | Path | None,
    *,
    task: str | None = None,
    tile: Tile = "auto",
    overlap: int | None = None,
    backend: str = "auto",
    device: str = "auto",
    options: Mapping[str, object] | None = None,
    sure: bool = False,
) -> Chooser:
    """What restores: `model`, or the shipped model for `task`. With neither, with "general", and
    where no model ships for the task, those that each image's damage asks for. `sure`: that there
    is haze, where that is the task: it is not judged."""
    chosen = choose_device(device)

    def open_restorer(name: str | Path, task: str | None = None) -> Restorer:
        network = load_network(name, backend=backend, device=device, task=task, options=options)
        # A runtime computes on its own device and exchanges arrays on the CPU.
        place = "cpu" if isinstance(network, RuntimeNetwork) else chosen
        return Restorer(
            network, device=place, tile=tile, overlap=overlap, largest_tile=LARGEST_TILE
        )

    if task == AUTO and model is not None:
        raise IrkdError("task auto chooses the model; name a model, or a task, not both.")
    if model is not None and task is not None:
        _refuse_other_task(str(model), task)
    name = choose_model(task) if model is None else model
    if name is None or name == GENERAL:
        if sure:
            raise IrkdError(f"sure of what? It goes with --task {DEHAZE}.")
        return Specialists(open_restorer, str(chosen))
    if name == DEHAZE:
        return SaidHaze(open_restorer(DEHAZE, task), DEHAZE, sure)
    if sure:
        raise IrkdError(f"sure is for {DEHAZE}, which asks whether there is haze; {name} does not.")
    return OneModel(open_restorer(name, task), str(name))


def _refuse_other_task(model: str, task: str) -> None:
    """A shipped model has its task; of other weights a task says how they were trained."""
    if model == GENERAL and task != GENERAL:
        raise IrkdError(f"general judges what each image needs; name task {task} alone.")
    path = shipped_models().get(model)
    stated = task if path is None else read_metadata(path).get("task")
    if stated != task:
        raise IrkdError(f"{model} is for {stated}, not {task}; name a model, or a task, not both.")


def choose_model(task: str | None) -> str | None:
    """The shipped model for `task`: the one of its name, else one that states it; None where there
    is none, or no single one is meant."""
    known = (*get_args(Task), AUTO)
    if task is not None and task not in known:
        raise IrkdError(f"unknown task {task!r}. Known: {', '.join(known)}.")
    if task in (None, AUTO, GENERAL):
        return None
    shipped = shipped_models()
    if task in shipped:
        return task
    for name, path in shipped.items():
        if not name.startswith(_DEMONSTRATION) and read_metadata(path).get("task") == task:
            return name
    return None


def describe_shipped() -> list[dict[str, Any]]:
    """The models that ship with irkd: name, task, arch, parameters, size, from their files. Of
    `general` the judge alone, for it takes the others."""
    rows = []
    for name, path in (shipped_models() | {GENERAL: judge_file()}).items():
        metadata = read_metadata(path) or {"task": GENERAL, "spec": {"arch": "judge"}}
        with safetensors.safe_open(path, framework="np") as file:
            shapes = [file.get_slice(key).get_shape() for key in file.keys()]  # noqa: SIM118
        rows.append(
            {
                "name": name,
                "task": metadata.get("task"),
                "arch": metadata.get("spec", {}).get("arch"),
                "params_m": sum(int(np.prod(shape)) for shape in shapes) / 1e6,
                "file_mb": path.stat().st_size / 1e6,
            }
        )
    return rows
