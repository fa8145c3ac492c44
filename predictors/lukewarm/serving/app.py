"""The ASGI application: every row of the routes table behind one wrapper that reads, refuses, logs and counts."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import AsyncIterator, Iterable

import msgspec

from lukewarm.predictors.errors import OverloadedError, RequestError, did_you_mean
from lukewarm.serving.asgi import ClientDisconnect, HttpRequest, Receive, Response, Router, Scope, Send, lifespan
from lukewarm.serving.engine import Engine
from lukewarm.serving.errors import HttpRefusal, error_body, error_headers, error_status
from lukewarm.serving.http import (
    JSON,
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
from lukewarm.serving.routes import endpoints, first_endpoints

log = logging.getLogger("lukewarm.app")


def create_app(engine: Engine) -> App:
    """The ASGI app of one engine. Unless the engine was started before, the app's lifespan starts it in a thread."""
    return App(engine)


class App:
    """An ASGI application over one engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._first = _router(first_endpoints(engine))
        self.observer = Observer(engine)
        self._reading = 0  # bodies

    @functools.cached_property
    def router(self) -> Router[Endpoint]:
        """All routes."""
        return _router(endpoints(self.engine))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(HttpRequest(scope, receive), send)
        elif scope["type"] == "lifespan":
            await lifespan(receive, send, self._startup, self._shutdown)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": "HTTP only"})

    async def _startup(self) -> None:
        if self.engine.status == "new":
            self.engine.start_in_background()

    async def _shutdown(self) -> None:
        await asyncio.to_thread(self.engine.drain)
        await asyncio.to_thread(self.engine.close)

    async def _http(self, request: HttpRequest, send: Send) -> None:
        method = "GET" if request.method == "HEAD" else request.method
        rows, request.path_params = self._first.find(request.path)
        if method not in rows:
            rows, request.path_params = self.router.find(request.path)
        row = rows.get(method)
        record = Record(request.method, row.path if row else "(none)", time.perf_counter())
        with self.observer.span(record, request.headers):
            if row is None:
                response: Response | EventResponse = await self._not_routed(request, rows, record)
            else:
                response = await self._respond(row, request, record)
            await response.send(send, request.receive)

    async def _respond(self, row: Endpoint, request: HttpRequest, record: Record) -> Response | EventResponse:
        try:
            body = b"" if row.method == "GET" else await self._body(row, request)
            record.bytes_in = len(body)
            work = row.handle(Exchange(self.engine, request, record, body))
            reply = await (work if row.method == "GET" else unless_disconnected(request.receive, work))
        except ClientDisconnect:
            self.observer.done(record, 499)
            return Response(499, {}, JSON, b"")  # nobody reads it
        except Exception as error:  # noqa: BLE001 - the last line before the client: no traceback may pass it
            return await self._refuse(row, request, record, error)
        record.answer = reply.answer or record.answer
        if reply.events is not None:
            return self._event_response(row, reply, record)
        return self._response(reply, record)

    async def _body(self, row: Endpoint, request: HttpRequest) -> bytes:
        length = check_headers(request, row.media)
        self.engine.require_ready()
        self.engine.admission.check()
        if self._reading >= self.engine.admission.capacity:  # bodies on their way are memory too
            raise OverloadedError(f"{self._reading} requests are on their way in; no more fit")
        timeout_s = self.engine.spec.limits.request_timeout_s
        self._reading += 1
        try:
            return await read_body(request, self.engine.reader.max_body_bytes, length, timeout_s)
        finally:
            self._reading -= 1

    async def _refuse(self, row: Endpoint, request: HttpRequest, record: Record, error: Exception) -> Response:
        status = error_status(error)
        if status >= 500 and not isinstance(error, RequestError):
            log.error("%s %s failed", row.method, row.path, exc_info=error)
        headers = error_headers(error)
        if status in (411, 413, 408) or self.engine.admission.draining:
            headers["Connection"] = "close"
        if row.method != "GET" and not request.body_seen:
            await discard_body(request)
        record.code = getattr(error, "code", "internal")
        return self._response(Reply(row.error(error), status, headers=headers), record)

    def _response(self, reply: Reply, record: Record) -> Response:
        raw = isinstance(reply.body, bytes)
        content = reply.body if raw else msgspec.json.encode(reply.body)
        meta = reply.answer.meta if reply.answer else None
        headers = {**identity_headers(self.engine, meta), **reply.headers}
        record.bytes_out = len(content)
        self.observer.done(record, reply.status)
        return Response(reply.status, headers, reply.media, content)

    def _event_response(self, row: Endpoint, reply: Reply, record: Record) -> EventResponse:
        assert reply.events is not None
        events = reply.events

        async def guarded() -> AsyncIterator[bytes]:
            try:
                async for chunk in events:
                    record.bytes_out += len(chunk)
                    yield chunk
            except Exception as error:  # the status line is sent: what is left is to say so in the stream
                record.code = getattr(error, "code", "internal")
                if not isinstance(error, RequestError):
                    log.error("%s %s failed in mid-stream", row.method, row.path, exc_info=error)
                yield event(row.error(error))

        headers = {**identity_headers(self.engine), **reply.headers}
        del headers["X-Lukewarm-Exec-S"]  # known at the end: the last event says it
        return EventResponse(guarded(), headers, lambda gone: self.observer.done(record, 499 if gone else 200))

    async def _not_routed(self, request: HttpRequest, rows: dict[str, Endpoint], record: Record) -> Response:
        from lukewarm.serving.shapes.openai import TASK_ROUTES, openai_error  # imported by now: all routes were tried

        if rows:
            allow = ", ".join(sorted(rows) + (["HEAD"] if "GET" in rows else []))
            refusal = HttpRefusal(
                405, "method_not_allowed", f"{request.method} is not for {request.path}", allowed=allow
            )
            refusal.headers["Allow"] = allow
        else:
            paths = self.router.paths
            task = TASK_ROUTES.get(request.path)
            hint = f": this model does {self.engine.task}, not {task}" if task else did_you_mean(request.path, paths)
            refusal = HttpRefusal(404, "not_found", f"no route {request.path!r}{hint}", allowed=", ".join(paths))
        if request.method not in ("GET", "HEAD"):
            await discard_body(request)
        record.code = refusal.code
        unknown = openai_error if request.path.startswith("/v1/") else error_body
        style = next((row.error for row in rows.values()), unknown)
        return self._response(Reply(style(refusal), refusal.status, headers=refusal.headers), record)


def _router(rows: Iterable[Endpoint]) -> Router[Endpoint]:
    return Router((row.method, row.path, row) for row in rows)
