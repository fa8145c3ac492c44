"""The sources that ship in every artifact, taken from the installed packages: an editable checkout or a wheel."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

from lukewarm.predictors.errors import SpecError, StorageError

PACKAGES = ("lukewarm.predictors", "lukewarm.serving")
_SKIP = ("__pycache__",)


def shipped_sources() -> dict[str, Path]:
    """Path in the artifact -> file, for every source and data file of the packages that ship."""
    found = {}
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise StorageError(f"the installed {package} has no files on disk; install lukewarm from a wheel")
        root = Path(next(iter(spec.submodule_search_locations)))
        prefix = package.replace(".", "/")
        for file in _files(root):
            found[f"{prefix}/{file.relative_to(root).as_posix()}"] = file
    return found


def included_files(include: list[str], spec_root: Path) -> dict[str, Path]:
    """Path in the artifact -> file, for the spec's `include`. Raises SpecError for what is missing or outside."""
    found = {}
    base = spec_root.resolve()
    for name in include:
        path = (base / name).resolve()
        if not path.is_relative_to(base) or path == base:
            raise SpecError(f"{name!r} is not inside {base}; name files or folders beside the spec", "include")
        if not path.exists():
            raise SpecError(f"no such file or folder: {path}", "include")
        for file in [path] if path.is_file() else _files(path):
            if not file.resolve().is_relative_to(base):
                raise SpecError(f"{file} is a link to outside of {base}", "include")
            found[file.relative_to(base).as_posix()] = file
    return found


def _files(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        hidden = any(part in _SKIP or part.startswith(".") for part in parts)
        if path.is_file() and not hidden and path.suffix not in (".pyc", ".pyo"):
            yield path
