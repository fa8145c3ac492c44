"""HTTP in terms of the contract: reading a body within its limits, replies, event streams, disconnects."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec

from lukewarm.predictors.tasks import Request
from lukewarm.serving.asgi import ClientDisconnect, HttpRequest, Receive, Send, start_message
from lukewarm.serving.call import Meta
from lukewarm.serving.core import Answer
from lukewarm.serving.decoding import parse_json
from lukewarm.serving.engine import Engine
from lukewarm.serving.errors import HttpRefusal, error_body
from lukewarm.serving.observe import Record
from lukewarm.serving.requests import too_large

T = TypeVar("T")
JSON = "application/json"
EVENTS = "text/event-stream"
OFF_LOOP_BYTES = 65536  # larger bodies are parsed in a thread, so that the event loop goes on
DISCARD_BYTES = 64 * 2**20  # read and thrown away after a refusal, so that the client gets to read the answer
DISCARD_S = 2.0


class Exchange(msgspec.Struct, frozen=True):
    """One HTTP request as a handler sees it: the body is read, its media type and length are allowed."""

    engine: Engine
    request: HttpRequest
    record: Record
    body: bytes = b""

    async def json(self, part: bytes | None = None) -> Any:
        """The body, or a part of it, as plain data. Raises RequestError."""
        body = self.body if part is None else part
        return parse_json(body) if len(body) <= OFF_LOOP_BYTES else await asyncio.to_thread(parse_json, body)

    async def pieces(self, request: Request) -> AsyncIterator[str | Answer]:
        """The stream of one answer, begun: a refusal before its first piece is raised here and becomes a status."""
        return await primed(self._noted(self.engine.aiter(request)))

    async def _noted(self, pieces: AsyncIterator[str | Answer]) -> AsyncIterator[str | Answer]:
        async for piece in pieces:
            if isinstance(piece, Answer):
                self.record.answer = piece
            yield piece

    @property
    def wants_events(self) -> bool:
        """The client asks for server-sent events in its Accept header."""
        return EVENTS in self.request.headers.get("accept", "")


class Reply(msgspec.Struct, frozen=True):
    """What a handler answers: a value that becomes JSON, bytes as they are, or events."""

    body: Any = None
    status: int = 200
    answer: Answer | None = None
    headers: Mapping[str, str] = {}
    media: str = JSON
    events: AsyncIterator[bytes] | None = None


ErrorStyle = Callable[[BaseException], Any]
Handler = Callable[[Exchange], Awaitable[Reply]]


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the HTTP surface. `request` and `response` are JSON Schemas or types, for /openapi.json."""

    method: str
    path: str
    handle: Handler
    summary: str
    request: Any = None
    response: Any = None
    statuses: Mapping[int, str] = {}  # further successes or refusals of this route
    events: bool = False  # can answer as server-sent events
    media: tuple[str, ...] = (JSON,)
    response_media: str = JSON
    error: ErrorStyle = error_body
    error_schema: Any = None  # None: the one error shape


def check_headers(request: HttpRequest, media: tuple[str, ...]) -> int | None:
    """Refuse a body by its headers: 411, 415. The announced length, or None if the body comes in chunks."""
    headers = request.headers
    kind, _, parameters = headers.get("content-type", JSON).partition(";")
    charset = parameters.lower().partition("charset=")[2].strip(' "') or "utf-8"
    if kind.strip().lower() not in media or charset not in ("utf-8", "utf8"):
        raise HttpRefusal(
            415,
            "media_type",
            f"content-type {headers.get('content-type')!r} is not taken here",
            allowed=", ".join(media),
        )
    encoding = headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise HttpRefusal(415, "content_encoding", f"content-encoding {encoding!r} is not taken", allowed="identity")
    if "transfer-encoding" in headers:
        return None
    if "content-length" not in headers:
        raise HttpRefusal(
            411, "length_required", "the request has neither a length nor chunks", allowed="Content-Length"
        )
    return int(headers["content-length"])  # the HTTP parser has checked that it is a number


async def read_body(request: HttpRequest, limit_bytes: int, length: int | None, timeout_s: float) -> bytes:
    """The whole body, counted while it comes. Raises a 413 or 408 RequestError, or ClientDisconnect."""
    try:
        async with asyncio.timeout(timeout_s):
            if length is not None and length > limit_bytes:
                raise too_large(limit_bytes)
            body = bytearray()
            async for chunk in request.chunks():
                body += chunk
                if len(body) > limit_bytes:
                    raise too_large(limit_bytes)
            return bytes(body)
    except TimeoutError as error:
        raise HttpRefusal(408, "timeout", f"the body did not arrive within {timeout_s:g} s") from error


async def discard_body(request: HttpRequest) -> None:
    """Read what the client still sends, for a short while: a connection closed too early would eat the answer."""
    seen = 0
    with contextlib.suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(DISCARD_S):
            async for chunk in request.chunks():
                seen += len(chunk)
                if seen > DISCARD_BYTES:
                    return


async def disconnected(receive: Receive) -> None:
    """Return when the client is gone. The body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def unless_disconnected(receive: Receive, work: Awaitable[T]) -> T:
    """Await the work; if the client goes away first, cancel it and raise ClientDisconnect."""
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(disconnected(receive))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        for each in (task, watch):
            if not each.done():
                each.cancel()
        await asyncio.wait({task, watch})


def event(value: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


async def primed(pieces: AsyncIterator[T]) -> AsyncIterator[T]:
    """The same iterator once its first piece is there: an error before it can still become a status code."""
    first = await anext(pieces)

    async def chained() -> AsyncIterator[T]:
        try:
            yield first
            async for piece in pieces:
                yield piece
        finally:
            await pieces.aclose()  # type: ignore[attr-defined]

    return chained()


class EventResponse:
    """Server-sent events until the iterator ends or the client goes away; then the iterator is closed."""

    def __init__(self, events: AsyncIterator[bytes], headers: Mapping[str, str], done: Callable[[bool], None]) -> None:
        self._events = events
        self._headers = {**headers, "content-type": f"{EVENTS}; charset=utf-8", "cache-control": "no-store"}
        self._done = done

    async def send(self, send: Send, receive: Receive) -> None:
        await send(start_message(200, self._headers))
        gone = False
        try:
            await unless_disconnected(receive, self._send_all(send))
        except ClientDisconnect:
            gone = True
        finally:
            self._done(gone)

    async def _send_all(self, send: Send) -> None:
        async for chunk in self._events:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def identity_headers(engine: Engine, meta: Meta | None = None) -> dict[str, str]:
    """Headers on every response, so that a cold start is visible from outside."""
    return {
        "X-Lukewarm-Boot-Id": engine.boot_id,
        "X-Lukewarm-N-Request": str(meta.n_request if meta else engine.admission.n_request),
        "X-Lukewarm-Load-S": f"{engine.load_s:.6f}",
        "X-Lukewarm-Exec-S": f"{meta.exec_s if meta else 0:.6f}",
    }
