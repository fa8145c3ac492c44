"""When to try again and how long to wait: exponential with jitter, or what the server's Retry-After says."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeVar

import httpx

from lukewarm.predictors.errors import ProviderError

T = TypeVar("T")
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


class TryAgain(Exception):
    """Something that may pass. `error` is raised when the tries are used up."""

    def __init__(self, error: ProviderError, after_s: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.after_s = after_s


@dataclass(frozen=True)
class Retry:
    """How often and how patiently: the n-th wait is base * 2^n seconds, half of it random, at most `max_s`."""

    tries: int = 5
    base_s: float = 0.5
    max_s: float = 30.0
    sleep: Callable[[float], None] = time.sleep

    def run(self, action: Callable[[], T]) -> T:
        """Call until it returns. Raises the last TryAgain's error."""
        for attempt in range(self.tries):
            try:
                return action()
            except TryAgain as again:
                if attempt + 1 == self.tries:
                    raise again.error from again
                wait = min(self.max_s, self.base_s * 2**attempt)
                if again.after_s is not None:
                    wait = min(self.max_s, again.after_s)
                else:
                    wait *= 0.5 + random.random() / 2
                self.sleep(wait)
        raise AssertionError("tries is at least 1")


def retry_after_s(response: httpx.Response) -> float | None:
    """Seconds that a Retry-After header asks for (a number or an HTTP date), or None."""
    value = response.headers.get("retry-after", "")
    if value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def unreachable(what: str, error: httpx.TransportError) -> ProviderError:
    """The one sentence for a connection that failed; httpx's own text names no header."""
    kind = "timed out" if isinstance(error, httpx.TimeoutException) else str(error) or type(error).__name__
    return ProviderError(f"{what} cannot be reached: {kind}; check the network and run again", reason="unavailable")
