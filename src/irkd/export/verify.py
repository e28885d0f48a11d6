"""Comparing an exported file with the PyTorch network it was made from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from irkd.errors import IrkdError
from irkd.export.runtimes import Images
from irkd.models.apply import to_range
from irkd.profiling.macs import round_up

# In units of the output's value range. float32: rounding alone, far below half an 8-bit step.
# float16: one 8-bit step at the worst pixel; whole students stay a tenth below it.
LARGEST_DIFFERENCE = {"fp32": 1e-4, "fp16": 4e-3}
# int8 rounds every convolution's input; single pixels say little, so the mean is bounded: 30 dB.
LARGEST_RMS = {"int8": 10 ** (-30 / 20)}


@dataclass(frozen=True)
class Comparison:
    """How far a file's output is from the network's for one input, in the output's own units.

    `scale` is the larger of the value range and of the largest output, which bounds are given in.
    """

    shape: tuple[int, ...]
    largest: float
    rms: float
    scale: float


@dataclass(frozen=True)
class Verification:
    precision: str
    comparisons: tuple[Comparison, ...]

    @property
    def largest(self) -> float:
        """The largest difference of all inputs, as a share of the value range."""
        return max(comparison.largest / comparison.scale for comparison in self.comparisons)

    @property
    def rms(self) -> float:
        """The largest root mean square difference of all inputs, as a share of the value range."""
        return max(comparison.rms / comparison.scale for comparison in self.comparisons)

    @property
    def bound(self) -> str:
        """The bound in words."""
        if self.precision in LARGEST_RMS:
            return f"root mean square at most {LARGEST_RMS[self.precision]:.2g}"
        return f"at most {LARGEST_DIFFERENCE[self.precision]:g}"

    @property
    def passed(self) -> bool:
        if self.precision in LARGEST_RMS:
            return self.rms <= LARGEST_RMS[self.precision]
        return self.largest <= LARGEST_DIFFERENCE[self.precision]

    def as_json(self) -> dict[str, Any]:
        """Stable field names; differences are in the output's own units."""
        return {
            "allowed": self.bound,
            "passed": self.passed,
            "comparisons": [
                {
                    "shape": list(comparison.shape),
                    "max_abs_difference": comparison.largest,
                    "rms_difference": comparison.rms,
                    "output_scale": comparison.scale,
                }
                for comparison in self.comparisons
            ],
        }


def check_sizes(multiple: int) -> tuple[tuple[int, int], ...]:
    """Three (height, width): square, wide and tall; none is the one that was traced."""
    side = round_up(64, multiple)
    return (side, side), (side, side + 2 * multiple), (side + multiple, side)


def random_images(network: nn.Module) -> Iterable[Tensor]:
    """Images of noise in the network's value range, in the sizes of `check_sizes`."""
    generator = torch.Generator().manual_seed(0)
    multiple: int = network.size_multiple  # type: ignore[assignment]
    for height, width in check_sizes(multiple):
        shape = (1, network.in_channels, height, width)
        images = torch.rand(shape, generator=generator)  # type: ignore[arg-type]
        yield to_range(images, network.spec.value_range)  # type: ignore[union-attr, arg-type]


def verify(
    network: nn.Module,
    run: Callable[[Images], Images],
    *,
    precision: str,
    inputs: Iterable[Tensor] | None = None,
) -> Verification:
    """Run `network` and the file (`run`) on the same inputs, `random_images` unless given.

    Raises IrkdError when the network's own output is not finite.
    """
    low, high = network.spec.value_range  # type: ignore[union-attr, misc]
    comparisons = []
    for images in random_images(network) if inputs is None else inputs:
        with torch.inference_mode():
            expected = network(images).numpy()
        if not np.isfinite(expected).all():
            raise IrkdError(
                "the network's own output is not finite, so that no export of it can be checked."
                " Its weights are damaged, or its training has diverged."
            )
        found = run(images.numpy())
        if found.shape != expected.shape:
            raise IrkdError(
                f"the exported file returns {found.shape} where the network returns"
                f" {expected.shape}."
            )
        difference = np.abs(found.astype(np.float64) - expected)
        # A NaN must fail every comparison, not vanish in one.
        difference = np.nan_to_num(difference, nan=np.inf)
        comparisons.append(
            Comparison(
                tuple(images.shape),
                float(difference.max()),
                float(np.sqrt(np.mean(difference**2))),
                max(high - low, float(np.abs(expected).max())),
            )
        )
    return Verification(precision, tuple(comparisons))
