"""Stand-ins for the SDKs of imported projects, so that their servers do not start: Runpod's and Potassium's."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import sys
import tempfile
import types
from collections.abc import Iterator
from typing import Any

from lukewarm.predictors.errors import RequestError
from lukewarm.predictors.foreign_values import pieces, plain, until_next_request


def bento_context() -> Any:
    """What stands in for `bentoml.Context`: a folder for the files of one request, and nothing of HTTP."""
    folder = until_next_request(tempfile.mkdtemp(prefix="lukewarm-"))
    nothing = types.SimpleNamespace(headers={}, cookies={}, query_params={}, status_code=200)
    return types.SimpleNamespace(temp_dir=folder, state={}, request=nothing, response=nothing)


def cog_models() -> None:
    """Cog 0.23 makes dataclasses of its models, Cog before 0.14 keyword-only ones of pydantic: both forms are taken."""
    if importlib.util.find_spec("cog") is None:  # a project that imports nothing of it
        return
    model: Any = importlib.import_module("cog").BaseModel
    made = model.__init_subclass__.__func__

    def either(cls: Any, /, **options: Any) -> None:
        try:
            made(cls, **options)
        except TypeError as error:
            if "non-default argument" not in str(error):
                raise
            made(cls, kw_only=True, **options)

    model.__init_subclass__ = classmethod(either)


@contextlib.contextmanager
def runpod_stub(captured: dict[str, Any]) -> Iterator[None]:
    """For a project that uses runpod for nothing but this: the SDK (200 MB with what it pulls in) stays out.

    An artifact for Runpod itself has the SDK already, and gets it back when the project is loaded.
    """
    runpod, serverless = types.ModuleType("runpod"), types.ModuleType("runpod.serverless")
    serverless.start = captured.update  # type: ignore[attr-defined]
    serverless.progress_update = _unheard  # type: ignore[attr-defined]
    runpod.serverless = serverless  # type: ignore[attr-defined]
    with _instead({"runpod": runpod, "runpod.serverless": serverless}):
        yield


@contextlib.contextmanager
def runpod_start(captured: dict[str, Any]) -> Iterator[None]:
    """The real SDK; its start() would connect to Runpod, its progress_update() goes on doing nothing."""
    serverless: Any = importlib.import_module("runpod.serverless")
    start = serverless.start
    serverless.start, serverless.progress_update = captured.update, _unheard
    try:
        yield
    finally:
        serverless.start = start  # an artifact for Runpod calls it itself


@contextlib.contextmanager
def _instead(stubs: dict[str, types.ModuleType]) -> Iterator[None]:
    """These modules while a project is loaded; where there were none, they stay."""
    before = {name: sys.modules[name] for name in stubs if name in sys.modules}
    sys.modules.update(stubs)
    try:
        yield
    finally:
        sys.modules.update(before)


def runpod_answer(handler: Any, value: Any) -> Any:
    """What a Runpod handler answers to a job's input; its `{"error": ...}` as a RequestError with its words."""
    answer = pieces(handler({"id": "local", "input": value}))
    return map(_checked, answer) if isinstance(answer, Iterator) else _checked(answer)


def _checked(value: Any) -> Any:
    if isinstance(value, dict) and value.get("error"):
        raise RequestError("refused", _words(value["error"]), "$.inputs.input")
    if isinstance(value, dict):
        value.pop("refresh_worker", None)  # for Runpod's own worker, which takes it out too
    return value


def _unheard(*_args: Any, **_kwargs: Any) -> None:
    """Nobody here listens to progress."""


class _Request:
    def __init__(self, json: Any) -> None:
        self.json, self.ws, self.id = json, None, "local"
        self.headers: dict[str, str] = {}


class _Response:
    def __init__(self, status: int = 200, json: Any = None, headers: Any = None, body: Any = None) -> None:
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

    background = async_handler = websocket = handler

    def serve(self, *_args: Any, **_kwargs: Any) -> None:
        pass

    set_cache = optimize = serve

    def answer(self, route: str, context: Any, json: Any) -> Any:
        """What the route's function gives. Raises RequestError for a status of 4xx, ValueError for 5xx."""
        response = self.handlers[route](context, _Request(json))
        if not (hasattr(response, "status") and hasattr(response, "body")):
            return plain(response)
        body = response.body
        if body is not None and not isinstance(body, (bytes, str)):
            parts = list(body)
            body = (b"" if parts and isinstance(parts[0], bytes) else "").join(parts)
        result = plain(response.json if response.json is not None else body)
        if response.status >= 500:
            raise ValueError(f"status {response.status}: {result}")
        if response.status >= 400:
            raise RequestError("refused", f"status {response.status}: {_words(result)}", "$.inputs.inputs")
        return result


@contextlib.contextmanager
def potassium_stub() -> Iterator[None]:
    """Potassium without its server, for a project that imports nothing else of it."""
    stub = types.ModuleType("potassium")
    stub.__dict__.update(_STAND_INS)
    with _instead({"potassium": stub}):
        yield


@contextlib.contextmanager
def potassium_sdk() -> Iterator[None]:
    """The real package, for its store and webhooks, with its server taken out."""
    names = importlib.import_module("potassium").__dict__
    before = {name: names[name] for name in _STAND_INS}
    names.update(_STAND_INS)
    try:
        yield
    finally:
        names.update(before)


_STAND_INS = {"Potassium": _Potassium, "Request": _Request, "Response": _Response}


def _words(value: Any) -> str:
    """An error of the user's code as text: what it says, or its JSON."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
