"""The shape of the code: floors as documented, short files and functions, names that hide nothing."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import effscope

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "effscope").rglob("*.py"))
MOST_LINES, MOST_FUNCTION_LINES = 300, 60


def floors() -> list[list[str]]:
    """The import contract: floors from the top, the packages of each."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = (c for c in project["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    return [re.split(r"\s*[|:]\s*", line) for line in contract["layers"]]


def test_every_package_is_on_one_floor() -> None:
    named = [name for floor in floors() for name in floor]
    found = {
        path.stem for path in (ROOT / "effscope").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert sorted(named) == sorted(found - {"__init__"})
    assert not [name for name in named if "." in name]


def test_the_document_has_the_floors_of_the_contract() -> None:
    """docs/architecture.md lists them in a table, the top floor first."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \d+ \|([^|]*)\|", text, re.MULTILINE)
    documented = [re.findall(r"`([a-z_]+)`", row) for row in rows]
    assert documented == [sorted(floor) for floor in floors()]


def test_files_and_functions_are_short() -> None:
    long_files = {path.name: n for path in SOURCES if (n := len(path.read_text("utf-8").splitlines())) > MOST_LINES}
    assert not long_files
    long_functions = {
        node.name: lines
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef) and (lines := node.end_lineno - node.lineno + 1) > MOST_FUNCTION_LINES  # type: ignore[operator]
    }
    assert not long_functions


def test_no_package_hides_a_public_function() -> None:
    """`import effscope.latency` would put a module in the place of the function `effscope.latency`."""
    packages = {path.stem for path in (ROOT / "effscope").iterdir()}
    assert not packages & set(effscope.__all__)


def test_engines_and_api_do_not_speak_in_flags() -> None:
    """They name a setting in backticks; the command line prints it as a flag. Docstrings may name a command."""
    spoken = []
    for path in SOURCES:
        if path.relative_to(ROOT).parts[1] in ("cli", "__main__.py"):
            continue
        tree = ast.parse(path.read_text("utf-8"))
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
                spoken += [
                    f"{path.name}:{node.lineno} {flag}" for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]+", node.value)
                ]
    assert not spoken


def test_no_test_file_imports_another_one() -> None:
    imports = [
        f"{path.name}: {line}"
        for path in (ROOT / "tests").rglob("test_*.py")
        if ".venv" not in path.parts
        for line in path.read_text("utf-8").splitlines()
        if re.match(r"\s*(from|import) \S*test_", line)
    ]
    assert not imports
