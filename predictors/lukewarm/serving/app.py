"""The ASGI application: every row of the routes table behind one wrapper that reads, refuses, logs and counts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from lukewarm.predictors.errors import RequestError, did_you_mean
from lukewarm.serving.engine import Engine
from lukewarm.serving.errors import HttpRefusal, error_body, error_headers, error_status
from lukewarm.serving.http import (
    Endpoint,
    EventResponse,
    Exchange,
    Reply,
    check_headers,
    discard_body,
    event,
    identity_headers,
    read_body,
    unless_disconnected,
)
from lukewarm.serving.observe import Observer, Record
from lukewarm.serving.routes import endpoints

log = logging.getLogger("lukewarm.app")


def create_app(engine: Engine) -> ASGIApp:
    """The ASGI app of one engine. Unless the engine was started before, the app's lifespan starts it in a thread."""
    rows = endpoints(engine)
    observer = Observer(engine)
    by_path: dict[str, list[Endpoint]] = {}
    for row in rows:
        by_path.setdefault(row.path, []).append(row)
    routes = [
        Route(path, _PathHandler(engine, group, observer), methods=[row.method for row in group])
        for path, group in by_path.items()
    ]
    handlers: dict[Any, Any] = {HTTPException: _NotRouted(engine, rows, observer)}

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        if engine.status == "new":
            engine.start_in_background()
        yield
        await asyncio.to_thread(engine.drain)
        await asyncio.to_thread(engine.close)

    app = Starlette(routes=routes, exception_handlers=handlers, lifespan=lifespan)
    app.router.redirect_slashes = False
    return app


class _PathHandler:
    """All methods of one path, as an ASGI app: Starlette leaves such endpoints' requests and responses alone."""

    def __init__(self, engine: Engine, rows: Sequence[Endpoint], observer: Observer) -> None:
        self._engine = engine
        self._rows = {row.method: row for row in rows}
        self._observer = observer

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        row = self._rows["GET" if request.method == "HEAD" else request.method]
        record = Record(request.method, row.path, time.perf_counter())
        with self._observer.span(record, request.headers):
            response = await self._respond(row, request, record)
            await response(scope, receive, send)

    async def _respond(self, row: Endpoint, request: Request, record: Record) -> Response:
        engine = self._engine
        try:
            body = b"" if row.method == "GET" else await self._body(row, request)
            record.bytes_in = len(body)
            exchange = Exchange(engine, request, body)
            work = row.handle(exchange)
            reply = await (work if row.method == "GET" else unless_disconnected(request.receive, work))
        except ClientDisconnect:
            self._observer.done(record, 499)
            return Response(status_code=499)  # nobody reads it
        except Exception as error:  # noqa: BLE001 - the last line before the client: no traceback may pass it
            return await self._refuse(row, request, record, error)
        record.answer = reply.answer
        if reply.events is not None:
            return self._event_response(row, reply, record)
        return self._response(reply, record)

    async def _body(self, row: Endpoint, request: Request) -> bytes:
        length = check_headers(request, row.media)
        self._engine.require_ready()
        self._engine.admission.check()
        limits = self._engine.spec.limits
        return await read_body(request, self._engine.reader.max_body_bytes, length, limits.request_timeout_s)

    async def _refuse(self, row: Endpoint, request: Request, record: Record, error: Exception) -> Response:
        status = error_status(error)
        if status >= 500 and not isinstance(error, RequestError):
            log.error("%s %s failed", row.method, row.path, exc_info=error)
        headers = error_headers(error)
        if status in (411, 413, 408) or self._engine.admission.draining:
            headers["Connection"] = "close"
        if row.method != "GET" and not request._stream_consumed:
            await discard_body(request)
        record.code = getattr(error, "code", "internal")
        return self._response(Reply(row.error(error), status, headers=headers), record)

    def _response(self, reply: Reply, record: Record) -> Response:
        raw = isinstance(reply.body, bytes)
        content = reply.body if raw else msgspec.json.encode(reply.body)
        meta = reply.answer.meta if reply.answer else None
        headers = {**identity_headers(self._engine, meta), **reply.headers}
        record.bytes_out = len(content)
        self._observer.done(record, reply.status)
        return Response(content, reply.status, headers, reply.media)

    def _event_response(self, row: Endpoint, reply: Reply, record: Record) -> Response:
        assert reply.events is not None
        events = reply.events

        async def guarded() -> AsyncIterator[bytes]:
            try:
                async for chunk in events:
                    record.bytes_out += len(chunk)
                    yield chunk
            except Exception as error:
                record.code = getattr(error, "code", "internal")
                if not isinstance(error, RequestError):
                    log.error("%s %s failed in mid-stream", row.method, row.path, exc_info=error)
                yield event(row.error(error))

        headers = {**identity_headers(self._engine), **reply.headers}
        return EventResponse(guarded(), headers, lambda gone: self._observer.done(record, 499 if gone else 200))


class _NotRouted:
    """404 and 405 in the error shape, naming what there is."""

    def __init__(self, engine: Engine, rows: Sequence[Endpoint], observer: Observer) -> None:
        self._engine = engine
        self._paths = sorted({row.path for row in rows})
        self._rows = rows
        self._observer = observer

    async def __call__(self, request: Request, error: HTTPException) -> Response:
        record = Record(request.method, "(none)", time.perf_counter())
        allow = (error.headers or {}).get("Allow", "")
        path = request.url.path
        if error.status_code == 405:
            message = f"{request.method} is not for {path}"
            refusal = HttpRefusal(405, "method_not_allowed", message, allowed=allow)
        else:
            hint = did_you_mean(path, self._paths)
            refusal = HttpRefusal(404, "not_found", f"no route {path!r}{hint}", allowed=", ".join(self._paths))
        if request.method not in ("GET", "HEAD"):
            await discard_body(request)
        style = next((row.error for row in self._rows if row.path == path), error_body)
        content = msgspec.json.encode(style(refusal))
        record.code = refusal.code
        self._observer.done(record, refusal.status)
        headers = {**identity_headers(self._engine), **({"Allow": allow} if allow else {})}
        return Response(content, refusal.status, headers, "application/json")
