"""A FAKE of AWS Lambda's Runtime API (2018-06-01) on loopback, with an invocation route as AWS's emulator has.

Invocations are answered one at a time, as one execution environment of Lambda does.
"""

from __future__ import annotations

import argparse
import asyncio
import time
import uuid
from dataclasses import dataclass, field

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

ARN = "arn:aws:lambda:us-east-1:000000000000:function:fake"
VERSION = "/2018-06-01/runtime"
INVOKE = "/2015-03-31/functions/function/invocations"
DEADLINE_S = 300.0
MAX_PAYLOAD_BYTES = 6 * 1024 * 1024  # a synchronous invocation's limit at AWS


@dataclass
class State:
    """What was asked and not yet answered."""

    waiting: asyncio.Queue[tuple[str, bytes]] = field(default_factory=asyncio.Queue)
    answers: dict[str, asyncio.Future[tuple[bytes, str]]] = field(default_factory=dict)
    initialised: bool = False
    init_error: str = ""


def create_app() -> Starlette:
    """The fake, with no invocation yet."""
    state = State()

    async def invoke(request: Request) -> Response:
        body = await request.body()
        if len(body) > MAX_PAYLOAD_BYTES:
            return JSONResponse({"Type": "User", "Message": "payload too large (fake)"}, 413)
        request_id = str(uuid.uuid4())
        state.answers[request_id] = asyncio.get_running_loop().create_future()
        state.waiting.put_nowait((request_id, body))
        try:
            answer, error_type = await state.answers[request_id]
        finally:
            del state.answers[request_id]
        headers = {"x-amzn-requestid": request_id} | ({"X-Amz-Function-Error": "Unhandled"} if error_type else {})
        return Response(answer, media_type="application/json", headers=headers)

    async def health(_: Request) -> Response:
        return JSONResponse({"ready": state.initialised, "init_error": state.init_error, "fake": True})

    return Starlette(routes=[Route(INVOKE, invoke, methods=["POST"]), Route("/health", health), *_runtime(state)])


def _runtime(state: State) -> list[Route]:
    """What the runtime interface client calls."""

    async def following(_: Request) -> Response:
        state.initialised = True
        request_id, payload = await state.waiting.get()
        headers = {
            "Lambda-Runtime-Aws-Request-Id": request_id,
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + DEADLINE_S) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": ARN,
            "Lambda-Runtime-Trace-Id": "Root=1-0-0;Parent=0;Sampled=0",
        }
        return Response(payload, media_type="application/json", headers=headers)

    async def answered(request: Request) -> Response:
        future = state.answers.get(request.path_params["request_id"])
        error_type = request.headers.get("lambda-runtime-function-error-type", "")
        if future is not None and not future.done():
            failed = request.url.path.endswith("/error")
            future.set_result((await request.body(), error_type or ("Unhandled" if failed else "")))
        return JSONResponse({"status": "OK"}, 202)

    async def init_error(request: Request) -> Response:
        state.init_error = (await request.body()).decode("utf-8", "replace")[:4000]
        return JSONResponse({"status": "OK"}, 202)

    return [
        Route(f"{VERSION}/invocation/next", following),
        Route(f"{VERSION}/invocation/{{request_id}}/response", answered, methods=["POST"]),
        Route(f"{VERSION}/invocation/{{request_id}}/error", answered, methods=["POST"]),
        Route(f"{VERSION}/init/error", init_error, methods=["POST"]),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    uvicorn.run(
        create_app(), host=arguments.host, port=arguments.port, log_level="warning", timeout_graceful_shutdown=2
    )


if __name__ == "__main__":
    main()
