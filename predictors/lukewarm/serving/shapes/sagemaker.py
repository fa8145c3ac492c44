"""Amazon SageMaker: GET /ping and POST /invocations, which takes and gives the native shape."""

from __future__ import annotations

from lukewarm.serving.engine import Engine
from lukewarm.serving.http import Endpoint
from lukewarm.serving.shapes import health, native


def endpoints(engine: Engine) -> list[Endpoint]:
    return [
        health.probe("/ping", "SageMaker: ready", health.ready),
        native.endpoint("/invocations", "SageMaker: run the model"),
    ]
