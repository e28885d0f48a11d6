"""Files that are damaged, or made to do harm: one message each, and nothing of theirs runs."""

from __future__ import annotations

import argparse
import os
import pickle
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from tiny_restorers import shaken

from irkd.errors import IrkdError
from irkd.models.base import create_network, families
from irkd.models.state_dicts import read_state_dict
from irkd.models.weights import load_network_file

SMALLEST = {"width": 2, "enc_blk_nums": [1], "middle_blk_num": 0, "dec_blk_nums": [0]}


@cache
def state_dict() -> dict[str, torch.Tensor]:
    return shaken(create_network("nafnet", **SMALLEST)).state_dict()


def saved(content: object, *, legacy: bool = False) -> bytes:
    buffer = BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


class Trap:
    """Unpickling this makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [2, 4, None])
@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_no_code_from_a_checkpoint_runs(form: str, protocol: int | None, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    content = {"params": state_dict(), "extra": Trap(mark)}
    path = tmp_path / "trap.pth"
    if form == "pickle":
        path.write_bytes(pickle.dumps(Trap(mark), protocol=protocol))
    else:
        path.write_bytes(saved(content, legacy=form == "legacy"))
    with pytest.raises(IrkdError, match="refused") as caught:
        read_state_dict(path)
    assert str(path) in str(caught.value)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Trap(mark)))
    assert mark.exists(), "the trap itself does not work"


def files(tmp_path: Path) -> dict[str, tuple[bytes, str]]:
    whole, legacy = saved({"params": state_dict()}), saved(state_dict(), legacy=True)
    tensors = safetensors.torch.save(state_dict())
    looped: dict[str, Any] = {}
    looped["params"] = looped
    nan = {**state_dict(), "intro.bias": torch.tensor([1.0, float("nan")])}
    infinite = {**state_dict(), "intro.bias": torch.tensor([1.0, float("inf")])}
    huge = torch.zeros(1).expand(10**6, 10**6)
    return {
        "empty.pth": (b"", "is empty"),
        "empty.safetensors": (b"", "is empty"),
        "text.pth": (b"not weights at all\n", "no PyTorch checkpoint"),
        "text.safetensors": (b"not weights at all\n", "damaged"),
        "swapped.safetensors": (whole, "damaged"),
        "swapped.pth": (tensors, "no PyTorch checkpoint"),
        "cut.pth": (whole[: len(whole) // 2], "damaged"),
        "legacy_cut.pth": (legacy[: len(legacy) // 2], "damaged"),
        "cut.safetensors": (tensors[: len(tensors) // 2], "damaged"),
        "zip.pth": (b"PK\x03\x04" + bytes(100), "damaged"),
        "list.pth": (saved([1, 2, 3]), "holds no weights"),
        "number.pth": (saved(3), "holds no weights"),
        "no_tensors.pth": (saved({"epoch": 3}), "holds no weights"),
        "nothing.pth": (saved({"params": {}}), "holds no weights"),
        "looped.pth": (saved(looped), "holds no weights"),
        "module.pth": (saved(create_network("nafnet", **SMALLEST)), r"refused.*NAFNet"),
        "arguments.pth": (
            saved({"params": state_dict(), "args": argparse.Namespace()}),
            r"refused.*argparse\.Namespace",
        ),
        "nan.pth": (saved(nan), r"NaN or infinite.*intro\.bias"),
        "nan.safetensors": (safetensors.torch.save(nan), r"NaN or infinite.*intro\.bias"),
        "infinite.pth": (saved(infinite), r"NaN or infinite.*intro\.bias"),
        "stranger.pth": (saved({"weight": torch.ones(3)}), "no family"),
        "huge.pth": (saved({**state_dict(), "intro.weight": huge}), "no plain tensor"),
        "sparse.pth": (
            saved({**state_dict(), "intro.weight": torch.eye(3).to_sparse()}),
            "no plain tensor",
        ),
        "complex.pth": (
            saved({**state_dict(), "intro.bias": torch.ones(2, dtype=torch.complex64)}),
            "no plain tensor",
        ),
        "meta.pth": (saved({"intro.weight": torch.ones(2, device="meta")}), "no plain tensor"),
    }


@pytest.mark.parametrize("name", files(Path()))
def test_bad_files(name: str, tmp_path: Path) -> None:
    content, message = files(tmp_path)[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(IrkdError, match=message) as caught:
        load_network_file(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_torchscript_program_is_no_weights(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Conv2d(1, 1, 1)), tmp_path / "program.pt")
    with pytest.raises(IrkdError, match="TorchScript"):
        load_network_file(tmp_path / "program.pt")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(IrkdError, match=r"nowhere\.pth"):
        load_network_file(tmp_path / "nowhere.pth")


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    form=st.sampled_from(["zip", "legacy", "safetensors"]),
    position=st.floats(0, 1, exclude_max=True),
    value=st.integers(0, 255),
)
def test_any_damaged_byte_ends_in_a_network_or_a_message(
    form: str, position: float, value: int, tmp_path: Path
) -> None:
    if form == "safetensors":
        content = bytearray(safetensors.torch.save(state_dict()))
    else:
        content = bytearray(saved({"params": state_dict()}, legacy=form == "legacy"))
    content[int(position * len(content))] = value
    path = tmp_path / ("net.safetensors" if form == "safetensors" else "net.pth")
    path.write_bytes(content)
    try:
        network = load_network_file(path)
    except IrkdError as error:
        message = str(error)
    else:
        message = str(path)
        assert all(parameter.isfinite().all() for parameter in network.parameters())
    assert str(path) in message


shapes = st.lists(st.integers(0, 9), max_size=4)


@cache
def key_shapes(arch: str) -> dict[str, torch.Tensor]:
    options = SMALLEST if arch == "nafnet" else {"dim": 2, "num_blocks": [1] * 4, "heads": [1] * 4}
    with torch.device("meta"):
        return dict(create_network(arch, **options).state_dict())


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["nafnet", "restormer", "drsformer"]), st.data())
def test_weights_of_any_shape_are_read_or_refused(arch: str, data: st.DataObject) -> None:
    weights = dict(key_shapes(arch))
    for key in data.draw(st.lists(st.sampled_from(sorted(weights)), max_size=4)):
        if data.draw(st.booleans()):
            weights.pop(key, None)
        else:
            weights[key] = torch.empty(data.draw(shapes), device="meta")
    claim = families()[arch].read_spec(weights)
    assert claim is None or isinstance(claim, dict)
