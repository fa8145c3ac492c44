"""Hugging Face Inference Endpoints: POST / with `{"inputs", "parameters"}`, answers as their pipelines give them."""

from __future__ import annotations

from typing import Any

import msgspec

from lukewarm.predictors.errors import RequestError
from lukewarm.predictors.tasks import ClassificationResult, EmbeddingResult, Result
from lukewarm.serving.engine import Engine
from lukewarm.serving.http import Endpoint, Exchange, Reply
from lukewarm.serving.shapes import health
from lukewarm.serving.shapes.common import MAIN_FIELD, all_results, check_parameters, only_keys, parameters_of, read

TEXT_KEY = {
    "text-generation": "generated_text",
    "text-to-text": "generated_text",
    "image-to-text": "generated_text",
    "speech-to-text": "text",
}


def endpoints(engine: Engine) -> list[Endpoint]:
    return [
        Endpoint(
            method="POST",
            path="/",
            handle=run,
            summary="Hugging Face Endpoints: run the model",
            request=lambda schemas: schemas.envelope("inputs", parameters=True, single=True, bare=True),
            response=lambda schemas: {},
        ),
        health.probe("/health", "Hugging Face Endpoints: ready", health.ready),
    ]


async def run(exchange: Exchange) -> Reply:
    engine = exchange.engine
    envelope = only_keys(await exchange.json(), ("inputs", "parameters"), required=("inputs",))
    inputs, parameters = envelope["inputs"], dict(parameters_of(envelope))
    full_text = _flag(parameters, "return_full_text", False)
    if not _flag(parameters, "do_sample", True):
        parameters.setdefault("temperature", 0)
    several = isinstance(inputs, list)
    values = engine.reader.items(inputs, "$.inputs") if several else [inputs]
    where = [f"$.inputs[{index}]" for index in range(len(values))] if several else ["$.inputs"]
    main = MAIN_FIELD[engine.task]
    check_parameters(engine, parameters)
    requests = [
        read(engine, {**parameters, main: value}, "$", {main: at.removeprefix("$.")})
        for value, at in zip(values, where, strict=True)
    ]
    answer = await engine.arun(requests)
    results = all_results(answer, where, {})
    prompts = [value if full_text and isinstance(value, str) else "" for value in values]
    shaped = [_shaped(engine, result, prompt) for result, prompt in zip(results, prompts, strict=True)]
    if engine.task in ("text-generation", "text-to-text", "image-to-text", "embeddings"):
        return Reply(shaped, answer=answer)  # these pipelines answer with a list even for one input
    return Reply(shaped if several else shaped[0], answer=answer)


def _flag(parameters: dict[str, Any], name: str, default: bool) -> bool:
    value = parameters.pop(name, default)
    if not isinstance(value, bool):
        raise RequestError("wrong_type", "expected boolean", f"$.parameters.{name}", "boolean")
    return value


def _shaped(engine: Engine, result: Result, prompt: str) -> Any:
    if isinstance(result, EmbeddingResult):
        return result.embedding
    if isinstance(result, ClassificationResult):
        return msgspec.to_builtins(result.labels)
    if engine.task in TEXT_KEY:
        return {TEXT_KEY[engine.task]: prompt + str(getattr(result, "text", ""))}
    return msgspec.to_builtins(result)
