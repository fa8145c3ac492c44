"""Counters of one process, as plain numbers; metrics.py turns them into an exposition."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Iterable
from typing import Any

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
ITEMS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
HISTOGRAMS = {"request": SECONDS, "queue": SECONDS, "run": SECONDS, "batch": ITEMS}


class Stats:
    """Labelled counters and histograms. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counters: dict[tuple[str, ...], float] = {}  # (name, *label values)
        self.histograms: dict[tuple[str, ...], list[float]] = {}  # one count per bound, one beyond, then the sum

    def add(self, name: str, *labels: str, amount: float = 1.0) -> None:
        with self._lock:
            key = (name, *labels)
            self.counters[key] = self.counters.get(key, 0.0) + amount

    def observe(self, name: str, value: float, *labels: str) -> None:
        bounds = HISTOGRAMS[name]
        with self._lock:
            row = self.histograms.setdefault((name, *labels), [0.0] * (len(bounds) + 2))
            row[bisect.bisect_left(bounds, value)] += 1
            row[-1] += value

    def snapshot(self) -> dict[str, Any]:
        """A copy that JSON can hold, for other workers of the same server."""
        with self._lock:
            return {
                "counters": [[list(key), value] for key, value in self.counters.items()],
                "histograms": [[list(key), list(row)] for key, row in self.histograms.items()],
            }

    def include(self, snapshots: Iterable[dict[str, Any]]) -> Stats:
        """A new Stats: this process's numbers plus those of others."""
        total = Stats()
        for snapshot in [self.snapshot(), *snapshots]:
            for key, value in snapshot["counters"]:
                total.add(*key, amount=value)
            for key, row in snapshot["histograms"]:
                mine = total.histograms.setdefault(tuple(key), [0.0] * len(row))
                total.histograms[tuple(key)] = [a + b for a, b in zip(mine, row, strict=True)]
        return total
