"""`irkd methods` shows every registered method and all that can be set."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from irkd.cli.main import main
from irkd.methods.base import methods


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["methods", *arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_every_method_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    shown = capsys.readouterr().out
    assert all(f"│ {name} " in shown for name in methods())


@pytest.mark.parametrize("name", sorted(methods()))
def test_a_method_says_where_it_is_from_and_what_can_be_set(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(name, "--json", "-") == 0
    printed = capsys.readouterr().out
    shown = json.loads(printed[printed.index("{\n") :])
    assert len(shown["description"]) > 60
    described = {parameter["name"]: parameter for parameter in shown["parameters"]}
    assert set(described) == set(methods()[name].parameters.model_fields) - {"name"}
    assert all(parameter["description"] for parameter in described.values())


def test_an_unknown_method_is_answered_with_a_suggestion(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("wavelets") == 2
    assert "wavelet" in capsys.readouterr().err


def test_the_page_about_methods_names_every_one() -> None:
    page = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([\w-]+)` \|", page, re.MULTILINE)) == set(methods())
