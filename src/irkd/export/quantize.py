"""int8 ONNX: convolutions in eight bits, scaled by what they see on a user's own images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from irkd.errors import IrkdError
from irkd.export import metadata as labels
from irkd.export.runtimes import require
from irkd.export.trace import quiet
from irkd.export.writers import write_onnx
from irkd.models.apply import to_range

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
LARGEST_COUNT = 64
_SIDE = 256


def calibration_images(network: nn.Module, directory: Path) -> list[Tensor]:
    """Middle parts of the images in `directory`, each 1 x 3 x H x W in the network's value range.

    At most 256 pixels a side and `LARGEST_COUNT` images, spread over the folder. Raises IrkdError
    where there is no image large enough for the network.
    """
    if not directory.is_dir():
        raise IrkdError(f"--calibrate {directory}: no such folder.")
    paths = sorted(path for path in directory.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise IrkdError(f"--calibrate {directory}: the folder holds no images.")
    if network.in_channels != 3:
        raise IrkdError("int8 is for networks of colour images (3 channels).")
    step = max(1, len(paths) // LARGEST_COUNT)
    images = [image for path in paths[::step][:LARGEST_COUNT] for image in _crop(network, path)]
    if not images:
        raise IrkdError(
            f"--calibrate {directory}: no image is at least {network.size_multiple} pixels a side."
        )
    return images


def checking_images(network: nn.Module, images: list[Tensor]) -> list[Tensor]:
    """Three of the images to compare on: whole, less high, less wide."""
    multiple: int = network.size_multiple  # type: ignore[assignment]
    first, second, third = (images[i * len(images) // 3] for i in range(3))
    return [
        first,
        second[..., : max(multiple, second.shape[2] - multiple), :],
        third[..., : max(multiple, third.shape[3] - multiple)],
    ]


def _crop(network: nn.Module, path: Path) -> Iterator[Tensor]:
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise IrkdError(f"{path} is no readable image. Remove it from the folder.")
    multiple: int = network.size_multiple  # type: ignore[assignment]
    height, width = (
        min(side, max(_SIDE, multiple)) // multiple * multiple for side in pixels.shape[:2]
    )
    if not height or not width:
        return
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    part = cv2.cvtColor(pixels[top : top + height, left : left + width], cv2.COLOR_BGR2RGB)
    image = torch.from_numpy(part).permute(2, 0, 1)[None].float() / 255
    yield to_range(image, network.spec.value_range)  # type: ignore[union-attr, arg-type]


def write_int8_onnx(
    network: nn.Module, path: Path, *, images: list[Tensor], metadata: dict[str, Any]
) -> None:
    """Static quantisation of all convolutions by onnxruntime (QDQ, one scale per output channel).

    Attention, normalisation and the residual to the input stay in float32.
    """
    require("onnxruntime", "exporting to int8")
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.remaining = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self.remaining, None)
            return None if image is None else {"degraded": image.numpy()}

    floating = path.with_name("intermediate.onnx")
    write_onnx(network, floating, half=False, metadata=None)
    with quiet():
        quantization.quantize_static(
            str(floating),
            str(path),
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            # 7 bits of weights: on processors with AVX2 alone, sums of 8-bit products saturate.
            reduce_range=True,
        )
    floating.unlink()
    onnx = require("onnx", "exporting to int8")
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, {labels.KEY: labels.encode(metadata)})
    onnx.save(model, str(path))
