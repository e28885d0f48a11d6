"""The synthetic degradations as differentiable functions of the clean images.

The draws (streaks, kernels, air light, noise) are those of `degrade`; only what is done with them
is written in torch, so that a gradient reaches the clean image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from irkd.data.degrade import draw_blur_kernel, draw_haze, draw_rain, plausible_depth
from irkd.data.noises import Camera, draw_noise
from irkd.models.srgb import decode_srgb, encode_srgb

# Half of the widest blur kernel: a smaller image cannot be reflected at its borders.
SMALLEST_SIDE = 18


def degrade_images(clean: Tensor, task: str, generators: Sequence[np.random.Generator]) -> Tensor:
    """Degrade B x 3 x H x W images in [0, 1] for `task`, a name in `DIFFERENTIABLE`.

    generators: one for each image; on the same generator `degrade.DEGRADATIONS` gives the same
    image. Differs from it in what would end a gradient: nothing is clipped or rounded. `general`
    is one of the other four, since JPEG and its chain have no gradient.
    """
    degraded = [
        DIFFERENTIABLE[task](image, generator)
        for image, generator in zip(clean, generators, strict=True)
    ]
    return torch.stack(degraded)


def _rain(image: Tensor, generator: np.random.Generator) -> Tensor:
    drawn = draw_rain(image.shape[1:], generator)
    streaks = _tensor(drawn.streaks, image)
    rained = image + streaks if drawn.added else 1 - (1 - image) * (1 - streaks)
    return rained * (1 - float(drawn.veil)) + float(drawn.veil * drawn.veil_light)


def _blur(image: Tensor, generator: np.random.Generator) -> Tensor:
    kernel = _tensor(draw_blur_kernel(generator), image)
    top, left = (side // 2 for side in kernel.shape)
    linear = F.pad(decode_srgb(image)[:, None], (left, left, top, top), mode="reflect")
    return encode_srgb(F.conv2d(linear, kernel[None, None])[:, 0])


def _haze(image: Tensor, generator: np.random.Generator) -> Tensor:
    depth = plausible_depth(image.shape[1:], generator)
    drawn, air = draw_haze(depth, generator)
    transmission = _tensor(drawn[..., 0], image)
    return image * transmission + _tensor(air, image).view(3, 1, 1) * (1 - transmission)


def _noise(image: Tensor, generator: np.random.Generator) -> Tensor:
    drawn, strength = draw_noise((*image.shape[1:], 3), generator)
    white = _tensor(drawn, image).permute(2, 0, 1)
    if not isinstance(strength, Camera):
        return image + float(strength) * white
    linear = decode_srgb(image)
    variance = float(strength.shot) * linear + float(strength.read)
    return encode_srgb(linear + torch.sqrt(variance) * white)


def _general(image: Tensor, generator: np.random.Generator) -> Tensor:
    chosen = (_blur, _haze, _rain, _noise)[int(generator.integers(4))]
    return chosen(image, generator)


DIFFERENTIABLE: dict[str, Callable[[Tensor, np.random.Generator], Tensor]] = {
    "derain": _rain,
    "deblur": _blur,
    "dehaze": _haze,
    "denoise": _noise,
    "general": _general,
}


def _tensor(array: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(like)
