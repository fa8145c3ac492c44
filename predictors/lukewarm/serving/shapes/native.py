"""The native shape: POST /predict with the task's own fields, `{"items": [...]}`, or `"stream": true`."""

from __future__ import annotations

from collections.abc import AsyncIterator

from lukewarm.serving.core import Answer
from lukewarm.serving.engine import KEYS, Engine, as_dict
from lukewarm.serving.http import Endpoint, Exchange, Reply, event


def endpoints(engine: Engine) -> list[Endpoint]:
    return [endpoint("/predict", "Run the model")]


def endpoint(path: str, summary: str) -> Endpoint:
    """The native shape on another path."""
    return Endpoint(
        method="POST",
        path=path,
        handle=predict,
        summary=summary,
        events=True,
        request=lambda schemas: schemas.native_request(),
        response=lambda schemas: {"anyOf": [schemas.answer(), schemas.listed("items")]},
    )


async def predict(exchange: Exchange) -> Reply:
    """One item, a batch, or a stream of server-sent events."""
    engine = exchange.engine
    envelope = engine.reader.envelope(await exchange.json())
    if envelope.batch:
        answer = await engine.arun(await engine.reader.aread_each(envelope.items))
        return Reply(as_dict(answer, batch=True), answer=answer)
    request = await engine.reader.aread(envelope.items[0], KEYS)
    if envelope.stream or exchange.wants_events:
        return Reply(events=events(await exchange.pieces(request)))
    answer = await engine.arun([request])
    return Reply(as_dict(answer), answer=answer)


async def events(pieces: AsyncIterator[str | Answer]) -> AsyncIterator[bytes]:
    """`{"delta": text}` any number of times, then `{"result": {...}}`."""
    async for piece in pieces:
        yield event({"delta": piece} if isinstance(piece, str) else {"result": as_dict(piece)})
