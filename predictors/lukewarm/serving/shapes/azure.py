"""Azure Machine Learning online endpoints: POST /score, `{"data": item or [items]}` to a result or a list."""

from __future__ import annotations

import msgspec

from lukewarm.predictors.errors import RequestError
from lukewarm.serving.engine import Engine
from lukewarm.serving.errors import relocated
from lukewarm.serving.http import Endpoint, Exchange, Reply
from lukewarm.serving.shapes.common import as_item, item_dicts, only_keys, run_items


def endpoints(engine: Engine) -> list[Endpoint]:
    return [
        Endpoint(
            method="POST",
            path="/score",
            handle=score,
            summary="Azure ML: run the model",
            request=lambda schemas: schemas.envelope("data", single=True),
            response=lambda schemas: {"anyOf": [schemas.answer(), schemas.outcomes()]},
        )
    ]


async def score(exchange: Exchange) -> Reply:
    engine = exchange.engine
    data = only_keys(await exchange.json(), ("data",), required=("data",))["data"]
    if isinstance(data, list):
        answer = await run_items(engine, engine.reader.items(data, "$.data"), {})
        return Reply(item_dicts(answer, "$.data"), answer=answer)
    try:
        answer = await engine.arun([await engine.reader.aread(as_item(engine, data, {}))])
        result = answer.result()
    except RequestError as error:
        raise relocated(error, "$.data") from error
    return Reply({**msgspec.to_builtins(result), "meta": msgspec.to_builtins(answer.meta)}, answer=answer)
