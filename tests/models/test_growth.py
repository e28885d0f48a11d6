"""A deeper network that begins where a shallower one ended; and one with fewer blocks."""

from pathlib import Path

import pytest
import torch
from torch import nn

from irkd.errors import IrkdError
from irkd.models.base import create_network
from irkd.models.weights import load_network_file, load_weights, read_metadata, save_network

SHALLOW = {"widths": (8, 12, 16), "blocks": (1, 2, 1)}
DEEP = {"widths": (8, 12, 16), "blocks": (3, 2, 4), "grow": True}


@pytest.fixture
def shallow(tmp_path: Path) -> tuple[nn.Module, Path]:
    torch.manual_seed(1)
    network = create_network("resunet", **SHALLOW)
    path = tmp_path / "shallow.safetensors"
    save_network(path, network, task="denoise")
    return network, path


def test_the_deeper_network_begins_as_the_shallower_and_learns_with_every_block(
    shallow: tuple[nn.Module, Path],
) -> None:
    network, path = shallow
    deep = create_network("resunet", **DEEP)
    load_weights(deep, path)
    images = torch.rand(2, 3, 32, 24)
    assert torch.equal(deep(images), network(images))

    optimizer = torch.optim.SGD(deep.parameters(), lr=1.0)
    before = {key: tensor.clone() for key, tensor in deep.state_dict().items()}
    for _ in range(2):  # The first convolution of a new block learns once the second is not 0.
        optimizer.zero_grad()
        (deep(images) - images.flip(-1)).square().mean().backward()
        optimizer.step()
    for key, tensor in deep.state_dict().items():
        assert not torch.equal(tensor, before[key]), key


def test_the_grown_network_is_kept_as_an_ordinary_one(
    shallow: tuple[nn.Module, Path], tmp_path: Path
) -> None:
    _, path = shallow
    deep = create_network("resunet", **DEEP)
    load_weights(deep, path)
    save_network(tmp_path / "deep.safetensors", deep, task="denoise")
    assert "grow" not in read_metadata(tmp_path / "deep.safetensors")["spec"]
    again = load_network_file(tmp_path / "deep.safetensors")
    images = torch.rand(1, 3, 16, 16)
    assert torch.equal(again(images), deep(images))


@pytest.mark.parametrize(
    "options",
    [
        {**DEEP, "grow": False},  # Not asked for.
        {**DEEP, "blocks": (1, 1, 1)},  # The file has more.
        {**DEEP, "grow": False, "shrink": True},  # The file has fewer.
        {**SHALLOW, "blocks": (1, 0, 1)},
        {**DEEP, "widths": (8, 12, 24)},
        {"widths": (8, 12), "blocks": (3, 3), "grow": True},
    ],
)
def test_what_cannot_be_grown_or_should_not_is_refused(
    shallow: tuple[nn.Module, Path], options: dict[str, object]
) -> None:
    network = create_network("resunet", **options)
    with pytest.raises(IrkdError, match="does not fit"):
        load_weights(network, shallow[1])


@pytest.mark.parametrize("option", ["grow", "shrink"])
def test_networks_that_cannot_grow_or_shrink_have_no_such_option(option: str) -> None:
    with pytest.raises(IrkdError, match=option):
        create_network("nafnet", **{option: True})


def test_the_network_with_fewer_blocks_is_the_other_without_its_last_ones(
    shallow: tuple[nn.Module, Path], tmp_path: Path
) -> None:
    network, path = shallow
    fewer = create_network("resunet", widths=SHALLOW["widths"], blocks=(1, 1, 1), shrink=True)
    load_weights(fewer, path)
    for block in (network.encoders[1][1], network.decoders[0][1]):
        torch.nn.init.zeros_(block.conv2.weight)
        torch.nn.init.zeros_(block.conv2.bias)
    images = torch.rand(2, 3, 32, 24)
    assert torch.equal(fewer(images), network(images))
    save_network(tmp_path / "fewer.safetensors", fewer, task="denoise")
    assert "shrink" not in read_metadata(tmp_path / "fewer.safetensors")["spec"]


def test_one_level_can_grow_where_another_shrinks(shallow: tuple[nn.Module, Path]) -> None:
    network, path = shallow
    options = {"widths": SHALLOW["widths"], "blocks": (3, 1, 2), "grow": True, "shrink": True}
    other = create_network("resunet", **options)
    load_weights(other, path)
    for key, tensor in network.state_dict().items():
        if key in other.state_dict():
            assert torch.equal(other.state_dict()[key], tensor), key
    for level in (other.encoders[0], other.decoders[1], other.middle):
        assert not level[-1].conv2.weight.any()


@pytest.mark.parametrize(
    ("arch", "more"),
    [("deconvunet", {"kernels": (5, 9), "noises": (1e-2,)}), ("dehazeunet", {})],
)
def test_beside_further_images_it_begins_as_the_network_without(
    arch: str, more: dict[str, object], shallow: tuple[nn.Module, Path]
) -> None:
    network, path = shallow
    options = {**DEEP, **more}
    beside = create_network(arch, **options)
    load_weights(beside, path)
    images = torch.rand(2, 3, 32, 24)
    torch.testing.assert_close(beside(images), network(images), rtol=0, atol=1e-6)
    with pytest.raises(IrkdError, match="does not fit"):
        load_weights(create_network(arch, **{**options, "grow": False}), path)
    load_weights(create_network(arch, **{**options, "blocks": (1, 1, 1), "shrink": True}), path)
