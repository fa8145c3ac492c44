"""The server about itself: /openapi.json and /metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lukewarm.serving.http import Endpoint, Exchange, Reply
from lukewarm.serving.shapes import health


def endpoints(described: Callable[[], Sequence[Endpoint]]) -> list[Endpoint]:
    """`described`: all endpoints of the server, once they are known."""

    async def openapi(exchange: Exchange) -> Reply:
        from lukewarm.serving.openapi import document

        return Reply(document(exchange.engine, list(described())))

    return [
        health.probe("/openapi.json", "This document", openapi),
        Endpoint(
            method="GET",
            path="/metrics",
            handle=metrics,
            summary="Prometheus metrics",
            response=lambda _: {"type": "string"},
            response_media="text/plain",
            statuses={501: "The extra 'metrics' is not installed"},
        ),
    ]


async def metrics(exchange: Exchange) -> Reply:
    from lukewarm.serving.metrics import exposition

    text, media = exposition(exchange.engine)
    return Reply(text, media=media)
