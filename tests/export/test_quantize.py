"""int8: calibrated on a user's images, compared with PyTorch on them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from irkd.errors import IrkdError
from irkd.export.export import export_network
from irkd.export.quantize import calibration_images, checking_images
from irkd.export.runtimes import open_onnx
from irkd.models.base import create_network

pytest.importorskip("onnxscript")
onnx = pytest.importorskip("onnx")


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    network = create_network(
        "nafnet", width=4, enc_blk_nums=[1], middle_blk_num=0, dec_blk_nums=[0]
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return network.eval()


def write_images(folder: Path, count: int, height: int = 70, width: int = 91) -> Path:
    generator = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    for number in range(count):
        small = generator.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        smooth = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{number}.png"), smooth)
    return folder


def test_int8_is_quantised_close_and_says_so(network: nn.Module, tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", 4)
    path = tmp_path / "net.onnx"
    exported = export_network(
        network, path, format="onnx", precision="int8", calibrate=images, source={"task": "derain"}
    )
    kinds = {node.op_type for node in onnx.load(path).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    opened = open_onnx(path)
    assert opened.metadata == exported.metadata
    assert (opened.metadata["precision"], opened.metadata["task"]) == ("int8", "derain")
    picture = cv2.cvtColor(cv2.imread(str(images / "0.png")), cv2.COLOR_BGR2RGB)
    degraded = torch.from_numpy(picture).permute(2, 0, 1)[None, :, :64, :64].float() / 255
    with torch.inference_mode():
        expected = network(degraded).numpy()
    found = opened.run(degraded.numpy())
    rms = float(np.sqrt(np.mean((found - expected) ** 2)))
    # Eight bits leave a mark, a small one.
    assert 1e-5 < rms < 0.03 * max(1.0, float(np.abs(expected).max()))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["images", "net.onnx"]


def test_images_are_colour_in_the_value_range_and_in_three_sizes(
    network: nn.Module, tmp_path: Path
) -> None:
    red = np.zeros((40, 31, 3), np.uint8)
    red[..., 2] = 255
    cv2.imwrite(str(tmp_path / "red.png"), red)
    (tmp_path / "notes.txt").write_text("no image")
    (image,) = calibration_images(network, tmp_path)
    assert image.shape == (1, 3, 40, 30)
    assert image[0, :, 5, 5].tolist() == [1.0, 0.0, 0.0]
    shapes = [tuple(part.shape[2:]) for part in checking_images(network, [image])]
    assert shapes == [(40, 30), (38, 30), (40, 28)]


def test_bad_folders_are_told(network: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(IrkdError, match="no such folder"):
        calibration_images(network, tmp_path / "nowhere")
    with pytest.raises(IrkdError, match="no images"):
        calibration_images(network, tmp_path)
    write_images(tmp_path, 1, height=1)
    with pytest.raises(IrkdError, match="at least 2 pixels"):
        calibration_images(network, tmp_path)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(IrkdError, match=r"broken\.png"):
        calibration_images(network, tmp_path)
