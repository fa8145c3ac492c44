"""What OpenAI's own client, and the programs built on it, may expect of a server of the echo model."""

from __future__ import annotations

import base64
import json
from array import array
from typing import Any

import openai
import pytest

from lukewarm.adapters.local import Running
from lukewarm.adapters.wire import JSON, Call
from lukewarm.predictors.echo import WIDTH
from lukewarm.serving.engine import Engine
from lukewarm.testing.project import LIMITS

USER = {"role": "user", "content": "hello you there"}
TOOL = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}
# what LangChain, LiteLLM, LlamaIndex and chat front ends send with every request, at the values that ask for nothing
DEFAULTS: dict[str, Any] = {
    "stream": False, "temperature": 0.7, "top_p": 1, "n": 1, "frequency_penalty": 0, "presence_penalty": 0.0,
    "user": "someone", "stop": None, "seed": None, "logprobs": None, "logit_bias": {}, "max_tokens": 16,
    "stream_options": None, "store": False, "metadata": {}, "service_tier": "auto",
}  # fmt: skip
CHAT_DEFAULTS: dict[str, Any] = {
    **DEFAULTS, "logprobs": False, "top_logprobs": None, "response_format": {"type": "text"}, "tools": [],
    "tool_choice": "none", "parallel_tool_calls": True, "functions": None, "function_call": None, "max_tokens": None,
    "max_completion_tokens": 16, "modalities": ["text"], "reasoning_effort": None, "verbosity": None,
    "safety_identifier": "someone", "prompt_cache_key": "k", "prediction": None, "audio": None,
}  # fmt: skip
# what changes the answer and cannot be done: (what is sent, the parameter that the refusal names)
CHAT_REFUSALS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"n": 2}, "n"),
    ({"logprobs": True}, "logprobs"),
    ({"logprobs": True, "top_logprobs": 2}, "logprobs"),
    ({"tools": [TOOL]}, "tools"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}}, "response_format"),
    ({"logit_bias": {"5": 10}}, "logit_bias"),
    ({"frequency_penalty": 0.5}, "frequency_penalty"),
    ({"presence_penalty": -1}, "presence_penalty"),
    ({"reasoning_effort": "high"}, "reasoning_effort"),
    ({"modalities": ["text", "audio"]}, "modalities"),
    ({"store": True}, "store"),
    ({"temperature": -1}, "temperature"),
    ({"temperature": "warm"}, "temperature"),
    ({"top_p": 1.5}, "top_p"),
    ({"seed": "x"}, "seed"),
    ({"stop": [""]}, "stop[0]"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_completion_tokens": LIMITS.max_new_tokens + 1}, "max_completion_tokens"),
    ({"max_tokens": 2, "max_completion_tokens": 2}, "max_tokens"),
    ({"messages": []}, "messages"),
    ({"messages": [{**USER, "name": "ann"}]}, "messages[0].name"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, IMAGE]}]},
     "messages[0].content[1].type"),
    ({"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]},
     "messages[1].tool_calls"),
    ({"messages": [USER, {"role": "tool", "content": "12:00", "tool_call_id": "1"}]}, "messages[1].tool_call_id"),
    ({"extra_body": {"guided_json": {}}}, "guided_json"),
)  # fmt: skip
COMPLETION_REFUSALS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"n": 2}, "n"),
    ({"best_of": 2}, "best_of"),
    ({"echo": True}, "echo"),
    ({"suffix": "end"}, "suffix"),
    ({"logprobs": 1}, "logprobs"),
    ({"prompt": [1, 2, 3]}, "prompt[0]"),
    ({"prompt": [[1, 2], [3]]}, "prompt[0][0]"),
    ({"prompt": ["a"] * (LIMITS.max_items + 1)}, "prompt"),
    ({"prompt": ["a", "b"], "stream": True}, "prompt"),
)
EMBEDDING_REFUSALS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"input": [1, 2, 3]}, "input[0]"),
    ({"input": [[1, 2], [3]]}, "input[0][0]"),
    ({"input": []}, "input"),
    ({"input": ["a"] * (LIMITS.max_items + 1)}, "input"),
    ({"dimensions": WIDTH - 1}, "dimensions"),
    ({"encoding_format": "int8"}, "encoding_format"),
)


def client_of(server: Running) -> openai.OpenAI:
    """The client, without retries, so that every refusal is seen."""
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0)


def check_completions(client: openai.OpenAI) -> None:
    """Prompts, several of them, and their stream."""
    create = client.completions.create
    answer = create(model="echo", prompt=["a b c", "d"], max_tokens=2)
    assert [(one.text, one.finish_reason) for one in answer.choices] == [("a b", "length"), ("d", "stop")]
    pieces = list(create(model="echo", prompt="a b c", stream=True))
    assert "".join(piece.choices[0].text for piece in pieces) == "a b c"
    assert create(model="echo", prompt="a b c", stop=["b"], seed=7).choices[0].text == "a"
    with pytest.raises(openai.NotFoundError):
        create(model="another", prompt="a")


def check_chat(client: openai.OpenAI) -> None:
    """Chats with all that has a meaning here, streamed and not; an answer goes back as a turn."""
    create: Any = client.chat.completions.create
    said = create(model="echo", messages=[USER], stop="there", seed=1, max_completion_tokens=8)
    assert (said.choices[0].message.content, said.choices[0].finish_reason) == ("hello you", "stop")
    assert said.usage.total_tokens == said.usage.prompt_tokens + said.usage.completion_tokens > 0
    turns = [
        {"role": "developer", "content": "be brief"},
        {"role": "system", "content": [{"type": "text", "text": "and kind"}]},
        USER,
        said.choices[0].message.model_dump(),
        {"role": "user", "content": [{"type": "text", "text": "and "}, {"type": "text", "text": "now"}]},
    ]
    assert create(model="echo", messages=turns).choices[0].message.content == "and now"
    options = {"include_usage": True}
    pieces = list(create(model="echo", messages=[USER], stream=True, stream_options=options, max_tokens=2))
    assert pieces[0].choices[0].delta.role == "assistant"
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices) == "hello you"
    assert pieces[-2].choices[0].finish_reason == "length"
    assert (pieces[-1].choices, pieces[-1].usage.completion_tokens) == ([], 2)
    assert len({piece.id for piece in pieces}) == 1
    plain = list(create(model="echo", messages=[USER], stream=True))
    assert all(piece.usage is None for piece in plain)
    assert plain[-1].choices[0].finish_reason == "stop"


def check_refusals(client: openai.OpenAI) -> None:
    """What cannot be done is a BadRequestError that names its parameter, streamed or not; nothing is ignored."""
    for change, param in CHAT_REFUSALS:
        for stream in ({}, {"stream": True}):
            refused(client.chat.completions.create, {"messages": [USER], **stream, **change}, param)
    for change, param in COMPLETION_REFUSALS:
        refused(client.completions.create, {"prompt": "a", **change}, param)
    for call in (
        lambda: client.embeddings.create(model="echo", input="a"),
        lambda: client.responses.create(model="echo", input="a"),
    ):
        with pytest.raises(openai.NotFoundError) as missing:
            call()
        assert "no route" in missing.value.message
    assert [one.id for one in client.models.list()] == ["echo"]


def refused(create: Any, fields: dict[str, Any], param: str) -> None:
    """The call must fail with OpenAI's error shape, and name the parameter."""
    with pytest.raises(openai.BadRequestError) as caught:
        create(model="echo", **fields)
    error = caught.value
    assert error.param == param, (fields, error.param, error.message)
    assert error.code
    assert error.type == "invalid_request_error"
    assert len(error.message) > 10, (fields, error.message)


def check_defaults(server: Running) -> None:
    """Requests as other programs write them: fields at their neutral values are no reason to refuse."""
    for path, body in (
        ("/v1/chat/completions", {"model": "echo", "messages": [USER], **CHAT_DEFAULTS}),
        ("/v1/completions", {"model": "echo", "prompt": "hello you there", **DEFAULTS}),
    ):
        reply = server.send(Call(method="POST", path=path, body=json.dumps(body).encode(), headers=JSON), 60)
        assert reply.status == 200, reply
        choice = json.loads(reply.body)["choices"][0]
        assert (choice.get("text") or choice["message"]["content"]) == "hello you there"


def check_embeddings(client: openai.OpenAI, engine: Engine) -> None:
    """Vectors as the engine's own, in both encodings, one text and several; refusals as of the other routes."""
    texts = ["a cold start", 'grüße 世界 🙂 "quoted"', "c"]
    expected = [engine.predict({"text": text})["embedding"] for text in texts]
    create: Any = client.embeddings.create
    for more in ({}, {"encoding_format": "float"}, {"encoding_format": "base64"}, {"user": "someone"}):
        answer = create(model="echo", input=texts, **more)
        found = [floats(item.embedding) for item in answer.data]
        assert [item.index for item in answer.data] == [0, 1, 2]
        assert all(near(one, other) for one, other in zip(found, expected, strict=True)), (more, found)
        assert answer.usage.total_tokens == answer.usage.prompt_tokens > 0
    assert near(floats(create(model="echo", input=texts[0]).data[0].embedding), expected[0])
    assert len(create(model="echo", input="a", dimensions=WIDTH).data[0].embedding) == WIDTH
    for change, param in EMBEDDING_REFUSALS:
        refused(create, {"input": "a", **change}, param)
    for call in (
        lambda: client.chat.completions.create(model="echo", messages=[{"role": "user", "content": "a"}]),
        lambda: client.completions.create(model="echo", prompt="a"),
    ):
        with pytest.raises(openai.NotFoundError) as missing:
            call()
        assert "this model does embeddings" in missing.value.message


def floats(embedding: Any) -> list[float]:
    """A vector, or the base64 of one in 32-bit floats."""
    return list(array("f", base64.b64decode(embedding))) if isinstance(embedding, str) else list(embedding)


def near(one: list[float], other: list[float]) -> bool:
    return len(one) == len(other) and max(abs(a - b) for a, b in zip(one, other, strict=True)) < 1e-6
