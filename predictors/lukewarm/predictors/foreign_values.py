"""Between JSON and the types of an imported project: arguments as its annotations ask, results as plain data."""

from __future__ import annotations

import asyncio
import atexit
import base64
import binascii
import dataclasses
import importlib
import inspect
import io
import os
import shutil
import tempfile
import threading
import types
import typing
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import msgspec

from lukewarm.predictors.errors import RequestError

_SCALARS = (str, int, float, bool, bytes, list, dict)
_ARRAYS = {"ndarray": ("numpy", "asarray"), "Tensor": ("torch", "as_tensor")}


class Arguments:
    """Makes of a request's values what the annotations of the user's function ask for."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.parameters = inspect.signature(function).parameters
        try:
            self.hints = typing.get_type_hints(function, include_extras=True)
        except Exception:  # noqa: BLE001 - annotations are the user's code; without them values are handed over as they came
            self.hints = {}

    def __call__(self, **given: Any) -> dict[str, Any]:
        """Keyword arguments. Raises RequestError naming the input that its own type refuses.

        Files of the request before are deleted: one request runs at a time, and a disk fills.
        """
        _delete_files()
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
                raise _refusal(name, error) from error
        return made


def _refusal(name: str, error: Exception) -> RequestError:
    """The input that its own type refuses; of a pydantic model, the first field."""
    path, text = f"$.inputs.{name}", str(error)
    if callable(errors := getattr(error, "errors", None)) and (found := errors()):
        path += "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in found[0].get("loc", ()))
        text = str(found[0].get("msg", text))
    return RequestError("wrong_type", f"{path.removeprefix('$.inputs.')}: {' '.join(text.split())}", path)


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
    if not isinstance(kind, type) or kind in (object, Any) or typing.is_typeddict(kind):
        return value
    if isinstance(value, kind) and not _is_file(kind):
        return value
    if isinstance(value, str) and _is_file(kind):  # never a path of the caller's choice
        value = _decoded(value)
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
        return plain(awaited(value))
    if isinstance(value, PurePath):
        return Path(value).read_bytes()
    if hasattr(value, "save") and hasattr(value, "getbands"):  # a PIL image
        value.save(stream := io.BytesIO(), format="PNG")
        return stream.getvalue()
    if isinstance(value, io.IOBase):
        return value.read()
    if hasattr(value, "model_dump"):
        dumped = value.model_dump(mode="json")
        files = {name: plain(item) for name in dumped if _has_path(item := getattr(value, name, None))}
        return {**dumped, **files}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if hasattr(value, "to_dict"):  # pandas
        return value.to_dict("records") if hasattr(value, "columns") else value.to_dict()
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple, set, frozenset)) else value


def awaited(value: Any) -> Any:
    """The value itself, or what a coroutine gives. All run in one event loop: what setup made may belong to it."""
    return _loop().run_until_complete(value) if inspect.iscoroutine(value) else value


def pieces(value: Any) -> Any:
    """As `plain`; a generator of either kind stays one, of plain pieces, so that they stream."""
    value = awaited(value)
    if inspect.isasyncgen(value):
        return _of_async(value)
    return _of_generator(value) if inspect.isgenerator(value) else plain(value)


def whole(value: Any) -> Any:
    """As `pieces`, with those of a generator in a list."""
    found = pieces(value)
    return list(found) if inspect.isgenerator(found) else found


def _of_generator(items: Generator[Any, Any, Any]) -> Iterator[Any]:
    try:
        for item in items:
            yield plain(item)
    finally:
        items.close()


def _of_async(items: AsyncGenerator[Any, Any]) -> Iterator[Any]:
    loop = _loop()
    try:
        while (item := loop.run_until_complete(anext(items, _END))) is not _END:
            yield plain(item)
    finally:
        loop.run_until_complete(items.aclose())


_END = object()
_loops: dict[int, asyncio.AbstractEventLoop] = {}  # by process: a fork does not share its parent's


def _loop() -> asyncio.AbstractEventLoop:
    if os.getpid() not in _loops:
        _loops[os.getpid()] = asyncio.new_event_loop()
    return _loops[os.getpid()]


class _Files(threading.local):
    """Of the request that runs in this thread: an engine's worker is one."""

    def __init__(self) -> None:
        self.paths: list[str] = []


_files = _Files()
_left: set[str] = set()  # of all threads


def until_next_request(path: str) -> str:
    """Delete this file or folder when the next request comes to this thread, or the process ends."""
    _left.add(path)
    _files.paths.append(path)
    return path


def _delete_files() -> None:
    while _files.paths:
        _delete(_files.paths.pop())


@atexit.register
def _delete_all() -> None:
    for path in list(_left):
        _delete(path)


def _delete(path: str) -> None:
    _left.discard(path)
    if os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        Path(path).unlink(missing_ok=True)


def _is_file(kind: type) -> bool:
    """Whether a request carries values of this type as bytes, in base64: paths, open files, pictures."""
    picture = kind.__name__ == "Image" and kind.__module__.startswith("PIL")
    return picture or issubclass(kind, PurePath) or (kind.__name__ == "File" and kind.__module__.startswith("cog"))


def _has_path(value: Any) -> bool:
    return any(isinstance(item, PurePath) for item in (value if isinstance(value, (list, tuple)) else [value]))


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from error


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
    with tempfile.NamedTemporaryFile(delete=False, prefix="lukewarm-") as stream:
        until_next_request(stream.name)
        stream.write(value)
    if issubclass(kind, PurePath):
        return kind(stream.name)
    if kind.__name__ == "File":
        return open(stream.name, "rb")  # the user's code reads and closes it
    return typing.cast(Any, kind)(value)
