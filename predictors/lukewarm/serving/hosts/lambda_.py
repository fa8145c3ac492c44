"""AWS Lambda: one event to one answer, for direct invocations and for function URLs and API Gateways."""

from __future__ import annotations

import base64
import json
from typing import Any

from lukewarm.serving.engine import Engine
from lukewarm.serving.errors import error_body, error_headers, error_status


def answer(engine: Engine, event: Any) -> dict[str, Any]:
    """A direct invocation's event is the request, and the answer our JSON; an HTTP event's are inside its envelope."""
    by_url = isinstance(event, dict) and "requestContext" in event
    status, headers = 200, {}
    try:
        body = (event.get("body") or "") if by_url else event
        found = engine.predict(base64.b64decode(body) if by_url and event.get("isBase64Encoded") else body)
    except Exception as error:  # noqa: BLE001 - Lambda would answer with the stack trace
        status, headers, found = error_status(error), error_headers(error), error_body(error)
    if not by_url:
        return found
    headers = {"content-type": "application/json", **headers}
    return {"statusCode": status, "headers": headers, "body": json.dumps(found)}
