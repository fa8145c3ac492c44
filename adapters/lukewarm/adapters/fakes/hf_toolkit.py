"""A FAKE of Hugging Face's inference toolkit on loopback: loads a repository's handler.py and serves it as theirs does.

Theirs: GET /health is 200 once the handler is made, POST / gives the body to the handler, any exception is a 400 with
its text. Requests run in a thread pool.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


def load_handler(repository: Path) -> Any:
    """An `EndpointHandler` of the repository's handler.py."""
    spec = importlib.util.spec_from_file_location("handler", repository / "handler.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["handler"] = module
    spec.loader.exec_module(module)
    return module.EndpointHandler(str(repository))


def create_app(handler: Any) -> Starlette:
    """The toolkit's two routes around a handler."""

    async def predict(request: Request) -> Response:
        try:
            body = json.loads(await request.body(), parse_constant=_no_constant)
            return JSONResponse(await run_in_threadpool(handler, body))
        except Exception as error:  # noqa: BLE001 - theirs answers so, whatever it was
            return JSONResponse({"error": str(error)}, 400)

    async def health(_: Request) -> Response:
        return Response("Ok")

    return Starlette(routes=[Route("/", predict, methods=["POST"]), Route("/health", health)])


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repository", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    uvicorn.run(
        create_app(load_handler(arguments.repository)), host=arguments.host, port=arguments.port, log_level="warning"
    )


if __name__ == "__main__":
    main()
