"""Multiply-adds equal the published ones, whatever path a network takes when it runs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from irkd.models.base import create_network, family, parameter_count, reference_path
from irkd.profiling.macs import count, count_macs, on_meta

# Options, parameters, and multiply-adds at 512x512 without and with fvcore's extras.
PUBLISHED = {
    "restormer teacher": (
        {"arch": "restormer", "dim": 48, "num_blocks": [4, 6, 6, 8]},
        (26_126_644, 619_528_126_464, 619_528_126_464),
    ),
    "restormer student": (
        {"arch": "restormer", "dim": 24, "num_blocks": [1, 2, 2, 4]},
        (3_537_482, 85_022_539_776, 85_022_539_776),
    ),
    "uformer teacher": (
        {"arch": "uformer", "embed_dim": 32, "depths": [1, 2, 8, 8, 2, 8, 8, 2, 1]},
        (50_880_946, 346_294_321_152, 347_563_098_112),
    ),
    "uformer student": (
        {"arch": "uformer", "embed_dim": 16, "depths": [1, 2, 4, 4, 2, 4, 4, 2, 1]},
        (7_855_234, 56_637_784_064, 57_083_428_864),
    ),
    # fvcore could not run the teacher at 512; its printed 972.0 G is held, not an integer.
    "drsformer teacher": (
        {"arch": "drsformer", "dim": 48, "num_blocks": [4, 6, 6, 8], "mefc_steps": 4},
        (33_655_424, 971_919_078_400, None),
    ),
    "drsformer student": (
        {"arch": "drsformer", "dim": 24, "num_blocks": [2, 2, 2, 4], "mefc_steps": 2},
        (4_599_380, 131_984_526_592, 132_003_400_960),
    ),
}
DEEP = {"enc_blk_nums": [1, 1, 1, 28], "middle_blk_num": 1, "dec_blk_nums": [1, 1, 1, 1]}
EVEN = {"enc_blk_nums": [2, 2, 4, 8], "middle_blk_num": 12, "dec_blk_nums": [2, 2, 2, 2]}
# Options, parameters, and at 512x512 the giga-MACs of FlopCounterMode / 2 and of fvcore.
NAFNET = {
    "w32 GoPro": ({"width": 32, **DEEP}, 17_111_907, 63.817, 63.878),
    "w64 GoPro": ({"width": 64, **DEEP}, 67_888_835, 252.193, 252.314),
    "w32 SIDD": ({"width": 32, **EVEN}, 29_159_715, 64.168, 64.248),
    "w64 SIDD": ({"width": 64, **EVEN}, 115_982_915, 252.899, 253.058),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_transformers_count_as_published(name: str) -> None:
    options, (parameters, macs, fvcore) = PUBLISHED[name]
    spec = family(str(options["arch"])).spec.model_validate(options)
    assert parameter_count(on_meta(spec)) == parameters
    counted = count(spec, 512, 512)
    assert counted.macs == macs
    if fvcore is None:
        assert round(counted.fvcore / 1e9, 1) == 972.0
    else:
        assert counted.fvcore == fvcore


@pytest.mark.parametrize("name", NAFNET)
def test_nafnet_counts_as_published(name: str) -> None:
    options, parameters, macs_g, fvcore_g = NAFNET[name]
    spec = family("nafnet").spec.model_validate({"arch": "nafnet", **options})
    assert parameter_count(on_meta(spec)) == parameters
    counted = count(spec, 512, 512)
    assert round(counted.macs / 1e9, 3) == macs_g
    assert round(counted.fvcore / 1e9, 3) == fvcore_g


def test_a_network_counts_as_its_spec_and_stays_as_it_was() -> None:
    network = create_network("restormer", dim=8, num_blocks=[1, 1, 1, 1])
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert count_macs(network, 64, 96) == count_macs(network.spec, 64, 96)
    assert count_macs(network.eval(), 64, 96) == count_macs(network.spec, 64, 96)
    for key, value in network.state_dict().items():
        assert value.device.type == "cpu"
        assert torch.equal(value, before[key])


def test_sides_count_as_they_are_padded() -> None:
    network = create_network("restormer", dim=8, num_blocks=[1, 1, 1, 1])
    assert count_macs(network, 57, 90) == count_macs(network, 64, 96)
    assert count_macs(network, 56, 96) < count_macs(network, 64, 96)


class Mixed(nn.Module):
    """Every kind of operation that is counted, and some that are not."""

    size_multiple, in_channels = 4, 3

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.LayerNorm(8)
        self.plain_norm = nn.LayerNorm(8, elementwise_affine=False)
        self.qkv = nn.Linear(8, 24)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1))
        self.up = nn.ConvTranspose2d(8, 3, 2, stride=2)

    def forward(self, images: Tensor) -> Tensor:
        x = self.embed(images)
        tokens = self.norm(x.flatten(2).transpose(1, 2))
        query, key, value = self.qkv(self.plain_norm(tokens)).chunk(3, -1)
        attended = (query @ key.transpose(1, 2)).softmax(-1) @ value
        x = x + attended.transpose(1, 2).reshape(x.shape)
        x = x * self.gate(x) / x.std(1, keepdim=True)
        return self.up(x)[..., ::2, ::2] + images


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["mixed", "nafnet"])
def test_fvcore_agrees(name: str) -> None:
    fvcore = pytest.importorskip("fvcore.nn")
    if name == "mixed":
        network: nn.Module = Mixed()
    else:
        network = create_network(
            "nafnet", width=4, enc_blk_nums=[1, 1], middle_blk_num=1, dec_blk_nums=[1, 1]
        )
    images = torch.rand(1, 3, 16, 24)
    analysis = fvcore.FlopCountAnalysis(network.eval(), images)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    with reference_path():
        assert count(network, 16, 24).fvcore == analysis.total()
