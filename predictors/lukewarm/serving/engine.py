"""The engine: one loaded model behind one request contract. Every target, with or without HTTP, goes through it."""

from __future__ import annotations

import queue
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec

from lukewarm.predictors.errors import RequestError
from lukewarm.predictors.tasks import Request
from lukewarm.serving.call import Meta, Outcome
from lukewarm.serving.core import Answer, EngineCore
from lukewarm.serving.errors import error_body, relocated
from lukewarm.serving.requests import Envelope, Payload

__all__ = ["Answer", "Engine", "Meta", "error_body"]
KEYS = ("items", "stream")  # of a native request, beside the task's own


class Engine(EngineCore):
    """Answers native requests: JSON bytes, text or a dict in, a dict out. Raises RequestError for the caller's fault.

    `with Engine.open(root) as engine:` loads the model and frees it.
    """

    def predict(self, payload: Payload) -> dict[str, Any]:
        """Answer one request, blocking: the result's fields and `meta`, or for a batch `items` and `meta`."""
        requests, batch = self._requests(payload)
        call = self.submit(requests)
        return as_dict(self.answer(call, call.wait()), batch)

    def stream(self, payload: Payload) -> Iterator[dict[str, Any]]:
        """Answer piece by piece: {"delta": text} any number of times, then {"result": {...}}."""
        requests, _ = self._requests(payload, stream=True)
        feed: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        call = self.submit(requests, feed.put)
        if call.jobs:
            for text in call.iterate(feed):
                yield {"delta": text}
        elif cached := getattr(call.outcomes()[0], "text", ""):
            yield {"delta": cached}
        yield {"result": as_dict(self.answer(call, call.outcomes()))}

    async def apredict(self, payload: Payload) -> dict[str, Any]:
        """As `predict`, for an event loop. Cancelling the task cancels the model's work."""
        requests, batch = await self._arequests(payload)
        return as_dict(await self.arun(requests), batch)

    async def astream(self, payload: Payload) -> AsyncIterator[dict[str, Any]]:
        """As `stream`, for an event loop. Closing the generator cancels the model's work."""
        requests, _ = await self._arequests(payload, stream=True)
        assert isinstance(requests[0], Request)
        async for piece in self.aiter(requests[0]):
            yield {"delta": piece} if isinstance(piece, str) else {"result": as_dict(piece)}

    def _requests(self, payload: Payload, stream: bool = False) -> tuple[list[Request | RequestError], bool]:
        envelope = self._envelope(payload, stream)
        if envelope.batch:
            return list(self.reader.read_each(envelope.items)), True
        return [self.reader.read(envelope.items[0], KEYS)], False

    async def _arequests(self, payload: Payload, stream: bool = False) -> tuple[list[Request | RequestError], bool]:
        envelope = self._envelope(payload, stream)
        if envelope.batch:
            return list(await self.reader.aread_each(envelope.items)), True
        return [await self.reader.aread(envelope.items[0], KEYS)], False

    def _envelope(self, payload: Payload, stream: bool) -> Envelope:
        self.require_ready()
        self.admission.check()
        envelope = self.reader.envelope(self.reader.parse(payload))
        if envelope.batch and stream:
            raise RequestError("not_streamable", "a batch cannot be streamed", "$.items", "a single item")
        return envelope

    def __enter__(self) -> Engine:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def as_dict(answer: Answer, batch: bool = False) -> dict[str, Any]:
    """The native answer: the result's fields and `meta`, or `items` with a result or an error each, and `meta`."""
    meta = msgspec.to_builtins(answer.meta)
    if not batch:
        return {**msgspec.to_builtins(answer.result()), "meta": meta}
    items = [outcome_dict(outcome, f"$.items[{index}]") for index, outcome in enumerate(answer.outcomes)]
    return {"items": items, "meta": meta}


def outcome_dict(outcome: Outcome, at: str) -> dict[str, Any]:
    """One item of a batch: the result's fields, or the error shape with its path in the whole request."""
    if isinstance(outcome, BaseException):
        return error_body(relocated(outcome, at) if isinstance(outcome, RequestError) else outcome)
    fields: dict[str, Any] = msgspec.to_builtins(outcome)
    return fields
