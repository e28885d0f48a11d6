"""The rows of a preset's ablation, as presets of their own."""

from __future__ import annotations

from typing import Any

from irkd.errors import IrkdError
from irkd.presets.load import validate
from irkd.presets.merge import merge
from irkd.presets.schema import AblationSection, Preset


def ablation_of(preset: Preset) -> AblationSection:
    """The preset's ablation; IrkdError when it has none."""
    if preset.ablation is None:
        raise IrkdError(
            f"preset {preset.name} has no ablation. Add an `ablation:` section with `rows:`, or"
            " choose a preset that has one (`irkd presets list`)."
        )
    return preset.ablation


def row_presets(preset: Preset, seed: int) -> dict[str, Preset]:
    """Every row of the preset's ablation by name, resolved, with this seed.

    Raises IrkdError for a row that makes no valid preset.
    """
    content = preset.model_dump(mode="json")
    content.pop("ablation"), content.pop("reported")
    content["training"]["seed"] = seed
    rows: dict[str, Preset] = {}
    for row in ablation_of(preset).rows:
        changed: dict[str, Any] = merge(content, row.set)
        changed["title"] = f"{preset.title or preset.name}: {row.name}"
        rows[row.name] = validate(changed, f"{preset.name}, ablation row {row.name!r}")
    return rows
