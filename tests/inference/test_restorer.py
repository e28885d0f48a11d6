import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from inference_networks import Convolutions, Identity

import irkd.inference.restorer as restorer_module
from irkd.data.opening import open_pairs
from irkd.errors import IrkdError
from irkd.inference.memory import bytes_per_pixel
from irkd.inference.restorer import Restorer
from irkd.models.apply import apply_network
from irkd.models.base import create_network
from irkd.profiling.memory import available_bytes


def image(height, width, seed=0):
    return np.random.default_rng(seed).random((height, width, 3), np.float32)


@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 70), st.integers(1, 70), st.just(3)),
        elements=st.floats(0, 1, width=32),
        fill=st.just(np.float32(0.3)),
    ),
    st.sampled_from([1, 4, 8, 32]),
    st.sampled_from(["auto", "off", 1, 8, 30, 64]),
    st.integers(0, 40),
)
@settings(max_examples=40, deadline=None)
def test_the_identity_comes_back_exactly(degraded, multiple, tile, overlap):
    restorer = Restorer(Identity(size_multiple=multiple), tile=tile, overlap=overlap)
    # Blending adds up to four rounded products.
    np.testing.assert_allclose(restorer(degraded), degraded, rtol=0, atol=2e-7)


@given(st.integers(1, 130), st.integers(1, 130), st.sampled_from([80, 96, 120]))
@settings(max_examples=25, deadline=None)
def test_tiles_of_a_convolutional_network_join_to_the_whole(height, width, tile):
    network = Convolutions().eval()
    degraded = image(height, width)
    whole = Restorer(network, tile="off")(degraded)
    tiled = Restorer(network, tile=tile, overlap=4 * Convolutions.radius)(degraded)
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=2e-6)


def test_too_little_overlap_does_show():
    """The property above could fail: without overlap the cuts are visible."""
    network = Convolutions().eval()
    degraded = image(160, 160)
    whole = Restorer(network, tile="off")(degraded)
    tiled = Restorer(network, tile=80, overlap=0)(degraded)
    assert np.abs(tiled - whole).max() > 1e-3


def test_the_whole_image_is_what_apply_network_gives():
    network = Convolutions(value_range=(-1.0, 1.0)).eval()
    degraded = image(37, 50)
    with torch.inference_mode():
        expected = apply_network(network, torch.from_numpy(degraded).permute(2, 0, 1)[None])
    restored = Restorer(network)(degraded)
    assert restored.dtype == np.float32
    np.testing.assert_array_equal(restored, expected[0].permute(1, 2, 0).numpy())


def test_the_result_is_not_clamped():
    class Brighter(Identity):
        def forward(self, images):
            return images * 2 - 0.5

    restored = Restorer(Brighter())(image(8, 8))
    assert restored.max() > 1.2
    assert restored.min() < -0.2


def test_auto_takes_tiles_that_fit_the_memory(monkeypatch):
    monkeypatch.setattr(restorer_module, "available_bytes", lambda device: 100 * 64 * 64 / 0.6)
    network = Identity(size_multiple=16)
    restorer = Restorer(network)
    restorer(image(64, 64))
    assert restorer.last_tile is None
    restorer(image(200, 100))
    assert restorer.last_tile == (64, 64)
    assert set(network.seen[1:]) == {(64, 64)}


def test_a_failed_allocation_halves_the_tile():
    network = Identity(size_multiple=8)
    network.limit = 64 * 64
    restorer = Restorer(network, overlap=8)
    degraded = image(200, 120)
    np.testing.assert_allclose(restorer(degraded), degraded, atol=2e-7)
    assert restorer.last_tile is not None
    assert network.seen[0] == (200, 120)
    assert restorer.last_tile[0] * restorer.last_tile[1] <= 64 * 64


@pytest.mark.parametrize(
    ("tile", "advice"), [("off", "--tile auto"), ("auto", "not enough memory")]
)
def test_no_memory_at_all_is_said(tile, advice):
    network = Identity()
    network.limit = 0
    with pytest.raises(IrkdError, match=advice):
        Restorer(network, tile=tile)(image(200, 120))


def test_an_error_of_the_network_is_not_taken_for_want_of_memory():
    class Broken(Identity):
        def forward(self, images):
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        Restorer(Broken())(image(8, 8))


def test_output_that_is_not_finite_is_refused():
    class Diverging(Identity):
        def forward(self, images):
            return images / 0

    with pytest.raises(IrkdError, match="not numbers"):
        Restorer(Diverging())(image(8, 8))


def test_overflow_in_half_precision_is_done_again():
    network = Convolutions().eval()
    with torch.no_grad():
        network.intro.weight *= 1e6
        network.ending.weight *= 1e-6
    degraded = image(16, 16)
    exact = Restorer(network, precision="fp32")(degraded)
    np.testing.assert_array_equal(Restorer(network, precision="fp16")(degraded), exact)


def test_a_grey_network_takes_each_channel():
    network = Identity(channels=1, size_multiple=8)
    degraded = image(20, 30)
    np.testing.assert_array_equal(Restorer(network)(degraded), degraded)
    assert len(network.seen) == 3


def test_a_network_of_six_channels_is_refused():
    with pytest.raises(IrkdError, match="6 channels"):
        Restorer(Identity(channels=6))


@pytest.mark.parametrize(
    "options",
    [{"tile": 0}, {"tile": "big"}, {"overlap": -1}, {"precision": "fp64"}],
)
def test_impossible_options_are_refused(options):
    with pytest.raises(IrkdError):
        Restorer(Identity(), **options)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 4), (0, 8, 3), (1, 8, 8, 3)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(IrkdError, match="H x W x 3"):
        Restorer(Identity())(np.zeros(shape, np.float32))


def test_the_memory_probe_counts_live_tensors():
    class Wide(Identity):
        bytes_per_pixel = None

        def __init__(self):
            super().__init__()
            self.bytes_per_pixel = None

        def forward(self, images):
            wide = images.repeat(1, 50, 1, 1)  # 150 channels, 600 bytes a pixel
            wide = wide + 1  # two of them alive
            return wide[:, :3].clone()

    estimate = bytes_per_pixel(Wide(), torch.device("cpu"))
    assert estimate == pytest.approx(2.5 * (1200 + 12), rel=0.02)


def test_there_is_some_memory():
    assert 1 << 20 < available_bytes(torch.device("cpu")) < 1 << 50


class Estimating(Convolutions):
    """Adds the mean that it estimated to what it restores."""

    estimate_side = 32

    def __init__(self):
        super().__init__()
        self.estimated_from = []

    def estimate(self, images):
        self.estimated_from.append(images)
        return images.mean()

    def forward(self, images, known=None):
        return super().forward(images) + (images.mean() if known is None else known)


def test_what_is_estimated_of_an_image_holds_for_all_its_tiles():
    network = Estimating().eval()
    degraded = image(160, 112)
    degraded[:, 64:] *= 0.3  # fewer edges, and darker
    overlap = 4 * Convolutions.radius
    tiled = Restorer(network, tile=80, overlap=overlap)(degraded)
    whole = Restorer(network, tile="off")(degraded)
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=2e-6)
    assert [tuple(each.shape) for each in network.estimated_from] == [(1, 3, 32, 32)] * 2
    assert network.estimated_from[0].mean() > 0.4  # of the left part


def test_no_memory_for_the_estimate_is_said():
    network = Estimating().eval()
    network.estimate = lambda images: torch.empty(1 << 60)  # raises what the allocator raises
    with pytest.raises(IrkdError, match="not enough memory"):
        Restorer(network)(image(64, 64))


class Overlooking(Estimating):
    estimate_side = None
    overview_side = 40

    def estimate(self, images, shrunk, sure):
        assert (shrunk, sure) == (pytest.approx(4), None)
        return super().estimate(images)


def test_what_is_told_of_a_whole_image_in_small_holds_for_all_its_tiles():
    network = Overlooking().eval()
    degraded = image(160, 112)
    degraded[:, 64:] *= 0.3
    tiled = Restorer(network, tile=80, overlap=4 * Convolutions.radius)(degraded)
    whole = Restorer(network, tile="off")(degraded)
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=2e-6)
    assert [tuple(each.shape) for each in network.estimated_from] == [(1, 3, 40, 28)] * 2
    assert float(network.estimated_from[0].mean()) == pytest.approx(degraded.mean(), abs=0.01)


def test_tiles_of_a_hazy_photograph_agree_as_their_own_estimates_would_not():
    network = create_network("dehazeunet", widths=[4, 6], blocks=[1, 1], gated=True).eval()
    for parameter in network.tail.parameters():
        parameter.data.zero_()
    network.tail.bias.data[-8:-4] = 1.0  # the dehazed image alone
    photograph = open_pairs("photographs", task="denoise").load(0).reference
    degraded = photograph[:576, :576].astype(np.float32) / 255 * 0.5 + 0.4
    whole = Restorer(network, tile="off")(degraded)
    together = Restorer(network, tile=384, overlap=192)(degraded)
    del network.overview_side
    apart = Restorer(network, tile=384, overlap=192)(degraded)
    assert np.abs(together - whole).max() < 2e-3
    assert np.abs(apart - whole).max() > 2e-2


@pytest.mark.parametrize("index", [0, 2])
def test_tiles_of_a_shaken_photograph_agree_as_their_own_estimates_would_not(index):
    network = create_network(
        "deconvunet", widths=[4, 6], blocks=[1, 1], kernels=[9], noises=[1e-2]
    ).eval()
    for parameter in network.tail.parameters():
        parameter.data.zero_()
    network.tail.bias.data[-4:] = 1.0  # the deconvolved image alone
    photograph = open_pairs("photographs", task="denoise").load(index).reference
    kernel = np.zeros((9, 9), np.float32)
    cv2.line(kernel, (2, 5), (6, 3), 0.2)
    degraded = cv2.filter2D(photograph[:320, :320], -1, kernel).astype(np.float32) / 255
    whole = Restorer(network, tile="off")(degraded)
    together = Restorer(network, tile=160, overlap=80)(degraded)
    del network.estimate_side
    apart = Restorer(network, tile=160, overlap=80)(degraded)
    assert (together - whole).std() < (apart - whole).std() / 5
    assert (together - whole).std() < (whole - degraded).std() / 10
