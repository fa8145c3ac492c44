"""Source text of the generated Predictor; names and values of a project come through `ast` or `repr` only."""

from __future__ import annotations

from pprint import pformat
from typing import Any

from lukewarm.adapters.imports.inputs import CONTEXT, Input
from lukewarm.adapters.imports.source import Function

HEAD = '''"""Runs the project's own code unchanged behind the lukewarm contract. By `lukewarm import`; yours to edit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from lukewarm.predictors import foreign

ROOT = Path(__file__).parent


'''

_CLASS = """class Imported:{separate}
    def setup(self) -> None:
        {first}self.user = foreign.load(ROOT, {file!r}).{name}()
        if hasattr(self.user, "setup"):
            foreign.awaited(self.user.setup())
        self.arguments = foreign.Arguments(self.user.{method})

    def predict(self{signature}) -> Any:
        return foreign.pieces(self.user.{method}(**self.arguments({given}){contexts}))
"""

_FUNCTION = """class Imported:{separate}
    def setup(self) -> None:
        {first}self.user = foreign.load(ROOT, {file!r})
        self.arguments = foreign.Arguments(self.user.{method})

    def predict(self{signature}) -> Any:
        return foreign.pieces(self.user.{method}(**self.arguments({given}){contexts}))
"""

_TRUSS = """CONFIG = {config}


class Imported:
    def setup(self) -> None:
        self.user = foreign.truss_model(foreign.load(ROOT, {file!r}, {packages!r}).{name}, ROOT, CONFIG)

    def predict(self, *, inputs: Any) -> Any:
        value = inputs
        for stage in {stages!r}:
            value = foreign.awaited(getattr(self.user, stage)(value))
        return foreign.pieces(value)
"""

_HUGGINGFACE = """class Imported:
    def setup(self) -> None:
        self.user = foreign.load(ROOT, "handler.py").EndpointHandler(str(ROOT))

    def predict(self, *, {signature}) -> Any:
        given = {{{given}}}
        return foreign.whole(self.user({{name: value for name, value in given.items() if value is not UNSET}}))
"""

_RUNPOD = """class Imported:
    join = False  # the pieces of a generator make a list, texts too

    def setup(self) -> None:
        captured: dict[str, Any] = {{}}
        with foreign.{install}(captured):  # its serverless.start(...) only hands the handler over
            module = foreign.load(ROOT, {file!r}{script})
        self.handler = captured["handler"] if "handler" in captured else module.{function}

    def predict(self, *, input: dict[str, Any]) -> Any:
        return foreign.runpod_answer(self.handler, input)
"""

_POTASSIUM = """class Imported:
    def setup(self) -> None:
        with foreign.{install}():
            self.app = foreign.load(ROOT, {file!r}).{app}
        self.context = self.app.make_context()

    def predict(self, *, inputs: dict[str, Any]) -> Any:
        return self.app.answer({route!r}, self.context, inputs)
"""


def predictor_of_class(
    file: str, name: str | None, method: Function, inputs: list[Input], *, join: bool = True, cog: bool = False
) -> str:
    """A Predictor around a class with setup() and one typed method, or around a function (`name` None).

    `join`: pieces of text that it yields are one text.
    """
    template = _FUNCTION if name is None else _CLASS
    contexts = [item.name for item in inputs if item.annotation == CONTEXT]
    inputs = [item for item in inputs if item.annotation != CONTEXT]
    return HEAD + template.format(
        file=file,
        name=name,
        method=method.name,
        signature=", *, " + ", ".join(map(_declared, inputs)) if inputs else "",
        given=", ".join(f"{item.name}={item.name}" for item in inputs),
        contexts="".join(f", {item}=foreign.bento_context()" for item in contexts),
        separate="" if join else "\n    join = False  # yielded texts make a list\n",
        first="foreign.cog_models()\n        " if cog else "",
    )


def predictor_of_truss(file: str, name: str, stages: list[str], packages: str, config: dict[str, Any]) -> str:
    """A Predictor around a Truss model: one JSON value in, one out. `config` stands in it as a literal."""
    return HEAD + _TRUSS.format(
        file=file, name=name, stages=stages, packages=packages, config=pformat(config, width=110)
    )


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


def predictor_of_potassium(file: str, app: str, route: str, *, keep_sdk: bool) -> str:
    """A Predictor around one route of a Potassium app."""
    install = "potassium_sdk" if keep_sdk else "potassium_stub"
    return HEAD + _POTASSIUM.format(install=install, file=file, app=app, route=route)


def _declared(item: Input) -> str:
    return f"{item.name}: {item.annotation}" + ("" if item.default is None else f" = {item.default}")
