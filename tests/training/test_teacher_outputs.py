"""Training from a cache of the teacher's outputs: the same lessons, from a teacher that rests."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import NETWORK, tiny_content, tiny_teacher
from torch import nn

import irkd.data.teacher_cache
import irkd.training.teacher_outputs
from irkd.cli.main import main
from irkd.data.folders import FolderPairs
from irkd.data.sampler import training_loader
from irkd.errors import IrkdError
from irkd.models.apply import apply_network
from irkd.models.base import build_network
from irkd.models.weights import load_weights
from irkd.presets.load import dump, validate
from irkd.presets.schema import Preset
from irkd.training.batches import unit_images
from irkd.training.distill import describe_plan, distill, train_teacher
from irkd.training.observer import Observer
from irkd.training.task import DistillTask, build_task
from irkd.training.teacher_outputs import TeacherOutputs

TEACHER_WIDTH = 6
IMAGES = 5


class Notes(Observer):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IRKD_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def seen() -> Iterator[Counter[tuple[int, int]]]:
    """How often the teacher ran, by height and width of its input."""
    runs: Counter[tuple[int, int]] = Counter()

    def count(module: nn.Module, inputs: Any, _output: Any) -> None:
        if getattr(getattr(module, "spec", None), "width", None) == TEACHER_WIDTH:
            runs[tuple(inputs[0].shape[-2:])] += 1

    handle = nn.modules.module.register_module_forward_hook(count)
    yield runs
    handle.remove()


def write_pairs(folder: Path, size: tuple[int, int] = (16, 16), count: int = IMAGES) -> Path:
    for part in ("input", "target"):
        (folder / part).mkdir(parents=True)
        for number in range(count):
            rng = np.random.default_rng((number, len(part)))
            image = rng.integers(0, 256, (*size, 3), np.uint8)
            assert cv2.imwrite(str(folder / part / f"{number}.png"), image)
    return folder


def preset_of(folder: Path, mode: str = "build", **data: Any) -> Preset:
    """Response distillation from a random teacher, which is made in `folder` when first asked."""
    content = tiny_content(log_every=1, steps=2 * IMAGES, batch_size=1)
    path = folder / "teacher.safetensors"
    if path.exists():
        content["teacher"] = {**NETWORK, "width": TEACHER_WIDTH, "weights": str(path)}
    else:
        content["teacher"] = tiny_teacher(path, TEACHER_WIDTH)
    content["methods"] = [{"name": "response", "ssim": 0.1, "distillation_loss": "mse"}]
    content["data"] |= {"teacher_cache": mode, **data}
    if mode != "off":
        content["data"].setdefault("teacher_context", "full")
    return validate(content, "tiny")


def task_of(preset: Preset) -> tuple[DistillTask, nn.Module]:
    torch.manual_seed(0)
    student = build_network(preset.student)
    for parameter in student.parameters():
        nn.init.normal_(parameter, std=0.2)
    teacher = build_network(preset.teacher)
    load_weights(teacher, Path(preset.teacher.weights))
    return build_task(student, preset.methods, teacher), teacher


def outputs_of(preset: Preset, pairs: Any, observer: Observer | None = None) -> TeacherOutputs:
    task, _ = task_of(preset)
    return TeacherOutputs(preset, pairs, task, "ab", torch.device("cpu"), observer or Notes())


def gradients(task: DistillTask, batch: dict[str, Any]) -> list[torch.Tensor]:
    task.zero_grad()
    task(**unit_images(batch, torch.device("cpu"))).loss.backward()
    return [parameter.grad.clone() for parameter in task.parameters()]


@pytest.mark.parametrize("student_range", [(0.0, 1.0), (-1.0, 1.0)])
@pytest.mark.parametrize("storage", ["float16", "uint8"])
def test_gradients_are_those_of_the_teacher_online_when_the_crop_is_the_image(
    student_range: tuple[float, float], storage: str, tmp_path: Path, seen: Counter[Any]
) -> None:
    """Bit for bit those of a teacher whose output is rounded as it is stored; and near those of
    one whose output is not."""
    preset = preset_of(tmp_path, teacher_storage=storage)
    student = preset.student.model_copy(update={"value_range": student_range})
    preset = preset.model_copy(update={"student": student})
    pairs = FolderPairs(write_pairs(tmp_path / "data"), task="denoise", split="train")
    outputs = outputs_of(preset, pairs)
    outputs.prepare()
    task, teacher = task_of(preset)
    seen.clear()
    options = {"patch": 16, "batch_size": 1, "steps": IMAGES, "seed": 0, "augment": False}
    online = list(training_loader(pairs, **options))
    for batch, plain in zip(training_loader(outputs.pairs, **options), online, strict=True):
        seen.clear()
        cached = gradients(task, batch)
        assert not seen
        near = gradients(task, plain)
        assert seen[(16, 16)] == 1
        with torch.no_grad():
            restored = apply_network(teacher, unit_images(plain, torch.device("cpu"))["degraded"])
        half = restored.half()
        eight = restored.clamp(0, 1).mul(255).round().to(torch.uint8)
        stored = half if storage == "float16" else eight
        rounded = gradients(task, {**plain, "teacher_restored": stored})
        for one, same, other in zip(cached, rounded, near, strict=True):
            assert torch.equal(one, same)
            if storage == "float16":
                torch.testing.assert_close(one, other, atol=2e-4, rtol=2e-2)


def test_teacher_runs_once_for_each_image_and_never_in_a_step(
    tmp_path: Path, seen: Counter[Any]
) -> None:
    """Two epochs of crops of 16; only builds and sample pictures show the teacher whole images."""
    data = str(write_pairs(tmp_path / "data", (40, 44)))
    for mode, built in (("build", IMAGES), ("build", 0), ("use", 0)):
        seen.clear()
        out = tmp_path / f"{mode}{built}"
        result = distill(preset_of(tmp_path, mode, train=data), out=out, device="cpu")
        assert result.step == 2 * IMAGES
        pictures = len(list((out / "samples").iterdir())) * 3
        assert seen == {(40, 44): built + pictures}
    seen.clear()
    distill(preset_of(tmp_path, "off", train=data), out=tmp_path / "off", device="cpu")
    assert seen[(16, 16)] == 2 * IMAGES
    first, second = (
        load_file(tmp_path / name / "student.safetensors") for name in ("build0", "use0")
    )
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_fixed_degradations_are_cached_in_all_their_variants(
    tmp_path: Path, seen: Counter[Any]
) -> None:
    preset = preset_of(tmp_path, variants=2, size=40, count=3)
    methods = [{"name": "response"}, {"name": "wavelet"}]
    preset = validate({**preset.model_dump(mode="json"), "methods": methods}, "tiny")
    out = tmp_path / "run"
    distill(preset, out=out, device="cpu")
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["teacher_context"] == "full"
    assert manifest["teacher_cache"]["storage"] == "float16"
    assert len(list(Path(manifest["teacher_cache"]["folder"]).rglob("*.safetensors"))) == 6
    assert (16, 16) not in seen
    plan = describe_plan(preset)["teacher_cache"]
    assert (plan["images"], plan["mode"]) == (6, "build")
    assert plan["estimated_bytes"] == pytest.approx(6 * 40 * 40 * 3 * 2, rel=0.1)


def test_resumed_run_ends_with_the_bits_of_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = preset_of(tmp_path, variants=2, size=40)
    half = validate({**whole.model_dump(mode="json"), "name": "half"}, "half")
    halted = half.model_copy(update={"training": half.training.model_copy(update={"steps": 10})})
    distill(whole, out=tmp_path / "whole", device="cpu")
    stopped = distill(halted, out=tmp_path / "part", device="cpu", max_seconds=1e-9)
    assert (stopped.step, stopped.stopped) == (1, "time")
    distill(halted, out=tmp_path / "part", resume=True, device="cpu")
    one, other = (load_file(tmp_path / name / "student.safetensors") for name in ("whole", "part"))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_context_never_changes_within_a_run(tmp_path: Path) -> None:
    for mode, other in (("off", "build"), ("build", "off")):
        out = tmp_path / mode
        first = preset_of(tmp_path, mode, variants=1)
        distill(first, out=out, device="cpu", max_seconds=1e-9)
        manifest = json.loads((out / "manifest.json").read_text())
        assert manifest["teacher_context"] == first.data.teacher_context
        assert manifest["teacher_context"] == {"off": "crop", "build": "full"}[mode]
        with pytest.raises(IrkdError, match="differs between a crop and the full image"):
            distill(preset_of(tmp_path, other, variants=1), out=out, resume=True, device="cpu")


def test_run_from_before_contexts_were_declared_learned_from_crops(tmp_path: Path) -> None:
    out = tmp_path / "run"
    distill(preset_of(tmp_path, "off", variants=1), out=out, device="cpu", max_seconds=1e-9)
    manifest = json.loads((out / "manifest.json").read_text())
    del manifest["teacher_context"]
    (out / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(IrkdError, match="'crop'"):
        distill(preset_of(tmp_path, "build", variants=1), out=out, resume=True, device="cpu")
    distill(preset_of(tmp_path, "off", variants=1), out=out, resume=True, device="cpu")


def test_interrupted_build_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: Counter[Any]
) -> None:
    preset = preset_of(tmp_path, train=str(write_pairs(tmp_path / "data")))
    original = irkd.training.teacher_outputs.restore_whole
    calls = []

    def interrupted(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*arguments)

    notes = Notes()
    monkeypatch.setattr(irkd.training.teacher_outputs, "restore_whole", interrupted)
    with pytest.raises(KeyboardInterrupt):
        distill(preset, out=tmp_path / "run", device="cpu", observer=notes)
    assert any("2 of 5 outputs are kept" in text for text in notes.texts)
    assert not (tmp_path / "run").exists()
    monkeypatch.undo()
    monkeypatch.setenv("IRKD_CACHE", str(tmp_path / "cache"))
    seen.clear()
    notes = Notes()
    distill(preset, out=tmp_path / "run", device="cpu", observer=notes)
    assert any("3 to make" in text for text in notes.texts)
    pictures = len(list((tmp_path / "run" / "samples").iterdir())) * 3
    assert seen[(16, 16)] == 3 + pictures


def test_lost_index_and_damaged_entries_are_mended_by_build_alone(
    tmp_path: Path, seen: Counter[Any]
) -> None:
    pairs = FolderPairs(write_pairs(tmp_path / "data"), task="denoise", split="train")
    build, use = preset_of(tmp_path, "build"), preset_of(tmp_path, "use")
    with pytest.raises(IrkdError, match=r"5 of 5 outputs .* `--cache-teacher build`"):
        outputs_of(use, pairs).prepare()
    outputs = outputs_of(build, pairs)
    outputs.prepare()
    outputs_of(use, pairs).prepare()

    index = outputs.cache.folder / "index.json"
    for content in (None, "{"):
        if content is None:
            index.unlink()
        else:
            index.write_text(content)
        with pytest.raises(IrkdError, match="--cache-teacher build"):
            outputs_of(use, pairs).prepare()
        seen.clear()
        outputs_of(build, pairs).prepare()
        assert not seen  # the entries were there
        outputs_of(use, pairs).prepare()

    first, second, *_ = sorted(outputs.cache.folder.rglob("*.safetensors"))
    first.write_bytes(first.read_bytes()[:100])
    second.unlink()
    with pytest.raises(IrkdError, match="2 of 5 outputs"):
        outputs_of(use, pairs).prepare()
    seen.clear()
    outputs_of(build, pairs).prepare()
    assert seen == {(16, 16): 2}
    outputs_of(use, pairs).prepare()


def test_changed_image_is_noticed_and_changed_teacher_has_its_own_cache(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "data")
    preset, use = preset_of(tmp_path, train=str(data)), preset_of(tmp_path, "use", train=str(data))
    distill(preset, out=tmp_path / "one", device="cpu")
    changed = data / "input" / "3.png"
    assert cv2.imwrite(str(changed), np.zeros((16, 16, 3), np.uint8))
    with pytest.raises(IrkdError, match=r"^3: .*has changed since.*--cache-teacher build"):
        distill(use, out=tmp_path / "two", device="cpu")
    distill(preset, out=tmp_path / "three", device="cpu")
    distill(use, out=tmp_path / "four", device="cpu")

    teacher = tmp_path / "teacher.safetensors"
    content = bytearray(teacher.read_bytes())
    content[-3] ^= 1
    teacher.write_bytes(content)
    preset = use.model_copy()
    with pytest.raises(IrkdError, match="5 of 5 outputs"):
        distill(preset, out=tmp_path / "five", device="cpu")
    assert not (tmp_path / "five").exists()


def test_padding_is_that_of_validation(tmp_path: Path) -> None:
    pairs = FolderPairs(write_pairs(tmp_path / "data", (17, 19)), task="denoise", split="train")
    outputs = outputs_of(preset_of(tmp_path), pairs)
    outputs.prepare()
    pair = outputs.pairs.load(2)
    _, teacher = task_of(preset_of(tmp_path))
    image = torch.from_numpy(pair.degraded).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        expected = apply_network(teacher, image)[0].permute(1, 2, 0).half().numpy()
    assert pair.teacher_restored is not None
    assert np.array_equal(pair.teacher_restored[0:17, 0:19], expected)


def test_too_small_a_disk_is_known_before_the_teacher_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: Counter[Any]
) -> None:
    preset = preset_of(tmp_path, variants=2, size=40, count=3)
    room = shutil.disk_usage(tmp_path)._replace(free=50_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: room)
    with pytest.raises(
        IrkdError, match=r"need 0\.1 MB, but 0\.1 MB are free.*teacher_storage=uint8"
    ):
        distill(preset, out=tmp_path / "run", device="cpu")
    assert not seen
    distill(
        preset_of(tmp_path, variants=2, size=40, count=3, teacher_storage="uint8"),
        out=tmp_path / "run",
        device="cpu",
    )


def test_disk_that_fills_up_keeps_what_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = FolderPairs(write_pairs(tmp_path / "data"), task="denoise", split="train")
    original = irkd.data.teacher_cache.write_bytes
    written = []

    def full(path: Path, *arguments: Any, **options: Any) -> None:
        written.append(path)
        if len(written) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        original(path, *arguments, **options)

    monkeypatch.setattr(irkd.data.teacher_cache, "write_bytes", full)
    outputs = outputs_of(preset_of(tmp_path), pairs)
    with pytest.raises(IrkdError, match=r"full after 3 of 5 outputs, which are kept.*cache_folder"):
        outputs.prepare()
    monkeypatch.setattr(irkd.data.teacher_cache, "write_bytes", original)
    notes = Notes()
    outputs_of(preset_of(tmp_path), pairs, notes).prepare()
    assert "2 to make" in notes.texts[0]


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_processes_building_at_once_make_one_whole_cache(tmp_path: Path) -> None:
    pairs = FolderPairs(write_pairs(tmp_path / "data", count=12), task="denoise", split="train")
    build = preset_of(tmp_path)
    context = multiprocessing.get_context("fork")
    builders = [
        context.Process(target=lambda: outputs_of(build, pairs).prepare()) for _ in range(3)
    ]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join(60)
    assert [builder.exitcode for builder in builders] == [0, 0, 0]
    outputs = outputs_of(preset_of(tmp_path, "use"), pairs)
    outputs.prepare()
    names = [file.name for file in outputs.cache.folder.rglob("*.safetensors")]
    assert len(names) == 12
    assert not any(name.startswith(".") for name in names)


@pytest.mark.parametrize(
    ("methods", "expected"),
    [
        ([{"name": "skd"}], "the method 'skd' needs features of the teacher"),
        ([{"name": "response"}, {"name": "skd"}], "the method 'skd' needs"),
        ([{"name": "hints"}, {"name": "response"}], "the method 'hints' needs features"),
        ([{"name": "data-free", "size": 32}], "the method 'data-free' makes its own images"),
        ([{"name": "multi-teacher"}], "the method 'multi-teacher' runs further teachers"),
    ],
)
def test_method_that_needs_more_than_the_output_is_named(
    methods: list[Any], expected: str, tmp_path: Path
) -> None:
    content = preset_of(tmp_path, variants=1).model_dump(mode="json")
    for method in methods:
        if method["name"] == "multi-teacher":
            method["teachers"] = [content["teacher"]]
    content["methods"] = methods
    with pytest.raises(IrkdError, match=expected):
        distill(validate(content, "tiny"), out=tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_fresh_degradations_are_refused_with_the_option_that_fixes_them(tmp_path: Path) -> None:
    with pytest.raises(IrkdError, match=r"degraded anew for every crop.*data\.variants=4"):
        distill(preset_of(tmp_path), out=tmp_path / "run", device="cpu")
    data = str(write_pairs(tmp_path / "data"))
    with pytest.raises(IrkdError, match=r"data\.variants: .* read from files"):
        distill(preset_of(tmp_path, train=data, variants=2), out=tmp_path / "run", device="cpu")


def test_run_without_a_teacher_keeps_no_outputs_and_says_so(tmp_path: Path) -> None:
    content = preset_of(tmp_path).model_dump(mode="json") | {"methods": [{"name": "none"}]}
    notes = Notes()
    distill(validate(content, "tiny"), out=tmp_path / "run", device="cpu", observer=notes)
    assert any("none of its outputs are kept" in text for text in notes.texts)
    assert not (tmp_path / "cache").exists()
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["teacher_context"] is None
    train_teacher(preset_of(tmp_path), tmp_path / "teacher", device="cpu", max_seconds=1e-9)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"teacher_cache": "build"}, "teacher_context: full"),
        ({"teacher_cache": "off", "teacher_context": "full"}, "teacher_cache: build or use"),
        ({"teacher_cache": "yes"}, "data.teacher_cache"),
        ({"teacher_context": "tile"}, "data.teacher_context"),
        ({"variants": 0}, "data.variants"),
    ],
)
def test_preset_declares_cache_and_context_together(data: dict[str, Any], expected: str) -> None:
    content = tiny_content()
    content["data"] |= data
    with pytest.raises(IrkdError, match=expected):
        validate(content, "tiny")


def test_yaml_off_is_off() -> None:
    content = tiny_content()
    content["data"]["teacher_cache"] = False
    assert validate(content, "tiny").data.teacher_cache == "off"


def test_command_builds_uses_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(dump(preset_of(tmp_path, "off", variants=2, count=3)))
    run = ["distill", "--preset", str(path), "--device", "cpu"]
    one, two = tmp_path / "one", tmp_path / "two"
    for arguments, code, expected in (
        ([*run, "--out", str(one), "--cache-teacher", "use"], 2, "6 of 6 outputs"),
        ([*run, "--out", str(one), "--cache-teacher", "maybe"], 2, "build, use or off"),
        (
            [*run, "--dry-run", "--cache-teacher", "build"],
            0,
            "for 6 full images, float16: 0.000 GB",
        ),
        ([*run, "--out", str(one), "--cache-teacher", "build"], 0, "teacher's outputs: 6 of 6"),
        (
            [*run, "--out", str(two), "--cache-teacher", "use", "--max-time", "0.001s"],
            0,
            "are read",
        ),
        (["distill", "--resume", str(two), "--cache-teacher", "off"], 2, "begin a new run"),
        (["distill", "--resume", str(two), "--device", "cpu"], 0, "student: "),
    ):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        captured = capsys.readouterr()
        assert end.value.code == code, captured.err
        assert expected in (captured.out + captured.err).replace("\n", " ")


def test_student_of_the_tests_is_no_teacher() -> None:
    """The counter tells both apart by their width."""
    assert tiny_content()["student"]["width"] != TEACHER_WIDTH
    assert "width" not in NETWORK
