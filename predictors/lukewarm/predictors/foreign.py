"""What imported projects need at run time: files loaded by path, and the pieces that generated predictors call.

Only predictors that `lukewarm import` wrote use it.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lukewarm.predictors.errors import BundleError
from lukewarm.predictors.foreign_sdks import (
    bento_context,
    cog_models,
    potassium_sdk,
    potassium_stub,
    runpod_answer,
    runpod_start,
    runpod_stub,
)
from lukewarm.predictors.foreign_values import Arguments, awaited, fit, pieces, plain, whole

__all__ = [  # what generated predictors call
    "Arguments",
    "awaited",
    "bento_context",
    "cog_models",
    "fit",
    "pieces",
    "plain",
    "potassium_sdk",
    "potassium_stub",
    "runpod_answer",
    "runpod_start",
    "runpod_stub",
    "whole",
]

IMPORTED = "lukewarm_predictor:Imported"  # the `predictor` of an imported project
INCLUDED = "included"  # the project's files whose names an artifact needs for its own


def load(root: Path, file: str, *further: str, run: bool = False) -> Any:
    """The module of a project's file, under a name of its own: artifacts have a `handler.py` or `run.py` too.

    Its folder, the project's and `further` ones are searched for what it imports. `run`: as a script, in which
    `__name__` is `__main__`. Raises BundleError.
    """
    path = next((place for place in (root / INCLUDED / file, root / file) if place.is_file()), root / file)
    folders = [root / part / name for name in ("", *further) for part in (INCLUDED, ".")]
    package = path.parent.name
    if (path.parent / f"{package}.py").is_file():  # model/model.py: its own folder first would hide `model.other`
        folders.append(path.parent)
    else:
        folders.insert(0, path.parent)
    for place in filter(Path.is_dir, reversed(folders)):
        sys.path[:] = [str(place), *(other for other in sys.path if other != str(place))]
    served = getattr(sys.modules.get(package), "__path__", None)
    if isinstance(served, list) and path.parent != root:  # the artifact's own package of that name, already imported
        served.append(str(path.parent))
    return _executed(path, run=run)


def _executed(path: Path, *, run: bool) -> Any:
    package = types.ModuleType("imported_project")
    package.__path__ = [str(path.parent)]  # for its relative imports
    sys.modules["imported_project"] = package
    name = f"imported_project.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise BundleError(f"{path} is missing; name it under include in lukewarm.yaml")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses, pickle and type hints look their module up here
    if run:
        source = spec.loader.get_code(name)  # type: ignore[attr-defined]  # a source file's loader has it
        module.__dict__["__name__"] = "__main__"
        exec(source, module.__dict__)
    else:
        spec.loader.exec_module(module)
    return module


class Secrets(dict[str, str]):
    """Truss hands secrets over as a mapping; here they are environment variables."""

    def __missing__(self, name: str) -> str:
        return os.environ[name]

    def __contains__(self, name: object) -> bool:
        return name in os.environ

    def get(self, name: str, default: Any = None) -> Any:
        return os.environ.get(name, default)


def truss_model(user_class: Any, root: Path, config: Mapping[str, Any]) -> Any:
    """An instance with those of Truss's arguments that it takes, loaded. `config`: the project's config.yaml."""
    places = (root / INCLUDED / "data", root / "data")
    data = next((place for place in places if place.is_dir()), places[-1])
    wanted = {
        "config": dict(config), "data_dir": data, "secrets": Secrets(), "environment": None,
        "lazy_data_resolver": None,
    }  # fmt: skip
    parameters = inspect.signature(user_class).parameters.values()
    if not any(item.kind is item.VAR_KEYWORD for item in parameters):
        wanted = {item.name: wanted[item.name] for item in parameters if item.name in wanted}
    model = user_class(**wanted)
    if hasattr(model, "load"):
        awaited(model.load())
    return model
