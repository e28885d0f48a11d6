"""`irkd.restore`: what a notebook calls."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import noise
from PIL import Image

import irkd
from irkd.errors import IrkdError, PartialFailure


@given(
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.sampled_from([None, 1, 2, 3, 4]),
    st.sampled_from(["uint8", "uint16", "float16", "float32", "float64"]),
)
@settings(max_examples=30, deadline=None)
def test_arrays_come_back_in_their_own_shape_and_type(identity_model, size, channels, dtype):
    image = noise(size if channels is None else (*size, channels), dtype)
    kept = image.copy()
    restored = irkd.restore(image, identity_model)
    assert restored.dtype == image.dtype
    assert restored.shape == image.shape
    np.testing.assert_allclose(restored, image, rtol=0, atol=0 if image.dtype.kind == "u" else 2e-7)
    np.testing.assert_array_equal(image, kept)


def test_alpha_is_passed_through(blur_model):
    image = noise((20, 20, 4))
    restored = irkd.restore(image, blur_model)
    np.testing.assert_array_equal(restored[..., 3], image[..., 3])
    assert not np.array_equal(restored[..., :3], image[..., :3])


def test_lists_give_lists(identity_model):
    images = [noise((8, 8, 3)), noise((9, 5))]
    restored = irkd.restore(images, identity_model)
    for image, result in zip(images, restored, strict=True):
        np.testing.assert_array_equal(result, image)


def test_a_file_gives_its_pixels(tmp_path, identity_model):
    pixels = noise((9, 12, 3))
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(irkd.restore(tmp_path / "a.png", identity_model), pixels)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_files_go_to_output(tmp_path, identity_model):
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(noise((9, 12, 3))).save(tmp_path / "in" / name)
    one = irkd.restore(tmp_path / "in" / "a.png", identity_model, output=tmp_path / "c.png")
    assert one == tmp_path / "c.png"
    several = irkd.restore(tmp_path / "in", identity_model, output=tmp_path / "out", compare=True)
    assert several == [tmp_path / "out" / "a.png", tmp_path / "out" / "b.png"]
    assert (tmp_path / "out" / "a_compare.png").exists()
    with pytest.raises(IrkdError, match="exists already"):
        irkd.restore(tmp_path / "in" / "a.png", identity_model, output=tmp_path / "c.png")


def test_failures_are_raised_after_the_rest_is_done(tmp_path, identity_model):
    (tmp_path / "a.png").write_bytes(b"broken")
    Image.fromarray(noise((9, 12, 3))).save(tmp_path / "b.png")
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    with pytest.raises(PartialFailure, match=r"a\.png"):
        irkd.restore(files, identity_model, output=tmp_path / "out")
    assert (tmp_path / "out" / "b.png").exists()


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.zeros((4, 4, 5), np.uint8), "not shape"),
        (np.zeros((4,), np.uint8), "not shape"),
        (np.zeros((0, 4, 3), np.uint8), "not shape"),
        (np.zeros((4, 4, 3), np.int32), "not int32"),
        (np.zeros((4, 4, 3), bool), "not bool"),
        (np.full((4, 4, 3), 2.0), "within 0"),
        (np.full((4, 4, 3), np.nan), "within 0"),
    ],
)
def test_other_arrays_are_refused(identity_model, image, says):
    with pytest.raises(IrkdError, match=says):
        irkd.restore(image, identity_model)


def test_impossible_combinations_are_refused(tmp_path, identity_model):
    with pytest.raises(IrkdError, match="give output"):
        irkd.restore(tmp_path, identity_model)
    with pytest.raises(IrkdError, match="give output"):
        irkd.restore(noise((4, 4)), identity_model, compare=True)
    with pytest.raises(IrkdError, match="arrays are restored to arrays"):
        irkd.restore(noise((4, 4)), identity_model, output=tmp_path / "a.png")
    with pytest.raises(IrkdError, match="strength"):
        irkd.restore(noise((4, 4)), identity_model, strength=1.5)
