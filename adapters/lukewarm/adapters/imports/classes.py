"""Projects whose code is a class: Cog, Truss, BentoML and Hugging Face's handler.py."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from lukewarm.adapters.imports.render import HUGGINGFACE, predictor_of_class, predictor_of_truss
from lukewarm.adapters.imports.source import (
    Notes,
    accept,
    checked,
    dotted,
    find_class,
    find_method,
    load_yaml,
    module_name,
    parameters,
    parse_python,
    python_files,
    requirement_lines,
)
from lukewarm.predictors.errors import SourceError
from lukewarm.predictors.spec import EnvName, EnvValue, PythonVersion, Requirement, SystemPackage, Word

Read = tuple[dict[str, Any], str]
# read here, or of no use outside Baseten; any other key is reported as not carried over
TRUSS_KEYS = {
    *("model_name", "python_version", "requirements", "requirements_file", "system_packages", "resources", "secrets"),
    *("environment_variables", "runtime", "model_class_name", "model_class_filename", "model_module_dir", "data_dir"),
    *(
        "model_metadata",
        "description",
        "examples_filename",
        "model_framework",
        "model_type",
        "input_type",
        "spec_version",
    ),
}


def is_cog(root: Path) -> bool:
    return (root / "cog.yaml").is_file()


def read_cog(root: Path, notes: Notes) -> Read:
    """cog.yaml and its predict.py or run.py. Keys after Cog's docs/yaml.md (0.23)."""
    file = root / "cog.yaml"
    config, lines = load_yaml(file)
    build = config.get("build") or {}
    _lose_keys(file, config, lines, notes, {"build", "predict", "run", "concurrency", "environment"})
    known = {"python_version", "python_packages", "python_requirements", "system_packages", "gpu", "sdk_version"}
    _lose_keys(file, build, lines, notes, known, "build.")
    reference = config.get("run") or config.get("predict")
    if not isinstance(reference, str) or ":" not in reference:
        raise SourceError(f"{file}: no 'run: file.py:Runner' and no 'predict: file.py:Predictor'")
    name, class_name = reference.split(":", 1)
    path = _inside(root, name, file)
    node = _class(path, class_name)
    method = find_method(node, "run", "predict")
    if method is None:
        raise SourceError(f"{path}:{node.lineno}: {class_name} has neither run nor predict")
    requirements = checked(
        Requirement, build.get("python_packages"), file, lines.get("build.python_packages", 1), notes
    )
    if isinstance(build.get("python_requirements"), str):
        requirements += requirement_lines(_inside(root, build["python_requirements"], file), notes)
    spec = {
        "requirements": _with("cog>=0.23,<0.24", requirements),
        "system_packages": checked(
            SystemPackage, build.get("system_packages"), file, lines.get("build.system_packages", 1), notes
        ),
        "python": _python(build.get("python_version"), file, lines.get("build.python_version", 1), notes),
        "resources": {"gpu": "L4"} if build.get("gpu") else None,
        "scaling": _concurrency((config.get("concurrency") or {}).get("max")),
        "env": _environment(config.get("environment"), file, lines.get("environment", 1), notes),
    }
    if build.get("gpu"):
        notes.lose(
            file, lines.get("build.gpu", 1), "gpu: true", "Cog names no model of GPU; wrote L4, change resources.gpu"
        )
    inputs = parameters(method, path, notes)
    return spec, predictor_of_class(module_name(root, path), class_name, method, inputs)


def is_truss(root: Path) -> bool:
    return (root / "config.yaml").is_file() and any((root / "model").glob("*.py"))


def read_truss(root: Path, notes: Notes) -> Read:
    """config.yaml and model/model.py: load, preprocess, predict, postprocess with one JSON input."""
    file = root / "config.yaml"
    config, lines = load_yaml(file)
    _lose_keys(file, config, lines, notes, TRUSS_KEYS)
    folder = config.get("model_module_dir") or "model"
    path = _inside(root, f"{folder}/{config.get('model_class_filename') or 'model.py'}", file)
    class_name = config.get("model_class_name") or "Model"
    node = _class(path, class_name)
    requirements = checked(Requirement, config.get("requirements"), file, lines.get("requirements", 1), notes)
    if isinstance(config.get("requirements_file"), str):
        requirements += requirement_lines(_inside(root, config["requirements_file"], file), notes)
    resources = config.get("resources") or {}
    gpu = str(resources.get("accelerator") or "").split(":")[0] or None
    memory = re.fullmatch(r"(\d+(?:\.\d+)?)Gi", str(resources.get("memory") or ""))
    hardware = {"gpu": gpu if accept(Word, gpu) else None, "memory_gb": float(memory.group(1)) if memory else None}
    spec = {
        "name": config.get("model_name"),
        "requirements": requirements,
        "system_packages": checked(
            SystemPackage, config.get("system_packages"), file, lines.get("system_packages", 1), notes
        ),
        "python": _python(
            re.sub(r"\Apy3", "3.", str(config.get("python_version") or "")), file, lines.get("python_version", 1), notes
        ),
        "resources": {key: value for key, value in hardware.items() if value is not None},
        "env": _environment(config.get("environment_variables"), file, lines.get("environment_variables", 1), notes),
        "secrets": [name for name in (config.get("secrets") or {}) if accept(EnvName, name)],
        "scaling": _concurrency((config.get("runtime") or {}).get("predict_concurrency")),
    }  # fmt: skip
    stages = [name for name in ("preprocess", "predict", "postprocess") if find_method(node, name)]
    if "predict" not in stages:
        raise SourceError(f"{path}:{node.lineno}: {class_name} has no predict")
    return spec, predictor_of_truss(folder, path.stem, class_name, stages)


def is_bentoml(root: Path) -> bool:
    return _find_bento(root) is not None


def read_bentoml(root: Path, notes: Notes) -> Read:
    """The class under @bentoml.service and its first @bentoml.api method; python packages from bentofile.yaml."""
    found = _find_bento(root)
    if found is None:
        raise SourceError(f"{root}: no class under @bentoml.service; projects of BentoML before 1.2 are not read")
    path, node = found
    methods = [
        item
        for item in node.body
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
        and any(dotted(mark) in {"bentoml.api", "api", "bentoml.task"} for mark in item.decorator_list)
    ]
    if not methods:
        raise SourceError(f"{path}:{node.lineno}: {node.name} has no @bentoml.api method")
    method = next((item for item in methods if item.name == "predict"), methods[0])
    for other in methods:
        if other is not method:
            notes.lose(path, other.lineno, f"API {other.name}", f"one prediction method is carried over: {method.name}")
    spec: dict[str, Any] = {"requirements": ["bentoml>=1.4.30,<1.4.40"]}
    file = next((root / name for name in ("bentofile.yaml", "bentofile.yml") if (root / name).is_file()), None)
    if file is not None:
        spec = _read_bentofile(root, file, notes)
    inputs = parameters(method, path, notes)
    return spec, predictor_of_class(module_name(root, path), node.name, method, inputs)


def is_huggingface(root: Path) -> bool:
    path = root / "handler.py"
    return path.is_file() and "EndpointHandler" in path.read_text("utf-8", "replace")


def read_huggingface(root: Path, notes: Notes) -> Read:
    """handler.py of Hugging Face Inference Endpoints: EndpointHandler(path) and __call__(data)."""
    path = root / "handler.py"
    node = _class(path, "EndpointHandler")
    if find_method(node, "__call__") is None:
        raise SourceError(f"{path}:{node.lineno}: EndpointHandler has no __call__")
    file = root / "requirements.txt"
    return {"requirements": requirement_lines(file, notes) if file.is_file() else []}, HUGGINGFACE


def _find_bento(root: Path) -> tuple[Path, ast.ClassDef] | None:
    for path in python_files(root):
        if "bentoml" not in path.read_text("utf-8", "replace"):
            continue
        for node in parse_python(path).body:
            if isinstance(node, ast.ClassDef) and any(
                dotted(mark) in {"bentoml.service", "service"} for mark in node.decorator_list
            ):
                return path, node
    return None


def _read_bentofile(root: Path, file: Path, notes: Notes) -> dict[str, Any]:
    config, lines = load_yaml(file)
    _lose_keys(
        file,
        config,
        lines,
        notes,
        {"service", "python", "docker", "envs", "include", "exclude", "labels", "name", "description"},
    )
    python, docker = config.get("python") or {}, config.get("docker") or {}
    _lose_keys(file, python, lines, notes, {"packages", "requirements_txt", "lock_packages"}, "python.")
    _lose_keys(file, docker, lines, notes, {"python_version", "system_packages"}, "docker.")
    requirements = checked(Requirement, python.get("packages"), file, lines.get("python.packages", 1), notes)
    if isinstance(python.get("requirements_txt"), str):
        requirements += requirement_lines(_inside(root, python["requirements_txt"], file), notes)
    entries = [item for item in config.get("envs") or [] if isinstance(item, dict)]
    return {
        "requirements": _with("bentoml>=1.4.30,<1.4.40", requirements),
        "system_packages": checked(
            SystemPackage, docker.get("system_packages"), file, lines.get("docker.system_packages", 1), notes
        ),
        "python": _python(docker.get("python_version"), file, lines.get("docker.python_version", 1), notes),
        "env": _environment(
            {item.get("name"): item.get("value") for item in entries}, file, lines.get("envs", 1), notes
        ),
    }


def _lose_keys(
    file: Path, value: dict[str, Any], lines: dict[str, int], notes: Notes, known: set[str], prefix: str = ""
) -> None:
    for key in value:
        if key not in known:
            notes.lose(
                file,
                lines.get(f"{prefix}{key}", 1),
                f"{prefix}{key}",
                "has no counterpart here; do it by hand if needed",
            )


def _class(path: Path, name: str) -> ast.ClassDef:
    node = find_class(parse_python(path), name)
    if node is None:
        raise SourceError(f"{path}: no class {name}")
    return node


def _inside(root: Path, name: str, file: Path) -> Path:
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()):
        raise SourceError(f"{file}: {name} lies outside the project")
    if not path.is_file():
        raise SourceError(f"{file}: {name} does not exist")
    return path


def _python(value: Any, file: Path, line: int, notes: Notes) -> str | None:
    text = str(value or "")
    if not text:
        return None
    short = ".".join(text.split(".")[:2])
    if accept(PythonVersion, short):
        return short
    notes.lose(file, line, f"python {text}", "not among the versions a spec allows; the default is used")
    return None


def _environment(value: Any, file: Path, line: int, notes: Notes) -> dict[str, str]:
    if isinstance(value, list):  # Cog: ["NAME=value"]
        value = dict(item.split("=", 1) for item in value if isinstance(item, str) and "=" in item)
    kept = {}
    for name, text in (value or {}).items():
        if accept(EnvName, name) and accept(EnvValue, str(text)):
            kept[name] = str(text)
        else:
            notes.lose(file, line, f"environment {name}", "not of the form that a spec allows")
    return kept


def _concurrency(value: Any) -> dict[str, int] | None:
    return {"concurrency": value} if isinstance(value, int) and value > 1 else None


def _with(requirement: str, others: list[str]) -> list[str]:
    name = re.split(r"[^A-Za-z0-9_-]", requirement)[0]
    return others if any(re.split(r"[^A-Za-z0-9_-]", other)[0] == name for other in others) else [requirement, *others]
