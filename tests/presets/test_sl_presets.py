"""The presets of SLKD: the -skd presets' networks, SLKD's training and figures."""

from __future__ import annotations

import pytest

from irkd.presets.load import load_preset, preset_tasks

FIGURES = {
    "res": {
        "derain": {"Rain1400": (34.18, 33.24), "Test1200": (33.19, 32.67)},
        "deblur": {"GoPro": (32.92, 31.91), "HIDE": (31.22, 30.17)},
        "denoise": {"SIDD": (40.02, 39.60)},
    },
    "ufor": {
        "derain": {"Rain1400": (33.63, 32.96), "Test1200": (33.04, 32.26)},
        "deblur": {"GoPro": (33.06, 32.24), "HIDE": (30.90, 30.35)},
        "denoise": {"SIDD": (39.89, 39.61)},
    },
    "drs": {
        "derain": {"Rain1400": (34.33, 33.57), "Test1200": (33.31, 32.71)},
        "deblur": {"GoPro": (32.76, 31.93), "HIDE": (31.17, 30.26)},
        "denoise": {"SIDD": (40.03, 39.57)},
    },
}


@pytest.mark.parametrize("family", FIGURES)
def test_networks_and_tasks_are_those_of_skd(family: str) -> None:
    assert preset_tasks(f"{family}-sl") == preset_tasks(f"{family}-skd")
    for task in preset_tasks(f"{family}-sl"):
        mine, other = (load_preset(f"{family}-{method}", task=task) for method in ("sl", "skd"))
        for part in ("teacher", "student", "data", "evaluation", "releases"):
            assert getattr(mine, part) == getattr(other, part), (task, part)
        recipe = {"lr": 1e-4, "min_lr": 1e-6, "weight_decay": 1e-4}
        assert mine.training == other.training.model_copy(update=recipe)
        assert (mine.training.optimizer, mine.training.betas) == ("adam", (0.9, 0.999))


@pytest.mark.parametrize("family", FIGURES)
def test_weights_are_the_papers(family: str) -> None:
    (method,) = load_preset(f"{family}-sl").methods
    assert method.name == "slkd"
    assert method.weights() == {
        "natural_color": 0.5,
        "edge_texture": 0.5,
        "divergence": 0.1,
        "reconstruction": 1.0,
    }


@pytest.mark.parametrize("family", FIGURES)
def test_reported_figures_are_table_ii(family: str) -> None:
    for task, datasets in FIGURES[family].items():
        printed = {
            (entry.dataset, entry.network): entry.psnr_db
            for entry in load_preset(f"{family}-sl", task=task).reported
            if entry.dataset is not None
        }
        expected = {}
        for dataset, (teacher, student) in datasets.items():
            expected |= {(dataset, "teacher"): teacher, (dataset, "student"): student}
        assert printed == expected


@pytest.mark.parametrize("family", FIGURES)
def test_sizes_are_those_of_the_same_networks(family: str) -> None:
    def sizes(name: str) -> set[tuple[object, ...]]:
        return {
            (r.network, r.params_m, r.macs_g, r.latency_ms)
            for r in load_preset(name).reported
            if r.macs_g
        }

    assert sizes(f"{family}-sl") == sizes(f"{family}-skd")
