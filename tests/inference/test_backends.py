import json

import numpy as np
import pytest
import torch

import irkd
from irkd.errors import IrkdError
from irkd.inference.backends import RuntimeNetwork, load_network
from irkd.inference.restorer import Restorer
from irkd.models.weights import save_network

onnx = pytest.importorskip("onnx")

SIZES = {"width": 4, "enc_blk_nums": (1, 1), "middle_blk_num": 1, "dec_blk_nums": (1, 1)}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = irkd.create_network("nafnet", value_range=(-1, 1), **SIZES).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def write_onnx(path, *, size=None, metadata=None, multiple=4):
    """An ONNX file that gives its input back, for sides that are multiples of `multiple`."""
    sides = ["h", "w"] if size is None else list(size)
    image = onnx.helper.make_tensor_value_info("image", 1, [1, 3, *sides])
    result = onnx.helper.make_tensor_value_info("result", 1, [1, 3, *sides])
    nodes = [
        onnx.helper.make_node("SpaceToDepth", ["image"], ["blocks"], blocksize=multiple),
        onnx.helper.make_node("DepthToSpace", ["blocks"], ["result"], blocksize=multiple),
    ]
    graph = onnx.helper.make_graph(nodes, "identity", [image], [result])
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8
    )
    if metadata is not None:
        onnx.helper.set_model_props(model, {"irkd": json.dumps(metadata)})
    onnx.save(model, path)
    return path


def test_weights_come_back_as_their_network(tmp_path, network):
    save_network(tmp_path / "a.safetensors", network, task="derain")
    loaded = irkd.load_network(tmp_path / "a.safetensors")
    assert not loaded.training
    assert loaded.metadata["task"] == "derain"
    assert loaded.spec.value_range == (-1, 1)
    images = torch.rand(1, 3, 20, 24)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(images), network(images), rtol=0, atol=0)


def test_plain_checkpoints_have_no_metadata(tmp_path, network):
    torch.save({"params": network.state_dict()}, tmp_path / "a.pth")
    loaded = load_network(tmp_path / "a.pth")
    assert loaded.metadata == {}
    assert loaded.spec.value_range == (0, 1)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_metadata_of_an_exported_file_are_read(tmp_path, backend):
    pytest.importorskip(backend)
    metadata = {"size_multiple": 16, "task": "deblur", "spec": {"value_range": [-1, 1]}}
    path = write_onnx(tmp_path / "a.onnx", metadata=metadata)
    loaded = load_network(path, backend=backend)
    assert isinstance(loaded, RuntimeNetwork)
    assert (loaded.size_multiple, loaded.in_channels, loaded.out_channels) == (16, 3, 3)
    assert loaded.spec.value_range == (-1, 1)
    assert loaded.metadata["task"] == "deblur"
    images = torch.rand(2, 3, 16, 32)
    torch.testing.assert_close(loaded(images), images)
    degraded = np.random.default_rng(0).random((21, 35, 3), np.float32)
    np.testing.assert_allclose(Restorer(loaded)(degraded), degraded, atol=2e-7)


@pytest.mark.parametrize(("multiple", "found"), [(1, 8), (8, 8), (16, 16), (64, 64)])
def test_the_size_multiple_of_a_foreign_file_is_found(tmp_path, multiple, found):
    pytest.importorskip("onnxruntime")
    path = write_onnx(tmp_path / "a.onnx", multiple=multiple)
    assert load_network(path).size_multiple == found


def test_a_file_of_fixed_size_restores_images_of_any_size(tmp_path):
    pytest.importorskip("onnxruntime")
    network = load_network(write_onnx(tmp_path / "a.onnx", size=(32, 48)))
    assert network.fixed_size == (32, 48)
    rng = np.random.default_rng(0)
    for height, width in ((32, 48), (10, 10), (100, 70), (20, 200), (33, 49)):
        degraded = rng.random((height, width, 3), np.float32)
        restored = Restorer(network, overlap=8)(degraded)
        np.testing.assert_allclose(restored, degraded, atol=2e-7)


def test_a_file_that_gives_another_size_is_refused(tmp_path):
    pytest.importorskip("onnxruntime")
    image = onnx.helper.make_tensor_value_info("image", 1, [1, 3, "h", "w"])
    result = onnx.helper.make_tensor_value_info("result", 1, [1, 12, "a", "b"])
    node = onnx.helper.make_node("SpaceToDepth", ["image"], ["result"], blocksize=2)
    graph = onnx.helper.make_graph([node], "half", [image], [result])
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "a.onnx")
    with pytest.raises(IrkdError, match="same size"):
        load_network(tmp_path / "a.onnx")


def test_senseless_metadata_is_refused(tmp_path):
    pytest.importorskip("onnxruntime")
    metadata = {"size_multiple": 8, "spec": {"value_range": [1, 0]}}
    with pytest.raises(IrkdError, match="value range"):
        load_network(write_onnx(tmp_path / "a.onnx", metadata=metadata))


def test_weights_that_are_not_finite_are_refused(tmp_path, network):
    state_dict = {key: value.clone() for key, value in network.state_dict().items()}
    state_dict["intro.weight"][0, 0, 0, 0] = float("nan")
    torch.save(state_dict, tmp_path / "a.pth")
    with pytest.raises(IrkdError, match=r"a\.pth"):
        load_network(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("backend", "says"), [("tensorrt", "unknown backend"), ("onnxruntime", "--to onnx")]
)
def test_backends_that_cannot_run_the_file_are_refused(tmp_path, network, backend, says):
    save_network(tmp_path / "a.safetensors", network, task=None)
    with pytest.raises(IrkdError, match=says):
        load_network(tmp_path / "a.safetensors", backend=backend)


def test_damaged_files_are_refused(tmp_path):
    for name in ("a.onnx", "b.safetensors", "c.pth"):
        (tmp_path / name).write_bytes(b"nonsense")
        with pytest.raises(IrkdError):
            load_network(tmp_path / name)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    path = write_onnx(tmp_path / "a.onnx")
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(IrkdError, match=r"irkd\[export\]"):
        load_network(path)
