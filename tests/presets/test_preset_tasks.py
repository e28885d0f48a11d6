"""`tasks:` of presets: what is laid over the body, what is refused, what the shipped ones say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from irkd.errors import IrkdError
from irkd.presets.load import dump, list_presets, load_preset, preset_tasks

PAPERS_TASKS = {"derain", "deblur", "denoise", "dehaze"}
WITH_TASKS = [f"{family}-{paper}" for family in ("res", "ufor", "drs") for paper in ("skd", "sl")]

NAFNET = {"arch": "nafnet", "enc_blk_nums": [1], "middle_blk_num": 1, "dec_blk_nums": [1]}
BODY: dict[str, Any] = {
    "name": "two",
    "task": "derain",
    "teacher": {**NAFNET, "width": 8},
    "student": {**NAFNET, "width": 4},
    "methods": [{"name": "response"}],
    "training": {"steps": 10, "lr": 1e-3},
    "reported": [{"source": "a paper", "params_m": 1.0}],
    "tasks": {
        "derain": {"reported": [{"source": "its table", "psnr_db": 30.0}]},
        "denoise": {
            "teacher": {"width": 16},
            "training": {"steps": 20},
            "evaluation": {"protocol": "rgb"},
            "releases": [{"file": "noise.pth", "page": "https://example.org/noise"}],
        },
        "dehaze": None,
    },
}


def write(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.fixture
def two(tmp_path: Path) -> Path:
    return write(tmp_path / "two.yaml", BODY)


def test_the_chosen_tasks_part_is_laid_over_the_body(two: Path) -> None:
    own, denoise = load_preset(two), load_preset(two, task="denoise")
    assert (own.task, own.teacher.width, own.training.steps) == ("derain", 8, 10)
    assert [entry.source for entry in own.reported] == ["a paper", "its table"]
    assert own.releases is None
    assert (denoise.task, denoise.teacher.width, denoise.training.steps) == ("denoise", 16, 20)
    assert denoise.training.lr == 1e-3
    assert denoise.evaluation.protocol == "rgb"
    assert [entry.source for entry in denoise.reported] == ["a paper"]
    assert denoise.releases is not None
    assert denoise.releases[0].file == "noise.pth"
    assert load_preset(two, task="dehaze").training == own.training
    assert preset_tasks(two) == ["derain", "denoise", "dehaze"]


def test_settings_are_laid_over_the_task(two: Path) -> None:
    preset = load_preset(two, ["teacher.width=12", "task=denoise"])
    assert (preset.task, preset.teacher.width, preset.training.steps) == ("denoise", 12, 20)


def test_a_resolved_preset_has_one_task_and_keeps_its_settings(two: Path, tmp_path: Path) -> None:
    preset = load_preset(two, ["training.steps=7"], task="denoise")
    file = tmp_path / "resolved.yaml"
    file.write_text(dump(preset))
    assert load_preset(file) == preset
    assert preset_tasks(file) == ["denoise"]


def test_a_task_that_is_not_listed_is_refused_with_those_that_are(two: Path) -> None:
    with pytest.raises(IrkdError, match="derain, denoise, dehaze") as caught:
        load_preset(two, task="jpeg")
    assert "'jpeg'" in str(caught.value)
    with pytest.raises(IrkdError, match="Did you mean 'denoise'"):
        load_preset(two, task="denoize")


def test_a_preset_without_tasks_takes_any(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.yaml", {k: v for k, v in BODY.items() if k != "tasks"})
    assert load_preset(plain, task="jpeg").task == "jpeg"
    with pytest.raises(IrkdError, match="task"):
        load_preset(plain, task="derian")


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        ([], "maps tasks"),
        ({}, "maps tasks"),
        ("derain", "maps tasks"),
        ({"derain": {}, "derian": {}}, "Did you mean 'derain'"),
        ({"derain": []}, "mapping of sections"),
        ({"derain": {"teachr": {}}}, "Did you mean 'teacher'"),
        ({"derain": {"task": "denoise"}}, "tasks.derain.task"),
        ({"derain": {"extends": "demo"}}, "tasks.derain.extends"),
        ({"derain": {"tasks": {}}}, "tasks.derain.tasks"),
        ({"derain": {"teacher": {"widht": 3}}}, "Did you mean 'width'"),
        ({"derain": {"training": {"steps": -1}}}, "training.steps"),
        ({"derain": {"reported": 3}}, "reported.1"),
        ({"derain": {"reported": [{"sauce": "x"}]}}, "Did you mean 'source'"),
        ({1: {}, "derain": {}}, "tasks.1"),
    ],
)
def test_wrong_tasks_are_named(tasks: object, expected: str, tmp_path: Path) -> None:
    with pytest.raises(IrkdError) as caught:
        load_preset(write(tmp_path / "wrong.yaml", {**BODY, "tasks": tasks}))
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ({"file": "../../x.pth"}, "releases.0.file"),
        ({"file": "a/b.pth"}, "releases.0.file"),
        ({"file": ""}, "releases.0.file"),
        ({"file": ".pth"}, "releases.0.file"),
        ({"file": "notes.txt"}, "releases.0.file"),
        ({"file": "x.pth\n"}, "releases.0.file"),
        ({"page": "file:///etc/passwd"}, "releases.0.page"),
        ({"page": None}, "releases.0.page"),
        ({"url": "https://example.org/x.pth"}, "belong together"),
        ({"sha256": "0" * 64}, "belong together"),
        ({"url": "ftp://example.org/x.pth", "sha256": "0" * 64}, "releases.0.url"),
        ({"url": "https://example.org/x.pth", "sha256": "abc"}, "releases.0.sha256"),
        ({"options": {"widht": 3}}, "widht"),
        ({"options": {"width": 0}}, "width"),
        ({"fiel": 3}, "Did you mean 'file'"),
    ],
)
def test_wrong_releases_are_named(release: dict[str, Any], expected: str, tmp_path: Path) -> None:
    good = {"file": "x.pth", "page": "https://example.org"}
    content = {**BODY, "releases": [{**good, **release}]}
    with pytest.raises(IrkdError) as caught:
        load_preset(write(tmp_path / "wrong.yaml", content))
    assert expected in str(caught.value)


def test_a_child_inherits_tasks_but_not_their_figures(two: Path, tmp_path: Path) -> None:
    child = write(
        tmp_path / "child.yaml",
        {
            "name": "child",
            "extends": "two",
            "methods": [{"name": "none"}],
            "tasks": {"denoise": {"training": {"steps": 30}}, "jpeg": {}},
        },
    )
    assert preset_tasks(child) == ["derain", "denoise", "dehaze", "jpeg"]
    assert load_preset(child).reported == ()
    denoise = load_preset(child, task="denoise")
    assert (denoise.teacher.width, denoise.training.steps) == (16, 30)
    assert denoise.releases is not None
    assert load_preset(child, task="jpeg").teacher.width == 8


def test_a_child_with_another_teacher_does_not_inherit_the_first_ones(
    two: Path, tmp_path: Path
) -> None:
    for teacher in ({"arch": "restormer", "dim": 8}, None):
        child = write(
            tmp_path / "child.yaml", {"name": "child", "extends": "two", "teacher": teacher}
        )
        denoise = load_preset(child, task="denoise")
        assert denoise.releases is None
        assert denoise.training.steps == 20
        assert (denoise.teacher is None) == (teacher is None)


@pytest.mark.parametrize("name", WITH_TASKS)
def test_shipped_presets_resolve_for_every_task_of_the_papers(name: str, tmp_path: Path) -> None:
    assert set(preset_tasks(name)) == PAPERS_TASKS
    for task in PAPERS_TASKS:
        preset = load_preset(name, task=task)
        assert preset.task == task
        assert preset.releases is not None
        assert preset.evaluation.protocol is not None
        file = tmp_path / f"{task}.yaml"
        file.write_text(dump(preset))
        assert load_preset(file) == preset


@pytest.mark.parametrize("name", WITH_TASKS)
def test_every_teacher_can_be_trained_by_itself(name: str) -> None:
    from irkd.training.distill import teacher_preset

    for task in PAPERS_TASKS:
        preset = load_preset(name, task=task)
        alone = teacher_preset(preset)
        assert alone.student == preset.teacher
        assert (alone.teacher, alone.releases, alone.task) == (None, None, task)


def test_what_trains_alone_keeps_the_presets_own_loss() -> None:
    from irkd.training.distill import student_preset, teacher_preset

    preset = load_preset("denoise-fast")
    assert [method.name for method in preset.methods] == ["none", "wavelet"]
    for alone in (student_preset(preset), teacher_preset(preset)):
        assert alone.methods == preset.methods[:1]


@pytest.mark.parametrize("name", list_presets())
def test_no_shipped_release_pretends_to_be_fetchable(name: str) -> None:
    """No checksum of a released file is known, so that none can be fetched by a program."""
    for task in preset_tasks(name):
        for release in load_preset(name, task=task).releases or ():
            assert release.page.startswith("https://")
            assert release.url is None


def released(name: str, task: str) -> list[tuple[str, str | None]]:
    releases = load_preset(name, task=task).releases
    assert releases is not None
    return [(release.file, release.trained_on) for release in releases]


def test_who_has_released_weights_for_what() -> None:
    assert released("res-skd", "derain") == [("deraining.pth", "Rain13K")]
    assert released("res-skd", "deblur") == [("motion_deblurring.pth", "GoPro")]
    assert released("res-skd", "denoise")[0] == ("real_denoising.pth", "SIDD")
    assert released("ufor-skd", "deblur") == [("model_best.pth", "GoPro")]
    assert released("ufor-skd", "denoise") == [("model_best.pth", "SIDD")]
    assert [data for _, data in released("drs-skd", "derain")] == [
        *("DDN-Data", "DID-Data", "Rain200H", "Rain200L", "SPA-Data")
    ]
    for name, task in (
        ("res-skd", "dehaze"),
        ("ufor-skd", "derain"),
        ("ufor-skd", "dehaze"),
        ("drs-skd", "deblur"),
        ("drs-skd", "denoise"),
        ("drs-skd", "dehaze"),
    ):
        assert released(name, task) == []


def test_figures_of_skd_stand_with_their_task() -> None:
    """Table I: mean PSNR of teacher and student."""
    printed = {
        "res-skd": {"derain": (33.69, 32.92), "deblur": (32.07, 31.07), "denoise": (40.02, 39.52)},
        "ufor-skd": {"derain": (33.34, 32.47), "deblur": (31.98, 31.14), "denoise": (39.89, 39.46)},
        "drs-skd": {"derain": (33.82, 33.11), "deblur": (31.97, 31.09), "denoise": (40.03, 39.62)},
    }
    for name, tasks in printed.items():
        for task, figures in tasks.items():
            entries = [e for e in load_preset(name, task=task).reported if e.psnr_db is not None]
            assert tuple(e.psnr_db for e in entries) == figures
            assert [e.network for e in entries] == ["teacher", "student"]
        assert all(e.psnr_db is None for e in load_preset(name, task="dehaze").reported)
