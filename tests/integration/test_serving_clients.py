"""Clients that others wrote, against a real server process: openai, tritonclient; and fuzzed bodies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lukewarm.serving.conformance import error_of
from support.serving import JSON, ServerProcess, echo_artifact, running

ROUTES = ("/predict", "/invocations", "/v1/completions", "/v1/chat/completions", "/score", "/vertex/predict", "/")
ROUTES += ("/v2/models/echo/infer",)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running(echo_artifact(tmp_path_factory.mktemp("clients"))) as process:
        yield process


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as client:
        yield client


def test_openai_completions(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="echo", prompt=["a b c", "d"], max_tokens=2)
    assert [(choice.text, choice.finish_reason) for choice in answer.choices] == [("a b", "length"), ("d", "stop")]
    assert answer.usage is not None
    assert answer.usage.total_tokens == 4 + 3
    pieces = list(client.completions.create(model="echo", prompt="a b c", stream=True))
    assert "".join(piece.choices[0].text for piece in pieces) == "a b c"
    assert pieces[-1].choices[0].finish_reason == "stop"


def test_openai_chat(client: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": [{"type": "text", "text": "hello "}, {"type": "text", "text": "you"}]}]
    answer = client.chat.completions.create(model="echo", messages=messages)
    assert answer.choices[0].message.content == "hello you"
    stream = client.chat.completions.create(
        model="echo", messages=messages, stream=True, stream_options={"include_usage": True}, max_completion_tokens=1
    )
    pieces = list(stream)
    assert pieces[0].choices[0].delta.role == "assistant"
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices) == "hello"
    assert pieces[-2].choices[0].finish_reason == "length"
    assert pieces[-1].usage is not None
    assert pieces[-1].usage.completion_tokens == 1
    assert len({piece.id for piece in pieces}) == 1


def test_openai_models_and_errors(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["echo"]
    assert client.models.retrieve("echo").id == "echo"
    with pytest.raises(openai.NotFoundError) as missing:
        client.completions.create(model="gpt-4", prompt="a")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="echo", messages=[{"role": "user", "content": "a"}], n=3)
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "n")
    assert "'n' is not supported here" in refused.value.message


def test_openai_sees_overload_as_a_rate_limit(tmp_path: Path) -> None:
    with running(echo_artifact(tmp_path, delay_s=0.1, limits={"queue": 0})) as server:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0)
        with client.completions.create(model="echo", prompt="w " * 50, stream=True) as stream:
            next(iter(stream))
            with pytest.raises(openai.RateLimitError):
                client.completions.create(model="echo", prompt="a")
        patient = client.with_options(max_retries=3)  # it reads Retry-After
        assert patient.completions.create(model="echo", prompt="a").choices[0].text == "a"


def test_tritonclient(server: ServerProcess) -> None:
    triton = pytest.importorskip("tritonclient.http", reason="tritonclient needs a wheel of gevent for this Python")
    import numpy

    client = triton.InferenceServerClient(server.url.removeprefix("http://"))
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("echo")
    assert client.get_model_metadata("echo")["inputs"] == [{"name": "prompt", "datatype": "BYTES", "shape": [-1]}]
    texts = numpy.array([["a b"], ["ü"]], dtype=object)
    for binary in (True, False):
        tensor = triton.InferInput("prompt", [2, 1], "BYTES")
        tensor.set_data_from_numpy(texts, binary_data=binary)
        limit = triton.InferInput("max_new_tokens", [1], "INT32")
        limit.set_data_from_numpy(numpy.array([1], dtype=numpy.int32), binary_data=binary)
        names = ("text", "completion_tokens")
        outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in names]
        answer = client.infer("echo", [tensor, limit], outputs=outputs, request_id="7")
        decoded = [text.decode() if isinstance(text, bytes) else text for text in answer.as_numpy("text")]
        assert decoded == ["a", "ü"]
        assert answer.as_numpy("completion_tokens").tolist() == [1, 1]
        assert answer.get_response()["id"] == "7"
    with pytest.raises(triton.InferenceServerException, match="no model 'nope' here"):
        client.infer("nope", [tensor])
    client.close()


FIELDS = """
prompt messages items stream max_new_tokens temperature top_k top_p repetition_penalty stop seed ignore_eos model
max_tokens inputs parameters instances data n role content name shape datatype outputs id
"""
fields = st.sampled_from(FIELDS.split())
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("echo"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(fields | st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(fields | st.text(max_size=4), values, max_size=6)
bodies = st.binary(max_size=64) | objects.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("route", ROUTES)
def test_no_body_is_the_servers_fault(server: ServerProcess, route: str) -> None:
    with httpx.Client(base_url=server.url) as http:

        @given(bodies)
        @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
        def send(body: bytes) -> None:
            response = http.post(route, content=body, headers=JSON)
            assert response.status_code < 500
            if response.status_code >= 400:
                assert error_of(response.json()) is not None, response.text
            elif response.headers["content-type"] == "application/json":
                response.json()

        send()
    assert server.process.poll() is None
