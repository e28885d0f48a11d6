"""State dicts of the official releases: names, shapes, order, counts, and reading them."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from golden_vectors import key_list
from hypothesis import given, settings
from torch import Tensor, nn

from irkd.models.base import create_network, families, family, parameter_count
from irkd.models.four_levels import expansion_factor

RESTORMER = {"dim": 48, "num_blocks": [4, 6, 6, 8], "num_refinement_blocks": 4}
GREY = {"inp_channels": 1, "out_channels": 1}

# Key list, family, options of the release, parameters.
RELEASES: list[tuple[str, str, dict[str, Any], int]] = [
    ("restormer", "restormer", RESTORMER, 26_126_644),
    ("restormer_biasfree_rgb", "restormer", {"LayerNorm_type": "BiasFree"}, 26_111_668),
    ("restormer_biasfree_gray", "restormer", {"LayerNorm_type": "BiasFree", **GREY}, 26_109_076),
    ("restormer_dualpixel", "restormer", {"dual_pixel_task": True, "inp_channels": 6}, 26_132_548),
    ("restormer_student", "restormer", {"dim": 24, "num_blocks": [1, 2, 2, 4]}, 3_537_482),
    ("nafnet_gopro_width32", "nafnet", {"width": 32}, 17_111_907),
    ("nafnet", "nafnet", {"width": 64}, 67_888_835),
    (
        "nafnet_sidd_width32",
        "nafnet",
        {"enc_blk_nums": [2, 2, 4, 8], "middle_blk_num": 12, "dec_blk_nums": [2, 2, 2, 2]},
        29_159_715,
    ),
    (
        "nafnet_sidd_width64",
        "nafnet",
        {
            "width": 64,
            "enc_blk_nums": [2, 2, 4, 8],
            "middle_blk_num": 12,
            "dec_blk_nums": [2, 2, 2, 2],
        },
        115_982_915,
    ),
    ("uformer", "uformer", {}, 50_880_946),
    (
        "uformer_student",
        "uformer",
        {"embed_dim": 16, "depths": [1, 2, 4, 4, 2, 4, 4, 2, 1]},
        7_855_234,
    ),
    ("drsformer", "drsformer", {}, 33_655_424),
    ("drsformer_nomefc", "drsformer", {"mefc": False}, 32_610_304),
    (
        "drsformer_student",
        "drsformer",
        {"dim": 24, "num_blocks": [2, 2, 2, 4], "mefc_steps": 2},
        4_599_380,
    ),
]
IDS = [release[0] for release in RELEASES]


def on_meta(arch: str, **options: object) -> nn.Module:
    with torch.device("meta"):
        return create_network(arch, **options)


def empty(entries: list[tuple[str, tuple[int, ...]]]) -> dict[str, Tensor]:
    return {key: torch.empty(shape, device="meta") for key, shape in entries}


def plain(options: dict[str, Any]) -> dict[str, Any]:
    return {name: list(v) if isinstance(v, tuple) else v for name, v in options.items()}


@pytest.mark.parametrize(("keys", "arch", "options", "count"), RELEASES, ids=IDS)
def test_names_shapes_order_and_count(
    keys: str, arch: str, options: dict[str, Any], count: int
) -> None:
    network = on_meta(arch, **options)
    found = [(key, tuple(tensor.shape)) for key, tensor in network.state_dict().items()]
    assert found == key_list(keys)
    assert parameter_count(network) == count


@pytest.mark.parametrize(("keys", "arch", "options", "count"), RELEASES, ids=IDS)
def test_spec_is_read_from_the_weights(
    keys: str, arch: str, options: dict[str, Any], count: int
) -> None:
    state_dict = empty(key_list(keys))
    claims = {name: entry.read_spec(state_dict) for name, entry in families().items()}
    assert [name for name, claim in claims.items() if claim is not None] == [arch]
    claim = claims[arch]
    assert claim is not None
    spec = family(arch).spec
    assert spec.model_validate({"arch": arch, **claim}) == spec.model_validate(
        {"arch": arch, **options}
    )


def test_local_pooling_has_the_plain_networks_keys() -> None:
    found = on_meta("nafnet_local").state_dict()
    assert list(found) == list(on_meta("nafnet").state_dict())


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"width": 32, "enc_blk_nums": [1, 1, 1, 8]}, 7_767_907),
        ({"width": 16, "enc_blk_nums": [1, 1, 1, 28]}, 4_347_827),
        (
            {
                "width": 16,
                "enc_blk_nums": [2, 2, 4, 8],
                "middle_blk_num": 12,
                "dec_blk_nums": [2, 2, 2, 2],
            },
            7_371_923,
        ),
    ],
)
def test_small_nafnet_counts(options: dict[str, Any], count: int) -> None:
    assert parameter_count(on_meta("nafnet", **options)) == count


blocks = st.integers(0, 3)
restormer_options = st.fixed_dictionaries(
    {
        "dim": st.integers(4, 40).map(lambda half: 2 * half),
        "num_blocks": st.lists(st.integers(1, 3), min_size=4, max_size=4),
        "num_refinement_blocks": blocks,
        "heads": st.lists(st.sampled_from([1, 2]), min_size=4, max_size=4),
        "ffn_expansion_factor": st.sampled_from([2.66, 2.0, 2.53, 3.0, 1.5, 4.0]),
        "bias": st.booleans(),
        "LayerNorm_type": st.sampled_from(["WithBias", "BiasFree"]),
        "dual_pixel_task": st.booleans(),
    }
)


@settings(max_examples=20, deadline=None)
@given(restormer_options)
def test_any_restormer_is_read_back(options: dict[str, Any]) -> None:
    first = on_meta("restormer", **options)
    claim = family("restormer").read_spec(first.state_dict())
    assert claim is not None
    # Several expansion factors make the same network; any of them will do.
    factor = claim.pop("ffn_expansion_factor")
    assert {name: plain(claim)[name] for name in options if name in claim} == {
        name: value for name, value in options.items() if name != "ffn_expansion_factor"
    }
    second = on_meta("restormer", **claim, ffn_expansion_factor=factor)
    assert {k: v.shape for k, v in second.state_dict().items()} == {
        k: v.shape for k, v in first.state_dict().items()
    }


@settings(max_examples=20, deadline=None)
@given(st.data(), st.integers(1, 3), st.integers(1, 24), blocks, st.integers(1, 4))
def test_any_nafnet_is_read_back(
    data: st.DataObject, levels: int, width: int, middle: int, channels: int
) -> None:
    depths = st.lists(blocks, min_size=levels, max_size=levels)
    options = {
        "img_channel": channels,
        "width": width,
        "enc_blk_nums": data.draw(depths),
        "middle_blk_num": middle,
        "dec_blk_nums": data.draw(depths),
    }
    claim = family("nafnet").read_spec(on_meta("nafnet", **options).state_dict())
    assert claim is not None
    assert plain(claim) == options


@settings(deadline=None)
@given(st.floats(0.5, 8), st.lists(st.integers(2, 400), min_size=1, max_size=5))
def test_expansion_factor_reproduces_every_width(factor: float, channels: list[int]) -> None:
    sizes = [(count, int(count * factor)) for count in channels]
    found = expansion_factor(sizes)
    assert found is not None
    assert [(count, int(count * found)) for count in channels] == sizes


def test_expansion_factor_prefers_the_papers() -> None:
    assert expansion_factor([(24, 63), (48, 127), (96, 255), (192, 510)]) == 2.66
    assert expansion_factor([(48, 96)]) == 2
    assert expansion_factor([(50, 57)]) == 1.15  # 50 * 1.14 is a little less than 57
    assert expansion_factor([(10, 20), (10, 30)]) is None
