"""Projects whose code is a class or a function of a fixed name: Cog, Truss and Hugging Face's handler.py."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from lukewarm.adapters.imports.fields import (
    concurrency,
    environment,
    lose_keys,
    processors,
    python_version,
    with_requirement,
)
from lukewarm.adapters.imports.inputs import keys_read, read_inputs
from lukewarm.adapters.imports.render import predictor_of_class, predictor_of_huggingface, predictor_of_truss
from lukewarm.adapters.imports.source import (
    Function,
    Notes,
    accept,
    checked,
    find_class,
    find_function,
    find_method,
    inside,
    load_yaml,
    parse_python,
    relative,
    requirement_lines,
    requirements_of,
)
from lukewarm.predictors.errors import SourceError
from lukewarm.predictors.spec import EnvName, Requirement, SystemPackage, Word

COG = "cog>=0.23,<0.24"
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
    lose_keys(file, config, lines, notes, {"build", "predict", "run", "concurrency", "environment"})
    known = {"python_version", "python_packages", "python_requirements", "system_packages", "gpu", "sdk_version", "run"}
    _lose_steps(file, build.get("run"), lines, notes)
    lose_keys(file, build, lines, notes, known, "build.")
    reference = config.get("run") or config.get("predict")
    if not isinstance(reference, str) or ":" not in reference:
        raise SourceError(f"{file}: no 'run: file.py:Runner' and no 'predict: file.py:Predictor'")
    name, class_name = reference.split(":", 1)
    path = inside(root, name, file)
    tree = parse_python(path)
    owner, method = _runner(path, tree, class_name)
    requirements = checked(
        Requirement, build.get("python_packages"), file, lines.get("build.python_packages", 1), notes
    )
    named = build.get("python_requirements")
    requirements += requirements_of(root, named, file, lines.get("build.python_requirements", 1), notes)
    if build.get("sdk_version"):
        what, why = f"sdk_version {build['sdk_version']}", f"{COG} is required instead"
        notes.lose(file, lines.get("build.sdk_version", 1), what, why)
    spec = {
        "requirements": with_requirement(COG, requirements),
        "system_packages": checked(
            SystemPackage, build.get("system_packages"), file, lines.get("build.system_packages", 1), notes
        ),
        "python": python_version(build.get("python_version"), file, lines.get("build.python_version", 1), notes),
        "resources": {"gpu": "L4"} if build.get("gpu") else None,
        "scaling": concurrency((config.get("concurrency") or {}).get("max")),
        "env": environment(config.get("environment"), file, lines.get("environment", 1), notes),
    }
    if build.get("gpu"):
        notes.lose(
            file, lines.get("build.gpu", 1), "gpu: true", "Cog names no model of GPU; wrote L4, change resources.gpu"
        )
    inputs = read_inputs(method, path, tree, notes)
    returns = ast.unparse(method.returns) if method.returns else ""
    join = "ConcatenateIterator" in returns or "Iterator" not in returns  # Cog's own Iterator gives a list
    return spec, predictor_of_class(relative(root, path), owner, method, inputs, join=join, cog=True)


def _lose_steps(file: Path, steps: Any, lines: dict[str, int], notes: Notes) -> None:
    """Commands of `build.run`, one loss each: packages of the system could go to system_packages, by hand."""
    for number, step in enumerate(steps if isinstance(steps, list) else [steps] if steps else []):
        line = lines.get(f"build.run[{number}]") or lines.get("build.run", 1)
        command = step.get("command") if isinstance(step, dict) else step
        notes.lose(file, line, f"build.run: {' '.join(str(command).split())[:100]}", "do it by hand if needed")


def is_truss(root: Path) -> bool:
    return (root / "config.yaml").is_file() and any((root / "model").glob("*.py"))


def read_truss(root: Path, notes: Notes) -> Read:
    """config.yaml and model/model.py: load, preprocess, predict, postprocess with one JSON input."""
    file = root / "config.yaml"
    config, lines = load_yaml(file)
    lose_keys(file, config, lines, notes, TRUSS_KEYS)
    folder = config.get("model_module_dir") or "model"
    path = inside(root, f"{folder}/{config.get('model_class_filename') or 'model.py'}", file)
    class_name = config.get("model_class_name") or "Model"
    node = _class(path, class_name)
    requirements = checked(Requirement, config.get("requirements"), file, lines.get("requirements", 1), notes)
    requirements += requirements_of(
        root, config.get("requirements_file"), file, lines.get("requirements_file", 1), notes
    )
    spec = {
        "name": config.get("model_name"),
        "requirements": requirements,
        "system_packages": checked(
            SystemPackage, config.get("system_packages"), file, lines.get("system_packages", 1), notes
        ),
        "python": python_version(
            re.sub(r"\Apy3", "3.", str(config.get("python_version") or "")), file, lines.get("python_version", 1), notes
        ),
        "resources": _truss_resources(config.get("resources") or {}, file, lines, notes),
        "env": environment(config.get("environment_variables"), file, lines.get("environment_variables", 1), notes),
        "secrets": checked(EnvName, list(config.get("secrets") or {}), file, lines.get("secrets", 1), notes),
        "scaling": concurrency((config.get("runtime") or {}).get("predict_concurrency")),
    }  # fmt: skip
    stages = [name for name in ("preprocess", "predict", "postprocess") if find_method(node, name)]
    if "predict" not in stages:
        raise SourceError(f"{path}:{node.lineno}: {class_name} has no predict")
    lose_keys(file, config.get("runtime") or {}, lines, notes, {"predict_concurrency"}, "runtime.")
    for stage in stages:
        _lose_context(path, find_method(node, stage), notes)
    packages = str(config.get("bundled_packages_dir") or "packages")
    shown = {**_plain(config), "secrets": dict.fromkeys(config.get("secrets") or {})}
    return spec, predictor_of_truss(relative(root, path), class_name, stages, packages, shown)


def _lose_context(path: Path, method: Function | None, notes: Notes) -> None:
    """Truss hands `fastapi.Request` to a method that takes a second argument."""
    taken = method.args.args[2:] if method else []
    required = len(taken) - len(method.args.defaults) if method else 0
    for number, argument in enumerate(taken):
        why = "a request has none here" + ("; the code fails without it" if number < required else "")
        notes.lose(path, argument.lineno, f"parameter {argument.arg!r} of {method.name if method else ''}", why)


def _plain(value: Any) -> Any:
    """YAML's values as Python literals; dates as text."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _truss_resources(resources: dict[str, Any], file: Path, lines: dict[str, int], notes: Notes) -> dict[str, Any]:
    """Processors, memory and GPU; a second GPU and units other than GiB and MiB become losses."""
    lose_keys(file, resources, lines, notes, {"accelerator", "memory", "use_gpu", "cpu"}, "resources.")
    gpu, _, count = str(resources.get("accelerator") or "").partition(":")
    if count not in ("", "1"):
        notes.lose(file, _line(lines, "resources.accelerator"), f"accelerator {gpu}:{count}", "one GPU is carried over")
    memory = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([GM])i?B?", str(resources.get("memory") or ""))
    if resources.get("memory") and not memory:
        what = f"memory {resources['memory']}"
        notes.lose(file, _line(lines, "resources.memory"), what, "not in Gi or Mi; set resources.memory_gb")
    found: dict[str, Any] = processors(resources.get("cpu"), file, _line(lines, "resources.cpu"), notes)
    found |= {"gpu": gpu} if gpu and accept(Word, gpu) else {}
    if memory:
        found["memory_gb"] = float(memory.group(1)) / (1 if memory.group(2) == "G" else 1024)
    if resources.get("use_gpu") and not gpu:
        found["gpu"] = "L4"
        notes.lose(file, _line(lines, "resources.use_gpu"), "use_gpu: true", "names no GPU; wrote L4")
    return found


def _line(lines: dict[str, int], key: str) -> int:
    return lines.get(key) or lines.get(key.split(".")[0], 1)


def _runner(path: Path, tree: ast.Module, name: str) -> tuple[str | None, Function]:
    """The class that a reference names with its method, or (None, the function): Cog takes both."""
    node = find_class(tree, name)
    if node is None:
        function = find_function(tree, name)
        if function is None:
            raise SourceError(f"{path}: no class or function {name}")
        return None, function
    method = find_method(node, "run", "predict")
    if method is None:
        raise SourceError(f"{path}:{node.lineno}: {name} has neither run nor predict")
    return name, method


def is_huggingface(root: Path) -> bool:
    path = root / "handler.py"
    return path.is_file() and "EndpointHandler" in path.read_text("utf-8", "replace")


def read_huggingface(root: Path, notes: Notes) -> Read:
    """handler.py of Hugging Face Inference Endpoints: EndpointHandler(path) and __call__(data)."""
    path = root / "handler.py"
    node = _class(path, "EndpointHandler")
    call = find_method(node, "__call__")
    if call is None:
        raise SourceError(f"{path}:{node.lineno}: EndpointHandler has no __call__")
    file = root / "requirements.txt"
    requirements = requirement_lines(file, notes) if file.is_file() else []
    return {"requirements": requirements}, predictor_of_huggingface(keys_read(call))


def _class(path: Path, name: str) -> ast.ClassDef:
    node = find_class(parse_python(path), name)
    if node is None:
        raise SourceError(f"{path}: no class {name}")
    return node
