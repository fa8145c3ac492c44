"""OpenTelemetry spans, if the extra is installed and an OTEL_ variable asks for them; else nothing is imported."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from lukewarm.serving.engine import Engine

log = logging.getLogger("lukewarm.tracing")
SWITCHES = ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def wanted() -> bool:
    """Someone has set up OpenTelemetry in this process, or its environment asks for it."""
    asked = any(os.environ.get(name, "none").lower() != "none" for name in SWITCHES)
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return not disabled and (asked or "opentelemetry.sdk.trace" in sys.modules)


class Tracing:
    """One span per request, child of the caller's `traceparent`, and one for the load of the model."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._load_told = False
        self._tracer: Any = None
        if not wanted():
            return
        try:
            from opentelemetry import trace
        except ModuleNotFoundError:
            log.warning("an OTEL_ variable is set, but opentelemetry is not there: pip install 'lukewarm[otel]'")
            return
        if type(trace.get_tracer_provider()).__name__ == "ProxyTracerProvider":
            _install(engine)
        self._tracer = trace.get_tracer("lukewarm.serving")

    @contextlib.contextmanager
    def span(self, name: str, headers: Mapping[str, str]) -> Iterator[Any]:
        """A server span around one request; None if tracing is off."""
        if self._tracer is None:
            yield None
            return
        from opentelemetry import propagate, trace

        self._tell_load()
        context = propagate.extract(headers)
        with self._tracer.start_as_current_span(name, context=context, kind=trace.SpanKind.SERVER) as span:
            yield span

    def _tell_load(self) -> None:
        if self._load_told or self._engine.status != "ready":
            return
        self._load_told = True
        end = time.time_ns() - int((time.perf_counter() - self._engine.ready_at) * 1e9)
        span = self._tracer.start_span("lukewarm.load", start_time=end - int(self._engine.load_s * 1e9))
        span.set_attribute("lukewarm.boot_id", self._engine.boot_id)
        span.end(end_time=end)


def flush() -> None:
    """Send the spans that still wait, before a process ends without Python's own cleanup."""
    if "opentelemetry.sdk.trace" in sys.modules:
        from opentelemetry import trace

        if callable(shutdown := getattr(trace.get_tracer_provider(), "shutdown", None)):
            shutdown()


def _install(engine: Engine) -> None:
    """A provider that exports where the environment says: console, or OTLP over HTTP."""
    from opentelemetry import trace
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

    name = os.environ.get("OTEL_SERVICE_NAME", engine.spec.name)
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    if os.environ.get("OTEL_TRACES_EXPORTER", "otlp").lower() == "console":
        provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter(out=sys.stderr)))
    else:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        except ModuleNotFoundError:
            log.warning("spans go nowhere: pip install opentelemetry-exporter-otlp-proto-http")
        else:
            provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
