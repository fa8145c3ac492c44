"""What happened to each request: one log line, counters, a span."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lukewarm.serving.core import Answer
from lukewarm.serving.engine import Engine

access = logging.getLogger("lukewarm.access")


@dataclass
class Record:
    """One request, filled in on its way."""

    method: str
    route: str
    started: float
    bytes_in: int = 0
    bytes_out: int = 0
    code: str = ""
    answer: Answer | None = None


class Observer:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextlib.contextmanager
    def span(self, record: Record, headers: Mapping[str, str]) -> Iterator[None]:
        yield

    def done(self, record: Record, status: int) -> None:
        """Count and log one finished request."""
        duration_s = time.perf_counter() - record.started
        access.info("%s %s %d %.6f", record.method, record.route, status, duration_s)
