"""How one mapping of a preset is laid over another."""

from __future__ import annotations

from typing import Any


def merge(base: Any, content: Any) -> Any:
    """Mappings merge key by key, unless they name another arch; everything else is replaced."""
    if not (isinstance(base, dict) and isinstance(content, dict)):
        return content
    if "arch" in content and content["arch"] != base.get("arch"):
        return content
    merged = dict(base)
    for key, value in content.items():
        merged[key] = merge(base[key], value) if key in base else value
    return merged
