"""Potassium: two handlers around an engine, and an end that drains."""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from typing import Any

from lukewarm.serving.engine import Engine
from lukewarm.serving.errors import error_body, error_headers, error_status

_LAST_WORDS_S = 0.5  # the threads that write the answers have no end to wait for


def create_app(name: str, engine: Engine) -> Any:
    """A Potassium app: `/` answers a request, `/stream` in server-sent events."""
    from potassium import Potassium, Request, Response

    app = Potassium(name)

    def refuse(error: Exception) -> Any:
        return Response(status=error_status(error), json=error_body(error), headers=error_headers(error))

    def predict(context: dict[str, Any], request: Request) -> Any:
        try:
            return Response(status=200, json=engine.predict(request.json))
        except Exception as error:  # noqa: BLE001 - Potassium would send the traceback
            return refuse(error)

    def stream(context: dict[str, Any], request: Request) -> Any:
        try:
            pieces = engine.stream(request.json)
            pieces = itertools.chain([next(pieces)], pieces)  # what is wrong with the request shows at the first piece
        except Exception as error:  # noqa: BLE001 - Potassium would send the traceback
            return refuse(error)
        events = (f"data: {json.dumps(piece)}\n\n".encode() for piece in pieces)
        return Response(status=200, body=events, headers={"content-type": "text/event-stream"})

    app.handler("/")(predict)
    app.handler("/stream")(stream)
    return app


def serve(app: Any, engine: Engine) -> None:
    """Load the model, then serve on $HOST:$PORT (0.0.0.0:8000) until SIGTERM, which drains."""

    def leave(*_: object) -> None:
        engine.drain()
        time.sleep(_LAST_WORDS_S)
        os._exit(0)

    engine.start()  # not in app.init: Potassium would wait for ever if it failed there
    signal.signal(signal.SIGTERM, leave)
    app.serve(host=os.environ.get("HOST", "0.0.0.0"), port=int(os.environ.get("PORT", "8000")))
