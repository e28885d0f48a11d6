"""`bench.gentler`: a network that changes images by a share of what another changes."""

import sys

import torch
from bench.gentler import main

from irkd.inference.backends import load_network
from irkd.models.base import create_network
from irkd.models.weights import read_metadata, save_network


def test_it_changes_images_by_a_share(tmp_path, monkeypatch):
    network = create_network("dehazeunet", widths=[4, 6], blocks=[1, 1]).eval()
    training = {"steps": 7, "psnr_db": 30.0}
    save_network(
        tmp_path / "a.safetensors", network, task="dehaze", preset="dehaze", training=training
    )
    monkeypatch.setattr(
        sys, "argv", ["gentler", f"{tmp_path}/a.safetensors", "0.5", f"{tmp_path}/b.safetensors"]
    )
    main()
    images = torch.rand(2, 3, 32, 48)
    gentler = load_network(tmp_path / "b.safetensors")
    torch.testing.assert_close(gentler(images) - images, (network(images) - images) / 2)
    training = read_metadata(tmp_path / "b.safetensors")["training"]
    assert training == {"gentler": "a", "share": 0.5, "steps": 7}
