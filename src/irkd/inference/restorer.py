"""Restoring one image of any size: whole where memory allows, else in blended tiles."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from irkd.errors import IrkdError
from irkd.inference.memory import bytes_per_pixel, is_out_of_memory
from irkd.inference.picture import shrink_to, to_float
from irkd.inference.tiling import plan_axis, steepest_window
from irkd.models.apply import apply_network, to_range
from irkd.profiling.memory import available_bytes

DEFAULT_OVERLAP = 64
_SMALLEST_TILE = 32
# No tile is made smaller than this to save time: networks with local pooling need the context.
_CONTEXT = 768
# The estimate is one: leave room for what else the machine does.
_USABLE_SHARE = 0.6

_PRECISIONS = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}


class Restorer:
    """Runs `network` on images of any size.

    `network` is moved to `device` and set to evaluation. Networks of three channels take colour,
    networks of one take each colour channel by itself; the output has as many as the input.

    `tile`: "auto" takes the whole image where the estimated memory allows and else the largest tile
    that fits; "off" always the whole image; a number the side of square tiles in pixels, rounded up
    to the network's size multiple. When an allocation fails all the same, "auto" and a number go on
    with tiles of half the side. `overlap`: pixels that neighbouring tiles share at least (64, or
    what the network states as `tile_overlap`; at most half a tile). Tiles of a network that only
    looks at pixels up to overlap / 4 away join to exactly the whole image's result; networks with
    global statistics (channel attention) differ slightly between tiles and whole.

    `largest_tile`: of "auto" on the CPU, where larger tiles are no faster: an image of more pixels
    than such a tile is cut into tiles of at most this side. None sets no bound.

    `precision`: "fp32", or "fp16" / "bf16" autocast; a tile that overflows is done again in fp32.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        device: str | torch.device = "cpu",
        tile: Literal["auto", "off"] | int = "auto",
        overlap: int | None = None,
        largest_tile: int | None = None,
        precision: Literal["fp32", "fp16", "bf16"] = "fp32",
    ) -> None:
        if precision not in _PRECISIONS:
            raise IrkdError(f"unknown precision {precision!r}. Known: {', '.join(_PRECISIONS)}.")
        if isinstance(tile, str) and tile not in ("auto", "off"):
            raise IrkdError(f"tile is 'auto', 'off' or a number of pixels, not {tile!r}.")
        if isinstance(tile, int) and tile < 1:
            raise IrkdError(f"tile must be at least one pixel, not {tile}.")
        if overlap is not None and overlap < 0:
            raise IrkdError(f"overlap must not be negative, as {overlap} is.")
        channels = (network.in_channels, network.out_channels)
        if channels not in ((3, 3), (1, 1)):
            raise IrkdError(
                f"this network takes {channels[0]} channels and gives {channels[1]}; restoring "
                "images needs one with 3 of each (colour) or 1 of each (grey)."
            )
        self.device = torch.device(device)
        self.network = network.to(self.device).eval()
        self.tile = tile
        stated: int = getattr(network, "tile_overlap", DEFAULT_OVERLAP)
        self.overlap = stated if overlap is None else overlap
        self.last_tile: tuple[int, int] | None = None
        """Height and width of the tiles of the last call; None when it took the whole image."""
        self.watch: Callable[[float], None] | None = None
        """Called after each tile with the share of the image that is done, up to 1."""
        self._largest = largest_tile if self.device.type == "cpu" else None
        self._precision = _PRECISIONS[precision]
        self._multiple = cast(int, network.size_multiple)
        self._grey = channels == (1, 1)
        # Of a network compiled for one input size only; height and width.
        self._fixed = cast(tuple[int, int] | None, getattr(network, "fixed_size", None))
        self._bytes_per_pixel: float | None = None

    def __call__(self, degraded: NDArray[Any], *, sure: float | None = None) -> NDArray[np.float32]:
        """Restore H x W x 3, float32 in [0, 1], uint8 or uint16, to H x W x 3 float32, not clamped.

        Integers take less memory: they become numbers in [0, 1] tile by tile. `sure`, 0 to 1: how
        far it is known that there is the damage that the network is for. Networks that judge this
        from the image take it in the place of their own judgement; others do not ask.

        Raises IrkdError when memory does not suffice for the smallest tile, or when the network's
        output is not finite.
        """
        if degraded.ndim != 3 or degraded.shape[2] != 3 or 0 in degraded.shape:
            raise IrkdError(f"expected an H x W x 3 image, not shape {degraded.shape}.")
        height, width = degraded.shape[:2]
        image = _pad_to_size(_pad_to_multiple(degraded, self._multiple), self._fixed)
        tile = self._first_tile(*image.shape[:2])
        known = self._known(degraded, sure)
        while True:
            with contextlib.suppress(_OutOfMemory):
                restored = self._in_tiles(image, tile, known)
                break
            tile = self._smaller(tile, image)
        whole = tile[0] >= image.shape[0] and tile[1] >= image.shape[1]
        self.last_tile = None if whole else tile
        return restored[:height, :width]

    def _first_tile(self, height: int, width: int) -> tuple[int, int]:
        if self._fixed is not None:
            return self._fixed
        if self.tile == "off":
            return height, width
        if isinstance(self.tile, int):
            side = self._round_up(self.tile)
            return side, side
        pixels = self._pixels_that_fit()
        if self._largest is not None:
            pixels = min(pixels, self._largest**2)
        if height * width <= pixels:
            return height, width
        side = int(math.sqrt(pixels)) // self._multiple * self._multiple
        side = max(side, self._round_up(_SMALLEST_TILE))
        return self._fitted(height, side), self._fitted(width, side)

    def _fitted(self, length: int, side: int) -> int:
        """The smallest tile with enough context that covers `length` in as few tiles as `side`."""
        if side >= length:
            return length
        overlap = min(self._round_up(self.overlap), side // 2 // self._multiple * self._multiple)
        count = math.ceil((length - overlap) / (side - overlap))
        fitted = self._round_up(math.ceil((length + (count - 1) * overlap) / count))
        return min(side, max(fitted, self._round_up(_CONTEXT)))

    def _pixels_that_fit(self) -> float:
        if self._bytes_per_pixel is None:
            self._bytes_per_pixel = bytes_per_pixel(self.network, self.device)
        return available_bytes(self.device) * _USABLE_SHARE / self._bytes_per_pixel

    def _smaller(self, tile: tuple[int, int], image: NDArray[Any]) -> tuple[int, int]:
        """Half of `tile`, after an allocation failed."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        side = min(max(tile), max(image.shape[:2])) // 2 // self._multiple * self._multiple
        if self.tile == "off" or self._fixed is not None or side < min(_SMALLEST_TILE, max(tile)):
            advice = " Try --tile auto." if self.tile == "off" else ""
            raise IrkdError(
                f"not enough memory on {self.device} for {tile[1]} x {tile[0]} pixels.{advice}"
            )
        return side, side

    def _known(self, image: NDArray[Any], sure: float | None) -> tuple[object, ...]:
        """`_estimate`; raises IrkdError when memory does not suffice."""
        try:
            with torch.inference_mode():
                return self._estimate(image, sure)
        except Exception as error:
            if is_out_of_memory(error):
                raise IrkdError("not enough memory to judge the image as a whole.") from None
            raise

    def _estimate(self, image: NDArray[Any], sure: float | None) -> tuple[object, ...]:
        """What a network estimates once for all tiles: from the part of the image that tells most,
        or from all of it in small.

        Each tile's own estimate would differ a little, and show as a seam.
        """
        network: Any = self.network
        if (side := getattr(network, "estimate_side", None)) is not None:
            return (network.estimate(self._as_batch(image[steepest_window(image, side)])),)
        if (side := getattr(network, "overview_side", None)) is not None:
            small = shrink_to(image, side)
            shrunk = max(image.shape[:2]) / max(small.shape[:2])
            return (network.estimate(self._as_batch(small), shrunk, sure),)
        return ()

    def _as_batch(self, pixels: NDArray[Any]) -> Tensor:
        """H x W x 3 of any depth to 1 x C x H x W in the network's value range."""
        images = torch.from_numpy(np.ascontiguousarray(to_float(pixels))).permute(2, 0, 1)[None]
        if self._grey:
            images = images.mean(1, keepdim=True)
        network: Any = self.network
        return to_range(images.to(self.device), network.spec.value_range)

    def _in_tiles(
        self, image: NDArray[Any], tile: tuple[int, int], known: tuple[object, ...]
    ) -> NDArray[np.float32]:
        """Restore H x W x 3 of any depth."""
        multiple = 1 if self._fixed else self._multiple
        rows = plan_axis(image.shape[0], tile[0], self.overlap, multiple)
        columns = plan_axis(image.shape[1], tile[1], self.overlap, multiple)
        count = len(rows.starts) * len(columns.starts)
        if count == 1:
            restored = self._forward(image, known)
            self._report(1.0)
            return restored
        restored = np.zeros(image.shape, np.float32)
        done = 0
        for top, row_weights in zip(rows.starts, rows.weights, strict=True):
            below = slice(top, top + rows.tile)
            for left, column_weights in zip(columns.starts, columns.weights, strict=True):
                beside = slice(left, left + columns.tile)
                part = self._forward(image[below, beside], known)
                part *= row_weights[:, None, None] * column_weights[:, None]
                restored[below, beside] += part
                done += 1
                self._report(done / count)
        return restored

    def _report(self, share: float) -> None:
        if self.watch is not None:
            self.watch(share)

    def _forward(self, pixels: NDArray[Any], known: tuple[object, ...]) -> NDArray[np.float32]:
        """One pass through the network: H x W x 3 of any depth to H x W x 3 float32."""
        images = torch.from_numpy(np.ascontiguousarray(to_float(pixels)))
        images = images.permute(2, 0, 1)[None]
        try:
            restored = self._infer(images, known, self._precision)
            if self._precision is not None and not torch.isfinite(restored).all():
                restored = self._infer(images, known, None)
        except Exception as error:
            if is_out_of_memory(error):
                # A fresh exception: the old one's traceback holds the tensors of the failed pass.
                raise _OutOfMemory from None
            raise
        if not torch.isfinite(restored).all():
            raise IrkdError(
                "the network's output has values that are not numbers (NaN or infinity). "
                "Its weights do not fit this image or its declared value range."
            )
        return restored[0].permute(1, 2, 0).contiguous().numpy()

    def _infer(
        self, images: Tensor, known: tuple[object, ...], precision: torch.dtype | None
    ) -> Tensor:
        images = images.to(self.device)
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, precision, enabled=precision is not None),
        ):
            if self._grey:
                channels = [
                    apply_network(self.network, images[:, c : c + 1], *known) for c in range(3)
                ]
                restored = torch.cat(channels, dim=1)
            else:
                restored = apply_network(self.network, images, *known)
            return restored.float().cpu()

    def _round_up(self, side: int) -> int:
        return -(-side // self._multiple) * self._multiple


class _OutOfMemory(Exception):
    """An allocation failed during a pass."""


def _pad_to_multiple(image: NDArray[Any], multiple: int) -> NDArray[Any]:
    """Extend H x W x 3 at the right and bottom as `irkd.models.apply.pad_to_multiple` does."""
    for axis in (0, 1):
        missing = -image.shape[axis] % multiple
        if missing:
            mode: Any = "reflect" if missing < image.shape[axis] else "edge"
            image = np.pad(image, [(0, missing if axis == i else 0) for i in range(3)], mode=mode)
    return image


def _pad_to_size(image: NDArray[Any], size: tuple[int, int] | None) -> NDArray[Any]:
    """Extend H x W x 3 at the right and bottom to at least `size`."""
    if size is None:
        return image
    missing = [max(side - have, 0) for side, have in zip(size, image.shape[:2], strict=True)]
    return np.pad(image, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
