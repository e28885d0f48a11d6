"""What the documents tell people to type exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from irkd.cli.main import COMMANDS, main

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "src" / "irkd" / "shipped").glob("*.md")),
]


def _commands() -> list[str]:
    found = set()
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8").replace("\\\n", " ")
        for block in re.findall(r"^```\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            found.update(re.findall(r"^(?:\$ )?(irkd [a-z].*?)(?:\s+#.*)?$", block, re.MULTILINE))
        found.update(re.findall(r"`(irkd [a-z][^`\n]*)`", text))
    return sorted(found)


@pytest.mark.parametrize("command", _commands())
def test_commands_and_options_exist(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(command)[1:]
    assert words[0] in COMMANDS
    group = words[:2] if words[0] in ("presets", "data") else words[:1]
    with pytest.raises(SystemExit) as end:
        main([*group, "--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    for word in words:
        if word.startswith("--"):
            assert word.split("=")[0] in shown, word


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


def test_no_gaps_are_left() -> None:
    for document in DOCUMENTS:
        assert not re.search(r"@[A-Z_]{3,}@", document.read_text(encoding="utf-8"))
