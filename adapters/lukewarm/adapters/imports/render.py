"""Source text of the generated Predictor; names and values of a project come through `ast` or `repr` only."""

from __future__ import annotations

import ast

from lukewarm.adapters.imports.source import Parameter

HEAD = '''"""Runs the project's own code unchanged behind the lukewarm contract. By `lukewarm import`; yours to edit."""

from __future__ import annotations

import asyncio
import inspect
import tempfile
from pathlib import Path
from typing import Annotated, Any, Dict, List, Literal, Optional, Union

from msgspec import Meta


def plain(value: Any) -> Any:
    """The user's result as JSON data; files become their bytes (base64 in JSON)."""
    if inspect.iscoroutine(value):
        return plain(asyncio.run(value))
    if isinstance(value, Path):
        return value.read_bytes()
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def on_disk(data: bytes | None) -> Path | None:
    """A file for code that wants a path; it goes with the container."""
    if data is None:
        return None
    with tempfile.NamedTemporaryFile(delete=False, prefix="lukewarm-") as stream:
        stream.write(data)
    return Path(stream.name)

'''

_CLASS = """
class Imported:
    def setup(self) -> None:
        from {module} import {name}

        self.user = {name}()
        if hasattr(self.user, "setup"):
            self.user.setup()

    def predict(self{signature}) -> Any:
        {body}
"""

_TRUSS = '''
class Imported:
    def setup(self) -> None:
        from {module} import {name}

        folder = Path(__file__).parent
        wanted = {{"config": {{}}, "data_dir": folder / "data", "secrets": Secrets(), "environment": None}}
        parameters = inspect.signature({name}.__init__).parameters.values()
        if not any(item.kind is item.VAR_KEYWORD for item in parameters):
            wanted = {{item.name: wanted[item.name] for item in parameters if item.name in wanted}}
        self.user = {name}(**wanted)
        if hasattr(self.user, "load"):
            plain(self.user.load())

    def predict(self, *, inputs: Any) -> Any:
        value = inputs
        for stage in {stages!r}:
            value = getattr(self.user, stage)(value)
            if inspect.iscoroutine(value):
                value = asyncio.run(value)
        return plain(list(value) if inspect.isgenerator(value) else value)


class Secrets(dict):
    """Truss hands secrets over as a mapping; here they are environment variables."""

    def __missing__(self, name: str) -> str:
        import os

        return os.environ[name]
'''

HUGGINGFACE = (
    HEAD
    + """
class Imported:
    def setup(self) -> None:
        from handler import EndpointHandler

        self.user = EndpointHandler(str(Path(__file__).parent))

    def predict(self, *, inputs: Any, parameters: Optional[Dict[str, Any]] = None) -> Any:
        data = {"inputs": inputs} if parameters is None else {"inputs": inputs, "parameters": parameters}
        return plain(self.user(data))
"""
)

_HANDLER = """
{stub}

class Imported:
    def setup(self) -> None:
        captured: Dict[str, Any] = {{}}
        install(captured)
        import {module}  # its serverless.start(...) only hands the handler over

        self.handler = captured["handler"] if "handler" in captured else {module}.{function}

    def predict(self, *, input: Dict[str, Any]) -> Any:
        value = self.handler({{"id": "local", "input": input}})
        if inspect.isasyncgen(value):
            value = asyncio.run(collect(value))
        value = plain(list(value) if inspect.isgenerator(value) else value)
        if isinstance(value, dict) and value.get("error"):
            raise ValueError(str(value["error"]))
        return value


async def collect(items: Any) -> List[Any]:
    return [item async for item in items]
"""

RUNPOD_STUB = '''
def install(captured: Dict[str, Any]) -> None:
    """This project uses runpod for nothing but start(): the SDK (over 200 MB with what it pulls in) can stay out."""
    import sys
    import types

    runpod, serverless = types.ModuleType("runpod"), types.ModuleType("runpod.serverless")
    serverless.start = captured.update
    runpod.serverless = serverless
    sys.modules.update({"runpod": runpod, "runpod.serverless": serverless})
'''

RUNPOD_SDK = '''
def install(captured: Dict[str, Any]) -> None:
    """The real SDK, whose start() would connect to Runpod."""
    import runpod.serverless

    runpod.serverless.start = captured.update
'''

POTASSIUM = (
    HEAD
    + '''
class Request:
    def __init__(self, json: Any) -> None:
        self.json, self.ws, self.id = json, None, "local"


class Response:
    def __init__(self, json: Any = None, headers: Any = None, status: int = 200, body: Any = None) -> None:
        self.json, self.headers, self.status, self.body = json, headers, status, body


class Potassium:
    """Keeps the functions that the project registers, and serves nothing."""

    def __init__(self, name: str, *_args: Any, **_kwargs: Any) -> None:
        self.handlers: Dict[str, Any] = {}
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


class Imported:
    def setup(self) -> None:
        import importlib
        import sys
        import types

        stub = types.ModuleType("potassium")
        stub.Potassium, stub.Request, stub.Response = Potassium, Request, Response
        sys.modules["potassium"] = stub
        self.app = getattr(importlib.import_module(MODULE), APP)
        self.context = self.app.make_context()

    def predict(self, *, inputs: Dict[str, Any]) -> Any:
        response = self.app.handlers[ROUTE](self.context, Request(inputs))
        if not isinstance(response, Response):
            return plain(response)
        if response.status >= 400:
            raise ValueError(f"status {response.status}: {response.json}")
        body = response.body
        if body is not None and not isinstance(body, (bytes, str)):
            body = b"".join(body)
        return plain(response.json if response.json is not None else body)


'''
)


def predictor_of_class(
    module: str, name: str, method: ast.FunctionDef | ast.AsyncFunctionDef, inputs: list[Parameter]
) -> str:
    """A Predictor around a class with setup() and one typed method."""
    signature = "".join(f", {_declared(item)}" for item in inputs)
    given = ", ".join(
        f"{item.name}=on_disk({item.name})" if item.is_path else f"{item.name}={item.name}" for item in inputs
    )
    call = f"self.user.{method.name}({given})"
    if isinstance(method, ast.AsyncFunctionDef) and _yields(method):
        body = f"return asyncio.run(collect({call}))"
    elif _yields(method):
        body = f"for item in {call}:\n            yield plain(item)"
    else:
        body = f"return plain({call})"
    text = HEAD + _CLASS.format(module=module, name=name, signature=f", *{signature}" if inputs else "", body=body)
    if "collect(" in text:
        text += "\n\nasync def collect(items: Any) -> List[Any]:\n    return [plain(item) async for item in items]\n"
    return text


def predictor_of_truss(folder: str, module: str, name: str, stages: list[str]) -> str:
    """A Predictor around a Truss model: one JSON value in, one out."""
    return HEAD + _TRUSS.format(module=f"{folder}.{module}", name=name, stages=stages)


def predictor_of_handler(module: str, function: str, *, keep_sdk: bool) -> str:
    """A Predictor around a Runpod handler function."""
    return HEAD + _HANDLER.format(stub=RUNPOD_SDK if keep_sdk else RUNPOD_STUB, module=module, function=function)


def predictor_of_potassium(module: str, app: str, route: str) -> str:
    """A Predictor around one route of a Potassium app."""
    return POTASSIUM + f"MODULE, APP, ROUTE = {module!r}, {app!r}, {route!r}\n"


def _declared(item: Parameter) -> str:
    return f"{item.name}: {item.annotation}" + ("" if item.default is None else f" = {item.default}")


def _yields(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(isinstance(node, ast.Yield | ast.YieldFrom) for node in ast.walk(function))
