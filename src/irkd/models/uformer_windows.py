"""Uformer's windows: how features are cut into them, and attention inside them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Fused attention on CUDA takes at most 65535 windows in one call.
WINDOWS_AT_ONCE = 32768


class WindowAttention(nn.Module):
    """Multi-head self-attention inside windows, with a learned bias per relative position."""

    relative_position_index: Tensor

    def __init__(self, channels: int, window: int, heads: int, qkv_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (channels // heads) ** -0.5
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer("relative_position_index", relative_positions(window))
        self.register_load_state_dict_pre_hook(_keep_relative_positions)
        self.qkv = nn.ModuleDict(
            {
                "to_q": nn.Linear(channels, channels, bias=qkv_bias),
                "to_kv": nn.Linear(channels, 2 * channels, bias=qkv_bias),
            }
        )
        self.proj = nn.Linear(channels, channels)

    def forward(self, windows: Tensor, mask: Tensor | None) -> Tensor:
        """As the paper writes it: B x rows x columns x pixels x C to the same.

        `mask`: rows x columns x pixels x pixels to add to the scores, or None.
        """
        query, key, value = self._heads(windows)
        scores = (query * self.scale) @ key.mT + self.bias()
        if mask is not None:
            scores = scores + mask.unsqueeze(2)
        attended = scores.softmax(-1) @ value
        return self.proj(attended.transpose(-3, -2).flatten(-2))

    def by_groups(self, windows: Tensor, groups: Sequence[WindowGroup], masks: Tensor) -> Tensor:
        """The same for windows x pixels x C of which each group shares one of the masks."""
        query, key, value = self._heads(windows)
        bias = self.bias()
        parts = []
        for start, stop, kind in groups:
            added = (bias + masks[kind] if kind else bias).to(query.dtype)
            part = slice(start, stop)
            if added.requires_grad:
                # No fused kernel on a CPU returns a gradient for the bias.
                scores = (query[part] * self.scale) @ key[part].mT + added
                attended = scores.softmax(-1) @ value[part]
            else:
                attended = F.scaled_dot_product_attention(
                    query[part], key[part], value[part], added[None], scale=self.scale
                )
            parts.append(attended.transpose(1, 2).flatten(2))
        return self.proj(parts[0] if len(parts) == 1 else torch.cat(parts))

    def _heads(self, windows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value, ... x heads x pixels x channels of a head."""
        query = self.qkv["to_q"](windows).unflatten(-1, (self.heads, -1))
        key_value = self.qkv["to_kv"](windows).unflatten(-1, (2, self.heads, -1))
        key, value = key_value.unbind(-3)
        return query.transpose(-3, -2), key.transpose(-3, -2), value.transpose(-3, -2)

    def bias(self) -> Tensor:
        """Heads x pixels x pixels."""
        index = self.relative_position_index
        pairs = self.relative_position_bias_table.index_select(0, index.flatten())
        return pairs.T.unflatten(1, index.shape).contiguous()


def relative_positions(window: int) -> Tensor:
    """For a query pixel (row) and a key pixel (column) of a window, their row in the bias table."""
    y, x = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    y, x = y.flatten(), x.flatten()
    rows = y[:, None] - y + window - 1
    columns = x[:, None] - x + window - 1
    return rows * (2 * window - 1) + columns


def _keep_relative_positions(
    module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: object
) -> None:
    # A constant of the window's size: weights may lack it, and cannot change it.
    state_dict[f"{prefix}relative_position_index"] = module.relative_position_index


class WindowGroup(NamedTuple):
    """Windows `start` to `stop` share the mask number `kind`; see `boundary_masks`."""

    start: int
    stop: int
    kind: int


class WindowPlan(NamedTuple):
    """How pixels become windows: `order` lists the pixels window by window.

    `inverse` brings them back.
    """

    order: Tensor
    inverse: Tensor
    groups: tuple[WindowGroup, ...]


# 10 of them are in use for images of one size.
@lru_cache(maxsize=32)
def window_plan(
    batch: int, height: int, width: int, window: int, shift: int, device: torch.device
) -> WindowPlan:
    """Cut images of the size, rolled by -shift, into windows; those that share a mask together.

    One gather then does the work of rolling twice and cutting.
    """
    # Tensors made in inference mode could not be used for training later.
    with torch.inference_mode(False), torch.no_grad():
        pixels = torch.arange(batch * height * width, dtype=torch.int32, device=device)
        pixels = pixels.view(batch, height, width).roll((-shift, -shift), (1, 2))
        grid = pixels.unflatten(2, (-1, window)).unflatten(1, (-1, window)).transpose(2, 3)
        # Only the last row and column hold pixels from both sides of the image.
        kinds = {0: grid}
        if shift:
            kinds = {
                0: grid[:, :-1, :-1],
                1: grid[:, -1:, :-1],
                2: grid[:, :-1, -1:],
                3: grid[:, -1:, -1:],
            }
        groups = []
        first = 0
        for kind, part in kinds.items():
            end = first + part.shape[:3].numel()
            for start in range(first, end, WINDOWS_AT_ONCE):
                groups.append(WindowGroup(start, min(start + WINDOWS_AT_ONCE, end), kind))
            first = end
        order = torch.cat([part.flatten() for part in kinds.values()])
        inverse = torch.empty_like(order)
        inverse[order.long()] = torch.arange(len(order), dtype=torch.int32, device=device)
    return WindowPlan(order, inverse, tuple(groups))


@lru_cache(maxsize=32)
def boundary_masks(window: int, shift: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """4 x pixels x pixels: -100 between pixels of a window that only the roll made neighbours.

    For windows away from the end of the image (all zero), in its last row, its last column, and
    in both.
    """
    with torch.inference_mode(False), torch.no_grad():
        beyond = torch.arange(window, device=device) >= window - shift
        row, column = beyond.repeat_interleave(window), beyond.repeat(window)
        rows_differ, columns_differ = row[:, None] != row, column[:, None] != column
        neither = torch.zeros_like(rows_differ)
        kinds = torch.stack([neither, rows_differ, columns_differ, rows_differ | columns_differ])
        return kinds.to(dtype) * -100


def shift_mask(tokens: Tensor, window: int, shift: int) -> Tensor:
    """`boundary_masks` for every window of B x H x W x C: rows x columns x pixels x pixels."""

    def regions(size: int) -> Tensor:
        position = torch.arange(size, device=tokens.device)
        return (position >= size - window).to(tokens.dtype) + (position >= size - shift)

    labels = 3 * regions(tokens.shape[1])[:, None] + regions(tokens.shape[2])
    labels = F.pixel_unshuffle(labels[None], window).permute(1, 2, 0)
    return (labels[..., None] != labels[..., None, :]).to(tokens.dtype) * -100


class Reorder(torch.autograd.Function):
    """Rows of a matrix in another order; its gradient is a gather as well, not a scatter."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(order, inverse)
        return rows.index_select(0, order)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        order, inverse = ctx.saved_tensors
        return Reorder.apply(gradients[0], inverse, order), None, None
