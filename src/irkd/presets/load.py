"""Reading presets: the library and a user's own files, `extends`, and `--set` overrides."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from irkd import registry
from irkd.errors import IrkdError
from irkd.presets.merge import merge
from irkd.presets.messages import Known, describe
from irkd.presets.schema import Preset, Release, Reported, preset_model
from irkd.presets.tasks import choose_task, inherited_tasks, task_names


def library() -> Path:
    """The folder of the presets that ship with irkd."""
    packaged = Path(__file__).parent / "library"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "presets"


def list_presets() -> list[str]:
    return sorted(path.stem for path in library().glob("*.yaml"))


def load_preset(
    name: str | Path,
    overrides: Iterable[str] | Mapping[str, Any] = (),
    *,
    task: str | None = None,
) -> Preset:
    """The resolved preset called `name`, or in the file `name`, for `task` (else its own).

    `overrides`: strings `a.b=value` as after `--set` (the value is YAML), or a mapping of dotted
    keys to values. List items are named by number: `methods.0.weight=2`. A `task` among them counts
    as `task` does.
    """
    pairs = parse_overrides(overrides)
    task = next((value for key, value in reversed(pairs) if key == "task"), task)
    return validate(apply_overrides(read_resolved(name, task), dict(pairs)), str(name))


def preset_tasks(name: str | Path) -> list[str]:
    """The tasks that the preset has settings for, its own first."""
    return task_names(_read_with_parent(name))


def read_resolved(name: str | Path, task: str | None = None) -> dict[str, Any]:
    """The preset as a plain mapping, its parent and its task's part merged, before validation."""
    return choose_task(_read_with_parent(name), task, str(name))


def _read_with_parent(name: str | Path) -> dict[str, Any]:
    path = _find(name)
    content = _read_mapping(path)
    # Taken out: what is made of both stands for itself, and a run goes on whatever becomes of the
    # preset that its own extended.
    parent = content.pop("extends", None)
    if parent is None:
        return content
    if not isinstance(parent, str):
        raise IrkdError(f"{path}: extends names one preset, not {parent!r}.")
    beside = path.parent / f"{parent}.yaml"
    base = _read_mapping(_find(beside if beside.is_file() else parent))
    if base.get("extends") is not None:
        raise IrkdError(f"{path}: extends {parent!r}, which extends another; one parent at most.")
    # `reported` figures and ablations belong to the configuration described, not to variants.
    base.pop("reported", None)
    base.pop("ablation", None)
    base = inherited_tasks(base, content)
    return merge(base, content)


def validate(content: dict[str, Any], what: str) -> Preset:
    """The preset that `content` describes, or an IrkdError that names every wrong key."""
    try:
        return preset_model().model_validate(content)
    except ValidationError as error:
        raise IrkdError(describe(error, f"preset {what}", _known_keys(), _tags())) from error


def apply_overrides(
    content: dict[str, Any], overrides: Iterable[str] | Mapping[str, Any]
) -> dict[str, Any]:
    """A copy of `content` with dotted keys set. See `load_preset`."""
    content = copy.deepcopy(content)
    for key, value in parse_overrides(overrides):
        _set(content, key, value)
    return content


def parse_overrides(overrides: Iterable[str] | Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Dotted keys and their values, in the order given. See `load_preset`."""
    if isinstance(overrides, Mapping):
        return list(overrides.items())
    return [_parse_override(text) for text in overrides]


def dump(preset: Preset) -> str:
    """The preset as YAML: what `irkd presets show` prints and a run directory keeps.

    Whole: nothing of a preset that it extended is left to look up.
    """
    return yaml.safe_dump(
        preset.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100
    )


def _find(name: str | Path) -> Path:
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise IrkdError(f"there is no preset file {path}.")
        return path
    candidate = library() / f"{name}.yaml"
    if not candidate.is_file():
        hint = registry.suggestion(str(name), list_presets())
        raise IrkdError(
            f"unknown preset {str(name)!r}.{hint} Known: {', '.join(list_presets())};"
            " or give the path of a .yaml file."
        )
    return candidate


class _StrictLoader(yaml.SafeLoader):
    """YAML without duplicate keys, of which PyYAML would silently keep the last."""


def _mapping_without_duplicates(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    mapping: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in mapping:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} stands twice", key_node.start_mark
            )
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


_StrictLoader.add_constructor(
    yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_without_duplicates
)


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _StrictLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise IrkdError(f"{path} is no readable YAML: {error}") from error
    if not isinstance(content, dict):
        raise IrkdError(f"{path}: a preset is a mapping of sections such as student and training.")
    return content


def _parse_override(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise IrkdError(f"--set {text!r}: expected key=value, such as training.lr=1e-4.")
    try:
        parsed = yaml.safe_load(value) if value else None
    except yaml.YAMLError as error:
        raise IrkdError(f"--set {text!r}: the value is no readable YAML.") from error
    # YAML 1.1 reads 1e-4 as a string; the schema turns it into the number it is.
    return key.strip(), parsed


def _set(content: dict[str, Any], key: str, value: Any) -> None:
    parts = key.split(".")
    place: Any = content
    for position, part in enumerate(parts):
        last = position == len(parts) - 1
        if isinstance(place, list):
            if not part.isdigit() or int(part) >= len(place):
                raise IrkdError(
                    f"--set {key}: {'.'.join(parts[:position])} is a list of {len(place)};"
                    f" {part!r} is no position in it (they count from 0)."
                )
            index: Any = int(part)
        elif isinstance(place, dict):
            index = part
            if not last and place.get(part) is None:
                place[part] = {}
        else:
            raise IrkdError(f"--set {key}: {'.'.join(parts[:position])} has no parts to set.")
        if last:
            place[index] = value
        else:
            place = place[index]


def _known_keys() -> Known:
    model = preset_model()
    known: Known = {(): [*model.model_fields, "tasks"]}
    for position in range(8):
        known[("releases", str(position))] = list(Release.model_fields)
        known[("reported", str(position))] = list(Reported.model_fields)
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            known[(name,)] = list(field.annotation.model_fields)
    for arch, entry in registry.collect("irkd.models", "FAMILIES").items():
        for role in ("teacher", "student"):
            known[(role, arch)] = list(entry.spec.model_fields)
    for name, entry in registry.collect("irkd.methods", "METHODS").items():
        for position in range(8):
            known[("methods", str(position), name)] = list(entry.parameters.model_fields)
    return known


def _tags() -> frozenset[str]:
    return frozenset(registry.collect("irkd.models", "FAMILIES")) | frozenset(
        registry.collect("irkd.methods", "METHODS")
    )
