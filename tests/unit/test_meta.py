"""The house rules that a reader relies on: sizes, tables without gaps, honest tests."""

from __future__ import annotations

import ast
import importlib.metadata
import re
from pathlib import Path

import pytest

from lukewarm.predictors.registry import BACKENDS

ROOT = Path(__file__).parents[2]
SOURCES = sorted(ROOT.glob("*/lukewarm/**/*.py"))
MAX_LINES, MAX_FUNCTION_LINES = 300, 60


def test_files_fit_an_evening() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in SOURCES
        if (count := len(path.read_text().splitlines())) > MAX_LINES
    }
    assert not long


def test_functions_fit_a_screen() -> None:
    long = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name} ({lines})")
    assert not long


def test_every_broad_except_gives_its_reason() -> None:
    """`except Exception` either cleans up and raises again, or has its reason in a comment beside it."""
    bare = []
    for path in SOURCES:
        text = path.read_text()
        lines = text.splitlines()
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.ExceptHandler):
                continue
            broad = node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
            explained = any("#" in near for near in lines[node.lineno - 1 : node.lineno + 1])
            if broad and not explained and not isinstance(node.body[-1], ast.Raise):
                bare.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not bare


def test_no_test_is_skipped_for_good() -> None:
    marks = re.compile(r"@pytest\.mark\.(skip|xfail)\b|pytest\.skip\(")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sorted(ROOT.glob("tests/**/*.py"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if marks.search(line) and path != Path(__file__)
    ]
    assert not found


@pytest.mark.parametrize("row", list(BACKENDS), ids=lambda row: row.name)
def test_backend_rows_are_complete(row: object) -> None:
    """A backend has an extra that exists, tasks, and precisions for each."""
    name, extra = getattr(row, "name", ""), getattr(row, "extra", None)
    backend = BACKENDS.load(name)
    assert backend.name == name
    assert backend.support
    assert all(precisions for precisions in backend.support.values())
    assert extra is None or extra in (importlib.metadata.metadata("lukewarm").get_all("Provides-Extra") or [])


def test_readme_names_every_backend_and_verb() -> None:
    from lukewarm.cli.command import VERBS

    text = (ROOT / "README.md").read_text()
    assert not [
        name for name in [*BACKENDS.names(), *VERBS] if f"`{name}`" not in text and f"lukewarm {name}" not in text
    ]
