"""What every network family tells the rest of irkd about itself."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor, nn

from irkd import registry
from irkd.errors import IrkdError
from irkd.models.taps import Tap
from irkd.presets.messages import Known, describe


class NetworkSpec(BaseModel):
    """A network as a preset writes it: the family (`arch`), its options, and how to feed it.

    Families subclass it with their constructor's options, under the official names.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    arch: str
    weights: str | None = Field(
        None, description="a file, a run directory, or the name of a model that ships with irkd"
    )
    value_range: tuple[float, float] = Field(
        (0.0, 1.0), description="the pixel values that stand for black and white"
    )

    @model_validator(mode="after")
    def _value_range_rises(self) -> NetworkSpec:
        low, high = self.value_range
        if not -math.inf < low < high < math.inf:
            raise ValueError(f"value_range must rise from black to white, not {low} to {high}")
        return self


@runtime_checkable
class RestorationNetwork(Protocol):
    """What irkd asks of a network besides being an `nn.Module` that maps images to images.

    `size_multiple`: height and width must be multiples of it (callers pad; see `apply_network`).
    `taps()`: name to `Tap`, in the order in which the forward pass reaches them. Names are
    `encoder_level1..n`, `middle`, `decoder_leveln..1`, `refinement`.

    What a network may have: `tile_overlap`, the pixels that tiles should share; `estimate_side`
    with `estimate(images)`, which finds out of at most so many pixels each way of an image what
    `forward(images, estimate)` then uses for all its tiles, or `overview_side` with
    `estimate(images, shrunk, sure)`, which does so from all of the image, made so many times
    smaller that its longer side has at most so many pixels, and from what a caller knows
    (`Restorer`); `no_graph`, why it cannot be exported.
    """

    spec: NetworkSpec
    size_multiple: int
    in_channels: int
    out_channels: int

    def taps(self) -> dict[str, Tap]: ...


@dataclass(frozen=True)
class Assumption:
    """Options that weights do not tell, and what is taken for them; `why` is for the user.

    `options` may name another `arch`.
    """

    options: Mapping[str, object]
    why: str


def _nothing_assumed(found: Mapping[str, object], task: str | None) -> tuple[Assumption, ...]:
    return ()


@dataclass(frozen=True)
class Family:
    """A network family: one `arch` of a preset.

    `read_spec(state_dict)` returns the options that a plain state dict with the official keys
    implies, or None when the keys belong to another family. Of two families with the same keys
    (NAFNet and its local-pooling form) only the plain one claims them.

    `assume(found, task)` says what to take for options that weights do not tell, given those that
    were found, for released weights of a task (None: unknown).

    `grow(state_dict, fresh)`, where a family has it, completes the weights of a smaller network to
    those of a larger that computes the same; `fresh` is the larger's newly initialised state dict.
    `shrink(state_dict, fresh)` leaves out what a larger network has and the smaller one has not.
    The spec then has the options `grow` and `shrink`.
    """

    name: str
    title: str
    spec: type[NetworkSpec]
    build: Callable[..., nn.Module]
    read_spec: Callable[[Mapping[str, Tensor]], dict[str, object] | None]
    assume: Callable[[Mapping[str, object], str | None], tuple[Assumption, ...]] = _nothing_assumed
    grow: Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], dict[str, Tensor]] | None = None
    shrink: Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], dict[str, Tensor]] | None = None


def families() -> dict[str, Family]:
    """All registered families by `arch`."""
    return registry.collect("irkd.models", "FAMILIES")


def family(arch: str) -> Family:
    return registry.lookup("irkd.models", "FAMILIES", arch, "arch")


def build_network(spec: NetworkSpec) -> nn.Module:
    """The network of `spec` with freshly initialised weights, in training mode."""
    network = family(spec.arch).build(spec)
    assert isinstance(network, RestorationNetwork)
    return network


def create_network(arch: str, **options: object) -> nn.Module:
    """A network by family name and the family's own option names, freshly initialised.

    Raises IrkdError for an unknown family or option, or values that make no network.
    """
    entry = family(arch)
    try:
        spec = entry.spec.model_validate({"arch": arch, **options})
    except ValidationError as error:
        known: Known = {(): list(entry.spec.model_fields)}
        raise IrkdError(describe(error, f"{arch} network", known)) from error
    return build_network(spec)


def parameter_count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


_reference_path = False


def on_reference_path() -> bool:
    """Whether blocks must compute as the paper writes them, not by a faster equal form."""
    return _reference_path


@contextlib.contextmanager
def reference_path() -> Iterator[None]:
    """Make networks take their reference path: for counting MACs, and to test faster paths against.

    Blocks that have a faster path ask `on_reference_path()` in their forward.
    """
    global _reference_path
    before, _reference_path = _reference_path, True
    try:
        yield
    finally:
        _reference_path = before
