"""Prometheus exposition of the counters, by prometheus-client; imported at the first scrape, not at start."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from lukewarm.predictors.errors import MissingExtra
from lukewarm.serving.engine import Engine
from lukewarm.serving.errors import HttpRefusal
from lukewarm.serving.stats import HISTOGRAMS, Stats

COUNTERS = {
    "requests": ("HTTP requests", ("method", "route", "status")),
    "errors": ("Refused or failed requests", ("code",)),
    "items": ("Items answered by the model", ()),
    "prompt_tokens": ("Tokens read", ()),
    "completion_tokens": ("Tokens written", ()),
    "cache_hits": ("Items answered from the cache", ()),
    "batch_retries": ("Batches that failed and were run again item by item", ()),
}
TIMES = {
    "request": ("lukewarm_request_duration_seconds", "From the request's head to its answer", ("route",)),
    "queue": ("lukewarm_queue_seconds", "Waiting for the model", ()),
    "run": ("lukewarm_run_seconds", "One run of the model", ()),
    "batch": ("lukewarm_batch_items", "Items in one run of the model", ()),
}


def exposition(engine: Engine) -> tuple[bytes, str]:
    """The metrics as text and their media type. Raises a 501 if prometheus-client is not installed."""
    try:
        from prometheus_client import CollectorRegistry, ProcessCollector
        from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
    except ModuleNotFoundError as error:
        missing = MissingExtra("prometheus-client", "metrics")
        raise HttpRefusal(501, "not_installed", str(missing), allowed="lukewarm[metrics]") from error
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_Collector(engine))
    return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4


class _Collector:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._stats: Stats = engine.stats.include(engine.other_stats())

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, InfoMetricFamily

        for name, (text, labels) in COUNTERS.items():
            family = CounterMetricFamily(f"lukewarm_{name}", text, labels=labels)
            values = {key[1:]: value for key, value in self._stats.counters.items() if key[0] == name}
            for key, value in (values or ({} if labels else {(): 0.0})).items():
                family.add_metric(key, value)
            yield family
        for name, (full_name, text, labels) in TIMES.items():
            histogram = HistogramMetricFamily(full_name, text, labels=labels)
            for key, row in self._stats.histograms.items():
                if key[0] == name:
                    bounds = [*map(str, HISTOGRAMS[name]), "+Inf"]
                    buckets = list(zip(bounds, accumulate(row[:-1]), strict=True))
                    histogram.add_metric(key[1:], buckets, row[-1])
            yield histogram
        yield from self._gauges()
        manifest = self._engine.bundle.manifest
        info = {"boot_id": self._engine.boot_id, "model": self._engine.spec.name, "task": manifest.task}
        yield InfoMetricFamily(
            "lukewarm_model", "What runs here", {**info, "backend": manifest.backend, "precision": manifest.precision}
        )

    def _gauges(self) -> Iterator[Any]:
        from prometheus_client.core import GaugeMetricFamily

        admission = self._engine.admission
        gauges = {
            "ready": ("1 once setup and warm-up are done", float(self._engine.ready)),
            "load_seconds": ("Setup and warm-up", self._engine.load_s),
            "requests_in_flight": ("Requests running or waiting", float(admission.in_flight)),
            "requests_capacity": ("Requests that may run or wait", float(admission.capacity)),
            "items_waiting": ("Items waiting for the model", float(self._engine.waiting)),
        }
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(f"lukewarm_{name}", text, value=value)
