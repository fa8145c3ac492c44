"""The public Azure Functions traces: a reader for both formats, and a synthetic trace with the same columns.

2019: one file a day, `HashOwner,HashApp,HashFunction,Trigger,1,2,...,1440`, requests per minute. 2021: one row an
invocation, `app,func,end_timestamp,duration`, seconds. The data (CC-BY) are not shipped: `synthetic` stands in.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lukewarm.predictors.errors import PriceError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MINUTES = 1440
_HEAD_2019 = ["HashOwner", "HashApp", "HashFunction", "Trigger"]
_HEAD_2021 = ["app", "func", "end_timestamp", "duration"]


@dataclass(frozen=True, eq=False)
class MinuteTrace:
    """Requests per minute of one function; inside a minute they are spread at random, as the trace does not say."""

    name: str
    counts: NDArray[np.uint32]

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    @property
    def span_s(self) -> float:
        return 60.0 * len(self.counts)

    @property
    def rate(self) -> float:
        return self.total / self.span_s

    @property
    def period_s(self) -> float:
        return self.span_s

    def chunks(self, rng: np.random.Generator, horizon_s: float) -> Iterator[NDArray[np.float64]]:
        import numpy as np

        for day in range(0, len(self.counts), MINUTES):
            counts = self.counts[day : day + MINUTES]
            minutes = np.repeat(np.arange(day, day + len(counts)), counts)
            times = np.sort(60.0 * (minutes + rng.random(minutes.size)))
            yield times[times < horizon_s]


@dataclass(frozen=True, eq=False)
class InvocationTrace:
    """Start times (seconds from the trace's first) and durations of one function."""

    name: str
    starts_s: NDArray[np.float64]
    durations_s: NDArray[np.float64]
    span_s: float

    @property
    def rate(self) -> float:
        return len(self.starts_s) / self.span_s

    @property
    def period_s(self) -> float:
        return self.span_s

    def chunks(self, rng: np.random.Generator, horizon_s: float) -> Iterator[NDArray[np.float64]]:
        yield self.starts_s[self.starts_s < horizon_s]


def read_2019(days: Sequence[Path]) -> list[MinuteTrace]:
    """Per-minute counts of every function, the days in the given order. Raises PriceError naming file and line."""
    import numpy as np

    traces: dict[str, NDArray[np.uint32]] = {}
    for number, path in enumerate(days):
        for line, row in _rows(path, [*_HEAD_2019, *map(str, range(1, MINUTES + 1))]):
            name = row[2]
            counts = traces.setdefault(name, np.zeros(MINUTES * len(days), np.uint32))
            try:
                values = [int(v) for v in row[4:]]
            except ValueError as error:
                raise PriceError(f"{path}:{line}: a count is no whole number: {error}") from error
            if min(values) < 0 or max(values) > 0xFFFFFFFF:
                raise PriceError(f"{path}:{line}: minute {values.index(min(values)) + 1} has a count of {min(values)}")
            counts[number * MINUTES : (number + 1) * MINUTES] += np.array(values, np.uint32)
    return [MinuteTrace(name, counts) for name, counts in traces.items()]


def read_2021(path: Path) -> list[InvocationTrace]:
    """Invocations of every function. The file is ordered by end; a row that ends before the one above is refused."""
    import numpy as np

    found: dict[str, list[tuple[float, float]]] = {}
    last = -math.inf
    for line, row in _rows(path, _HEAD_2021):
        try:
            end, duration = float(row[2]), float(row[3])
        except ValueError as error:
            raise PriceError(f"{path}:{line}: {error}") from error
        if not (math.isfinite(end) and math.isfinite(duration) and duration >= 0):
            raise PriceError(
                f"{path}:{line}: end_timestamp {row[2]} and duration {row[3]} must be finite, not negative"
            )
        if end < last:
            raise PriceError(f"{path}:{line}: out of order, ends {last - end:g} s before the row above; sort by time")
        last = end
        found.setdefault(row[1], []).append((end - duration, duration))
    first = min((start for rows in found.values() for start, _ in rows), default=0.0)
    traces = []
    for name, rows in found.items():
        pairs = np.array(sorted(rows))
        traces.append(InvocationTrace(name, pairs[:, 0] - first, pairs[:, 1], max(last - first, 1.0)))
    return traces


def synthetic(functions: int, days: int, seed: int = 0) -> Iterator[MinuteTrace]:
    """A SYNTHETIC trace in the 2019 shape: rates over many decades, most functions rare, some periodic or bursty."""
    import numpy as np

    rng = np.random.default_rng(seed)
    minute = np.arange(days * MINUTES)
    day = 0.6 + 0.4 * np.cos(2 * np.pi * (minute % MINUTES / MINUTES - 15 / 24))
    for number in range(functions):
        per_day = 10 ** rng.normal(1.5, 1.2)
        kind = rng.random()
        if kind < 0.3:  # a timer: the same minute again and again
            counts = (minute % max(round(MINUTES / per_day), 1) == 0).astype(np.uint32)
        elif kind < 0.8:
            counts = rng.poisson(per_day / MINUTES * day / day.mean()).astype(np.uint32)
        else:  # bursts: the rate itself is random
            counts = rng.poisson(rng.gamma(0.05, per_day / MINUTES / 0.05, minute.size)).astype(np.uint32)
        yield MinuteTrace(f"synthetic-{number:05d}", counts)


def write_2019(traces: Sequence[MinuteTrace], folder: Path) -> list[Path]:
    """Write traces as 2019 day files (for tests and for trying other tools)."""
    days = len(traces[0].counts) // MINUTES
    paths = []
    for day in range(days):
        path = folder / f"invocations_per_function_md.anon.d{day + 1:02d}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            out = csv.writer(file)
            out.writerow([*_HEAD_2019, *range(1, MINUTES + 1)])
            for t in traces:
                out.writerow(["owner", "app", t.name, "http", *t.counts[day * MINUTES : (day + 1) * MINUTES].tolist()])
        paths.append(path)
    return paths


def _rows(path: Path, head: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Data rows with their line numbers, the header and the number of columns checked."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            first = next(reader, [])
            if first != head:
                raise PriceError(f"{path}:1: columns {first[:5]}..., expected {head[:5]}... ({len(head)} columns)")
            for row in reader:
                if len(row) != len(head):
                    raise PriceError(f"{path}:{reader.line_num}: {len(row)} columns, the header has {len(head)}")
                yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PriceError(f"{path}: cannot read the trace: {error}") from error
