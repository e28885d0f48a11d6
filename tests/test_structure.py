"""The house stands: imports point down one list, and `import irkd` costs nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import irkd
from irkd.cli.main import COMMANDS

PACKAGE = Path(irkd.__file__).parent

LAYERS = [
    {"errors", "files", "registry", "environment"},
    {"presets"},
    {"losses"},
    {"models"},
    {"metrics"},
    {"data"},
    {"methods"},
    {"export", "profiling", "report"},
    {"inference"},
    {"training"},
    {"cli"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE)


def _imports(tree: ast.AST) -> Iterator[str]:
    """Modules of irkd that are imported anywhere but under `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom) and node.module == "irkd":
            yield from (f"irkd.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        yield from _imports(node)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    layer = path.relative_to(PACKAGE).parts[0]
    for name in _imports(ast.parse(path.read_text(encoding="utf-8"))):
        if name.startswith("irkd."):
            target = name.split(".")[1]
            assert RANK[target] <= RANK[layer], f"{layer} imports {name}"


def test_layers_name_every_package() -> None:
    packages = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert packages | modules == set(RANK) | {"shipped"} & packages


HEAVY = ("torch", "numpy", "cv2", "accelerate", "matplotlib", "PIL", "pyiqa")


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], *([command, "--help"] for command in COMMANDS)],
    ids=" ".join,
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from irkd.cli.main import main\n"
        "try:\n"
        f"    main({arguments!r})\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0, end.code\n"
        f"print('LOADED', [name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_python_door_names_exist() -> None:
    for name in irkd.__all__:
        assert callable(getattr(irkd, name)) or isinstance(getattr(irkd, name), type)
    with pytest.raises(AttributeError, match="no attribute"):
        irkd.nonsense  # noqa: B018
