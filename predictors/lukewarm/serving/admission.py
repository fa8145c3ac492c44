"""How many requests may be in the process at once; who comes too much is told when to come back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from lukewarm.predictors.errors import OverloadedError
from lukewarm.serving.errors import unavailable


class Admission:
    """Counts requests from their acceptance until the model has let go of them. Thread-safe."""

    def __init__(self, capacity: int, timeout_s: float, expected_wait_s: Callable[[], float]) -> None:
        self.capacity = capacity
        self._timeout_s = timeout_s
        self._expected_wait_s = expected_wait_s
        self._changed = threading.Condition()
        self.in_flight = 0
        self.n_request = 0
        self.draining = False

    def check(self) -> None:
        """Raise OverloadedError if a request that came now would be refused."""
        if self.draining:
            raise unavailable("draining", "this instance is shutting down; another one will answer")
        wait_s = self._expected_wait_s()
        if self.in_flight >= self.capacity:
            error = OverloadedError(f"{self.in_flight} requests run or wait here; no more fit", _clamp(wait_s))
            error.allowed = f"at most {self.capacity} at once"
            raise error
        if wait_s > self._timeout_s:
            raise OverloadedError(
                f"the wait would be about {wait_s:.0f} s, over the limit of {self._timeout_s:g} s",
                _clamp(wait_s - self._timeout_s),
            )

    def enter(self) -> int:
        """Take a slot; the number of this request in this process, from 1. Raises OverloadedError."""
        with self._changed:
            self.check()
            self.in_flight += 1
            self.n_request += 1
            return self.n_request

    def leave(self) -> None:
        """Give the slot back."""
        with self._changed:
            self.in_flight -= 1
            self._changed.notify_all()

    def drain(self, timeout_s: float) -> bool:
        """Refuse new requests and wait for those in flight; False if some are left at the deadline."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            self.draining = True
            while self.in_flight and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            return not self.in_flight


def _clamp(seconds: float) -> float:
    return min(60.0, max(1.0, seconds))
