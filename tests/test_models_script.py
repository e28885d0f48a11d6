"""models.sh, by which the models of the package are made: every stage, one step long."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

ROOT = Path(__file__).parents[1]
# Appended to each training, where the last value of an option counts.
SHORT = {
    "training.steps": 1,
    "training.warmup_steps": 0,
    "training.batch_size": 1,
    "training.patch": 64,
    "data.count": 2,
    "data.size": 96,
    "data.validation_limit": 1,
}
MADE = [
    *(
        f"src/irkd/shipped/{name}"
        for name in ("derain", "denoise", "dehaze", "deblur", "denoise-fast")
    ),
    "src/irkd/inference/judge",
]


def command(path: Path, lines: str) -> None:
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)


@pytest.mark.slow
def test_models_sh_makes_every_model_and_goes_on_where_it_was_stopped(tmp_path):
    shutil.copy(ROOT / "models.sh", tmp_path)
    for made in MADE:
        (tmp_path / made).parent.mkdir(parents=True, exist_ok=True)
    commands = tmp_path / "bin"
    commands.mkdir()
    short = " ".join(f"--set {name}={value}" for name, value in SHORT.items())
    irkd = f'{sys.executable} -m irkd "$@"'
    begin = f"case $1$2 in train--out|distill--out) exec {irkd} {short} ;; esac"
    command(commands / "irkd", f"{begin}\nexec {irkd}")
    few = "--images 1 --thousands 0.01 --steps 1 --examples 2"
    fewer = f'case $2 in bench.judge) set -- "$@" {few} ;; esac'
    command(commands / "python", f'{fewer}\nexec {sys.executable} "$@"')
    places = {"PATH": f"{commands}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}

    def run(*names: str) -> None:
        done = subprocess.run(
            ["sh", "models.sh", *names],
            cwd=tmp_path,
            env={**os.environ, **places, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    run()
    for made in MADE:
        weights = load_file(tmp_path / f"{made}.safetensors")
        shipped = load_file(ROOT / f"{made}.safetensors")
        assert {name: weights[name].shape for name in weights} == {
            name: shipped[name].shape for name in shipped
        }
    before = (tmp_path / "src/irkd/shipped/dehaze.safetensors").read_bytes()
    shutil.rmtree(tmp_path / "runs/shipped/dehaze")
    run("dehaze")
    assert (tmp_path / "src/irkd/shipped/dehaze.safetensors").read_bytes() == before
