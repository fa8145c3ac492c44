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
_PLAIN = {"str", "int", "float", "bool", "dict", "list", "Any", "None", "bytes"}
_TYPING = {"Optional", "List", "Dict", "Union", "Literal"}


@dataclass(frozen=True)
class Loss:
    """Something of the project that is not carried over, and why."""

    file: str
    line: int
    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}: {self.why}"


@dataclass(frozen=True)
class Parameter:
    """One input of the user's function, as source text that stands by itself."""

    name: str
    annotation: str
    default: str | None  # None: required
    is_path: bool = False  # the user's code wants a file on disk


@dataclass
class Notes:
    """Collects losses while a project is read."""

    losses: list[Loss] = field(default_factory=list)

    def lose(self, file: Path | str, line: int, what: str, why: str) -> None:
        name = file.name if isinstance(file, Path) else file
        self.losses.append(Loss(name, line, what, why))


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


def find_method(node: ast.ClassDef, *names: str) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    functions = [item for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)]
    return next((item for name in names for item in functions if item.name == name), None)


def dotted(node: ast.expr) -> str:
    """`a.b.c` of a name, attribute or call; empty for anything else."""
    if isinstance(node, ast.Call):
        return dotted(node.func)
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef, file: Path, notes: Notes) -> list[Parameter]:
    """The inputs of a user's method (without self), with Cog's `Input(...)` understood."""
    arguments = function.args
    if arguments.vararg or arguments.kwarg:
        notes.lose(file, function.lineno, "*args / **kwargs", "only named inputs are carried over")
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    pairs = list(zip(positional, [*defaults, *arguments.defaults], strict=True))
    pairs += list(zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True))
    return [_parameter(argument, default, file, notes) for argument, default in pairs if argument.arg != "self"]


def _parameter(argument: ast.arg, default: ast.expr | None, file: Path, notes: Notes) -> Parameter:
    annotation = ast.unparse(argument.annotation) if argument.annotation else "Any"
    is_path = annotation.rsplit(".", 1)[-1] in {"Path", "File"}
    if is_path:
        annotation = "bytes"  # base64 in JSON; written to a file for the user's code
    elif not _stands_alone(argument.annotation):
        notes.lose(file, argument.lineno, f"type {annotation} of input {argument.arg!r}", "taken as any JSON value")
        annotation = "Any"
    if isinstance(default, ast.Call) and dotted(default).rsplit(".", 1)[-1] in {"Input", "Field"}:
        return _input_parameter(argument, annotation, default, is_path, file, notes)
    text = None if default is None else _literal(default, argument, file, notes)
    return Parameter(argument.arg, _optional(annotation, text), text, is_path)


def _input_parameter(
    argument: ast.arg, annotation: str, call: ast.Call, is_path: bool, file: Path, notes: Notes
) -> Parameter:
    given = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    default = given.get("default", call.args[0] if call.args else None)
    if isinstance(default, ast.Constant) and default.value is Ellipsis:
        default = None
    text = None if default is None else _literal(default, argument, file, notes)
    limits = {
        "ge": "ge",
        "le": "le",
        "min_length": "min_length",
        "max_length": "max_length",
        "regex": "pattern",
        "pattern": "pattern",
    }
    meta = {limits[key]: _constant(value) for key, value in given.items() if key in limits}
    meta = {key: value for key, value in meta.items() if value is not None}
    choices = _constant(given["choices"]) if "choices" in given else None
    if isinstance(choices, list | tuple) and choices and all(isinstance(item, str | int) for item in choices):
        annotation = f"Literal[{', '.join(repr(item) for item in choices)}]"
    elif "choices" in given:
        notes.lose(
            file,
            argument.lineno,
            f"choices of input {argument.arg!r}",
            "not a list of constants; any value is accepted",
        )
    elif meta:
        annotation = f"Annotated[{annotation}, Meta({', '.join(f'{key}={value!r}' for key, value in meta.items())})]"
    return Parameter(argument.arg, _optional(annotation, text), text, is_path)


def _optional(annotation: str, default: str | None) -> str:
    return (
        f"{annotation} | None" if default == "None" and "None" not in annotation and annotation != "Any" else annotation
    )


def _stands_alone(node: ast.expr | None) -> bool:
    """True if the annotation means the same without the user's imports."""
    if node is None:
        return True
    names = {item.id for item in ast.walk(node) if isinstance(item, ast.Name)}
    attributes = {item.attr for item in ast.walk(node) if isinstance(item, ast.Attribute)}
    return names - {"typing", "t"} <= _PLAIN | _TYPING and attributes <= _TYPING | {"Any"}


def _literal(node: ast.expr, argument: ast.arg, file: Path, notes: Notes) -> str | None:
    """The default as source text; a default that must be computed makes the input required."""
    try:
        return repr(ast.literal_eval(node))
    except ValueError:
        notes.lose(
            file,
            node.lineno,
            f"default {ast.unparse(node)} of input {argument.arg!r}",
            "computed; the input is required",
        )
        return None


def _constant(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def module_name(root: Path, path: Path) -> str:
    """The dotted name under which a file of the project is imported. Raises SourceError."""
    parts = path.resolve().relative_to(root.resolve()).with_suffix("").parts
    if not all(part.isidentifier() for part in parts):
        raise SourceError(f"{path}: its name is no Python module name; rename it")
    return ".".join(parts)


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
