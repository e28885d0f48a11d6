"""NAFNet's local pooling (TLC) against its definition, window by window."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tiny_restorers import SMALL_NAFNET, degraded, shaken
from torch import Tensor

from irkd.models.base import create_network
from irkd.models.local_pooling import LocalMean, local_means, spread, spread_rows


def by_definition(features: Tensor, height: int, width: int) -> Tensor:
    rows, columns = features.shape[-2:]
    window = min(height, rows), min(width, columns)
    means = F.avg_pool2d(features, window, stride=1)
    below, beside = rows - means.shape[2], columns - means.shape[3]
    padding = (beside // 2, beside - beside // 2, below // 2, below - below // 2)
    return F.pad(means, padding, mode="replicate")


@pytest.mark.parametrize("size", [(1, 1), (5, 9), (12, 7), (8, 8), (30, 21)])
@pytest.mark.parametrize("window", [(1, 1), (3, 5), (8, 8), (6, 40), (40, 6), (50, 50)])
def test_local_mean(size: tuple[int, int], window: tuple[int, int]) -> None:
    features = torch.randn(2, 3, *size, dtype=torch.float64)
    found = spread(LocalMean(*window)(features), features)
    torch.testing.assert_close(found, by_definition(features, *window))


def test_small_images_give_one_global_mean() -> None:
    features = torch.randn(1, 3, 6, 7)
    pooled = LocalMean(6, 12)(features)
    assert pooled.shape == (1, 3, 1, 1)
    torch.testing.assert_close(pooled, features.mean((2, 3), keepdim=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_large_images_lose_no_digits(dtype: torch.dtype) -> None:
    features = (100 + torch.randn(1, 1, 1500, 1500)).to(dtype)
    exact = LocalMean(384, 384)(features.double())
    found = LocalMean(384, 384)(features)
    assert found.dtype == dtype
    assert found.isfinite().all()
    limit = 1e-4 if dtype == torch.float32 else 0.06  # float16 has steps of 0.0625 at 100
    assert (found.double() - exact).abs().max() < limit


@pytest.mark.parametrize("train", [16, 24, 30])
def test_equals_global_pooling_at_the_training_size(train: int) -> None:
    plain = shaken(create_network("nafnet", **SMALL_NAFNET))
    local = create_network("nafnet_local", **SMALL_NAFNET, train_size=[1, 3, train, train])
    local.load_state_dict(plain.state_dict())
    images = degraded(plain, train, train)
    with torch.inference_mode():
        torch.testing.assert_close(local(images), plain(images))
        larger = degraded(plain, 2 * train, 3 * train)
        assert (local(larger) - plain(larger)).abs().max() > 1e-3


def test_windows_are_one_and_a_half_training_patches() -> None:
    options = {"enc_blk_nums": [1] * 4, "dec_blk_nums": [1] * 4, "width": 2}
    network = create_network("nafnet_local", **options, train_size=[1, 3, 256, 256])
    stages = [*network.encoders, network.middle_blks]
    assert [stage[0].sca[0].height for stage in stages] == [384, 192, 96, 48, 24]


@pytest.mark.parametrize("size", [(1, 1), (5, 9), (12, 7), (30, 21)])
@pytest.mark.parametrize("window", [(1, 1), (3, 5), (6, 40), (40, 6), (50, 50)])
def test_means_by_running_sums(size: tuple[int, int], window: tuple[int, int]) -> None:
    image = torch.randn(*size, 3, dtype=torch.float64)
    means = local_means(image, *window)
    expected = by_definition(image.permute(2, 0, 1)[None], *window)[0].permute(1, 2, 0)
    whole = spread_rows(means, image, 0, size[0])
    torch.testing.assert_close(whole.expand_as(expected), expected)
    half = size[0] // 2
    lower = spread_rows(means, image, half, size[0])
    torch.testing.assert_close(lower.expand_as(expected[half:]), expected[half:])
