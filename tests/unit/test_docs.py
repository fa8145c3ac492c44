"""What the docs say about the code is generated from it, or checked against it."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILD = runpy.run_path(str(ROOT / "docs/build.py"))


@pytest.mark.parametrize("name", BUILD["PARTS"])
def test_generated_parts_are_current(name: str) -> None:
    assert BUILD["rendered"](name) == (ROOT / name).read_text("utf-8"), "run: make docs"


def test_every_module_says_what_it_is() -> None:
    """A module begins with a docstring, so that the architecture page has a line for it."""
    listed = BUILD["modules"]()
    for path in ROOT.glob("*/lukewarm/**/*.py"):
        if path.name != "__init__.py":
            assert f"`{path.relative_to(path.parents[len(path.parts) - len(ROOT.parts) - 4]).as_posix()}`" in listed, (
                path
            )


@pytest.mark.parametrize("page", [*sorted(ROOT.glob("docs/*.md")), ROOT / "README.md"], ids=lambda path: path.name)
def test_links_and_named_files_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text)
    files = re.findall(r"`((?:docs|tests|predictors|adapters|benchmarks|cli)/[\w./-]+\.\w+)`", text)
    for name in links:
        assert (page.parent / name).exists(), name
    for name in files:
        known = (ROOT / name, *(root / name for root in ROOT.glob("*/lukewarm")))
        assert any(path.exists() for path in known), name
