"""Weights between those of two runs, by the command that models.sh calls."""

import subprocess
import sys
from pathlib import Path

import torch

from irkd.inference.backends import load_network
from irkd.models.base import create_network
from irkd.models.weights import read_metadata, save_network

ROOT = Path(__file__).parents[1]


def test_weights_between_two_networks(tmp_path: Path) -> None:
    networks = [create_network("resunet", widths=[4, 6], blocks=[1, 1]) for _ in range(2)]
    paths = [tmp_path / "from.safetensors", tmp_path / "to.safetensors"]
    for path, network, steps in zip(paths, networks, (3, 5), strict=True):
        training = {"steps": steps, "psnr_db": 30.0}
        save_network(path, network, task="denoise", preset="denoise", training=training)
    out = tmp_path / "between.safetensors"
    command = [sys.executable, "-m", "bench.between", *map(str, paths), "0.25", str(out)]
    subprocess.run(command, cwd=ROOT, check=True)
    start, end = (network.state_dict() for network in networks)
    for name, tensor in load_network(out).state_dict().items():
        torch.testing.assert_close(tensor, 0.75 * start[name] + 0.25 * end[name])
    metadata = read_metadata(out)
    assert metadata["training"] == {
        "between": ["from", "to"],
        "share": 0.25,
        "steps": 5,
    }
