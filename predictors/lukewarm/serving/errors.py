"""One error shape for every target: `{"error": {"code", "message", "path", "allowed"}}`, its status and its headers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from lukewarm.predictors.errors import CancelledError, OverloadedError, RequestError

INTERNAL = "the model failed on this request; the reason is in the server's log, under the same boot_id and n_request"


class HttpRefusal(RequestError):
    """A request refused before its body was looked at: wrong path, method, length or media type."""

    def __init__(self, status: int, code: str, message: str, *, allowed: str = "", path: str = "$") -> None:
        super().__init__(code, message, path=path, allowed=allowed)
        self.status = status
        self.headers: dict[str, str] = {}


def unavailable(code: str, message: str, retry_after_s: float = 1.0) -> OverloadedError:
    """A 503: the process cannot take requests now (`starting`, `setup_failed`, `draining`)."""
    error = OverloadedError(message, retry_after_s, status=503)
    error.code = code
    return error


def timed_out(timeout_s: float, running: bool) -> CancelledError:
    """A 504: the deadline passed, while waiting or while running."""
    where = "while it ran" if running else "while it waited for the model"
    error = CancelledError(f"no answer within {timeout_s:g} s; the deadline passed {where}")
    error.code = "timeout"
    return error


def error_body(error: BaseException) -> dict[str, Any]:
    """The one JSON error shape. Anything that is not the caller's fault says only that it is internal."""
    if not isinstance(error, RequestError):
        return {"error": {"code": "internal", "message": INTERNAL, "path": "$", "allowed": ""}}
    return {
        "error": {
            "code": error.code,
            "message": clean(str(error)),
            "path": clean(error.path),
            "allowed": clean(error.allowed),
        }
    }


def relocated(error: RequestError, at: str, names: Mapping[str, str] | None = None) -> RequestError:
    """The same error, its path moved to where the item stands in the caller's request.

    `names` maps our top-level field names to the caller's (`{"max_new_tokens": "max_tokens"}`).
    """
    match = re.match(r"\$\.([^.\[]+)(.*)", error.path, re.DOTALL)
    if match:
        error.path = f"{at}.{(names or {}).get(match.group(1), match.group(1))}{match.group(2)}"
    else:
        error.path = at + error.path[1:]
    return error


def error_status(error: BaseException) -> int:
    """The HTTP status of an error: the caller's fault is 4xx, no room or no time is 429, 503 or 504, else 500."""
    return error.status if isinstance(error, RequestError) else 500


def error_headers(error: BaseException) -> dict[str, str]:
    """Headers that belong to an error: Retry-After in whole seconds, Allow."""
    headers = dict(getattr(error, "headers", {}))
    if isinstance(error, OverloadedError):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    return headers


def clean(text: str, limit: int = 400) -> str:
    """Text that came from a request, made safe to send back: encodable, of bounded length."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
