"""`--task auto`: what an image's damage asks for."""

import json

import cv2
import numpy as np
import pytest
from image_files import noise
from skimage import data

from irkd.cli.main import main
from irkd.data.degrade import degrade
from irkd.errors import IrkdError
from irkd.inference.degradation import degradation_of
from irkd.inference.specialists import choose_model, open_chooser

PHOTOGRAPHS = {"astronaut": data.astronaut, "coffee": data.coffee}


def damaged(name, task, seed=1):
    photograph = PHOTOGRAPHS[name]()[:384, :384]
    return degrade(photograph, task, np.random.default_rng(seed))


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_a_clean_photograph_asks_for_nothing(name):
    assert degradation_of(PHOTOGRAPHS[name]()).task == "general"


@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize("task", ["derain", "denoise", "deblur", "dehaze"])
def test_plain_damage_is_found(name, task):
    found = degradation_of(damaged(name, task))
    assert found.task == task
    assert found.reasons[0]


def test_depth_and_kind_of_the_pixels_do_not_matter():
    picture = damaged("astronaut", "denoise")
    deep = picture.astype(np.uint16) * 257
    assert degradation_of(deep) == degradation_of(picture)
    assert degradation_of(picture / np.float32(255)).task == "denoise"


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((200, 200, 3), np.uint8),
        np.full((200, 200), 65535, np.uint16),
        noise((40, 300, 3)),
        noise((1, 1)),
    ],
)
def test_what_tells_nothing_is_general(image):
    assert degradation_of(image).task == "general"


def test_a_specialist_is_taken_where_one_ships(identity_model, blur_model, monkeypatch):
    shipped = {"general": identity_model, "quiet": blur_model, "demo-teacher": blur_model}
    for module in ("irkd.models.weights", "irkd.inference.specialists"):
        monkeypatch.setattr(f"{module}.shipped_models", lambda: shipped)
    # The blur model states that it is for denoise.
    assert choose_model("denoise") == "quiet"
    chooser = open_chooser(None, task="auto")
    choice = chooser.choose(damaged("coffee", "denoise"))
    assert (choice.model, choice.found) == ("quiet", "denoise")
    assert "noise of deviation" in choice.reason
    choice = chooser.choose(damaged("coffee", "dehaze"))
    assert (choice.model, choice.found) == ("general", "dehaze")
    assert "no model for dehaze ships" in choice.reason
    assert chooser.choose(np.zeros((200, 200, 3), np.uint8)).model == "general"
    with pytest.raises(IrkdError, match="not both"):
        open_chooser(str(identity_model), task="auto")


def test_demonstrations_are_no_specialists(identity_model, monkeypatch):
    shipped = {"general": identity_model, "demo-teacher": identity_model}
    monkeypatch.setattr("irkd.inference.specialists.shipped_models", lambda: shipped)
    assert choose_model("denoise") == "general"


def test_the_line_says_what_was_chosen(tmp_path, capsys, identity_model, monkeypatch):
    for module in ("irkd.models.weights", "irkd.inference.specialists"):
        monkeypatch.setattr(f"{module}.shipped_models", lambda: {"general": identity_model})
    cv2.imwrite(str(tmp_path / "a.png"), damaged("astronaut", "denoise")[..., ::-1])
    with pytest.raises(SystemExit) as end:
        main(["restore", str(tmp_path / "a.png"), "--task", "auto", "--json", str(tmp_path / "j")])
    assert not end.value.code
    out = capsys.readouterr().out
    assert "general: noise of deviation" in out
    assert "no model for denoise ships" in out
    (entry,) = json.loads((tmp_path / "j").read_text())["files"]
    assert (entry["model"], entry["found_task"]) == ("general", "denoise")
