"""BentoML projects: the service class, its prediction method, and what its decorator, image and bentofile ask for."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lukewarm.adapters.imports.fields import environment, lose_keys, processors, python_version, with_requirement
from lukewarm.adapters.imports.inputs import read_inputs
from lukewarm.adapters.imports.render import predictor_of_class
from lukewarm.adapters.imports.source import (
    Function,
    Notes,
    accept,
    assigned,
    checked,
    constant,
    dotted,
    load_yaml,
    parse_python,
    python_files,
    relative,
    requirements_of,
)
from lukewarm.predictors.errors import SourceError, unknown
from lukewarm.predictors.spec import EnvName, Requirement, SystemPackage, Word

BENTOML = "bentoml>=1.4.30,<1.4.40"
Read = tuple[dict[str, Any], str]
Service = tuple[Path, ast.Module, ast.ClassDef]
_MARKS = {"bentoml.api", "api", "bentoml.task", "task"}


def is_bentoml(root: Path) -> bool:
    return next(_services(root), None) is not None or _old_service(root) is not None


def read_bentoml(root: Path, notes: Notes) -> Read:
    """The service that bentofile.yaml names, or the first with a prediction method; its packages from wherever."""
    file = next((root / name for name in ("bentofile.yaml", "bentofile.yml") if (root / name).is_file()), None)
    config, lines = load_yaml(file) if file else ({}, {})
    path, tree, node = _chosen(root, str(config.get("service") or ""), notes)
    methods = _apis(node)
    wanted = notes.entry or "predict"
    if notes.entry is not None and wanted not in {item.name for item in methods}:
        raise SourceError(unknown("API", wanted, [item.name for item in methods]))
    method = next((item for item in methods if item.name == wanted), methods[0])
    for other in methods:
        if other is not method:
            why = f"one prediction method is carried over: {method.name}; another by --entry NAME"
            notes.lose(path, other.lineno, f"API {other.name}", why)
    _lose_models(path, tree, notes)
    spec = _of_decorator(root, path, tree, node, notes)
    if file is not None:
        found = _of_bentofile(root, file, (config, lines), notes)
        spec = {**spec, **{key: value for key, value in found.items() if value}}
    elif not spec["requirements"] and (root / "requirements.txt").is_file():
        spec["requirements"] = requirements_of(root, "requirements.txt", path, 1, notes)
    spec["requirements"] = with_requirement(BENTOML, list(dict.fromkeys(spec["requirements"])))
    return spec, predictor_of_class(relative(root, path), node.name, method, read_inputs(method, path, tree, notes))


def _services(root: Path) -> Iterator[Service]:
    for path in python_files(root):
        if "bentoml" not in path.read_text("utf-8", "replace"):
            continue
        tree = parse_python(path)
        for node in tree.body:
            marks = getattr(node, "decorator_list", [])
            if isinstance(node, ast.ClassDef) and any(dotted(mark) in {"bentoml.service", "service"} for mark in marks):
                yield path, tree, node


def _old_service(root: Path) -> tuple[Path, int] | None:
    """Where a service of BentoML before 1.2 is made: `svc = bentoml.Service(...)`."""
    for path in python_files(root):
        if "bentoml.Service(" in path.read_text("utf-8", "replace"):
            for node in parse_python(path).body:
                if isinstance(node, ast.Assign) and dotted(node.value) == "bentoml.Service":
                    return path, node.lineno
    return None


def _apis(node: ast.ClassDef) -> list[Function]:
    functions = [item for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [item for item in functions if any(dotted(mark) in _MARKS for mark in item.decorator_list)]


def _chosen(root: Path, named: str, notes: Notes) -> Service:
    found = list(_services(root))
    if not found:
        path, line = _old_service(root) or (root, 1)
        raise SourceError(
            f"{path}:{line}: a service of BentoML before 1.2 is not read; move it to @bentoml.service first"
        )
    able = [service for service in found if _apis(service[2])]
    if not able:
        path, _, node = found[0]
        mounted = any(dotted(mark).endswith("asgi_app") for mark in node.decorator_list)
        why = "its routes are those of a mounted ASGI app" if mounted else "there is no prediction method to carry over"
        raise SourceError(f"{path}:{node.lineno}: {node.name} has no @bentoml.api method; {why}")
    name = named.rpartition(":")[2]
    parts = {part for _, _, node in able for part in _depends(node)}
    first = next((service for service in able if service[2].name not in parts), able[0])
    chosen = next((service for service in able if service[2].name == name), first)
    below = {node.name: _depends(node) for _, _, node in able}
    within, waiting = {chosen[2].name}, [chosen[2].name]  # these run in the process of the chosen one
    while waiting:
        new = below.get(waiting.pop(), set()) - within
        within |= new
        waiting += new
    for path, _, node in able:
        if node.name not in within:
            notes.lose(path, node.lineno, f"service {node.name}", f"one service is carried over: {chosen[2].name}")
    return chosen


def _depends(node: ast.ClassDef) -> set[str]:
    """The services that a class takes in by `bentoml.depends(Other)`."""
    calls = [item for item in ast.walk(node) if isinstance(item, ast.Call) and item.args]
    return {dotted(call.args[0]) for call in calls if dotted(call).rsplit(".", 1)[-1] == "depends"}


def _lose_models(path: Path, tree: ast.Module, notes: Notes) -> None:
    """Models out of BentoML's own store or the hub: the code finds them only where somebody put them."""
    why = "lay its files beside the code, or fetch it when the service starts"
    for node in ast.walk(tree):
        name = dotted(node) if isinstance(node, ast.Call) else ""
        if name.startswith("bentoml.") and (
            name.startswith("bentoml.models.") or name.rsplit(".", 1)[-1] in ("get", "load_model")
        ):
            notes.lose(path, node.lineno, ast.unparse(node)[:100], why)  # type: ignore[attr-defined]


def _of_decorator(root: Path, path: Path, tree: ast.Module, node: ast.ClassDef, notes: Notes) -> dict[str, Any]:
    """What `@bentoml.service(...)` asks for, and the image that it names."""
    spec: dict[str, Any] = {"requirements": []}
    for mark in node.decorator_list:
        if not isinstance(mark, ast.Call) or dotted(mark) not in {"bentoml.service", "service"}:
            if dotted(mark) not in {"bentoml.service", "service"}:
                notes.lose(path, mark.lineno, f"@{dotted(mark)}", "only the prediction method is carried over")
            continue
        for keyword in mark.keywords:
            name, line, value = keyword.arg or "**", keyword.value.lineno, constant(keyword.value)
            if name == "resources" and isinstance(value, dict):
                spec["resources"] = _resources(value, path, line, notes)
            elif name == "envs" and isinstance(value, list):
                spec |= _environments(value, path, line, notes)
            elif name == "image":
                _image(root, path, assigned(tree, keyword.value), spec, notes)
            elif name not in ("name", "description", "labels"):
                what = f"{name}={ast.unparse(keyword.value)}"[:100]
                notes.lose(path, line, what, "set scaling, limits or resources in lukewarm.yaml instead")
    return spec


def _resources(value: dict[str, Any], path: Path, line: int, notes: Notes) -> dict[str, Any]:
    found: dict[str, Any] = processors(value.get("cpu"), path, line, notes)
    kind = str(value.get("gpu_type") or "").removeprefix("nvidia-").split("-")[0].upper()
    memory = str(value.get("memory") or "")
    if memory.endswith("Gi") and memory[:-2].replace(".", "", 1).isdigit():
        found["memory_gb"] = float(memory[:-2])
    elif memory:
        notes.lose(path, line, f"memory {memory}", "not in Gi; set resources.memory_gb")
    if kind and accept(Word, kind):
        found["gpu"] = kind
    elif value.get("gpu"):
        found["gpu"] = "L4"
        notes.lose(path, line, f"gpu: {value['gpu']}", "names no model of GPU; wrote L4, change resources.gpu")
    if value.get("gpu") not in (None, 1, "1"):
        notes.lose(path, line, f"gpu: {value['gpu']}", "one GPU is carried over")
    for name in value.keys() - {"gpu", "gpu_type", "memory", "cpu"}:
        notes.lose(path, line, f"resources {name}: {value[name]}", "has no counterpart here")
    return found


def _environments(entries: list[Any], file: Path, line: int, notes: Notes) -> dict[str, Any]:
    """Entries with a value are environment, those with a name alone are secrets."""
    named = [item for item in entries if isinstance(item, dict) and item.get("name")]
    values = {item["name"]: item["value"] for item in named if item.get("value") not in (None, "")}
    secrets = [item["name"] for item in named if item["name"] not in values]
    return {"env": environment(values, file, line, notes), "secrets": checked(EnvName, secrets, file, line, notes)}


def _image(root: Path, path: Path, node: ast.expr, spec: dict[str, Any], notes: Notes) -> None:
    """A chain `bentoml.images.Image(...).python_packages(...).requirements_file(...)`."""
    if not isinstance(node, ast.Call):
        notes.lose(
            path, node.lineno, f"image {ast.unparse(node)}"[:100], "not a chain of calls; name its packages yourself"
        )
        return
    if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Call):
        _image(root, path, node.func.value, spec, notes)
    verb, line = dotted(node.func).rsplit(".", 1)[-1], node.end_lineno or node.lineno
    if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Call):
        verb = node.func.attr
    values = [constant(item) for item in node.args]
    given = {item.arg: constant(item.value) for item in node.keywords}
    if verb == "python_packages":
        spec["requirements"] += checked(Requirement, values, path, line, notes)
    elif verb == "system_packages":
        spec["system_packages"] = spec.get("system_packages", []) + checked(SystemPackage, values, path, line, notes)
    elif verb == "requirements_file" and values:
        spec["requirements"] += requirements_of(root, values[0], path, line, notes)
    elif verb in ("Image", "PythonImage"):
        spec["python"] = python_version(given.pop("python_version", None), path, line, notes)
        for name, value in given.items():
            notes.lose(path, line, f"image {name}={value}", "the image is built from lukewarm.yaml")
    else:
        text = f"image.{verb}({', '.join(map(repr, values))})"[:100]
        notes.lose(path, line, text, "has no counterpart here; do it by hand if needed")


def _of_bentofile(
    root: Path, file: Path, parsed: tuple[dict[str, Any], dict[str, int]], notes: Notes
) -> dict[str, Any]:
    config, lines = parsed
    known = {"service", "python", "docker", "envs", "include", "exclude", "labels", "name", "description"}
    lose_keys(file, config, lines, notes, known)
    python, docker = config.get("python") or {}, config.get("docker") or {}
    lose_keys(file, python, lines, notes, {"packages", "requirements_txt", "lock_packages"}, "python.")
    lose_keys(file, docker, lines, notes, {"python_version", "system_packages"}, "docker.")
    requirements = checked(Requirement, python.get("packages"), file, lines.get("python.packages", 1), notes)
    line = lines.get("python.requirements_txt", 1)
    requirements += requirements_of(root, python.get("requirements_txt"), file, line, notes)
    line = lines.get("docker.system_packages", 1)
    return {
        "requirements": requirements,
        "system_packages": checked(SystemPackage, docker.get("system_packages"), file, line, notes),
        "python": python_version(docker.get("python_version"), file, lines.get("docker.python_version", 1), notes),
        **_environments(config.get("envs") or [], file, lines.get("envs", 1), notes),
    }
