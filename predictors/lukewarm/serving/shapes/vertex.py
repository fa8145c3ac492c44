"""Google Vertex AI: `{"instances": [...], "parameters": {...}}` to `{"predictions": [...]}`, on the routes it names.

Vertex tells a container its routes in AIP_PREDICT_ROUTE and AIP_HEALTH_ROUTE (and its port in AIP_HTTP_PORT).
"""

from __future__ import annotations

import os
import re

import msgspec

from lukewarm.serving.engine import Engine
from lukewarm.serving.http import Endpoint, Exchange, Reply
from lukewarm.serving.shapes import health
from lukewarm.serving.shapes.common import check_parameters, item_dicts, only_keys, parameters_of, run_items


def endpoints(engine: Engine) -> list[Endpoint]:
    rows = [
        Endpoint(
            method="POST",
            path=route("AIP_PREDICT_ROUTE", "/vertex/predict"),
            handle=predict,
            summary="Vertex AI: run the model",
            request=lambda schemas: schemas.envelope("instances", parameters=True),
            response=lambda schemas: schemas.listed("predictions"),
        )
    ]
    path = route("AIP_HEALTH_ROUTE", "/vertex/health")
    return [*rows, health.probe(path, "Vertex AI: ready", health.ready)]


def route(variable: str, default: str) -> str:
    """A route from the environment, if it is a plain path that no other shape needs."""
    value = os.environ.get(variable, "")
    return value if re.fullmatch(r"(/[\w.:~-]+)+", value) else default


async def predict(exchange: Exchange) -> Reply:
    engine = exchange.engine
    envelope = only_keys(await exchange.json(), ("instances", "parameters"), required=("instances",))
    instances = engine.reader.items(envelope["instances"], "$.instances")
    parameters = parameters_of(envelope)
    check_parameters(engine, parameters)
    answer = await run_items(engine, instances, parameters)
    meta = msgspec.to_builtins(answer.meta)
    return Reply({"predictions": item_dicts(answer, "$.instances"), "meta": meta}, answer=answer)
