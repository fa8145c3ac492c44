"""OpenAI-compatible routes: /v1/completions, /v1/chat/completions, /v1/embeddings, /v1/models."""

from __future__ import annotations

import base64
import time
import uuid
from array import array
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import msgspec

from lukewarm.predictors.chat_template import has_role
from lukewarm.predictors.errors import RequestError
from lukewarm.predictors.spec import Task
from lukewarm.predictors.tasks import EmbeddingResult, Request, Result, TextGenerationResult
from lukewarm.serving.core import Answer
from lukewarm.serving.decoding import convert, require_object
from lukewarm.serving.engine import Engine
from lukewarm.serving.errors import HttpRefusal, error_body, error_status
from lukewarm.serving.http import Endpoint, Exchange, Reply, event
from lukewarm.serving.shapes.common import all_results, read
from lukewarm.serving.shapes.openai_types import (
    NESTED,
    NEUTRAL,
    ChatRequest,
    CompletionRequest,
    EmbeddingsRequest,
    without_neutral,
)

REASONS = {"eos": "stop", "stop": "stop", "length": "length", "cancelled": None}
SAME = ("temperature", "top_p", "top_k", "seed", "repetition_penalty")
# what models of one task have; a model of another says so
TASK_ROUTES: Mapping[str, Task] = {
    "/v1/completions": "text-generation",
    "/v1/chat/completions": "text-generation",
    "/v1/embeddings": "embeddings",
}


def endpoints(engine: Engine) -> list[Endpoint]:
    rows = [
        _row("GET", "/v1/models", models, "The served model, as OpenAI lists them"),
        _row("GET", "/v1/models/{model}", model, "The served model, as OpenAI describes it"),
    ]
    if engine.task == "text-generation":
        rows.append(_row("POST", "/v1/completions", completions, "Complete a prompt", CompletionRequest))
        rows.append(_row("POST", "/v1/chat/completions", chat, "Answer a chat", ChatRequest))
    if engine.task == "embeddings":
        rows.append(_row("POST", "/v1/embeddings", embeddings, "Embed texts", EmbeddingsRequest))
    return rows


def _row(method: str, path: str, handle: Any, summary: str, request: Any = None) -> Endpoint:
    return Endpoint(
        method=method,
        path=path,
        handle=handle,
        summary=summary,
        request=(lambda schemas: schemas.openai(request, NEUTRAL, NESTED)) if request else None,
        response=lambda _: {"type": "object", "required": ["object" if method == "GET" else "usage"]},
        events=request in (CompletionRequest, ChatRequest),
        error=openai_error,
        error_schema=lambda schemas: schemas.openai_error(),
    )


def openai_error(error: BaseException) -> dict[str, Any]:
    """The one error shape with what OpenAI clients look for in it: `type` and `param`."""
    fields = error_body(error)["error"]
    status = error_status(error)
    kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
    path = fields["path"].removeprefix("$").removeprefix(".")
    return {"error": {**fields, "type": kind, "param": path or None}}


async def models(exchange: Exchange) -> Reply:
    return Reply({"object": "list", "data": [_model(exchange.engine)]})


async def model(exchange: Exchange) -> Reply:
    _check_model(exchange.engine, exchange.request.path_params["model"])
    return Reply(_model(exchange.engine))


async def completions(exchange: Exchange) -> Reply:
    engine = exchange.engine
    body: CompletionRequest = await _decode(exchange, CompletionRequest)
    prompts = [body.prompt] if isinstance(body.prompt, str) else engine.reader.items(body.prompt, "$.prompt")
    where = ["$.prompt"] if isinstance(body.prompt, str) else [f"$.prompt[{index}]" for index in range(len(prompts))]
    names = {name: name for name in SAME} | {"max_new_tokens": "max_tokens"}
    requests = [read(engine, {**_sampling(body, body.max_tokens), "prompt": prompt}, "$", names) for prompt in prompts]
    frame = _Frame(engine, "text_completion", "cmpl")
    if body.stream:
        if len(requests) > 1:
            raise RequestError("not_streamable", "several prompts cannot be streamed", "$.prompt", "one prompt")
        usage = body.stream_options is not None and body.stream_options.include_usage is True
        return await _stream(exchange, requests[0], frame, _completion_choice, usage)
    answer = await engine.arun(requests)
    results = all_results(answer, where, {})
    choices = [_completion_choice(index, result.text, _reason(result)) for index, result in enumerate(_texts(results))]
    return Reply({**frame.fields(answer), "choices": choices, "usage": _usage(results)}, answer=answer)


async def chat(exchange: Exchange) -> Reply:
    engine = exchange.engine
    body: ChatRequest = await _decode(exchange, ChatRequest)
    if body.max_tokens is not None and body.max_completion_tokens is not None:
        raise RequestError("one_of", "give one of 'max_tokens' and 'max_completion_tokens'", "$.max_tokens")
    limit = body.max_tokens or body.max_completion_tokens
    names = {"max_new_tokens": "max_tokens" if body.max_tokens else "max_completion_tokens"}
    item = {**_sampling(body, limit), "messages": _messages(engine, body)}
    request = read(engine, item, "$", names)
    if body.stream:
        usage = body.stream_options is not None and body.stream_options.include_usage is True
        return await _stream(exchange, request, _Frame(engine, "chat.completion.chunk", "chatcmpl"), _chat_delta, usage)
    answer = await engine.arun([request])
    result = _texts(all_results(answer, ["$"], names))[0]
    message = {"role": "assistant", "content": result.text}
    choice = {"index": 0, "message": message, "finish_reason": _reason(result), "logprobs": None}
    fields = _Frame(engine, "chat.completion", "chatcmpl").fields(answer)
    return Reply({**fields, "choices": [choice], "usage": _usage([result])}, answer=answer)


def _messages(engine: Engine, body: ChatRequest) -> list[dict[str, str]]:
    """The turns; `developer`, OpenAI's newer name of the system's role, where the model's template knows none."""
    turns = [message.as_native() for message in body.messages]
    if any(turn["role"] == "developer" for turn in turns) and not has_role(engine.bundle, "developer"):
        return [{**turn, "role": "system"} if turn["role"] == "developer" else turn for turn in turns]
    return turns


async def embeddings(exchange: Exchange) -> Reply:
    engine = exchange.engine
    given = require_object(await exchange.json())
    size = given.get("dimensions")
    if type(size) is int and size > 0:  # the model's own size asks for nothing; which that is, is seen below
        given = {key: value for key, value in given.items() if key != "dimensions"}
    body: EmbeddingsRequest = _typed(engine, given, EmbeddingsRequest)
    texts = [body.input] if isinstance(body.input, str) else engine.reader.items(body.input, "$.input")
    answer = await engine.arun([read(engine, {"text": text}, "$", {"text": "input"}) for text in texts])
    where = ["$.input"] if isinstance(body.input, str) else [f"$.input[{index}]" for index in range(len(texts))]
    results = all_results(answer, where, {})
    _check_size(results, size)
    encode: Callable[[list[float]], Any] = _base64_floats if body.encoding_format == "base64" else list
    data = [
        {"object": "embedding", "index": index, "embedding": encode(result.embedding)}
        for index, result in enumerate(results)
        if isinstance(result, EmbeddingResult)
    ]
    tokens = sum(getattr(result, "prompt_tokens", 0) for result in results)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    meta = msgspec.to_builtins(answer.meta)
    return Reply(
        {"object": "list", "data": data, "model": engine.spec.name, "usage": usage, "meta": meta}, answer=answer
    )


def _check_size(results: Sequence[Result], size: int | None) -> None:
    own = {len(result.embedding) for result in results if isinstance(result, EmbeddingResult)}
    if size is not None and own != {size}:
        (width,) = own
        message = f"'dimensions' is not supported here: this model's vectors have {width}"
        raise RequestError("unsupported_parameter", message, "$.dimensions", f"null | {width}")


async def _decode(exchange: Exchange, to: Any) -> Any:
    return _typed(exchange.engine, require_object(await exchange.json()), to)


def _typed(engine: Engine, given: dict[str, Any], to: Any) -> Any:
    body = convert(without_neutral(given), to)
    if body.model is not None:
        _check_model(engine, body.model)
    return body


def _check_model(engine: Engine, name: str) -> None:
    if name != engine.spec.name:
        raise HttpRefusal(404, "model_not_found", f"no model {name!r} here", allowed=engine.spec.name, path="$.model")


def _model(engine: Engine) -> dict[str, Any]:
    return {"id": engine.spec.name, "object": "model", "created": int(engine.opened_at), "owned_by": "lukewarm"}


def _sampling(body: CompletionRequest | ChatRequest, max_tokens: int | None) -> dict[str, Any]:
    fields: dict[str, Any] = {name: getattr(body, name) for name in SAME}
    fields["top_k"] = max(body.top_k, 0) if body.top_k is not None else None
    fields["stop"] = [body.stop] if isinstance(body.stop, str) else body.stop
    fields["max_new_tokens"] = max_tokens
    given = {name: value for name, value in fields.items() if value is not None}
    return {**given, "ignore_eos": True} if body.ignore_eos else given


class _Frame:
    """The fields around the choices, the same in every piece of a stream."""

    def __init__(self, engine: Engine, kind: str, prefix: str) -> None:
        self._engine = engine
        self._kind = kind
        self._created = int(time.time())
        self._id = f"{prefix}-{uuid.uuid4().hex}"

    def fields(self, answer: Answer | None = None) -> dict[str, Any]:
        base = {"id": self._id, "object": self._kind, "created": self._created, "model": self._engine.spec.name}
        return {**base, "meta": msgspec.to_builtins(answer.meta)} if answer else base


Choice = Callable[[int, str, "str | None"], Mapping[str, Any]]


def _completion_choice(index: int, text: str, reason: str | None) -> dict[str, Any]:
    return {"index": index, "text": text, "finish_reason": reason, "logprobs": None}


def _chat_delta(index: int, text: str, reason: str | None) -> dict[str, Any]:
    return {"index": index, "delta": {} if reason else {"content": text}, "finish_reason": reason, "logprobs": None}


async def _stream(exchange: Exchange, request: Request, frame: _Frame, choice: Choice, usage: bool) -> Reply:
    return Reply(events=_chunks(await exchange.pieces(request), frame, choice, usage))


async def _chunks(
    pieces: AsyncIterator[str | Answer], frame: _Frame, choice: Choice, usage: bool
) -> AsyncIterator[bytes]:
    none = {"usage": None} if usage else {}
    if choice is _chat_delta:
        opening = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
        yield event({**frame.fields(), "choices": [opening], **none})
    async for piece in pieces:
        if isinstance(piece, str):
            yield event({**frame.fields(), "choices": [choice(0, piece, None)], **none})
            continue
        result = _texts([piece.result()])[0]
        yield event({**frame.fields(piece), "choices": [choice(0, "", _reason(result))], **none})
        if usage:
            yield event({**frame.fields(piece), "choices": [], "usage": _usage([result])})
    yield b"data: [DONE]\n\n"


def _texts(results: Sequence[Result]) -> list[TextGenerationResult]:
    return [result for result in results if isinstance(result, TextGenerationResult)]


def _reason(result: TextGenerationResult) -> str | None:
    return REASONS[result.finish_reason]


def _usage(results: Sequence[Result]) -> dict[str, int]:
    prompt = sum(result.prompt_tokens for result in _texts(results))
    completion = sum(result.completion_tokens for result in _texts(results))
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _base64_floats(values: list[float]) -> str:
    floats = array("f", values)  # little-endian on every machine that these runtimes support
    return base64.b64encode(floats.tobytes()).decode("ascii")
