"""Projects whose code is a function: Runpod workers and Potassium (Banana) apps."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from lukewarm.adapters.imports.render import predictor_of_handler, predictor_of_potassium
from lukewarm.adapters.imports.source import (
    Notes,
    assigned,
    constant,
    dotted,
    parse_python,
    python_files,
    relative,
    requirement_lines,
)
from lukewarm.predictors.errors import SourceError, unknown

Read = tuple[dict[str, Any], str]
_START_OPTIONS = {
    "concurrency_modifier": "requests run one at a time, unless scaling.concurrency in lukewarm.yaml says more",
    "refresh_worker": "computed; for a fresh worker after every job set targets.runpod.refresh_worker",
}
# of the SDKs, what `lukewarm.predictors.foreign_sdks` stands in for
_STOOD_IN = {"runpod.serverless", "runpod.serverless.start", "runpod.serverless.progress_update"}
_POTASSIUM = {"Potassium", "Request", "Response"}
POTASSIUM = "potassium>=0.5,<0.6"


def is_runpod(root: Path) -> bool:
    return _find_start(root) is not None


def read_runpod(root: Path, notes: Notes) -> Read:
    """The function given to runpod.serverless.start, wherever it stands."""
    found = _find_start(root)
    if found is None:
        raise SourceError(f"{root}: no call of runpod.serverless.start({{'handler': ...}})")
    path, tree, call = found
    handler, refresh = _handler_name(path, tree, call, notes)
    used = {dotted(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    keep_sdk = any(name.startswith("runpod.") and name not in _STOOD_IN for name in used)
    keep_sdk |= any(
        isinstance(node, ast.ImportFrom) and (node.module or "").startswith("runpod") for node in ast.walk(tree)
    )
    requirements = _requirements(root, notes)
    if not keep_sdk:
        requirements = [item for item in requirements if not re.match(r"runpod\b", item)]
        notes.lose(path, call.lineno, "runpod SDK", "nothing but start() is needed; the SDK stays out of the image")
    _dockerfile(root, notes)
    spec = {"requirements": requirements, "targets": {"runpod": {"refresh_worker": True}} if refresh else None}
    return spec, predictor_of_handler(relative(root, path), handler, keep_sdk=keep_sdk, run=_is_script(tree))


def _is_script(tree: ast.Module) -> bool:
    """Whether start() may wait behind `if __name__ == "__main__"`."""
    return any(isinstance(node, ast.If) and "__name__" in ast.unparse(node.test) for node in tree.body)


def is_potassium(root: Path) -> bool:
    return _find_app(root) is not None


def read_potassium(root: Path, notes: Notes) -> Read:
    """The Potassium app: its init function and the handler of `/`, or the first."""
    found = _find_app(root)
    if found is None:
        raise SourceError(f"{root}: no `app = Potassium(...)`")
    path, tree, app = found
    routes = _routes(tree, app)
    if not routes:
        raise SourceError(f"{path}: {app} has no @{app}.handler")
    wanted = f"/{(notes.entry or '').strip('/')}"
    if notes.entry is not None and wanted not in routes:
        raise SourceError(unknown("route", wanted, routes))
    route = wanted if wanted in routes else next(iter(routes))
    for other, (line, kind) in routes.items():
        if other != route:
            notes.lose(path, line, f"{kind} {other}", f"one route is carried over: {route}; another by --entry NAME")
    if routes[route][1] != "handler":
        notes.lose(
            path, routes[route][0], f"{routes[route][1]} {route}", "its caller waits for it, and gets its result"
        )
    requirements = [item for item in _requirements(root, notes) if not re.match(r"potassium\b", item)]
    keep_sdk = _imports_more(root)
    if keep_sdk:
        requirements = [POTASSIUM, *requirements]
    _dockerfile(root, notes)
    return {"requirements": requirements}, predictor_of_potassium(relative(root, path), app, route, keep_sdk=keep_sdk)


def _imports_more(root: Path) -> bool:
    """Whether the project takes more of Potassium than what is stood in for: its store, its webhooks."""
    for path in python_files(root):
        for node in ast.walk(parse_python(path)) if "potassium" in path.read_text("utf-8", "replace") else ():
            module = (node.module or "") if isinstance(node, ast.ImportFrom) else ""
            names = {alias.name for alias in node.names} if module == "potassium" else set()  # type: ignore[attr-defined]
            if module.startswith("potassium.") or names - _POTASSIUM:
                return True
    return False


def _find_start(root: Path) -> tuple[Path, ast.Module, ast.Call] | None:
    for path in python_files(root):
        if "serverless" not in path.read_text("utf-8", "replace"):
            continue
        tree = parse_python(path)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and dotted(node.func) in {"runpod.serverless.start", "serverless.start"}:
                return path, tree, node
    return None


def _handler_name(path: Path, tree: ast.Module, call: ast.Call, notes: Notes) -> tuple[str, bool]:
    """The name of the handler, and whether each job is to have a fresh worker."""
    config = assigned(tree, call.args[0]) if call.args else None
    if not isinstance(config, ast.Dict):
        raise SourceError(f"{path}:{call.lineno}: start(...) is not given a literal dictionary")
    handler, refresh = "", False
    for key, value in zip(config.keys, config.values, strict=True):
        name = key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else ""
        if name == "handler":
            handler = "handler" if isinstance(value, ast.Lambda) else dotted(value)
        elif name == "refresh_worker" and constant(value) is True:
            refresh = True
        elif name != "return_aggregate_stream":
            why = _START_OPTIONS.get(name, "has no counterpart here")
            notes.lose(path, value.lineno, f"start option {name or '**'}", why)
    if not handler or not all(part.isidentifier() for part in handler.split(".")):
        raise SourceError(f"{path}:{call.lineno}: the handler is not a named function")
    return handler, refresh


def _find_app(root: Path) -> tuple[Path, ast.Module, str] | None:
    for path in python_files(root):
        if "Potassium" not in path.read_text("utf-8", "replace"):
            continue
        tree = parse_python(path)
        for node in tree.body:
            if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)):
                continue
            target = node.targets[0]
            if isinstance(target, ast.Name) and dotted(node.value.func).rsplit(".", 1)[-1] == "Potassium":
                return path, tree, target.id
    return None


def _routes(tree: ast.Module, app: str) -> dict[str, tuple[int, str]]:
    routes: dict[str, tuple[int, str]] = {}
    for function in tree.body:
        for mark in getattr(function, "decorator_list", []):
            kind = dotted(mark).removeprefix(f"{app}.")
            if kind not in {"handler", "background", "async_handler"}:
                continue
            given = (
                [*mark.args, *(item.value for item in mark.keywords if item.arg == "route")]
                if isinstance(mark, ast.Call)
                else []
            )
            first = given[0].value if given and isinstance(given[0], ast.Constant) else None
            value = first if isinstance(first, str) else "/"
            routes["/" + value.strip("/")] = (function.lineno, kind)
    return routes


def _requirements(root: Path, notes: Notes) -> list[str]:
    file = next(
        (path for path in (root / "requirements.txt", root / "builder/requirements.txt") if path.is_file()), None
    )
    return requirement_lines(file, notes) if file else []


def _dockerfile(root: Path, notes: Notes) -> None:
    path = root / "Dockerfile"
    if not path.is_file():
        return
    for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
        word = line.strip().split(" ", 1)[0].upper()
        plain_install = re.search(r"pip3? install .*-r\s+\S*requirements\.txt", line)
        if word in {"RUN", "ENV", "FROM", "ARG"} and not plain_install:
            notes.lose(
                path, number, line.strip()[:100], "the image is built from lukewarm.yaml; add packages and env there"
            )
