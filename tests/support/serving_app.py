"""One request to the ASGI app in process, and what is expected of its answer."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from lukewarm.serving.app import create_app
from lukewarm.serving.conformance import error_of
from support.serving_engine import TestEngine


def call(engine: TestEngine, method: str, path: str, value: Any = None, **more: Any) -> httpx.Response:
    """One request to the app, in an event loop of its own."""

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(engine))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, **({"json": value} if value is not None else {}), **more)

    return asyncio.run(send())


def ok(engine: TestEngine, path: str, value: Any) -> Any:
    response = call(engine, "POST", path, value)
    assert response.status_code == 200, response.text
    return response.json()


def refused(engine: TestEngine, path: str, value: Any, status: int = 400) -> dict[str, str]:
    response = call(engine, "POST", path, value)
    assert response.status_code == status, response.text
    error = error_of(response.json())
    assert error is not None
    return error
