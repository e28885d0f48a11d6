"""Every loss against finite differences in float64, and its values in half precision."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from irkd.losses.affinity import affinity_loss
from irkd.losses.attention import channel_attention, reduce_positions, spatial_attention
from irkd.losses.attention_transfer import attention_transfer_loss
from irkd.losses.contrast import contrast_ratio, contrast_share, infonce, literal_contrast
from irkd.losses.kernels import kernel_loss
from irkd.losses.perceptual import feature_l1
from irkd.losses.pixel import decibel_loss, pixel_loss, trusted_pixel_loss
from irkd.losses.ssim import ssim
from irkd.losses.wavelet import wavelet_loss

IMAGES = (2, 3, 13, 12)
FEATURES = (2, 4, 3, 3)
POSITIONS = (2, 4, 9)


def _features_l1(a, b):
    return feature_l1([a, a[:, :2]], [b, b[:, :2]])


def _ratio(a, b, c):
    return contrast_ratio([a, a[:, :2]], [b, b[:, :2]], [c, c[:, :2]])


def _share(a, b, c):
    return contrast_share([a, a[:, :2]], [b, b[:, :2]], [c, c[:, :2]])


LOSSES = {
    "l1": (partial(pixel_loss, kind="l1"), IMAGES, 2),
    "mse": (partial(pixel_loss, kind="mse"), IMAGES, 2),
    "charbonnier": (partial(pixel_loss, kind="charbonnier", eps=0.1), IMAGES, 2),
    "decibel": (partial(decibel_loss, data_range=2.0, best=36), IMAGES, 2),
    "trusted": (trusted_pixel_loss, IMAGES, 3),
    "ssim": (partial(ssim, data_range=1.0), IMAGES, 2),
    "gaussian": (kernel_loss, FEATURES, 2),
    "gaussian-standardize": (partial(kernel_loss, normalize="standardize"), FEATURES, 2),
    "gaussian-none": (partial(kernel_loss, normalize="none", sigma=3.0), FEATURES, 2),
    "euclidean": (partial(kernel_loss, kernel="euclidean"), FEATURES, 2),
    "cosine": (partial(kernel_loss, kernel="cosine"), FEATURES, 2),
    "cosine-none": (partial(kernel_loss, kernel="cosine", normalize="none"), FEATURES, 2),
    "channel-attention": (channel_attention, POSITIONS, 2),
    "channel-attention-sqrt_d": (partial(channel_attention, scale="sqrt_d"), POSITIONS, 2),
    "spatial-attention": (spatial_attention, POSITIONS, 2),
    "spatial-attention-sqrt_d": (partial(spatial_attention, scale="sqrt_d"), POSITIONS, 2),
    "infonce": (partial(infonce, tau=0.5), FEATURES, 3),
    "infonce-uncentred": (partial(infonce, tau=0.5, centre=False), FEATURES, 3),
    "literal-contrast": (partial(literal_contrast, tau=0.5), FEATURES, 3),
    "ratio": (_ratio, FEATURES, 3),
    "share": (_share, FEATURES, 3),
    "wavelet": (partial(wavelet_loss, levels=2, level_weights=(1.0, 0.5)), (1, 2, 7, 5), 2),
    "affinity": (partial(affinity_loss, grid=2), FEATURES, 2),
    "attention-transfer": (attention_transfer_loss, FEATURES, 2),
    "feature_l1": (_features_l1, FEATURES, 2),
    "pool": (partial(reduce_positions, mode="pool"), (1, 2, 33, 5), 1),
    "window": (partial(reduce_positions, mode="window"), (1, 2, 10, 4), 1),
}

every_loss = pytest.mark.parametrize("name", LOSSES)


def _inputs(name, dtype=torch.float64):
    _, shape, count = LOSSES[name]
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.rand(shape, generator=generator, dtype=torch.float64) for _ in range(count)]
    return [tensor.to(dtype) for tensor in tensors]


@every_loss
def test_gradient_is_the_derivative(name):
    loss, inputs = LOSSES[name][0], _inputs(name)
    # All arguments but the mask-making reference of the trusted loss are differentiated.
    wanted = 2 if name == "trusted" else len(inputs)
    inputs = [value.requires_grad_(index < wanted) for index, value in enumerate(inputs)]
    assert torch.autograd.gradcheck(loss, inputs, eps=1e-6, atol=1e-6, fast_mode=False)


@every_loss
def test_half_precision_is_widened_also_under_autocast(name):
    loss, inputs = LOSSES[name][0], _inputs(name, torch.bfloat16)
    expected = loss(*(value.float() for value in inputs))
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(*inputs)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, expected, rtol=0, atol=0)
