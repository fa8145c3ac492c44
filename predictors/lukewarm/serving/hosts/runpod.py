"""Runpod: a handler around an engine. A failure is a text that holds our error, the only one that it passes on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from lukewarm.serving.engine import Engine
from lukewarm.serving.errors import error_body


def handler(engine: Engine) -> Callable[[dict[str, Any]], AsyncIterator[dict[str, Any]]]:
    """An asynchronous generator, which Runpod's worker calls with every job: the answer, or the pieces of a stream."""

    async def handle(job: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        request = job["input"]
        try:
            if isinstance(request, dict) and request.get("stream") is True:
                async for piece in engine.astream(request):
                    yield piece
            else:
                yield await engine.apredict(request)
        except Exception as error:  # noqa: BLE001 - the platform would send the traceback
            yield {"error": json.dumps(error_body(error))}

    return handle
