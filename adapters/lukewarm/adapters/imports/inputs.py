"""From the signature of a user's function to inputs that stand by themselves: types, limits, choices, defaults."""

from __future__ import annotations

import ast
import keyword
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lukewarm.adapters.imports.source import Notes, constant, dotted

UNSET = "UNSET"  # the user's own default is taken, whatever it is
CONTEXT = "bentoml.Context"  # the annotation of an input that no request gives: a stand-in is handed over
_SCALARS = ("str", "int", "float", "bool", "bytes")
_CONTAINERS = {
    **dict.fromkeys(("list", "List", "Sequence", "Iterable", "tuple", "Tuple", "set", "Set"), "list"),
    **dict.fromkeys(("dict", "Dict", "Mapping"), "dict"),
}
_FILES = ("Path", "File", "Image")
_MADE = ("Secret", "ndarray", "NDArray", "Tensor", "DataFrame", "PathLike")  # `foreign.fit` knows them
_CONTEXTS = ("Context", "Request", "ServiceContext")
_SAME = ("ge", "le", "gt", "lt", "min_length", "max_length", "pattern")
_LIMITS = {name: name for name in _SAME} | {
    "regex": "pattern", "Ge": "ge", "Le": "le", "Gt": "gt", "Lt": "lt", "MinLen": "min_length", "MaxLen": "max_length"
}  # fmt: skip
_FAMILY = {"str": "text", "bytes": "text", "int": "number", "float": "real", "bool": "bool", "None": "none"}


@dataclass(frozen=True)
class Input:
    """One input of the user's function, as source text that needs only msgspec and typing."""

    name: str
    annotation: str
    default: str | None  # None: required


def read_inputs(
    function: ast.FunctionDef | ast.AsyncFunctionDef, file: Path, tree: ast.Module, notes: Notes
) -> list[Input]:
    """The inputs of a function (without self), with Cog's `Input(...)` and pydantic's `Field(...)` understood."""
    arguments = function.args
    if arguments.vararg or arguments.kwarg:
        notes.lose(file, function.lineno, "*args / **kwargs", "only named inputs are carried over")
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    pairs = list(zip(positional, [*defaults, *arguments.defaults], strict=True))
    pairs += list(zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True))
    reader = _Reader(file, notes, _constants(tree), _renamed(tree))
    return [
        found for argument, default in pairs if argument.arg != "self" and (found := reader.read(argument, default))
    ]


def keys_read(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """The keys that a function takes out of its first argument (after self): `data["x"]`, `data.get("x")`, `.pop`."""
    names = [item.arg for item in function.args.args if item.arg != "self"]
    found: dict[str, None] = {}
    for node in ast.walk(function):
        key: ast.expr | None = None
        if isinstance(node, ast.Subscript):
            owner, key = node.value, node.slice
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("get", "pop"):
            owner, key = node.func.value, next(iter(node.args), None)
        else:
            continue
        text = key.value if isinstance(key, ast.Constant) else None
        if isinstance(owner, ast.Name) and names and owner.id == names[0] and isinstance(text, str):
            found[text] = None
    return [name for name in found if name.isidentifier() and not keyword.iskeyword(name) and name != "self"]


@dataclass
class _Reader:
    file: Path
    notes: Notes
    constants: dict[str, ast.expr]
    renamed: dict[str, str]

    def last(self, node: ast.expr) -> str:
        """The last part of a dotted name, as it is called where it was imported from."""
        name = dotted(node)
        return self.renamed.get(name, name).rsplit(".", 1)[-1]

    def read(self, argument: ast.arg, default: ast.expr | None) -> Input | None:
        last = self.last(argument.annotation) if argument.annotation else ""
        if last in ("Context", "ServiceContext") and not default:
            why = "has a temp_dir here, and an empty request and response"
            self.notes.lose(self.file, argument.lineno, f"Context parameter {argument.arg!r}", why)
            return Input(argument.arg, CONTEXT, None)
        if last in _CONTEXTS:
            what = f"{last} parameter {argument.arg!r}"
            why = "a request has none here" + (
                "" if default else "; the code fails unless the parameter gets a default"
            )
            self.notes.lose(self.file, argument.lineno, what, why)
            return None
        limits: dict[str, Any] = {}
        kind = self.kind(argument.annotation, limits)
        if kind is None:
            text = ast.unparse(argument.annotation) if argument.annotation else "Any"
            why = "taken as any JSON value, of which that type is made"
            self.notes.lose(self.file, argument.lineno, f"type {text} of input {argument.arg!r}", why)
            kind = "Any"
        if isinstance(default, ast.Call) and dotted(default).rsplit(".", 1)[-1] in ("Input", "Field"):
            given = {item.arg: item.value for item in default.keywords if item.arg}
            self._limit(given, limits)
            kind = self._choices(kind, given, argument)
            default = given.get("default", next(iter(default.args), None))
            if isinstance(default, ast.Constant) and default.value is Ellipsis:
                default = None
        kind = self._with_limits(kind, limits, argument)
        if default is None:
            return Input(argument.arg, kind, None)
        try:
            text = repr(ast.literal_eval(_Names(self.constants).visit(default)))
        except ValueError:  # computed where the user's code runs
            return Input(argument.arg, f"{kind} | UnsetType" if kind != "Any" else kind, UNSET)
        return Input(argument.arg, _optional(kind) if text == "None" else kind, text)

    def kind(self, node: ast.expr | None, limits: dict[str, Any]) -> str | None:
        """An annotation in words of ours; None if it is a type that JSON does not have."""
        if node is None:
            return "Any"
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str):
                try:
                    return self.kind(ast.parse(node.value, mode="eval").body, limits)
                except SyntaxError:
                    return None
            return "None" if node.value is None else None
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            return _union([self.kind(node.left, limits), self.kind(node.right, limits)])
        if isinstance(node, ast.Subscript):
            return self._subscript(node, limits)
        last = self.last(node)
        if last in _SCALARS:
            return last
        if last in _FILES:
            return "bytes"  # base64 in JSON
        if last == "Secret":
            return "str"
        return _CONTAINERS.get(last) or ("Any" if last in ("Any", "object", *_MADE) else None)

    def _subscript(self, node: ast.Subscript, limits: dict[str, Any]) -> str | None:
        last = self.last(node.value)
        inner = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
        if last == "Optional":
            return _union([self.kind(inner[0], limits), "None"])
        if last == "Union":
            return _union([self.kind(item, limits) for item in inner])
        if last == "Annotated":
            for mark in inner[1:]:
                if isinstance(mark, ast.Call):
                    name = dotted(mark).rsplit(".", 1)[-1]
                    self._limit({item.arg: item.value for item in mark.keywords if item.arg}, limits)
                    self._limit({name: mark.args[0]} if mark.args else {}, limits)
            return self.kind(inner[0], limits)
        if last == "Literal":
            values = [constant(item) for item in inner]
            return f"Literal[{', '.join(map(repr, values))}]" if _choosable(values) else None
        container = _CONTAINERS.get(last)
        if container == "list" and (len(inner) == 1 or last in ("tuple", "Tuple")):
            item = self.kind(inner[0], {}) if len({ast.unparse(one) for one in inner} - {"..."}) == 1 else "Any"
            return f"list[{item or 'Any'}]"
        if container == "dict" and len(inner) == 2:
            return f"dict[{self.kind(inner[0], {}) or 'Any'}, {self.kind(inner[1], {}) or 'Any'}]"
        return container or ("Any" if last in _MADE else None)

    def _limit(self, given: dict[str, ast.expr], limits: dict[str, Any]) -> None:
        for name, node in given.items():
            value = constant(_Names(self.constants).visit(node)) if name in _LIMITS else None
            if value is not None:
                limits[_LIMITS[name]] = value

    def _choices(self, kind: str, given: dict[str, ast.expr], argument: ast.arg) -> str:
        if "choices" not in given:
            return kind
        values = _listed(_Names(self.constants).visit(given["choices"]), self.constants)
        if not _choosable(values):
            what, why = (
                f"choices of input {argument.arg!r}",
                "not a list of texts or whole numbers; any value is accepted",
            )
            self.notes.lose(self.file, argument.lineno, what, why)
            return kind
        text = f"Literal[{', '.join(map(repr, values))}]"
        found = f"list[{text}]" if kind.startswith("list") else text
        return _optional(found) if kind.endswith("| None") else found

    def _with_limits(self, kind: str, limits: dict[str, Any], argument: ast.arg) -> str:
        """The type with its limits, where it is of those that can have them."""
        base = kind.removesuffix(" | None")
        if not limits or "Literal[" in base:
            return kind
        numbers = {"ge", "le", "gt", "lt"} if base in ("int", "float") else set()
        lengths = {"min_length", "max_length"} if base == "str" or base.startswith("list") else set()
        fits = numbers | lengths | ({"pattern"} if base == "str" else set())
        kept = {name: value for name, value in limits.items() if name in fits and _sound(base, name, value)}
        for name in limits.keys() - kept.keys():
            what = f"{name}={limits[name]!r} of input {argument.arg!r}"
            self.notes.lose(self.file, argument.lineno, what, f"no limit that a {base} can have; not checked")
        if not kept:
            return kind
        text = f"Annotated[{base}, Meta({', '.join(f'{name}={value!r}' for name, value in kept.items())})]"
        return _optional(text) if base != kind else text


class _Names(ast.NodeTransformer):
    """Puts a module's constants in the place of their names."""

    def __init__(self, constants: dict[str, ast.expr]) -> None:
        self.constants = constants

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.constants.get(node.id, node)


def _renamed(tree: ast.Module) -> dict[str, str]:
    """Names that a module gives to what it imports: `from PIL.Image import Image as Picture`."""
    aliases = [alias for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names]
    return {alias.asname: alias.name for alias in aliases if alias.asname}


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    """Names that a module gives a value once, at its top: the value's syntax tree."""
    found: dict[str, ast.expr] = {}
    often: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            often |= {node.id} & found.keys()
            found.setdefault(node.id, node)
    values = {}
    for statement in tree.body:
        target = statement.targets[0] if isinstance(statement, ast.Assign) and len(statement.targets) == 1 else None
        target = statement.target if isinstance(statement, ast.AnnAssign) else target
        value = getattr(statement, "value", None)
        if isinstance(target, ast.Name) and target.id not in often and isinstance(value, ast.expr):
            values[target.id] = value
    return values


def _listed(node: ast.expr, constants: dict[str, ast.expr]) -> list[Any]:
    """The items of a list, a tuple or a mapping's keys that stand in the source; empty if they are computed."""
    if isinstance(node, ast.Call):
        name = dotted(node.func).rsplit(".", 1)[-1]
        if name in ("list", "tuple", "sorted") and len(node.args) == 1 and not node.keywords:
            inner = _listed(node.args[0], constants)
            return sorted(inner, key=str) if name == "sorted" else inner
        if isinstance(node.func, ast.Attribute) and node.func.attr == "keys" and not node.args:
            return _listed(node.func.value, constants)
        return []
    items = node.keys if isinstance(node, ast.Dict) else getattr(node, "elts", None)
    values = [constant(item) if item is not None else None for item in items or []]
    return [] if any(value is None for value in values) else values


def _choosable(values: list[Any]) -> bool:
    return bool(values) and all(isinstance(item, str | int) and not isinstance(item, bool) for item in values)


def _sound(base: str, name: str, value: Any) -> bool:
    if name == "pattern":
        try:
            re.compile(value)
        except (re.error, TypeError):
            return False
        return True
    if name in ("min_length", "max_length") or base == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, int | float)


def _optional(kind: str) -> str:
    return kind if kind == "Any" or kind.endswith("| None") else f"{kind} | None"


def _union(members: list[str | None]) -> str | None:
    """Members of a union that JSON can tell apart; None if it cannot."""
    parts = list(dict.fromkeys(part for member in members for part in (member or "?").split(" | ")))
    if "?" in parts or "Any" in parts:
        return None
    families = [_FAMILY.get(part, "text" if part.startswith("Literal") else part.split("[")[0]) for part in parts]
    if len(set(families)) < len(families):
        return None
    parts.sort(key=lambda part: part == "None")
    return " | ".join(parts)
