"""What an image's damage asks for, which `irkd restore` goes by where nothing is said."""

import json

import cv2
import numpy as np
import pytest
from image_files import noise
from skimage import data

import irkd
from irkd.cli.main import main
from irkd.data.degrade import degrade
from irkd.errors import IrkdError
from irkd.inference.backends import load_network
from irkd.inference.degradation import Degradation, degradation_of, seen_in
from irkd.inference.judge import MODELS, trained_judge
from irkd.inference.measures import blocks_of_jpeg
from irkd.inference.picture import to_float
from irkd.inference.restorer import Restorer
from irkd.inference.sight import DAMAGES
from irkd.inference.specialists import choose_model, open_chooser
from irkd.metrics.full_reference import psnr

PHOTOGRAPHS = {"astronaut": data.astronaut, "coffee": data.coffee}


WORDS = {"derain": "rain", "denoise": "noise", "deblur": "blur", "dehaze": "haze"}


@pytest.fixture(scope="module")
def choose():
    """Among the shipped models."""
    return open_chooser(None).choose


def damaged(name, task, seed=2):  # of 1 the haze is thin, which is left alone
    photograph = PHOTOGRAPHS[name]()[:384, :384]
    return degrade(photograph, task, np.random.default_rng(seed))


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_a_clean_photograph_asks_for_nothing_but_noise_at_most(name, choose):
    """What denoise makes of good photographs is in test_shipped_models."""
    assert choose(PHOTOGRAPHS[name]()).found in ((), ("denoise",))


@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize("task", ["derain", "denoise", "deblur", "dehaze"])
def test_plain_damage_is_found(name, task, choose):
    choice = choose(damaged(name, task))
    assert (choice.found, choice.models) == ((task,), (task,))
    assert WORDS[task] in choice.reason


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_one_model_follows_another_where_there_is_more_to_mend(name, choose):
    noise_in_haze = degrade(damaged(name, "dehaze"), "denoise", np.random.default_rng(2))
    choice = choose(noise_in_haze)
    assert "dehaze" in choice.models
    assert len(choice.models) > 1
    shares = []
    restored = choice.restore(noise_in_haze, shares.append)
    expected = noise_in_haze
    for place, restorer in enumerate(choice.restorers):
        expected = np.clip(restorer(expected, sure=None if place else choice.sure), 0, 1)
    np.testing.assert_allclose(np.clip(restored, 0, 1), expected, atol=1e-3)
    assert shares == sorted(shares)
    assert shares[-1] == 1


@pytest.mark.parametrize("first", ["dehaze", "deblur"])
def test_a_model_does_not_follow_itself_and_no_more_than_two_follow(first, monkeypatch):
    """However much every one of them promises, again and again."""
    promised = {"none": 0.0, "derain": 0.7, "deblur": 0.6, "dehaze": 0.95, "denoise": 0.93}
    promised[first] = 0.99
    monkeypatch.setattr("irkd.inference.degradation._promised", lambda *_: promised)
    monkeypatch.setattr("irkd.inference.degradation._haze", lambda *_: 9.0)
    monkeypatch.setattr("irkd.inference.degradation._brightness", lambda _: 1.0)
    image = damaged("astronaut", "denoise")
    found = degradation_of(image, lambda name, square, sure: to_float(square))
    others = [task for task in ("dehaze", "denoise", "derain") if task != first]
    assert found.tasks == (first, *others[:2])


@pytest.mark.parametrize(("left", "found"), [(0.05, ("denoise",)), (0.3, ())])
def test_where_something_is_certain_the_likeliest_model_is_taken(left, found, monkeypatch):
    """No model is sure by itself, as with noise in haze."""
    promised = {"none": left, "derain": 0.1, "deblur": 0.1, "dehaze": 0.3, "denoise": 0.45}
    monkeypatch.setattr("irkd.inference.degradation._promised", lambda *_: promised)
    photograph = PHOTOGRAPHS["astronaut"]()
    assert degradation_of(photograph, lambda name, square, sure: to_float(square)).tasks == found


def test_depth_and_kind_of_the_pixels_do_not_matter(choose):
    picture = damaged("astronaut", "denoise")
    deep = picture.astype(np.uint16) * 257
    assert choose(deep) == choose(picture)
    assert choose(picture / np.float32(255)).found == ("denoise",)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((200, 200, 3), np.uint8),
        np.full((200, 200), 65535, np.uint16),
        noise((40, 300, 3)),
        noise((1, 1)),
    ],
)
def test_what_tells_nothing_stays_as_it_is(image):
    def never(name, square, sure):
        raise AssertionError("nothing is to be tried on it")

    assert degradation_of(image, never).tasks == ()
    np.testing.assert_array_equal(irkd.restore(image), image)


def test_every_model_is_tried_on_the_middle_unless_one_is_plain_before():
    def unchanged(name, square, sure):
        tried.setdefault(name, square)  # again on what a model made of it
        return to_float(square)

    tried = {}
    photograph = PHOTOGRAPHS["coffee"]()
    degradation_of(photograph, unchanged)
    assert tuple(tried) == MODELS
    for square in tried.values():
        np.testing.assert_array_equal(square, photograph[72:328, 172:428])
    tried = {}
    assert degradation_of(damaged("coffee", "denoise"), unchanged).tasks[0] == "denoise"
    assert next(iter(tried)) == "denoise"
    assert "deblur" not in tried


@pytest.mark.parametrize("sigma", [10, 25])
def test_noise_is_measured_in_levels(sigma):
    photograph = PHOTOGRAPHS["coffee"]()
    grain = np.random.default_rng(3).normal(0, sigma, photograph.shape)
    noisy = np.clip(photograph + grain, 0, 255).round().astype(np.uint8)
    clean, told = (
        dict(zip(DAMAGES, seen_in(image, trained_judge())[len(DAMAGES) :].tolist(), strict=True))
        for image in (photograph, noisy)
    )
    assert 2 ** clean["noise"] - 1 < 1
    assert 2 ** told["noise"] - 1 == pytest.approx(sigma, rel=0.35)
    assert told["rain"] < 1


def test_blocks_of_jpeg_are_seen_where_they_are():
    photograph = PHOTOGRAPHS["astronaut"]()
    encoded = cv2.imencode(".jpg", photograph, [cv2.IMWRITE_JPEG_QUALITY, 30])[1]
    saved = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    light, blocks = (image.mean(axis=2) / 255 for image in (photograph, saved))
    assert blocks_of_jpeg(light) < 1.1
    assert blocks_of_jpeg(blocks) > 1.3
    assert blocks_of_jpeg(blocks[3:, 3:]) < 1.1


@pytest.mark.parametrize("size", [(97, 131), (96, 1500), (515, 260), (96, 60_000)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_images_of_any_size_and_kind_are_judged(size, kind, choose):
    image = np.random.default_rng(0).random(size)
    if kind is not np.float32:
        image *= np.iinfo(kind).max
    assert set(choose(image.astype(kind)).found) <= set(MODELS)


def test_a_large_image_is_judged_all_over():
    """Noise at its right alone: a crop of its middle would not show it."""
    photograph = cv2.resize(PHOTOGRAPHS["coffee"](), (1600, 900), interpolation=cv2.INTER_CUBIC)
    grain = np.random.default_rng(3).normal(0, 25, photograph.shape)
    grain[:, :1200] = 0
    noisy = np.clip(photograph + grain, 0, 255).round().astype(np.uint8)
    place = len(DAMAGES) + DAMAGES.index("noise")
    before, after = (float(seen_in(image, trained_judge())[place]) for image in (photograph, noisy))
    assert after > before + 0.5


def test_haze_is_named_where_squares_of_a_large_image_show_little_of_it(choose):
    hazy = cv2.resize(damaged("coffee", "dehaze"), (3000, 3000), interpolation=cv2.INTER_CUBIC)
    choice = choose(hazy)
    assert choice.found[0] == "dehaze"
    assert "haze of" in choice.reason


def finds(monkeypatch, degradation):
    monkeypatch.setattr("irkd.inference.specialists.degradation_of", lambda *_: degradation)


def test_a_specialist_is_taken_where_one_ships(identity_model, blur_model, monkeypatch):
    shipped = {"demo-teacher": blur_model, "quiet": blur_model}
    shipped |= dict.fromkeys(("deblur", "dehaze", "derain"), identity_model)
    for module in ("irkd.models.weights", "irkd.inference.specialists"):
        monkeypatch.setattr(f"{module}.shipped_models", lambda: shipped)
    # The blur model states that it is for denoise.
    assert choose_model("denoise") == "quiet"
    chooser = open_chooser(None, task="auto")
    finds(monkeypatch, Degradation(("denoise",), "noise of 9 levels"))
    choice = chooser.choose(PHOTOGRAPHS["coffee"]())
    assert (choice.models, choice.found) == (("quiet",), ("denoise",))
    assert "noise of" in choice.reason
    with pytest.raises(IrkdError, match="not both"):
        open_chooser(str(identity_model), task="auto")


def test_demonstrations_are_no_specialists(identity_model, monkeypatch):
    shipped = {"demo-teacher": identity_model}
    monkeypatch.setattr("irkd.inference.specialists.shipped_models", lambda: shipped)
    assert choose_model("denoise") is None
    with pytest.raises(IrkdError, match="no model for derain ships"):
        open_chooser(None)


@pytest.mark.parametrize("words", [{}, {"task": "auto"}, {"task": "general"}, {"model": "general"}])
def test_general_is_what_is_done_when_nothing_is_said(words):
    image = damaged("coffee", "denoise")
    choice = open_chooser(**({"model": None} | words)).choose(image)
    assert choice.models == ("denoise",)


def test_general_is_no_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(IrkdError, match=r"no network of its own.*derain"):
        load_network("general")


@pytest.mark.parametrize("options", [[], ["--task", "auto"], ["--model", "general"]])
def test_the_line_says_what_was_chosen(options, tmp_path, capsys):
    noisy = damaged("astronaut", "denoise")[..., ::-1]
    for name, image in (("noisy", noisy), ("small", noise((20, 20, 3)))):
        cv2.imwrite(str(tmp_path / f"{name}.png"), image)
    target = ["-o", str(tmp_path / "out"), "--json", str(tmp_path / "out.json")]
    with pytest.raises(SystemExit) as end:
        main(["restore", str(tmp_path), *options, *target])
    assert not end.value.code
    noisy, small, _ = capsys.readouterr().out.splitlines()
    assert "denoise: noise of" in noisy
    assert small.endswith("s  too small to judge, it stays as it was")
    noisy, small = json.loads((tmp_path / "out.json").read_text())["files"]
    assert (noisy["models"], noisy["found_tasks"]) == (["denoise"], ["denoise"])
    assert (small["models"], small["found_tasks"]) == ([], [])


def test_a_file_in_which_nothing_is_found_is_copied(tmp_path):
    """A JPEG that is encoded anew would lose a little; what stands in it stays too."""
    for name in ("a.jpg", "b.JPG"):
        cv2.imwrite(str(tmp_path / name), noise((40, 300, 3)))
    out = tmp_path / "out"
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["restore", str(tmp_path), "-o", str(out), "--compare"])
    for name in ("a.jpg", "b.JPG"):
        assert (out / name).read_bytes() == (tmp_path / name).read_bytes()
        assert (out / f"{name[0]}_compare.png").is_file()
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["restore", str(tmp_path / "a.jpg"), "-o", str(tmp_path / "a.png")])
    decoded = cv2.imread(str(tmp_path / "a.jpg"))
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a.png")), decoded)


def landscape():
    """Haze far away, and a near side that is dark."""
    photograph = cv2.resize(PHOTOGRAPHS["coffee"](), (512, 384), interpolation=cv2.INTER_AREA)
    through = np.where(np.arange(384)[:, None, None] < 250, 0.35, 1.0).astype(np.float32)
    hazy = through * photograph + (1 - through) * np.float32([205, 210, 220])
    return photograph, np.where(through < 1, hazy, hazy * 0.3).round().astype(np.uint8)


def test_haze_is_taken_away_where_it_is_believed_in(monkeypatch):
    """Where much is dark the network alone believes in none."""
    photograph, hazy = landscape()
    alone = Restorer(load_network("dehaze"))(hazy)
    np.testing.assert_array_equal(alone, to_float(hazy))
    monkeypatch.setattr("irkd.inference.specialists.said_haze", lambda *_: 1.0)
    for told in ({"model": "dehaze"}, {"model": None, "task": "dehaze"}):
        said = open_chooser(**told).choose(hazy).restore(hazy)
        before, after = (
            psnr(255 * shown[:220], photograph[:220])
            for shown in (to_float(hazy), np.clip(said, 0, 1))
        )
        assert after > before + 2


def test_where_no_haze_is_found_the_line_says_so(tmp_path, capsys):
    for name, image in (("good", PHOTOGRAPHS["coffee"]()), ("hazy", damaged("coffee", "dehaze"))):
        cv2.imwrite(str(tmp_path / f"{name}.png"), image[..., ::-1])
    out = str(tmp_path / "out")
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["restore", str(tmp_path), "--task", "dehaze", "-o", out, "--device", "cpu"])
    good, hazy = sorted(line for line in capsys.readouterr().out.splitlines() if ".png" in line)
    assert "dehaze: no haze found, it stays as it was (sure there is some: --sure)" in good
    assert "no haze" not in hazy
    before, after = (
        cv2.imread(str(folder / "good.png")) for folder in (tmp_path, tmp_path / "out")
    )
    np.testing.assert_array_equal(after, before)


def test_who_is_sure_of_haze_is_not_asked(tmp_path):
    """The landscape's far side, in which the network alone believes in no haze."""
    photograph, hazy = landscape()
    cv2.imwrite(str(tmp_path / "hazy.png"), hazy[..., ::-1])
    out = tmp_path / "out.png"
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["restore", str(tmp_path / "hazy.png"), "--task", "dehaze", "--sure", "-o", str(out)])
    after = cv2.imread(str(out))[..., ::-1]
    assert psnr(after[:220], photograph[:220]) > psnr(hazy[:220], photograph[:220]) + 2
    np.testing.assert_array_equal(irkd.restore(hazy, task="dehaze", sure=True), after)
    for words in ({}, {"task": "general"}, {"model": "denoise"}, {"task": "derain"}):
        with pytest.raises(IrkdError, match="sure"):
            open_chooser(**({"model": None} | words), sure=True)


def test_where_no_haze_is_found_no_network_is_run():
    choice = open_chooser("dehaze").choose(PHOTOGRAPHS["coffee"]())
    assert (choice.restorers, choice.models, choice.tile) == ((), ("dehaze",), None)


def test_a_pale_photograph_stays_as_it_is_where_the_judge_sees_no_haze():
    """Nothing in it is dark: the network alone takes it for hazy."""
    pale = np.rint(60 + 0.75 * PHOTOGRAPHS["astronaut"]().astype(float)).astype(np.uint8)
    assert np.abs(Restorer(load_network("dehaze"))(pale) - to_float(pale)).max() > 0.1
    said = open_chooser(None, task="dehaze").choose(pale).restore(pale)
    np.testing.assert_array_equal(said, to_float(pale))


def test_told_nothing_haze_far_away_is_left_where_much_is_dark(monkeypatch):
    """Who says that there is haze has it taken away."""
    _, hazy = landscape()
    promised = {"none": 0.15, "derain": 0.0, "deblur": 0.0, "dehaze": 0.85, "denoise": 0.0}
    monkeypatch.setattr("irkd.inference.degradation._promised", lambda *_: promised)
    monkeypatch.setattr("irkd.inference.degradation._haze", lambda *_: 9.0)
    assert open_chooser(None).choose(hazy).found == ()
    assert open_chooser("dehaze").choose(hazy).sure == 1
    monkeypatch.setattr("irkd.inference.degradation._brightness", lambda _: 1.0)
    assert open_chooser(None).choose(hazy).found == ("dehaze",)


def test_what_cannot_be_judged_is_dehazed_by_its_dark_spots():
    photograph, _ = landscape()
    small = photograph[:90, :90].astype(np.float32) / 255 * 0.35 + 0.65 * 0.85
    said = open_chooser(None, task="dehaze").choose(small).restore(small)
    np.testing.assert_array_equal(said, Restorer(load_network("dehaze"))(small))
    assert np.abs(said - small).max() > 0.1


def test_a_good_photograph_stays_as_it_is_whatever_somebody_says():
    for load in PHOTOGRAPHS.values():
        photograph = load()
        restored = open_chooser(None, task="dehaze").choose(photograph).restore(photograph)
        np.testing.assert_array_equal(restored, to_float(photograph))
