"""Reads other people's files as text: Python by `ast`, YAML with line numbers. Nothing of them is ever executed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from lukewarm.predictors.errors import SourceError, SpecError
from lukewarm.predictors.spec import Requirement

SKIPPED = {".git", ".venv", "venv", "node_modules", "__pycache__", ".cog", ".lukewarm", ".pytest_cache", ".mypy_cache"}


Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Loss:
    """Something of the project that is not carried over, and why."""

    file: str
    line: int
    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}: {self.why}"


@dataclass
class Notes:
    """The project that is read, in `root`, and what of it is lost."""

    root: Path = Path()
    entry: str | None = None  # of several methods or routes, the one that is wanted
    losses: list[Loss] = field(default_factory=list)

    def lose(self, file: Path, line: int, what: str, why: str) -> None:
        inner = file.resolve().is_relative_to(self.root.resolve())
        self.losses.append(Loss(relative(self.root, file) if inner else file.name, line, what, why))


def parse_python(path: Path) -> ast.Module:
    """The syntax tree of one file. Raises SourceError naming the line."""
    try:
        return ast.parse(path.read_bytes(), str(path))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise SourceError(f"{path}:{line}: not Python: {getattr(error, 'msg', error)}") from error
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error


def python_files(root: Path) -> Iterator[Path]:
    """Python files of a project, shallow ones first."""
    paths = [path for path in root.rglob("*.py") if not SKIPPED & set(path.relative_to(root).parts)]
    yield from sorted(paths, key=lambda path: (len(path.parts), path.name))


def load_yaml(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """A mapping and the line of each dotted key. Raises SourceError."""
    from lukewarm.predictors import specfile

    try:
        value, lines = specfile.parse(path, path.read_text("utf-8"))
    except (SpecError, UnicodeDecodeError) as error:
        raise SourceError(str(error)) from error
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    if not isinstance(value, dict):
        raise SourceError(f"{path}: a mapping is expected")
    return value, {key.removeprefix("$."): line for key, line in lines.items()}


def find_class(tree: ast.Module, name: str) -> ast.ClassDef | None:
    return next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)


def find_function(tree: ast.Module, name: str) -> Function | None:
    functions = [item for item in tree.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)]
    return next((item for item in functions if item.name == name), None)


def find_method(node: ast.ClassDef, *names: str) -> Function | None:
    functions = [item for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)]
    return next((item for name in names for item in functions if item.name == name), None)


def dotted(node: ast.expr) -> str:
    """`a.b.c` of a name, attribute or call; empty for anything else."""
    if isinstance(node, ast.Call):
        return dotted(node.func)
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def assigned(tree: ast.Module, node: ast.expr) -> ast.expr:
    """What a name stands for, if it is given its value at the top of the module."""
    for item in tree.body:
        if isinstance(node, ast.Name) and isinstance(item, ast.Assign) and dotted(item.targets[0]) == node.id:
            return item.value
    return node


def constant(node: ast.expr) -> Any:
    """The value of a literal; None if it must be computed."""
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def inside(root: Path, name: str, file: Path) -> Path:
    """A file of the project by the name that `file` gives it. Raises SourceError."""
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()):
        raise SourceError(f"{file}: {name} lies outside the project")
    if not path.is_file():
        raise SourceError(f"{file}: {name} does not exist")
    return path


def relative(root: Path, path: Path) -> str:
    """A file's path in the project, for the generated Predictor."""
    return path.resolve().relative_to(root.resolve()).as_posix()


def requirements_of(root: Path, name: Any, file: Path, line: int, notes: Notes) -> list[str]:
    """Requirements of the pip file that a project's configuration names; a missing one is a loss."""
    if not isinstance(name, str):
        return []
    if not (root / name).is_file() and (root / name).resolve().is_relative_to(root.resolve()):
        notes.lose(file, line, name, "does not exist; name the packages under requirements")
        return []
    return requirement_lines(inside(root, name, file), notes)


def requirement_lines(path: Path, notes: Notes) -> list[str]:
    """Requirements of a pip file that the spec's grammar carries; the others become losses with their line."""
    kept = []
    for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
        text = re.sub(r"(\A|\s)#.*", "", line).strip()
        if text and accept(Requirement, text):
            kept.append(text)
        elif text:
            notes.lose(path, number, text, "only plain name-and-version requirements are carried over")
    return kept


def checked(kind: Any, values: Any, file: Path, line: int, notes: Notes) -> list[str]:
    """Those of a project's list that the spec's grammar takes."""
    kept = []
    for value in values or []:
        if accept(kind, value):
            kept.append(value)
        else:
            notes.lose(file, line, str(value), "not of the form that a spec allows")
    return kept


def accept(kind: Any, value: Any) -> bool:
    """Whether a value is of one of the spec's types."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True
