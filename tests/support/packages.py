"""Packages out of a page of docs/: its files as pip would leave them, on the path, with their entry points."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

CALL = "import sys; from lukewarm.cli.main import run; sys.exit(run(sys.argv[1:]))"


def page_files(page: Path) -> dict[str, str]:
    """The files of a page: a name alone in backquotes, then its code."""
    return dict(re.findall(r"(?ms)^`([\w.]+)`\n\n```\w+\n(.*?)^```$", page.read_text("utf-8")))


def install(root: Path, files: dict[str, str]) -> None:
    """Lay the files of a package, and what an installer writes of its pyproject.toml."""
    for name, text in files.items():
        (root / name).write_text(text)
    project = tomllib.loads(files["pyproject.toml"])["project"]
    info = root / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


def run(package: Path, *argv: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Python in the package's folder, with it on the path."""
    given = {**os.environ, "PYTHONPATH": str(package), **(env or {})}
    return subprocess.run([sys.executable, *argv], cwd=package, env=given, capture_output=True, text=True, timeout=280)


def lukewarm(package: Path, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The command, as it is with the package installed."""
    return run(package, "-c", CALL, *arguments, env=env)
