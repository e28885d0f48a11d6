"""Specialists: every crop is taught by the network that knows its damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import NETWORK, tiny_content, tiny_teacher

from irkd.errors import IrkdError
from irkd.models.apply import apply_network
from irkd.models.base import create_network
from irkd.models.weights import load_network_file, save_network
from irkd.presets.load import validate
from irkd.presets.schema import Preset
from irkd.report.run_directory import RunDirectory
from irkd.training.distill import distill
from irkd.training.specialists import Specialists


def _specialist(path: Path, seed: int) -> str:
    torch.manual_seed(seed)
    network = create_network("resunet", widths=(8, 8), blocks=(1, 1))
    save_network(path, network, task="denoise", overwrite=True)
    return str(path)


def _preset(folder: Path, **changed: Any) -> Preset:
    content = tiny_content(steps=2, log_every=1, batch_size=8)
    content["teacher"] = tiny_teacher(folder / "teacher.safetensors")
    content["task"] = "general"
    content["data"] |= {"mixture": {"denoise": 4, "deblur": 1}, "undamaged": 0.2}
    content["methods"] = [{"name": "response"}]
    content["specialists"] = {"denoise": _specialist(folder / "denoise.safetensors", 1)}
    return validate({**content, **changed}, "tiny")


def test_every_crop_is_restored_by_its_own_teacher(tmp_path: Path) -> None:
    denoise = _specialist(tmp_path / "denoise.safetensors", 1)
    derain = _specialist(tmp_path / "derain.safetensors", 2)
    teacher = create_network(**NETWORK, width=4)
    specialists = Specialists({"denoise": denoise, "derain": derain}, teacher, torch.device("cpu"))
    crops = torch.rand(5, 3, 17, 19)
    damages = ["derain", "undamaged", "denoise", "derain", "deblur"]
    taught = specialists.restored(crops, damages)
    own = {"denoise": load_network_file(denoise), "derain": load_network_file(derain)}
    for index, damage in enumerate(damages):
        network = own.get(damage, teacher).eval()
        with torch.no_grad():
            expected = apply_network(network, crops[index : index + 1])[0]
        torch.testing.assert_close(taught[index], expected)
    assert not torch.allclose(taught[0], apply_network(own["denoise"], crops[:1])[0], atol=1e-4)


def test_the_student_learns_from_the_specialists(tmp_path: Path) -> None:
    """The distillation term of the first step is the distance to what they make of its crops."""
    losses = {}
    preset = _preset(tmp_path)
    for seed in (1, 2):
        _specialist(tmp_path / "denoise.safetensors", seed)
        run = distill(preset, out=tmp_path / f"run{seed}", device="cpu")
        log = RunDirectory(run.directory).log()
        losses[seed] = [entry["terms"] for entry in log if entry["kind"] == "train"]
        manifest = RunDirectory(run.directory).manifest()
        assert manifest["specialists"] == preset.specialists
    first, other = losses[1][0], losses[2][0]
    assert first["reconstruction"] == other["reconstruction"]
    assert first["distillation"] != other["distillation"]


def test_a_run_goes_on_with_the_same_specialists_alone(tmp_path: Path) -> None:
    preset = _preset(tmp_path)
    distill(preset, out=tmp_path / "run", device="cpu", max_seconds=0)
    _specialist(tmp_path / "denoise.safetensors", 9)
    with pytest.raises(IrkdError, match="not those this run began with"):
        distill(preset, out=tmp_path / "run", resume=True, device="cpu")
    _specialist(tmp_path / "denoise.safetensors", 1)
    assert distill(preset, out=tmp_path / "run", resume=True, device="cpu").step == 2


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"teacher": None, "methods": [{"name": "none"}]}, "need a teacher"),
        ({"methods": [{"name": "skd"}]}, "asks for more than the teacher's output"),
        ({"methods": [{"name": "data-free"}]}, "makes its own images|asks for more"),
        ({"specialists": {"sleet": "denoise"}}, "no synthetic degradation for task 'sleet'"),
        ({"specialists": {"denoise": "nonesuch"}}, "no model 'nonesuch'"),
    ],
)
def test_what_cannot_be_is_one_message(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(IrkdError, match=message):
        distill(_preset(tmp_path, **changed), out=tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_pairs_that_do_not_tell_their_damage_are_refused(tmp_path: Path) -> None:
    model = _specialist(tmp_path / "denoise.safetensors", 1)
    teacher = create_network(**NETWORK, width=4)
    specialists = Specialists({"denoise": model}, teacher, torch.device("cpu"))
    with pytest.raises(IrkdError, match="do not say how they were degraded"):
        specialists.restored(torch.rand(1, 3, 16, 16), None)
