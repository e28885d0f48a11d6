"""Options of Restormer's four-level encoder-decoder, which DRSformer takes over."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator
from torch import Tensor

from irkd.models.base import NetworkSpec
from irkd.models.layers import children_of

LEVELS = 4
_LEVEL_STAGES = ("encoder_level1", "encoder_level2", "encoder_level3", "latent")


class FourLevelSpec(NetworkSpec):
    inp_channels: int = Field(3, ge=1, le=64, description="channels of the degraded image")
    out_channels: int = Field(3, ge=1, le=64, description="channels of the restored image")
    dim: int = Field(48, ge=2, le=1024, description="channels at full resolution; even")
    num_blocks: tuple[Annotated[int, Field(ge=0, le=64)], ...] = Field(
        (4, 6, 6, 8),
        min_length=LEVELS,
        max_length=LEVELS,
        description="blocks of encoder levels 1 to 3 (the decoder mirrors them) and the middle",
    )
    heads: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (1, 2, 4, 8),
        min_length=LEVELS,
        max_length=LEVELS,
        description="attention heads of each level",
    )
    ffn_expansion_factor: float = Field(
        2.66, gt=0, le=64, allow_inf_nan=False, description="hidden over outer channels"
    )
    bias: bool = Field(False, description="biases in attention, feed-forward and output layers")
    LayerNorm_type: Literal["WithBias", "BiasFree"] = "WithBias"

    @model_validator(mode="after")
    def _sizes_fit(self) -> FourLevelSpec:
        if self.dim % 2:
            raise ValueError(f"dim must be even, since downsampling halves it; it is {self.dim}")
        for level, heads in enumerate(self.heads):
            width = self.dim * 2**level
            if width % heads:
                raise ValueError(
                    f"heads must divide the channels of their level: {heads} heads do not divide "
                    f"the {width} channels of level {level + 1}"
                )
        if int(self.dim * self.ffn_expansion_factor) < 1:
            raise ValueError(
                f"ffn_expansion_factor {self.ffn_expansion_factor} leaves no hidden channels at "
                f"dim {self.dim}"
            )
        return self


def read_four_levels(
    state_dict: Mapping[str, Tensor], feed_forward: str
) -> dict[str, object] | None:
    """The options of `FourLevelSpec` that weights imply; None for weights of another family.

    `feed_forward` is a key that every block has, and tells the families apart.
    """
    embedding = state_dict.get("patch_embed.proj.weight")
    output = state_dict.get("output.weight")
    if embedding is None or output is None or "up2_1.body.0.weight" not in state_dict:
        return None
    blocks = [key.removesuffix("attn.temperature") for key in state_dict if "temperature" in key]
    if any(f"{block}{feed_forward}" not in state_dict for block in blocks):
        return None
    if embedding.ndim != 4 or output.ndim != 4:
        return None

    def heads(stage: str) -> int:
        temperature = state_dict.get(f"{stage}.0.attn.temperature")
        # Without blocks the number of heads means nothing.
        return 1 if temperature is None else temperature.numel()

    projections = [state_dict.get(f"{block}ffn.project_in.weight") for block in blocks]
    factor = expansion_factor(
        (weight.shape[1], weight.shape[0] // 2)
        for weight in projections
        if weight is not None and weight.ndim == 4
    )
    return {
        "inp_channels": embedding.shape[1],
        "out_channels": output.shape[0],
        "dim": embedding.shape[0],
        "num_blocks": tuple(len(children_of(state_dict, f"{stage}.")) for stage in _LEVEL_STAGES),
        "heads": tuple(heads(stage) for stage in _LEVEL_STAGES),
        "ffn_expansion_factor": 2.66 if factor is None else factor,
        "bias": "output.bias" in state_dict,
        "LayerNorm_type": "WithBias"
        if any(key.endswith("norm1.body.bias") for key in state_dict)
        else "BiasFree",
    }


def expansion_factor(sizes: Iterable[tuple[int, int]], preferred: float = 2.66) -> float | None:
    """The factor f with int(channels * f) == hidden for all `sizes`: (channels, hidden).

    Many factors do; `preferred` is taken where it fits, else the shortest decimal. None: none does.
    """
    sizes = set(sizes)

    def fits(factor: float) -> bool:
        return all(int(channels * factor) == hidden for channels, hidden in sizes)

    if fits(preferred):
        return preferred
    if any(channels == 0 for channels, _ in sizes):
        return None
    lowest = max(hidden / channels for channels, hidden in sizes)
    for digits in range(17):
        first = math.ceil(lowest * 10**digits)
        # The product with the first may round down to just below the width: 50 * 1.14 < 57.
        for step in (first, first + 1):
            if fits(step / 10**digits):
                return step / 10**digits
    return None
