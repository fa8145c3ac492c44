"""From a project's folder to a spec and a Predictor: detection, the table of importers, writing."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lukewarm.adapters.imports import bento, classes, handlers
from lukewarm.adapters.imports.source import SKIPPED, Loss, Notes
from lukewarm.predictors import specfile
from lukewarm.predictors.errors import SourceError, SpecError
from lukewarm.predictors.foreign import IMPORTED

MODULE = IMPORTED.partition(":")[0]
# kind -> (does this folder hold one, read it); the first that fits is taken
IMPORTERS: dict[str, tuple[Callable[[Path], bool], Callable[[Path, Notes], tuple[dict[str, Any], str]]]] = {
    "cog": (classes.is_cog, classes.read_cog),
    "truss": (classes.is_truss, classes.read_truss),
    "bentoml": (bento.is_bentoml, bento.read_bentoml),
    "huggingface": (classes.is_huggingface, classes.read_huggingface),
    "runpod": (handlers.is_runpod, handlers.read_runpod),
    "potassium": (handlers.is_potassium, handlers.read_potassium),
}


@dataclass(frozen=True)
class Imported:
    """What `lukewarm import` would write, and what it could not carry over."""

    kind: str
    spec: dict[str, Any]
    predictor: str  # source of lukewarm_predictor.py
    losses: tuple[Loss, ...]


def import_project(root: Path, kind: str | None = None, entry: str | None = None) -> Imported:
    """Read a project. Runs none of its code. Raises SourceError if no kind fits.

    `entry`: of a project with several APIs or routes, the one to carry over.
    """
    if not root.is_dir():
        raise SourceError(f"no such folder: {root}")
    if kind is None:
        kind = next((name for name, (fits, _) in IMPORTERS.items() if fits(root)), None)
    if kind is None:
        raise SourceError(
            f"{root} is none of: {', '.join(IMPORTERS)}. Looked for cog.yaml, config.yaml with model/model.py, "
            "@bentoml.service, handler.py with EndpointHandler, runpod.serverless.start and Potassium(...)"
        )
    if entry is not None and kind not in ("bentoml", "potassium"):
        raise SourceError(f"{root} is a {kind} project, which has one entry; --entry is for BentoML and Potassium")
    notes = Notes(root, entry)
    spec, predictor = IMPORTERS[kind][1](root, notes)
    spec = {
        "name": _name(root, spec.pop("name", None)),
        "task": "custom",
        "backend": "custom",
        "precision": "none",
        "predictor": IMPORTED,
        "include": _files(root),
        **{key: value for key, value in spec.items() if value not in (None, [], {})},
    }
    ast.parse(predictor)  # a generated file that does not parse is our fault, and must not be written
    specfile.decode(spec, f"import of {root}")
    return Imported(kind, spec, predictor, tuple(sorted(notes.losses, key=lambda loss: (loss.file, loss.line))))


def write(imported: Imported, root: Path, *, force: bool = False) -> list[Path]:
    """Write lukewarm.yaml and the Predictor beside the project's files; the project's own files are not touched."""
    import yaml

    spec, module = root / "lukewarm.yaml", root / f"{MODULE}.py"
    for path in (spec, module):
        if path.exists() and not force:
            raise SpecError("exists already; to replace it: lukewarm import --force", str(path))
    header = f"# Imported from a {imported.kind} project by `lukewarm import`.\n"
    _replace(spec, header + yaml.safe_dump(imported.spec, sort_keys=False, allow_unicode=True))
    _replace(module, imported.predictor)
    return [spec, module]


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, "utf-8")
    temporary.replace(path)


def _name(root: Path, given: Any) -> str:
    text = given if isinstance(given, str) else root.resolve().name
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63].strip("-") or "imported"


def _files(root: Path) -> list[str]:
    """Top-level files and folders that the user's code may read at run time."""
    theirs = {
        path.name
        for path in root.iterdir()
        if path.name not in SKIPPED | {"lukewarm.yaml"} and not path.name.startswith(".") and not path.is_symlink()
    }
    return sorted({*theirs, f"{MODULE}.py"})
