"""Presets: all that ship are right; wrong keys and values are named, with a suggestion."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from irkd.errors import IrkdError
from irkd.models.base import build_network, family, parameter_count
from irkd.models.weights import load_weights, shipped_models
from irkd.presets.ablation import row_presets
from irkd.presets.load import dump, list_presets, load_preset


@pytest.mark.parametrize("name", list_presets())
def test_shipped_presets_resolve_and_round_trip(name: str, tmp_path: Path) -> None:
    preset = load_preset(name)
    assert preset.name == name
    assert preset.title
    file = tmp_path / "preset.yaml"
    file.write_text(dump(preset))
    assert load_preset(file) == preset


def networks_within(content: object) -> Iterator[dict[str, Any]]:
    if isinstance(content, dict):
        if content.get("arch") and content.get("weights") in shipped_models():
            yield content
        for each in content.values():
            yield from networks_within(each)
    elif isinstance(content, list | tuple):
        for each in content:
            yield from networks_within(each)


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("demo", {"demo-teacher"}),
        ("demo-methods", {"demo-teacher", "derain"}),
        ("denoise-fast", {"denoise"}),
        ("general", {"dehaze"}),
    ],
)
def test_networks_that_begin_with_shipped_weights_fit_them(name: str, weights: set[str]) -> None:
    assert beginnings(name) == weights


def test_no_other_preset_begins_with_shipped_weights() -> None:
    begun = {name for name in list_presets() if beginnings(name)}
    assert begun == {"demo", "demo-methods", "denoise-fast", "general"}


def beginnings(name: str) -> set[str]:
    """The shipped weights with which a preset's networks begin, once they are loaded."""
    preset = load_preset(name)
    rows = row_presets(preset, 0).values() if preset.ablation else [preset]
    found = [network for row in rows for network in networks_within(row.model_dump())]
    for network in found:
        spec = family(network["arch"]).spec.model_validate(network)
        load_weights(build_network(spec), network["weights"])
    return {network["weights"] for network in found}


def test_what_a_run_keeps_needs_no_preset_that_its_own_extended(tmp_path: Path) -> None:
    parent, child = tmp_path / "parent.yaml", tmp_path / "child.yaml"
    parent.write_text(dump(load_preset("demo")))
    child.write_text("name: child\ntitle: t\nextends: parent\ntraining:\n  steps: 7\n")
    preset = load_preset(child)
    kept = tmp_path / "run" / "preset.yaml"
    kept.parent.mkdir()
    kept.write_text(dump(preset))
    parent.unlink()
    assert load_preset(kept) == preset
    assert preset.training.steps == 7


def test_res_skd_declares_the_networks_that_the_papers_count() -> None:
    import torch

    preset = load_preset("res-skd")
    with torch.device("meta"):
        teacher, student = (build_network(spec) for spec in (preset.teacher, preset.student))
    assert parameter_count(teacher) == 26_126_644
    assert parameter_count(student) == 3_537_482
    assert preset.student.dim == 24
    assert preset.student.value_range == (-1.0, 1.0)
    training = preset.training
    assert (training.optimizer, training.lr, training.min_lr) == ("adam", 2e-4, 1e-6)
    assert (training.batch_size, training.patch) == (8, 128)
    figures = {(r.network, r.macs_g) for r in preset.reported if r.macs_g}
    assert figures == {("teacher", 619.5), ("student", 85.0)}
    assert all(entry.source for entry in preset.reported)


def test_drs_skd_declares_the_networks_that_the_papers_count() -> None:
    import torch

    preset = load_preset("drs-skd")
    with torch.device("meta"):
        teacher, student = (build_network(spec) for spec in (preset.teacher, preset.student))
    assert parameter_count(teacher) == 33_655_424
    assert parameter_count(student) == 4_599_380
    assert (preset.teacher.mefc_steps, preset.student.mefc_steps) == (4, 2)
    assert preset.training == load_preset("res-skd").training
    assert preset.methods == load_preset("res-skd").methods
    figures = {(r.network, r.params_m, r.macs_g) for r in preset.reported if r.macs_g}
    assert figures == {("teacher", 33.7, 972.0), ("student", 4.6, 132.0)}
    assert all(entry.source for entry in preset.reported)


def test_ufor_skd_declares_the_networks_that_the_papers_count() -> None:
    import torch

    preset = load_preset("ufor-skd")
    with torch.device("meta"):
        teacher, student = (build_network(spec) for spec in (preset.teacher, preset.student))
    assert parameter_count(teacher) == 50_880_946
    assert parameter_count(student) == 7_855_234
    assert (preset.teacher.img_size, preset.student.img_size) == (128, 128)
    assert preset.training == load_preset("res-skd").training
    assert preset.methods == load_preset("res-skd").methods
    figures = {(r.network, r.params_m, r.macs_g) for r in preset.reported if r.macs_g}
    assert figures == {("teacher", 50.9, 347.6), ("student", 7.9, 57.1)}
    assert all(entry.source for entry in preset.reported)


def test_sharpen_is_the_sharpening_project() -> None:
    preset = load_preset("sharpen")
    training = preset.training
    assert (training.optimizer, training.lr, training.batch_size) == ("adamw", 1e-4, 16)
    assert training.select == "ssim"
    assert 2.5e6 < parameter_count(build_network(preset.student)) < 3.5e6


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("student.dimm=32", "did you mean 'dim'"),
        ("student.dim=-4", "student.dim"),
        ("student.dim=abc", "student.dim"),
        ("student.heads=[5, 2, 4, 8]", "heads"),
        ("trainig.lr=1", "did you mean 'training'"),
        ("training.lr=-1", "training.lr"),
        ("methods.0.alpa=1", "methods.0.alpa"),
        ("methods.5.weight=1", "list of 1"),
        ("task=derian", "task"),
        ("student.arch=restromer", "student"),
        ("training.batch_size=5.5", "training.batch_size"),
        ("training.accumulate=3", "cannot be split"),
        ("no equals sign", "key=value"),
        ("name.x=1", "has no parts"),
        ("student.value_range=[1, 0]", "value_range"),
    ],
)
def test_wrong_settings_are_named(setting: str, expected: str) -> None:
    with pytest.raises(IrkdError) as caught:
        load_preset("res-skd", [setting])
    assert expected.lower() in str(caught.value).lower()
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "path", "value"),
    [
        ("student.dim=32", ("student", "dim"), 32),
        ("training.lr=1e-4", ("training", "lr"), 1e-4),
        ("training.average=null", ("training", "average"), None),
        ("student.num_blocks=[1, 1, 1, 1]", ("student", "num_blocks"), (1, 1, 1, 1)),
    ],
)
def test_settings_are_typed_by_the_schema(
    setting: str, path: tuple[str, str], value: object
) -> None:
    preset = load_preset("res-skd", [setting])
    assert getattr(getattr(preset, path[0]), path[1]) == value


def test_extends_merges_one_parent_and_drops_its_reported(tmp_path: Path) -> None:
    child = tmp_path / "child.yaml"
    child.write_text("extends: res-skd\nname: child\nstudent: {dim: 16}\n")
    preset = load_preset(child)
    assert preset.student.dim == 16
    assert preset.student.num_blocks == (1, 2, 2, 4)
    assert preset.reported == ()
    grandchild = tmp_path / "grandchild.yaml"
    grandchild.write_text("extends: child\nname: grandchild\n")
    with pytest.raises(IrkdError, match="one parent at most"):
        load_preset(grandchild)


def test_another_arch_replaces_the_whole_network(tmp_path: Path) -> None:
    child = tmp_path / "child.yaml"
    child.write_text("extends: res-skd\nname: child\nstudent: {arch: nafnet, width: 8}\n")
    assert load_preset(child).student.arch == "nafnet"


@pytest.mark.parametrize(
    "content",
    ["", "- a list", "a: [unclosed", "name: x\nname: y", "\x00", "!!python/object:os.system {}"],
)
def test_unreadable_files(content: str, tmp_path: Path) -> None:
    file = tmp_path / "preset.yaml"
    file.write_text(content)
    with pytest.raises(IrkdError):
        load_preset(file)


def test_unknown_preset_suggests() -> None:
    with pytest.raises(IrkdError, match="Did you mean 'res-skd'"):
        load_preset("res-sdk")


def test_library_files_are_plain_mappings() -> None:
    from irkd.presets.load import library

    for path in library().glob("*.yaml"):
        assert yaml.safe_load(path.read_text())["name"] == path.stem
