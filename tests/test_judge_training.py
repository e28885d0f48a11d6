"""The networks that choose models, made by the command that models.sh calls."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from bench.judge import Examples, as_tensor, fit_amounts, learn_choice
from safetensors.torch import load_file

from irkd.inference.degradation import changes_of, tell
from irkd.inference.judge import ANSWERS, CHANGES, MODELS, UNTRIED, Judge
from irkd.inference.sight import Sight

ROOT = Path(__file__).parents[1]


def make(out: Path, work: Path, *, steps: int, examples: int) -> str:
    command = [sys.executable, "-m", "bench.judge", out, "--work", work, "--images", 1]
    command += ["--thousands", 0.01, "--steps", steps, "--examples", examples]
    done = subprocess.run(
        list(map(str, command)), cwd=ROOT, check=True, capture_output=True, text=True
    )
    return done.stdout


def test_a_judge_is_made_and_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    out, again = tmp_path / "judge.safetensors", tmp_path / "again.safetensors"
    assert "step 1:" in make(out, tmp_path / "work", steps=1, examples=2)
    make(again, tmp_path / "elsewhere", steps=1, examples=2)
    assert out.read_bytes() == again.read_bytes()
    text = make(out, tmp_path / "work", steps=3, examples=3)
    assert "step 3:" in text
    assert "step 1:" not in text
    assert re.search(r"at [3-6] images, \d", text)
    judge = Judge()
    judge.load_state_dict({name: tensor.float() for name, tensor in load_file(out).items()})
    image = np.random.default_rng(0).integers(0, 256, (128, 160, 3), np.uint8)
    judge.eval()
    untried = tell(image, judge)
    for told in (untried, torch.cat([untried, changes_of(image, {})])):
        promises = judge.promises(told[None])
        assert promises.shape == (1, len(ANSWERS))
        torch.testing.assert_close(promises.sum(), torch.tensor(1.0))


def test_what_models_change_tells_which_to_take() -> None:
    """The one that changes most gains most, and nothing else is told: that is learned."""
    rng = np.random.default_rng(0)
    found = []
    for index in range(200):
        best = index % len(ANSWERS)  # the first is none
        changes = rng.uniform(0, 0.3, (len(MODELS), len(CHANGES)))
        if best:
            changes[best - 1] += 3
        told = np.concatenate([rng.random(UNTRIED), changes.ravel()])
        gained = np.where(np.arange(len(ANSWERS)) == best, 5.0, -5.0)
        gained[0] = 0
        found.append((torch.tensor(told, dtype=torch.float32), gained))
    judge = Judge().eval()
    learn_choice(judge, found, steps=200)
    chosen = judge.promises(torch.stack([told for told, _ in found])).argmax(1)
    assert (chosen == torch.arange(200) % len(ANSWERS)).float().mean() > 0.9


def test_amounts_are_fitted_to_the_damage_that_is_there() -> None:
    pool = Examples(1, seed=3)
    torch.manual_seed(0)
    sight = Sight().eval()
    drawn = [pool.draw(np.random.default_rng([4, index]), 160) for index in range(40)]
    images = torch.stack([as_tensor(each.degraded) for each in drawn])
    wanted = torch.from_numpy(np.log2(1 + np.stack([each.levels for each in drawn])))
    there = wanted > 1.5

    def error() -> float:
        with torch.inference_mode():
            amounts = sight.of_hidden(sight.hidden_of(images))[1]
        return float((amounts - wanted)[there].square().mean())

    before = error()
    fit_amounts(sight, pool, 4)
    assert error() < before / 3
