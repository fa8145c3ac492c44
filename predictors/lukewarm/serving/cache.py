"""Content-keyed cache of results, off by default; only for requests whose answer is the same every time."""

from __future__ import annotations

import threading
from collections import OrderedDict

import msgspec

from lukewarm.predictors.spec import Generation
from lukewarm.predictors.tasks import CustomRequest, Request, Result, TextGenerationRequest


class ResultCache:
    """The last `items` results by the sha256 of their request. Thread-safe."""

    def __init__(self, items: int, defaults: Generation) -> None:
        self._items = items
        self._defaults = defaults
        self._results: OrderedDict[bytes, Result] = OrderedDict()
        self._lock = threading.Lock()

    def key(self, request: Request) -> bytes | None:
        """The key of a request; None if its answer may differ next time, or the cache is off."""
        if not self._items or not self._deterministic(request):
            return None
        import hashlib  # the cache is off by default, and a server starts without it

        kind = type(request).__name__.encode()
        return hashlib.sha256(kind + msgspec.json.encode(request, order="deterministic")).digest()

    def get(self, key: bytes | None) -> Result | None:
        if key is None:
            return None
        with self._lock:
            if key in self._results:
                self._results.move_to_end(key)
            return self._results.get(key)

    def put(self, key: bytes | None, result: Result) -> None:
        """Keep a result; one that was cut short by a cancellation is not kept."""
        if key is None or getattr(result, "finish_reason", "") == "cancelled":
            return
        with self._lock:
            self._results[key] = result
            self._results.move_to_end(key)
            while len(self._results) > self._items:
                self._results.popitem(last=False)

    def _deterministic(self, request: Request) -> bool:
        if isinstance(request, CustomRequest):
            return False  # nobody knows what a user's own code does
        if isinstance(request, TextGenerationRequest):
            temperature = request.temperature if request.temperature is not None else self._defaults.temperature
            return not temperature or request.seed is not None
        return True
