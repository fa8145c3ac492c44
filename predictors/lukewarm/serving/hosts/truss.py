"""Truss: one parsed request to an answer, a stream of events, or a response of our own where something is wrong."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from lukewarm.serving.engine import Engine
from lukewarm.serving.errors import error_body, error_headers, error_status


async def answer(engine: Engine, request: Any) -> Any:
    """What a model's `predict` returns."""
    try:
        if isinstance(request, dict) and request.get("stream") is True:
            pieces = engine.astream(request)
            return _events(await anext(pieces), pieces)  # what is wrong with the request shows at the first piece
        return await engine.apredict(request)
    except Exception as error:  # noqa: BLE001 - Truss would hide what is wrong with the request
        from starlette.responses import JSONResponse  # Truss's server is made of it

        return JSONResponse(error_body(error), error_status(error), error_headers(error))


async def _events(first: dict[str, Any], pieces: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    yield f"data: {json.dumps(first)}\n\n".encode()
    async for piece in pieces:
        yield f"data: {json.dumps(piece)}\n\n".encode()
