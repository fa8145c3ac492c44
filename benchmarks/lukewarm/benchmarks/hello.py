"""The smallest program of each platform, in its own style and without lukewarm: what a framework costs by itself.

Each takes the place of the entry file in a copy of the target's echo artifact, so both run by the same command.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path

from lukewarm.adapters import truss_local
from lukewarm.adapters.base import LocalServer
from lukewarm.adapters.wire import Call

BENTO = """
import bentoml


@bentoml.service
class Service:
    @bentoml.api
    def predict(self, prompt: str, max_new_tokens: int) -> str:
        return prompt
"""
COG = """
from cog import BaseRunner


class Runner(BaseRunner):
    def run(self, prompt: str = "", max_new_tokens: int = 1) -> str:
        return prompt
"""
MODAL = """
import modal

app = modal.App("hello")


async def answer(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": b'{"text": "hello"}'})


@app.cls()
class Service:
    @modal.asgi_app()
    def web(self):
        return answer
"""
RUNPOD = """
import runpod

runpod.serverless.start({"handler": lambda job: {"text": job["input"]["prompt"]}})
"""
BANANA = """
import os

from potassium import Potassium, Request, Response

app = Potassium("hello")


@app.init
def init() -> dict:
    return {}


@app.handler("/")
def handler(context: dict, request: Request) -> Response:
    return Response(json={"text": request.json["prompt"]}, status=200)


app.serve(host=os.environ["HOST"], port=int(os.environ["PORT"]))
"""
LAMBDA = """
def handler(event, context):
    return {"text": event["prompt"]}
"""
TRUSS = """
class Model:
    def __init__(self, **kwargs):
        pass

    def load(self):
        pass

    def predict(self, request):
        return {"text": request["prompt"]}
"""
HUGGING_FACE = """
class EndpointHandler:
    def __init__(self, path=""):
        pass

    def __call__(self, data):
        return {"text": data["inputs"]["prompt"]}
"""
ASGI = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": b'{"text": "hello"}'})
"""


@dataclasses.dataclass(frozen=True)
class Hello:
    """One platform's own smallest program: which file it is, and the packages that it needs."""

    file: str
    source: str
    requirements: Callable[[], tuple[str, ...]]  # raises SourceError where they cannot be known here
    asgi: bool = False  # run by uvicorn; otherwise by the target's own command
    unsized: str = ""  # why its packages cannot be counted here


def _packages(*names: str) -> Callable[[], tuple[str, ...]]:
    return lambda: names


UVICORN = Hello("hello.py", ASGI, _packages("uvicorn"), asgi=True)
HELLOS: dict[str, Hello] = {
    "bento": Hello("service.py", BENTO, _packages("bentoml")),
    "cog": Hello("run.py", COG, _packages("cog")),
    "modal": Hello("modal_app.py", MODAL, _packages("modal")),
    "runpod": Hello("handler.py", RUNPOD, _packages("runpod")),
    "banana": Hello("app.py", BANANA, _packages("potassium")),
    "lambda": Hello("function.py", LAMBDA, _packages("awslambdaric")),
    "truss": Hello("model/model.py", TRUSS, lambda: truss_local.fetch_template()[1]),
    "hf-endpoints": Hello(
        "handler.py",
        HUGGING_FACE,
        _packages(),
        unsized="the toolkit is the platform's image, a fake stands for it here",
    ),
}


def write(hello: Hello, folder: Path) -> None:
    """Put the program into a copy of the target's artifact."""
    (folder / hello.file).write_text(hello.source, "utf-8")
    schema = folder / ".cog" / "openapi_schema.json"
    if schema.is_file():  # Cog passes every input that the schema names, also those that a request leaves out
        document = json.loads(schema.read_text("utf-8"))
        wanted = document["components"]["schemas"]["Input"]
        wanted["properties"] = {name: wanted["properties"][name] for name in ("prompt", "max_new_tokens")}
        document["components"]["schemas"]["Output"] = {"title": "Output", "type": "string"}
        schema.write_text(json.dumps(document), "utf-8")


def server(hello: Hello, local: LocalServer, folder: Path) -> LocalServer:
    """How to run the hello-world in `folder`: as the target's artifact is run, or under plain uvicorn."""
    if not hello.asgi:
        return local
    argv = (sys.executable, "-m", "uvicorn", "hello:app", "--host", local.host, "--port", str(local.port))
    process = dataclasses.replace(local.processes[-1], argv=argv, cwd=folder, env={})
    return dataclasses.replace(local, processes=(process,))


def call(name: str, predict: Call) -> Call:
    """The request to a hello-world: the target's own, where its route is the same."""
    return dataclasses.replace(predict, path="/predict") if name == "bento" else predict
