"""The little of ASGI that the app needs: requests, responses, routing, lifespan.

Plain ASGI instead of Starlette: importing Starlette took 30 ms of the 180 ms of processor time between spawn and the
first answer of a bare Starlette app on uvicorn, and every response here goes through one wrapper anyway.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, Generic, TypeVar

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
T = TypeVar("T")


class ClientDisconnect(Exception):
    """The client closed the connection before it had its answer."""


class HttpRequest:
    """Method, path and headers of one request. Header names are lower case; of repeated headers the last one counts."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.method: str = scope["method"]
        self.path = _path(scope)
        self.path_params: Mapping[str, str] = {}
        self.headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        self.receive = receive
        self.body_seen = False  # the last piece of the body has been received

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises ClientDisconnect."""
        while not self.body_seen:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            self.body_seen = not message.get("more_body", False)
            yield message.get("body", b"")


class Response:
    """A whole answer. A HEAD request gets its headers only (the server drops the body)."""

    def __init__(self, status: int, headers: Mapping[str, str], media: str, content: bytes) -> None:
        self.status = status
        self.headers = {**headers, "content-type": media, "content-length": str(len(content))}
        self.content = content

    async def send(self, send: Send, receive: Receive) -> None:
        await send(start_message(self.status, self.headers))
        await send({"type": "http.response.body", "body": self.content})


def start_message(status: int, headers: Mapping[str, str]) -> Message:
    """The message that carries a response's status and headers."""
    pairs = [(name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": pairs}


class Router(Generic[T]):
    """Paths to rows. `{name}` in a path stands for one segment."""

    def __init__(self, rows: Iterable[tuple[str, str, T]]) -> None:
        self.rows = list(rows)
        self._exact: dict[str, dict[str, T]] = {}
        self._patterns: list[tuple[re.Pattern[str], dict[str, T]]] = []
        for method, path, row in self.rows:
            methods = self._exact.setdefault(path, {})
            if "{" in path and not methods:
                pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)
                self._patterns.append((re.compile(pattern), methods))
            methods[method] = row

    def find(self, path: str) -> tuple[dict[str, T], dict[str, str]]:
        """The rows of a path by method, and the path's parameters; no rows: no such path."""
        if path in self._exact and "{" not in path:
            return self._exact[path], {}
        for pattern, methods in self._patterns:
            if match := pattern.fullmatch(path):
                return methods, match.groupdict()
        return {}, {}

    @property
    def paths(self) -> list[str]:
        return sorted(self._exact)


async def lifespan(
    receive: Receive, send: Send, startup: Callable[[], Awaitable[None]], shutdown: Callable[[], Awaitable[None]]
) -> None:
    """The ASGI lifespan protocol around two functions."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await startup()
            await send({"type": "lifespan.startup.complete"})
        else:
            await shutdown()
            await send({"type": "lifespan.shutdown.complete"})
            return


def _path(scope: Scope) -> str:
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")  # mounted below another app
    return path[len(root) :] or "/" if root and path.startswith(root) else path
