from contextlib import contextmanager

import pytest
import torch

import irkd
from irkd.inference.restorer import Restorer
from irkd.models.weights import save_network

TINY = {"width": 4, "enc_blk_nums": (1, 1), "middle_blk_num": 1, "dec_blk_nums": (1, 1)}


def tiny_network():
    """A NAFNet whose weights are all zero: the identity."""
    network = irkd.create_network("nafnet", **TINY).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    return network


@pytest.fixture(scope="session")
def identity_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "identity.safetensors"
    save_network(path, tiny_network(), task="denoise")
    return path


@pytest.fixture(scope="session")
def blur_model(tmp_path_factory):
    """Adds the difference between the mean of 3 x 3 pixels and the pixel: a box blur."""
    network = tiny_network()
    with torch.no_grad():
        for channel in range(3):
            network.intro.weight[channel, channel] = 1 / 9
            network.intro.weight[channel, channel, 1, 1] -= 1
            network.ending.weight[channel, channel, 1, 1] = 1
    path = tmp_path_factory.mktemp("models") / "blur.safetensors"
    save_network(path, network, task="denoise")
    return path


@pytest.fixture
def interrupted_at(monkeypatch):
    """A context in which images stay as they are, and Ctrl-C is pressed at the one of a number."""

    @contextmanager
    def interrupted_at(number):
        calls = []

        def restore(self, degraded, **_):
            calls.append(1)
            if len(calls) == number:
                raise KeyboardInterrupt
            return degraded

        with monkeypatch.context() as patched:
            patched.setattr(Restorer, "__call__", restore)
            yield

    return interrupted_at
