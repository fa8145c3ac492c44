"""What imported projects need at run time: files loaded by path, arguments of their types, results as data.

Only predictors that `lukewarm import` wrote use it.
"""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import io
import os
import sys
import tempfile
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import msgspec

from lukewarm.predictors.errors import BundleError, RequestError

_SCALARS = (str, int, float, bool, bytes, list, dict)
_ARRAYS = {"ndarray": ("numpy", "asarray"), "Tensor": ("torch", "as_tensor")}


IMPORTED = "lukewarm_predictor:Imported"  # the `predictor` of an imported project
INCLUDED = "included"  # the project's files whose names an artifact needs for its own


def load(root: Path, file: str, *further: str, run: bool = False) -> Any:
    """The module of a project's file, under a name of its own: artifacts have a `handler.py` or `run.py` too.

    Its folder, the project's and `further` ones are searched for what it imports. `run`: as a script, in which
    `__name__` is `__main__`. Raises BundleError.
    """
    path = next((place for place in (root / INCLUDED / file, root / file) if place.is_file()), root / file)
    folders = [root / part / name for name in ("", *further) for part in (INCLUDED, ".")]
    for place in [*reversed(folders), path.parent]:
        if str(place) not in sys.path and place.is_dir():
            sys.path.insert(0, str(place))
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

    def get(self, name: str, default: Any = None) -> Any:
        return os.environ.get(name, default)


def truss_model(user_class: Any, root: Path) -> Any:
    """An instance with those of Truss's arguments that it takes, loaded."""
    wanted = {"config": {}, "data_dir": root / "data", "secrets": Secrets(), "environment": None}
    parameters = inspect.signature(user_class).parameters.values()
    if not any(item.kind is item.VAR_KEYWORD for item in parameters):
        wanted = {item.name: wanted[item.name] for item in parameters if item.name in wanted}
    model = user_class(**wanted)
    if hasattr(model, "load"):
        awaited(model.load())
    return model


def runpod_stub(captured: dict[str, Any]) -> None:
    """For a project that uses runpod for nothing but start(): the SDK (200 MB with what it pulls in) stays out."""
    runpod, serverless = types.ModuleType("runpod"), types.ModuleType("runpod.serverless")
    serverless.start = captured.update  # type: ignore[attr-defined]
    runpod.serverless = serverless  # type: ignore[attr-defined]
    sys.modules.update({"runpod": runpod, "runpod.serverless": serverless})


def runpod_start(captured: dict[str, Any]) -> None:
    """The real SDK, whose start() would connect to Runpod."""
    importlib.import_module("runpod.serverless").start = captured.update  # type: ignore[attr-defined]


class _Request:
    def __init__(self, json: Any) -> None:
        self.json, self.ws, self.id = json, None, "local"


class _Response:
    def __init__(self, json: Any = None, headers: Any = None, status: int = 200, body: Any = None) -> None:
        self.json, self.headers, self.status, self.body = json, headers, status, body


class _Potassium:
    """Keeps the functions that the project registers, and serves nothing."""

    def __init__(self, name: str, *_args: Any, **_kwargs: Any) -> None:
        self.handlers: dict[str, Any] = {}
        self.make_context: Any = dict

    def init(self, function: Any) -> Any:
        self.make_context = function
        return function

    def handler(self, route: str = "/", *_args: Any, **_kwargs: Any) -> Any:
        return lambda function: self.handlers.setdefault("/" + route.strip("/"), function)

    background = async_handler = handler

    def serve(self, *_args: Any, **_kwargs: Any) -> None:
        pass

    def set_cache(self, *_args: Any, **_kwargs: Any) -> None:
        pass

    def answer(self, route: str, context: Any, json: Any) -> Any:
        """What the route's function gives. Raises ValueError for a status of 400 and more."""
        response = self.handlers[route](context, _Request(json))
        if not isinstance(response, _Response):
            return plain(response)
        if response.status >= 400:
            raise ValueError(f"status {response.status}: {response.json}")
        body = response.body
        if body is not None and not isinstance(body, (bytes, str)):
            pieces = list(body)
            body = (b"" if pieces and isinstance(pieces[0], bytes) else "").join(pieces)
        return plain(response.json if response.json is not None else body)


def potassium_stub() -> None:
    """Potassium without its server."""
    stub = types.ModuleType("potassium")
    stub.__dict__.update(Potassium=_Potassium, Request=_Request, Response=_Response)
    sys.modules["potassium"] = stub


class Arguments:
    """Makes of a request's values what the annotations of the user's function ask for."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.parameters = inspect.signature(function).parameters
        try:
            self.hints = typing.get_type_hints(function, include_extras=True)
        except Exception:  # noqa: BLE001 - annotations are the user's code; without them values are handed over as they came
            self.hints = {}

    def __call__(self, **given: Any) -> dict[str, Any]:
        """Keyword arguments. Raises RequestError naming the input that its own type refuses."""
        made = {}
        for name, value in given.items():
            if value is msgspec.UNSET:
                default = self.parameters[name].default
                if hasattr(default, "default"):  # Cog's Input(...) carries it
                    made[name] = default.default
                continue
            try:
                made[name] = fit(self.hints.get(name, Any), value)
            except (TypeError, ValueError, OSError) as error:
                raise RequestError("wrong_type", f"{name}: {error}", f"$.inputs.{name}") from error
        return made


def fit(kind: Any, value: Any) -> Any:
    """One value as one annotation wants it: a file on disk, a picture, an array, the user's own class."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return fit(inner[0], value)
    if value is None:
        return value
    if origin in (typing.Union, types.UnionType):
        return _first(inner, value)
    if isinstance(origin, type) and issubclass(origin, Sequence) and inner and isinstance(value, list):
        items = [fit(inner[0], item) for item in value]
        return tuple(items) if issubclass(origin, tuple) else items
    if not isinstance(kind, type) or kind is object or typing.is_typeddict(kind) or isinstance(value, kind):
        return value
    if isinstance(value, bytes):
        return _of_bytes(kind, value)
    if kind.__name__ in _ARRAYS:
        module, make = _ARRAYS[kind.__name__]
        return getattr(importlib.import_module(module), make)(value)
    if kind.__module__ == "builtins":
        return kind(value) if kind in (tuple, set, float, frozenset) else value
    if callable(validate := getattr(kind, "model_validate", None)):
        return validate(value)
    return kind(**value) if isinstance(value, Mapping) and kind.__name__ != "DataFrame" else kind(value)


def plain(value: Any) -> Any:
    """The user's result as JSON data; files and pictures become their bytes (base64 in JSON)."""
    if inspect.iscoroutine(value):
        return plain(asyncio.run(value))
    if isinstance(value, PurePath):
        return Path(value).read_bytes()
    if hasattr(value, "save") and hasattr(value, "getbands"):  # a PIL image
        value.save(stream := io.BytesIO(), format="PNG")
        return stream.getvalue()
    if isinstance(value, io.IOBase):
        return value.read()
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(value, "to_dict"):  # pandas
        return value.to_dict("records") if hasattr(value, "columns") else value.to_dict()
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple, set, frozenset)) else value


def awaited(value: Any) -> Any:
    """The value itself, or what a coroutine gives."""
    return asyncio.run(value) if inspect.iscoroutine(value) else value


def whole(value: Any) -> Any:
    """As `plain`, for a result that may be a generator of either kind: all its pieces."""
    if inspect.iscoroutine(value):
        return whole(asyncio.run(value))
    if inspect.isasyncgen(value):
        return asyncio.run(_collect(value))
    return plain(list(value) if inspect.isgenerator(value) else value)


async def _collect(items: Any) -> list[Any]:
    return [plain(item) async for item in items]


def _first(kinds: tuple[Any, ...], value: Any) -> Any:
    """The first member of a union that takes the value."""
    plain_kinds = [kind for kind in kinds if kind in _SCALARS and isinstance(value, kind)]
    for kind in [] if plain_kinds else kinds:
        try:
            return fit(kind, value)
        except (TypeError, ValueError):
            continue
    return value


def _of_bytes(kind: type, value: bytes) -> Any:
    if kind.__name__ == "Image" and kind.__module__.startswith("PIL"):
        picture = importlib.import_module("PIL.Image")
        return picture.open(io.BytesIO(value))
    with tempfile.NamedTemporaryFile(delete=False, prefix="lukewarm-") as stream:  # it goes with the container
        stream.write(value)
    if issubclass(kind, PurePath):
        return kind(stream.name)
    if kind.__name__ == "File":
        return open(stream.name, "rb")  # the user's code reads and closes it
    return typing.cast(Any, kind)(value)
