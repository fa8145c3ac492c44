"""What happened to each request: one log line, counters, a span."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from lukewarm.serving.core import Answer
from lukewarm.serving.engine import Engine
from lukewarm.serving.tracing import Tracing

access = logging.getLogger("lukewarm.access")


class Record(msgspec.Struct):
    """One request, filled in on its way."""

    method: str
    route: str
    started: float
    bytes_in: int = 0
    bytes_out: int = 0
    code: str = ""
    answer: Answer | None = None
    span: Any = None


class Observer:
    """Tells logs, metrics and traces about requests."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._tracing = Tracing(engine)

    @contextlib.contextmanager
    def span(self, record: Record, headers: Mapping[str, str]) -> Iterator[None]:
        """The request's span, if spans are wanted."""
        with self._tracing.span(f"{record.method} {record.route}", headers) as record.span:
            yield

    def done(self, record: Record, status: int) -> None:
        """Count and log one finished request. Probes are logged at DEBUG."""
        duration_s = time.perf_counter() - record.started
        stats = self._engine.stats
        stats.add("requests", record.method, record.route, str(status))
        stats.observe("request", duration_s, record.route)
        if record.code:
            stats.add("errors", record.code)
        level = logging.DEBUG if record.method == "GET" and status < 400 else logging.INFO
        fields = self._fields(record, status, duration_s)
        if access.isEnabledFor(level):
            access.log(level, "%s %s %d", record.method, record.route, status, extra=fields)
        if record.span is not None:
            record.span.set_attributes(
                {
                    "http.request.method": record.method,
                    "http.route": record.route,
                    "http.response.status_code": status,
                    **{f"lukewarm.{name}": fields[name] for name in ("boot_id", "n_request", "exec_s", "queue_s")},
                }
            )

    def _fields(self, record: Record, status: int, duration_s: float) -> dict[str, Any]:
        meta = record.answer.meta if record.answer else None
        fields: dict[str, Any] = {
            "method": record.method,
            "route": record.route,
            "status": status,
            "duration_s": round(duration_s, 6),
            "queue_s": round(record.answer.queue_s, 6) if record.answer else 0.0,
            "exec_s": meta.exec_s if meta else 0.0,
            "n_request": meta.n_request if meta else self._engine.admission.n_request,
            "boot_id": self._engine.boot_id,
            "bytes_in": record.bytes_in,
            "bytes_out": record.bytes_out,
        }
        return {**fields, "code": record.code} if record.code else fields
