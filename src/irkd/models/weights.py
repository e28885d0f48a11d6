"""Loading and saving networks with their weights; finding what a user calls a model.

Weights come as irkd's own .safetensors, which say in their metadata which network they belong to,
or as checkpoints (.pth, .pt, .ckpt), whose network is read from the weights' names and shapes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from irkd.errors import IrkdError
from irkd.files import atomic_path, refuse_existing
from irkd.models.base import NetworkSpec, build_network, families, family
from irkd.models.state_dicts import damaged, read_state_dict, refuse_non_finite, some_of
from irkd.presets.messages import Known, describe
from irkd.registry import suggestion

FORMAT = 1
STUDENT_FILE = "student.safetensors"
# What restores images whose damage is not known: no network, but several.
GENERAL = "general"
MODEL_KINDS = (
    "a run directory, a .safetensors, .pth, .pt, .ckpt, .onnx or OpenVINO .xml file, or the name "
    "of a model that ships with irkd"
)

Kind = Literal["safetensors", "checkpoint", "onnx", "openvino"]
_KINDS: dict[str, Kind] = {
    ".safetensors": "safetensors",
    ".pth": "checkpoint",
    ".pt": "checkpoint",
    ".ckpt": "checkpoint",
    ".onnx": "onnx",
    ".xml": "openvino",
}


@dataclass(frozen=True)
class ResolvedModel:
    """A model as a file of one kind. `name` is what tables and file names call it."""

    kind: Kind
    path: Path
    name: str


def shipped_models() -> dict[str, Path]:
    """The weights that ship with irkd, by name."""
    folder = Path(str(resources.files("irkd"))) / "shipped"
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def resolve_model(model: str | Path) -> ResolvedModel:
    """Find what a user calls a model. Raises IrkdError when there is no such thing.

    The name of a shipped model comes before a file or folder of that name in the current folder,
    which can be given as ./NAME.
    """
    shipped = shipped_models()
    if str(model) in shipped:
        return ResolvedModel("safetensors", shipped[str(model)], str(model))
    path = Path(model).expanduser()
    if path.is_dir():
        return ResolvedModel("safetensors", _student_of(path), path.resolve().name)
    if not path.is_file():
        names = f" Shipped: {', '.join(shipped)}." if shipped else ""
        if str(model) == GENERAL:
            raise IrkdError(
                "general is no network of its own: irkd restore and irkd evaluate take the shipped"
                f" ones that each image needs. Name one here.{names}"
            )
        hint = suggestion(str(model), shipped)
        raise IrkdError(f"no model {str(model)!r}. Give {MODEL_KINDS}.{names}{hint}")
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise IrkdError(f"{path} is no kind of model that irkd knows. Give {MODEL_KINDS}.")
    if kind == "openvino" and not path.with_suffix(".bin").is_file():
        raise IrkdError(
            f"{path}: the weights of an OpenVINO model stand beside it in "
            f"{path.with_suffix('.bin').name}, which is missing."
        )
    return ResolvedModel(kind, path, path.stem)


def _student_of(directory: Path) -> Path:
    path = directory / STUDENT_FILE
    if path.is_file():
        return path
    if (directory / "preset.yaml").is_file():
        raise IrkdError(
            f"{directory} has no {STUDENT_FILE} yet: its training has not finished. "
            "Continue it with --resume."
        )
    raise IrkdError(
        f"{directory} is no run directory: it has no {STUDENT_FILE}. Give {MODEL_KINDS}."
    )


def load_network_file(
    path: str | Path, options: Mapping[str, object] | None = None, *, task: str | None = None
) -> nn.Module:
    """The network of a .safetensors or checkpoint file, with its weights, in float32 on the CPU.

    The network's options come from the file's metadata or, where it has none, from the names and
    shapes of its weights. What those do not tell is taken as the family's releases for `task` have
    it; the network's `assumptions` say in words what that was. `options` (an `arch`, a
    `value_range`, ...) take precedence where both are possible, and are an error where they
    contradict the weights.
    """
    path = Path(path)
    state_dict = read_state_dict(path)
    found = read_metadata(path).get("spec")
    assumptions: tuple[str, ...] = ()
    if found is None:
        found, assumptions = _assume(identify(state_dict, path), options or {}, task)
    network = _assemble(_make_spec(found, path, options), state_dict, path)
    network.assumptions = assumptions  # type: ignore[assignment]
    return network


def _assume(
    found: dict[str, object], asked: Mapping[str, object], task: str | None
) -> tuple[dict[str, object], tuple[str, ...]]:
    """The options `found` with what weights do not tell added, and why, for a user to read.

    What was `asked` for is not assumed.
    """
    said = []
    for assumption in family(str(found["arch"])).assume(found, task):
        options = assumption.options
        if "arch" in asked and asked["arch"] != options.get("arch", found["arch"]):
            continue
        if not set(options) <= set(asked):
            said.append(assumption.why)
        found = {**found, **options}
    return found, tuple(said)


def load_weights(network: nn.Module, model: str | Path) -> None:
    """Load the weights of `model` (see `resolve_model`) into a network of the same sizes.

    A network whose spec says `grow` takes those of a smaller one, too; `shrink`, of a larger one.

    Raises IrkdError when they do not fit, are damaged, or are meant for another value range.
    """
    resolved = resolve_model(model)
    if resolved.kind not in ("safetensors", "checkpoint"):
        raise IrkdError(
            f"{resolved.path}: weights cannot be read from {resolved.kind} files. Give "
            "the .safetensors or checkpoint that it was exported from."
        )
    spec: NetworkSpec = network.spec  # type: ignore[assignment]
    state_dict = read_state_dict(resolved.path)
    expected = network.state_dict()
    kind = family(spec.arch)
    for change, asked in ((kind.shrink, "shrink"), (kind.grow, "grow")):
        if change is not None and getattr(spec, asked, False):
            state_dict = change(state_dict, expected)
    _check(expected, spec, state_dict, resolved.path)
    meant = read_metadata(resolved.path).get("spec", {}).get("value_range")
    if meant is not None and tuple(meant) != spec.value_range:
        raise IrkdError(
            f"{resolved.path}: these weights work on pixel values {list(meant)}, but "
            f"the network is described with {list(spec.value_range)}. "
            f"Write value_range: {list(meant)}."
        )
    network.load_state_dict(state_dict, strict=False)


def save_network(
    path: str | Path,
    network: nn.Module,
    *,
    task: str | None,
    preset: str | None = None,
    training: Mapping[str, Any] | None = None,
    half: bool = False,
    overwrite: bool = False,
) -> None:
    """Write a network as .safetensors whose metadata say all that loading and using it needs.

    `half` stores float16 (half the size, about three digits); loading gives float32 again.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise IrkdError(f"{path}: networks are saved as .safetensors; give a name that ends so.")
    refuse_existing(path, overwrite)
    spec: NetworkSpec = network.spec  # type: ignore[assignment]
    tensors = {key: _stored(tensor, half) for key, tensor in network.state_dict().items()}
    refuse_non_finite(tensors, f"{path} is not written: the network")
    metadata = {
        "format": FORMAT,
        # Where its first weights came from is of no use elsewhere, and names a private path.
        "spec": spec.model_dump(mode="json", exclude={"weights", "grow", "shrink"}),
        "task": task,
        "preset": preset,
        "training": dict(training or {}),
    }
    text = json.dumps(metadata, sort_keys=True, allow_nan=False)
    with atomic_path(path, overwrite=overwrite) as temporary:
        safetensors.torch.save_file(tensors, temporary, metadata={"irkd": text})


def _stored(tensor: Tensor, half: bool) -> Tensor:
    if half and tensor.is_floating_point():
        tensor = tensor.half()
    return tensor.detach().cpu().contiguous()


def read_metadata(path: str | Path) -> dict[str, Any]:
    """What irkd wrote into a .safetensors: format, spec, task, preset, training.

    Empty for files that irkd did not make. Raises IrkdError for damaged or newer ones.
    """
    path = Path(path)
    if path.suffix.lower() != ".safetensors":
        return {}
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("irkd")
        metadata = {} if text is None else json.loads(text)
        if not isinstance(metadata, dict) or not isinstance(metadata.get("spec", {}), dict):
            raise ValueError("not an object")
    except safetensors.SafetensorError as error:
        raise damaged(path, error) from error
    except (ValueError, RecursionError) as error:
        raise IrkdError(f"{path}: its irkd metadata is damaged ({error}).") from error
    if metadata.get("format", FORMAT) != FORMAT:
        raise IrkdError(
            f"{path} has format {metadata['format']}; this irkd reads format {FORMAT}. "
            "A newer irkd wrote it: update irkd."
        )
    return metadata


def identify(state_dict: Mapping[str, Tensor], path: str | Path) -> dict[str, object]:
    """The `arch` and options that weights imply by their names and shapes.

    Raises IrkdError when they belong to no family.
    """
    strange = None
    for name, entry in families().items():
        try:
            options = entry.read_spec(state_dict)
        except (LookupError, ValueError, ArithmeticError, TypeError):
            # The keys are this family's, the shapes are not.
            strange = entry.title
            continue
        if options is not None:
            return {"arch": name, **options}
    if strange is not None:
        raise IrkdError(
            f"{path}: its weights are named as {strange}'s, but their shapes make none."
        )
    titles = ", ".join(entry.title for entry in families().values())
    raise IrkdError(
        f"{path} holds weights of no family that irkd knows ({titles}). "
        f"It holds {some_of(list(state_dict))}."
    )


def _make_spec(
    found: Mapping[str, object], path: Path, asked: Mapping[str, object] | None = None
) -> NetworkSpec:
    """The spec of the options `found` in a file, overruled by those `asked` for."""
    asked = asked or {}
    arch = asked.get("arch", found.get("arch"))
    known_arch = isinstance(arch, str) and arch in families()
    if not known_arch and "arch" not in asked:
        raise IrkdError(f"{path} says it holds a network {arch!r}, which this irkd does not know.")
    entry = family(str(arch))
    if arch != found.get("arch"):
        # Of another family's options, those that both have (NAFNet's two poolings: all sizes).
        found = {name: value for name, value in found.items() if name in entry.spec.model_fields}
    try:
        return entry.spec.model_validate({**found, **asked, "arch": arch})
    except ValidationError as error:
        known: Known = {(): list(entry.spec.model_fields)}
        what = f"{path} makes no {entry.title} network"
        raise IrkdError(describe(error, what, known)) from error


def _assemble(spec: NetworkSpec, state_dict: dict[str, Tensor], path: Path) -> nn.Module:
    # Compared before anything is allocated: a file can claim any size.
    with torch.device("meta"):
        expected = build_network(spec).state_dict()
    _check(expected, spec, state_dict, path)
    # Loading must not shift the random numbers of what comes after it.
    with torch.random.fork_rng(devices=[]):
        network = build_network(spec)
    network.load_state_dict(state_dict, strict=False)
    return network


def _check(
    expected: Mapping[str, Tensor],
    spec: NetworkSpec,
    state_dict: Mapping[str, Tensor],
    path: Path,
) -> None:
    """Raise IrkdError unless `state_dict` fits a network with the state dict `expected`."""
    # Integer buffers (Uformer's relative positions) are constants that a file may lack.
    missing = [
        key for key in expected if key not in state_dict and expected[key].is_floating_point()
    ]
    unexpected = [key for key in state_dict if key not in expected]
    shapes = [
        f"{key} {list(state_dict[key].shape)} for {list(expected[key].shape)}"
        for key in expected
        if key in state_dict and state_dict[key].shape != expected[key].shape
    ]
    if not (missing or unexpected or shapes):
        return
    details = "; ".join(
        f"{len(keys)} {what}: {some_of(keys)}"
        for keys, what in (
            (missing, "missing"),
            (unexpected, "unexpected"),
            (shapes, "of another shape"),
        )
        if keys
    )
    why = _contradiction(spec, state_dict, path) or f"Weights {details}."
    raise IrkdError(f"{path} does not fit the {family(spec.arch).title} network. {why}")


def _contradiction(spec: NetworkSpec, state_dict: Mapping[str, Tensor], path: Path) -> str:
    """How the network that the weights belong to differs from the one they should fit."""
    try:
        found = identify(state_dict, path)
        found_spec = _make_spec(found, path)
    except IrkdError:
        return ""
    if not set(found) - {"arch"} <= set(type(spec).model_fields):
        return f"Its weights are {family(found_spec.arch).title}'s."
    differences = [
        f"{name} {_plain(getattr(found_spec, name))} and {_plain(getattr(spec, name))}"
        for name in found
        if name != "arch" and getattr(found_spec, name) != getattr(spec, name)
    ]
    if not differences:
        return ""
    return (
        f"The file and the network asked for have {', '.join(differences)}. Give the network what"
        " the file has (in a preset, --set teacher.NAME=VALUE or student.NAME=VALUE)."
    )


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
