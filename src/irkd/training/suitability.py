"""Whether a preset's networks can be trained here at all, before anything is allocated."""

from __future__ import annotations

import torch

from irkd.errors import IrkdError
from irkd.models.base import parameter_count
from irkd.presets.schema import Preset
from irkd.profiling.macs import on_meta
from irkd.profiling.memory import available_bytes
from irkd.training.plan import needs_teacher

_IMAGE_CHANNELS = 3


def refuse_impossible(preset: Preset, device: torch.device) -> None:
    """Raise IrkdError for networks that take no RGB images, or whose weights alone do not fit.

    A student takes its weights, their gradients, Adam's two moments and the weight average; what
    activations need comes on top, and is not looked at.
    """
    copies = {"student": 4 if preset.training.average is None else 5}
    if preset.teacher is not None and needs_teacher(preset):
        copies["teacher"] = 1
    parameters, needed = {}, 0
    for role, count in copies.items():
        network = on_meta(getattr(preset, role))
        for side in ("in_channels", "out_channels"):
            channels = getattr(network, side)
            if channels != _IMAGE_CHANNELS:
                raise IrkdError(
                    f"preset {preset.name}: the {role} has {channels} {side}; training images are"
                    f" RGB, {_IMAGE_CHANNELS} channels in and out."
                )
        parameters[role] = parameter_count(network)
        needed += parameters[role] * 4 * count
    places = {torch.device("cpu"), device}
    for place in sorted(places, key=str):
        # On their way to a GPU the networks pass through memory, without what training adds.
        here = needed if place == device else sum(parameters.values()) * 4
        there_is = available_bytes(place)
        if here > there_is:
            sizes = " and ".join(f"the {role} {n / 1e6:.1f} M" for role, n in parameters.items())
            raise IrkdError(
                f"preset {preset.name}: {sizes} parameters need {_gib(here)} on {place} without any"
                f" image, and {_gib(there_is)} are free. Choose smaller networks, such as"
                " --set student.dim=24."
            )


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
