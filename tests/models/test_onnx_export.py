"""Exported graphs take every size and give what PyTorch gives, local pooling included."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_restorers import degraded, shaken
from torch.export import Dim

from irkd.models.base import create_network

ort = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

ONE_LEVEL = {"width": 4, "enc_blk_nums": [1], "middle_blk_num": 1, "dec_blk_nums": [1]}
SHALLOW = {"dim": 4, "num_blocks": [1, 0, 0, 1], "num_refinement_blocks": 0, "heads": [2, 1, 1, 2]}

SPARSE = {"dim": 4, "num_blocks": [0, 0, 0, 1], "heads": [1, 1, 1, 2], "mefc_steps": 1}
BIASED = {**SHALLOW, "LayerNorm_type": "BiasFree", "bias": True}
WINDOWED = {
    "embed_dim": 4,
    "depths": [1, 1, 1, 1, 2, 1, 1, 1, 2],
    "num_heads": [1, 1, 1, 1, 2, 1, 1, 1, 2],
    "win_size": 2,
}
LOCAL = {**ONE_LEVEL, "train_size": [1, 3, 16, 16]}


@pytest.mark.parametrize(
    ("arch", "options"),
    [
        pytest.param("restormer", SHALLOW, id="restormer"),
        pytest.param("nafnet_local", LOCAL, id="nafnet_local"),
        pytest.param("drsformer", SPARSE, id="drsformer"),
        pytest.param("resunet", {"widths": [4, 6], "blocks": [1, 1]}, id="resunet"),
        # Export takes seconds: the variants of the two above wait for the slow tests.
        pytest.param("restormer", BIASED, id="restormer_biasfree", marks=pytest.mark.slow),
        pytest.param("nafnet", ONE_LEVEL, id="nafnet", marks=pytest.mark.slow),
        pytest.param("uformer", WINDOWED, id="uformer", marks=pytest.mark.slow),
    ],
)
def test_one_graph_for_all_sizes(arch: str, options: dict[str, Any], tmp_path: Path) -> None:
    network = shaken(create_network(arch, **options)).eval()
    multiple = int(network.size_multiple)
    height, width = Dim("height", min=1), Dim("width", min=1)
    sizes = {0: Dim("batch", min=1), 2: multiple * height, 3: multiple * width}
    with warnings.catch_warnings():
        # The exporter warns about its own insides.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (degraded(network, 4 * multiple, 6 * multiple, batch=2),),
            dynamo=True,
            dynamic_shapes=(sizes,),
            verbose=False,
        )
    assert program is not None
    path = tmp_path / "network.onnx"
    program.save(path)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    unit = max(8, multiple)
    # Smaller than the pooling windows, larger, and each along one axis only.
    for batch, rows, columns in ((1, 1, 2), (3, 7, 8), (1, 1, 10), (2, 9, 2)):
        images = degraded(network, rows * unit, columns * unit, batch=batch)
        found = torch.from_numpy(session.run(None, {name: images.numpy()})[0])
        with torch.inference_mode():
            expected = network(images)
        assert (found - expected).abs().max() <= 2e-5 * max(1.0, expected.abs().max().item())
