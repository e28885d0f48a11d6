"""What an exported file says about itself, so that it can be used without asking its maker."""

from __future__ import annotations

import json
from typing import Any

from torch import nn

FORMAT = 1
KEY = "irkd"


def describe_network(
    network: nn.Module, *, precision: str, source: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The metadata of `network` as written under the key "irkd" of every exported file.

    `size_multiple`: height and width of the file's input must be multiples of it; whoever runs the
    file pads and crops. Input and output are float32, B x C x H x W, in `spec.value_range`.
    `source`: the model's own metadata, of which task, preset and training summary are kept.
    """
    source = source or {}
    return {
        "format": FORMAT,
        "spec": network.spec.model_dump(mode="json", exclude={"weights"}),  # type: ignore[union-attr, operator]
        "task": source.get("task"),
        "preset": source.get("preset"),
        "training": source.get("training"),
        "size_multiple": network.size_multiple,
        "in_channels": network.in_channels,
        "out_channels": network.out_channels,
        "precision": precision,
    }


def encode(metadata: dict[str, Any]) -> str:
    return json.dumps(metadata, separators=(",", ":"), sort_keys=True)
