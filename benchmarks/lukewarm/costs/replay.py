"""Replay of recorded traffic: access logs, JSON lines and plain timestamps, streamed and checked line by line."""

from __future__ import annotations

import datetime as dt
import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from lukewarm.costs.arrivals import CHUNK
from lukewarm.predictors.errors import PriceError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# host ident user [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 2326 ...
_COMBINED = re.compile(r"\S+ \S+ .*?\[(\d{2})/(\w{3})/(\d{4}):(\d{2}):(\d{2}):(\d{2}) ([+-]\d{4})\] \"")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_JSON_KEYS = ("timestamp", "time", "ts", "TIMESTAMP", "@timestamp", "arrival_s")
_EPOCH_MS_FROM = 1e11  # larger numbers are milliseconds: seconds reach this in the year 5138


@dataclass(frozen=True)
class Replay:
    """Recorded arrival times as a traffic source. The file is read anew for each run, a chunk at a time."""

    path: Path
    count: int
    origin_s: float
    """The full hour (UTC, seconds since the epoch) of the first request: time 0 of the replay."""
    span_s: float

    @property
    def rate(self) -> float:
        return self.count / self.span_s

    @property
    def start_hour(self) -> int:
        """Hour of the week at time 0, so that warm hours are the log's own (UTC; 0 is Monday 00:00)."""
        moment = dt.datetime.fromtimestamp(self.origin_s, dt.UTC)
        return moment.weekday() * 24 + moment.hour

    @property
    def period_s(self) -> float:
        """A recording is one period: it is replayed once, over its own span."""
        return self.span_s

    def chunks(self, rng: np.random.Generator, horizon_s: float) -> Iterator[NDArray[np.float64]]:
        """The recorded times, in seconds from the origin."""
        import numpy as np

        chunk: list[float] = []
        for at in read_times(self.path):
            if at - self.origin_s >= horizon_s:
                break
            chunk.append(at - self.origin_s)
            if len(chunk) == CHUNK:
                yield np.array(chunk)
                chunk = []
        if chunk:
            yield np.array(chunk)


def open_log(path: Path) -> Replay:
    """Read a log once, checking every line. Raises PriceError naming the line that is broken or out of order."""
    count, first, last = 0, 0.0, 0.0
    for at in read_times(path):
        first = at if count == 0 else first
        count, last = count + 1, at
    if count < 2:
        raise PriceError(f"{path}: a log needs at least two requests, this one has {count}")
    origin = first - first % 3600
    # the span ends one mean gap after the last request, and a second after it at least: most logs have whole seconds
    return Replay(path, count, origin, last - origin + max((last - first) / (count - 1), 1.0))


def read_times(path: Path) -> Iterator[float]:
    """Seconds since the epoch of every request, ascending."""
    parse: Callable[[str], float] | None = None
    last = -float("inf")
    try:
        with path.open(encoding="utf-8", errors="surrogateescape") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip() or line.startswith("#"):
                    continue
                parse = parse or _format(line)
                try:
                    at = parse(line)
                except (ValueError, KeyError, OverflowError, msgspec.DecodeError) as error:
                    raise PriceError(f"{path}:{number}: no request time in {_short(line)}: {error}") from error
                if at < last:
                    raise PriceError(
                        f"{path}:{number}: out of order, {last - at:g} s before the line above; sort the log by time"
                    )
                last = at
                yield at
    except OSError as error:
        raise PriceError(f"{path}: cannot read the log: {error.strerror}") from error


def _format(line: str) -> Callable[[str], float]:
    """Which of the known formats a file's first line has; every line must then have it."""
    if line.lstrip().startswith("{"):
        return _from_json
    if _COMBINED.match(line):
        return _from_combined
    return _from_plain


def _from_combined(line: str) -> float:
    found = _COMBINED.match(line)
    if not found:
        raise ValueError("not the combined log format")
    day, month, year, hour, minute, second, offset = found.groups()
    return _day_s(int(year), _MONTHS.index(month) + 1, int(day)) + (
        int(hour) * 3600 + int(minute) * 60 + int(second) - _offset_s(offset)
    )


@functools.lru_cache(maxsize=64)
def _day_s(year: int, month: int, day: int) -> float:
    return dt.datetime(year, month, day, tzinfo=dt.UTC).timestamp()


def _offset_s(text: str) -> int:
    sign = -1 if text[0] == "-" else 1
    return sign * (int(text[1:3]) * 3600 + int(text[3:5]) * 60)


def _from_json(line: str) -> float:
    data = msgspec.json.decode(line)
    if not isinstance(data, dict):
        raise ValueError("not a JSON object")
    for key in _JSON_KEYS:
        if key in data:
            return _moment(data[key])
    raise ValueError(f"none of the keys {', '.join(_JSON_KEYS)}")


def _from_plain(line: str) -> float:
    """A timestamp, alone or as the first field before a comma or a blank that follows it."""
    text = line.strip().split(",")[0].strip()
    return _moment(text)


def _moment(value: object) -> float:
    """Seconds since the epoch from a number (seconds or milliseconds) or an ISO 8601 text; no zone means UTC."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            moment = dt.datetime.fromisoformat(str(value))
            return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e15:
        raise ValueError(f"{value!r} is no time")
    return float(value) / 1000 if abs(value) > _EPOCH_MS_FROM else float(value)


def _short(line: str) -> str:
    text = line.strip()
    return repr(text if len(text) <= 60 else text[:57] + "...")
