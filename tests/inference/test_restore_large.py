"""Large photographs: memory, tiles that do not show, and progress within a file."""

import json
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
from inference_networks import Identity
from skimage import data

import irkd.inference.restorer as restorer_module
from irkd.data.degrade import degrade
from irkd.inference.backends import load_network
from irkd.inference.images import read_picture
from irkd.inference.picture import blend
from irkd.inference.restorer import Restorer

RUN = """
import re, sys
from pathlib import Path
from irkd.cli.main import main
try:
    main(sys.argv[1:])
finally:
    print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[0])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux states a process's peak")
def test_24_megapixels_take_less_than_2_gb(tmp_path):
    photograph = cv2.resize(data.astronaut(), (6000, 6000), interpolation=cv2.INTER_CUBIC)[:4000]
    noise = np.random.default_rng(0).integers(-20, 21, photograph.shape, np.int16)
    noisy = np.clip(photograph + noise, 0, 255).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "a.jpg"), noisy[..., ::-1])
    written = tmp_path / "b.png", tmp_path / "j.json"
    arguments = ["restore", str(tmp_path / "a.jpg"), "-o", str(written[0]), "--json"]
    arguments.append(str(written[1]))
    done = subprocess.run(
        [sys.executable, "-c", RUN, *arguments], capture_output=True, text=True, check=True
    )
    assert "tiles of" in done.stdout
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", done.stdout)[1]) * 1024
    assert peak < 2e9
    restored = read_picture(written[0]).pixels
    assert restored.shape == (4000, 6000, 3)
    # The middle of a piece is what the piece restored by itself has there.
    piece = slice(1488, 2512), slice(2480, 3504)
    alone = read_picture(tmp_path / "a.jpg").pixels[piece]
    for model in json.loads(written[1].read_text())["files"][0]["models"]:
        alone = np.clip(Restorer(load_network(model), tile="off")(alone), 0, 1)
    difference = np.abs(255 * alone - restored[piece])[384:640, 384:640]
    assert difference.max() < 1


def test_seams_of_the_shipped_model_do_not_show():
    """Tiles of 384 pixels, half of what is taken by itself: at most 1 level of 255 at any place."""
    degraded = degrade(data.astronaut()[:416, :512], "denoise", np.random.default_rng(1))
    network = load_network("denoise")
    whole = Restorer(network, tile="off")(degraded)
    restorer = Restorer(network, tile=384)
    tiled = restorer(degraded)
    assert restorer.last_tile == (384, 384)
    change = tiled - whole
    steps = max(np.abs(np.diff(change, axis=axis)).max() for axis in (0, 1))
    assert 0 < 255 * steps < 1


def test_tiles_of_large_images_keep_context_and_waste_little(monkeypatch):
    monkeypatch.setattr(restorer_module, "available_bytes", lambda device: 1 << 40)
    sizes = {}
    for height, width in ((1000, 1000), (4000, 6000), (1100, 1100), (300, 9000)):
        network = Identity(size_multiple=8)
        restorer = Restorer(network, largest_tile=1024)
        restorer(np.zeros((height, width, 3), np.uint8))
        sizes[height, width] = restorer.last_tile
        passed = sum(h * w for h, w in network.seen)
        assert passed < 2.1 * height * width
    assert sizes[1000, 1000] is None
    assert sizes[4000, 6000] == (856, 912)
    assert sizes[1100, 1100] == (768, 768)
    assert sizes[300, 9000][0] == 304
    unbounded = Restorer(Identity(size_multiple=8))
    unbounded(np.zeros((1100, 1100, 3), np.uint8))
    assert unbounded.last_tile is None


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_integers_are_restored_as_their_fractions(dtype):
    full = np.iinfo(dtype).max
    image = np.random.default_rng(0).integers(0, full, (37, 50, 3), dtype, endpoint=True)
    as_numbers = image.astype(np.float32) / np.float32(full)
    network = Identity(size_multiple=16)
    np.testing.assert_array_equal(Restorer(network)(image), as_numbers)
    np.testing.assert_array_equal(Restorer(network, tile=32)(image).shape, image.shape)


def test_progress_within_an_image_rises_to_one():
    restorer = Restorer(Identity(), tile=32, overlap=8)
    shares = []
    restorer.watch = shares.append
    restorer(np.zeros((100, 90, 3), np.float32))
    assert len(shares) > 4
    assert shares == sorted(shares)
    assert shares[-1] == 1


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("shape", [(300, 20), (300, 20, 3)])
@pytest.mark.parametrize("strength", [0.25, 1.0])
def test_blend_is_the_formula(dtype, shape, strength):
    rng = np.random.default_rng(0)
    restored = rng.uniform(-0.2, 1.2, (300, 20, 3)).astype(np.float32)
    full = 1 if dtype == "float32" else np.iinfo(dtype).max
    degraded = (rng.random(shape) * full).astype(dtype)
    clipped = np.clip(restored.astype(float), 0, 1)
    if len(shape) == 2:
        clipped = clipped.mean(axis=2)
    expected = degraded / full + strength * (clipped - degraded / full)
    result = blend(degraded, restored, strength, np.dtype(dtype))
    assert (result.dtype, result.shape) == (dtype, shape)
    bound = 1e-6 if dtype == "float32" else 0.501 / full
    np.testing.assert_allclose(result / full, expected, rtol=0, atol=bound + 1e-6)
