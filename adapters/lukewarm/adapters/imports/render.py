"""Source text of the generated Predictor; names and values of a project come through `ast` or `repr` only."""

from __future__ import annotations

import ast

from lukewarm.adapters.imports.inputs import Input

HEAD = '''"""Runs the project's own code unchanged behind the lukewarm contract. By `lukewarm import`; yours to edit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from lukewarm.predictors import foreign

ROOT = Path(__file__).parent


'''

_CLASS = """class Imported:
    def setup(self) -> None:
        self.user = foreign.load(ROOT, {file!r}).{name}()
        if hasattr(self.user, "setup"):
            foreign.whole(self.user.setup())
        self.arguments = foreign.Arguments(self.user.{method})

    def predict(self{signature}) -> Any:
        {body}
"""

_FUNCTION = """class Imported:
    def setup(self) -> None:
        self.user = foreign.load(ROOT, {file!r})
        self.arguments = foreign.Arguments(self.user.{method})

    def predict(self{signature}) -> Any:
        {body}
"""

_TRUSS = """class Imported:
    def setup(self) -> None:
        self.user = foreign.truss_model(foreign.load(ROOT, {file!r}, {packages!r}).{name}, ROOT)

    def predict(self, *, inputs: Any) -> Any:
        value = inputs
        for stage in {stages!r}:
            value = foreign.awaited(getattr(self.user, stage)(value))
        return foreign.whole(value)
"""

_HUGGINGFACE = """class Imported:
    def setup(self) -> None:
        self.user = foreign.load(ROOT, "handler.py").EndpointHandler(str(ROOT))

    def predict(self, *, {signature}) -> Any:
        given = {{{given}}}
        return foreign.whole(self.user({{name: value for name, value in given.items() if value is not UNSET}}))
"""

_RUNPOD = """class Imported:
    def setup(self) -> None:
        captured: dict[str, Any] = {{}}
        foreign.{install}(captured)
        module = foreign.load(ROOT, {file!r}{script})  # its serverless.start(...) only hands the handler over
        self.handler = captured["handler"] if "handler" in captured else module.{function}

    def predict(self, *, input: dict[str, Any]) -> Any:
        value = foreign.whole(self.handler({{"id": "local", "input": input}}))
        if isinstance(value, dict) and value.get("error"):
            raise ValueError(str(value["error"]))
        return value
"""

_POTASSIUM = """class Imported:
    def setup(self) -> None:
        foreign.potassium_stub()
        self.app = foreign.load(ROOT, {file!r}).{app}
        self.context = self.app.make_context()

    def predict(self, *, inputs: dict[str, Any]) -> Any:
        return self.app.answer({route!r}, self.context, inputs)
"""


def predictor_of_class(
    file: str, name: str | None, method: ast.FunctionDef | ast.AsyncFunctionDef, inputs: list[Input]
) -> str:
    """A Predictor around a class with setup() and one typed method, or around a function (`name` None)."""
    given = ", ".join(f"{item.name}={item.name}" for item in inputs)
    call = f"self.user.{method.name}(**self.arguments({given}))"
    if _yields(method) and not isinstance(method, ast.AsyncFunctionDef):
        body = f"for item in {call}:\n            yield foreign.plain(item)"
    else:
        body = f"return foreign.whole({call})"
    signature = ", *, " + ", ".join(map(_declared, inputs)) if inputs else ""
    template = _FUNCTION if name is None else _CLASS
    return HEAD + template.format(file=file, name=name, method=method.name, signature=signature, body=body)


def predictor_of_truss(file: str, name: str, stages: list[str], packages: str) -> str:
    """A Predictor around a Truss model: one JSON value in, one out."""
    return HEAD + _TRUSS.format(file=file, name=name, stages=stages, packages=packages)


def predictor_of_huggingface(keys: list[str]) -> str:
    """A Predictor around an EndpointHandler; `keys` are those of the request that its code reads."""
    names = list(dict.fromkeys(["inputs", *keys, "parameters"]))
    required = ", ".join(f"{name}: Any" + ("" if name == "inputs" else " = UNSET") for name in names)
    given = ", ".join(f"{name!r}: {name}" for name in names)
    return HEAD + _HUGGINGFACE.format(signature=required, given=given)


def predictor_of_handler(file: str, function: str, *, keep_sdk: bool, run: bool) -> str:
    """A Predictor around a Runpod handler function."""
    install = "runpod_start" if keep_sdk else "runpod_stub"
    return HEAD + _RUNPOD.format(install=install, file=file, function=function, script=", run=True" if run else "")


def predictor_of_potassium(file: str, app: str, route: str) -> str:
    """A Predictor around one route of a Potassium app."""
    return HEAD + _POTASSIUM.format(file=file, app=app, route=route)


def _declared(item: Input) -> str:
    return f"{item.name}: {item.annotation}" + ("" if item.default is None else f" = {item.default}")


def _yields(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(isinstance(node, ast.Yield | ast.YieldFrom) for node in ast.walk(function))
