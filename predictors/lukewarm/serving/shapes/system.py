"""The server about itself: /openapi.json and /metrics."""

from __future__ import annotations

from lukewarm.serving.engine import Engine
from lukewarm.serving.http import Endpoint, Exchange, Reply
from lukewarm.serving.shapes import health


def endpoints(engine: Engine) -> list[Endpoint]:
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


async def openapi(exchange: Exchange) -> Reply:
    from lukewarm.serving.openapi import document
    from lukewarm.serving.routes import endpoints as all_endpoints

    return Reply(document(exchange.engine, all_endpoints(exchange.engine)))


async def metrics(exchange: Exchange) -> Reply:
    from lukewarm.serving.metrics import exposition

    text, media = exposition(exchange.engine)
    return Reply(text, media=media)
