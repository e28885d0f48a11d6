"""Options that make no network are refused before anything is allocated, and named."""

from __future__ import annotations

from typing import Any

import pytest

from irkd.errors import IrkdError
from irkd.models.base import create_network

BAD: list[tuple[str, dict[str, Any], str]] = [
    ("restormer", {"dim": 0}, "dim"),
    ("restormer", {"dim": -48}, "dim"),
    ("restormer", {"dim": 10**9}, "dim"),
    ("restormer", {"dim": 25}, "dim must be even"),
    ("restormer", {"heads": [5, 2, 4, 8]}, "5 heads do not divide the 48 channels of level 1"),
    ("restormer", {"heads": [1, 2, 4, 7]}, "7 heads do not divide the 384 channels of level 4"),
    ("restormer", {"heads": [1, 2, 4]}, "heads"),
    ("restormer", {"heads": [0, 2, 4, 8]}, "heads.0"),
    ("restormer", {"num_blocks": []}, "num_blocks"),
    ("restormer", {"num_blocks": [1, 2, 3]}, "num_blocks"),
    ("restormer", {"num_blocks": [1, 2, 3, 4, 5]}, "num_blocks"),
    ("restormer", {"num_blocks": [1, -2, 3, 4]}, "num_blocks.1"),
    ("restormer", {"num_blocks": 4}, "num_blocks"),
    ("restormer", {"ffn_expansion_factor": 0}, "ffn_expansion_factor"),
    ("restormer", {"ffn_expansion_factor": 0.001}, "no hidden channels"),
    ("restormer", {"ffn_expansion_factor": float("nan")}, "ffn_expansion_factor"),
    ("restormer", {"LayerNorm_type": "RMS"}, "LayerNorm_type"),
    ("restormer", {"inp_channels": 6}, "inp_channels 6 and out_channels 3 must be equal"),
    ("restormer", {"dimm": 48}, "Did you mean 'dim'"),
    ("restormer", {"value_range": [1, 0]}, "value_range must rise"),
    ("drsformer", {"dim": 25}, "dim must be even"),
    ("drsformer", {"dim": 2, "heads": [1, 4, 4, 8]}, "4 heads leave 1 channel each at level 2"),
    ("drsformer", {"dim": 8, "heads": [8, 2, 4, 8]}, "8 heads leave 1 channel each at level 1"),
    ("drsformer", {"heads": [5, 2, 4, 8]}, "5 heads do not divide the 48 channels of level 1"),
    ("drsformer", {"inp_channels": 6}, "inp_channels 6 and out_channels 3 must be equal"),
    ("drsformer", {"mefc_steps": 0}, "mefc_steps"),
    ("drsformer", {"mefc_layers": 10**9}, "mefc_layers"),
    ("drsformer", {"num_refinement_blocks": 4}, "unknown key 'num_refinement_blocks'"),
    ("drsformer", {"mecf": True}, "Did you mean 'mefc'"),
    ("uformer", {"embed_dim": 0}, "embed_dim"),
    ("uformer", {"embed_dim": 10**9}, "embed_dim"),
    ("uformer", {"depths": [2, 2, 2, 2]}, "depths"),
    ("uformer", {"depths": [2, 2, 2, 2, 0, 2, 2, 2, 2]}, "depths.4"),
    ("uformer", {"num_heads": [3, 2, 4, 8, 16, 16, 8, 4, 2]}, "3 heads do not divide the 32"),
    ("uformer", {"num_heads": [1] * 8 + [5]}, "5 heads do not divide the 64 channels of decoder"),
    ("uformer", {"win_size": 0}, "win_size"),
    ("uformer", {"img_size": 15}, "img_size"),
    ("uformer", {"mlp_ratio": 0.001}, "no hidden channels"),
    ("uformer", {"drop_path_rate": 1}, "drop_path_rate"),
    ("uformer", {"token_projection": "conv"}, "token_projection"),
    ("uformer", {"token_mlp": "fast"}, "token_mlp"),
    ("uformer", {"in_chans": 1}, "in_chans is 1, but must be 3 for dd_in 3"),
    ("uformer", {"cross_modulator": True}, "cross_modulator"),
    ("uformer", {"image_size": 128}, "Did you mean 'img_size'"),
    ("nafnet", {"width": 0}, "width"),
    ("nafnet", {"width": -3}, "width"),
    ("nafnet", {"width": 10**9}, "width"),
    ("nafnet", {"width": "wide"}, "width"),
    ("nafnet", {"img_channel": 0}, "img_channel"),
    ("nafnet", {"enc_blk_nums": [], "dec_blk_nums": []}, "enc_blk_nums"),
    ("nafnet", {"enc_blk_nums": [1, 1]}, "enc_blk_nums has 2 levels, dec_blk_nums has 4"),
    ("nafnet", {"enc_blk_nums": [1] * 9, "dec_blk_nums": [1] * 9}, "enc_blk_nums"),
    ("nafnet", {"middle_blk_num": -1}, "middle_blk_num"),
    ("nafnet", {"train_size": [1, 3, 256, 256]}, "unknown key 'train_size'"),
    ("nafnet_local", {"fast_imp": True}, "fast_imp"),
    ("nafnet_local", {"train_size": [256, 256]}, "train_size"),
    ("nafnet_local", {"train_size": [1, 3, 0, 256]}, "train_size.2"),
    ("nafnet_local", {"train_size": [1, 1, 256, 256]}, "channels must be img_channel, 3"),
]


@pytest.mark.parametrize(("arch", "options", "message"), BAD, ids=[str(bad[1]) for bad in BAD])
def test_refused(arch: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(IrkdError) as caught:
        create_network(arch, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_family_is_named_with_the_known_ones() -> None:
    with pytest.raises(IrkdError, match="Did you mean 'nafnet'"):
        create_network("nafnett")
