"""The models that an evaluation compares, and what tables call them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import Any, Literal

from torch import nn

from irkd.errors import IrkdError
from irkd.inference.backends import RuntimeNetwork, load_network
from irkd.inference.restorer import Restorer
from irkd.inference.specialists import Specialists
from irkd.models.base import family, parameter_count
from irkd.models.weights import GENERAL
from irkd.profiling.macs import count_macs, on_meta
from irkd.registry import suggestion

Model = str | Path | nn.Module


@dataclass(frozen=True)
class Candidate:
    """A model that is ready to restore images, and what tables call it."""

    label: str
    source: str | None
    restorer: Restorer | Specialists
    task: str | None

    def cost(self, height: int, width: int) -> tuple[float | None, float | None]:
        """Parameters in millions and MACs in 1e9 for one image; None where nobody knows.

        Of exported files they are those of the network that the file's metadata names. What
        `general` takes goes by what the image shows.
        """
        network = self.restorer.network
        if isinstance(self.restorer, Specialists):
            return parameter_count(network) / 1e6, None
        if isinstance(network, RuntimeNetwork):
            described = _metadata(network).get("spec")
            if described is None:
                return None, None
            network = on_meta(family(described["arch"]).spec.model_validate(described))
        return parameter_count(network) / 1e6, count_macs(network, height, width) / 1e9


def open_models(
    models: Model | Sequence[Model] | Mapping[str, Model],
    *,
    backend: str = "auto",
    device: str = "cpu",
    tile: Literal["auto", "off"] | int = "auto",
    overlap: int | None = None,
    precision: Literal["fp32", "fp16", "bf16"] = "fp32",
    task: str | None = None,
    options: Mapping[str, object] | None = None,
) -> list[Candidate]:
    """Load every model. Those without a label are called by what tells their paths apart.

    `task` and `options` say what released weights do not tell of their networks. An option is for
    all models, or, as `LABEL.NAME`, for one.
    """
    named = models if isinstance(models, Mapping) else label_models(models)
    chosen = _options_by_label(options or {}, list(named))
    candidates = []

    def open_restorer(model: Model, label: str) -> Restorer:
        network = (
            model
            if isinstance(model, nn.Module)
            else load_network(
                str(model), backend=backend, device=device, task=task, options=chosen[label]
            )
        )
        return Restorer(network, device=device, tile=tile, overlap=overlap, precision=precision)

    for label, model in named.items():
        if isinstance(model, str) and model == GENERAL:
            several = Specialists(partial(open_restorer, label=label), device)
            candidates.append(Candidate(label, model, several, None))
            continue
        restorer = open_restorer(model, label)
        source = None if isinstance(model, nn.Module) else str(model)
        stated = _metadata(restorer.network).get("task")
        candidates.append(Candidate(label, source, restorer, stated))
    return candidates


def _options_by_label(
    options: Mapping[str, object], labels: Sequence[str]
) -> dict[str, dict[str, object]]:
    chosen: dict[str, dict[str, object]] = {label: {} for label in labels}
    for key, value in options.items():
        label, dot, name = key.rpartition(".")
        if dot and label not in chosen:
            hint = suggestion(label, labels)
            raise IrkdError(
                f"--set {key}: no model is called {label!r}.{hint} Models: {', '.join(labels)}."
            )
        for each in [label] if dot else labels:
            chosen[each][name] = value
    return chosen


def unique_labels(paths: Sequence[PurePath]) -> list[str]:
    """The shortest ends of paths that tell them apart (`a/student`, `b/student`).

    A path that comes again gets a number.
    """
    distinct = list(dict.fromkeys(paths))
    deepest = max((len(path.parts) for path in distinct), default=0)
    for depth in range(1, deepest + 1):
        labels = {path: "/".join(path.parts[-depth:]) for path in distinct}
        if len(set(labels.values())) == len(distinct):
            break
    seen: Counter[PurePath] = Counter()
    result = []
    for path in paths:
        seen[path] += 1
        result.append(labels[path] if seen[path] == 1 else f"{labels[path]} ({seen[path]})")
    return result


def label_models(models: Model | Sequence[Model]) -> dict[str, Model]:
    """Models by what tables call them: a run by its folder, a file by its name.

    Equal names get as much of their paths as tells them apart.
    """
    if isinstance(models, str | Path | nn.Module):
        models = [models]
    paths = []
    for model in models:
        if isinstance(model, nn.Module):
            paths.append(PurePath(type(model).__name__))
            continue
        path = Path(model).expanduser()
        if not path.exists():  # the name of a shipped model, or an error that loading will name
            paths.append(PurePath(model))
        elif path.is_dir():
            paths.append(PurePath(path.resolve()))
        elif path.with_name("preset.yaml").is_file() and path.stem == "student":
            # A run's student is known by its run.
            paths.append(PurePath(path.resolve().parent))
        else:
            paths.append(PurePath(path.resolve().with_suffix("")))
    return dict(zip(unique_labels(paths), models, strict=True))


def _metadata(network: nn.Module) -> Mapping[str, Any]:
    return getattr(network, "metadata", None) or {}
