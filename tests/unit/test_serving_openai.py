"""The OpenAI routes in process: what is taken, what is refused by name, and what a chat's turns may carry."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event
from typing import Any, ClassVar

import pytest

from lukewarm.predictors.echo import WIDTH, EchoEmbedder, EchoPredictor
from lukewarm.predictors.predictor import NEVER
from lukewarm.predictors.spec import Task
from lukewarm.predictors.tasks import Request, Result, TextGenerationRequest
from lukewarm.testing import openai_client
from support.serving_app import call, ok, refused
from support.serving_engine import Scripted, TestEngine, engine_of, result

TURN = {"role": "user", "content": "a b"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


class Echo(EchoPredictor):
    def setup(self) -> None:
        self.delay_s = 0.0


class Roles(Scripted):
    """Answers with the roles of the turns."""

    task: ClassVar[Task] = "text-generation"

    def predict_batch(self, requests: Sequence[Request], cancel: Event = NEVER) -> list[Result]:
        (request,) = requests
        assert isinstance(request, TextGenerationRequest)
        return [result(" ".join(turn.role for turn in request.messages or ()), "eos")]


@pytest.fixture(scope="module")
def echo() -> TestEngine:
    return engine_of(Echo)


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"messages": [{**TURN, "name": "ann"}]}, "unsupported_parameter", "messages[0].name"),
        ({"messages": [TURN, {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]},
         "unsupported_parameter", "messages[1].tool_calls"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, IMAGE]}]},
         "unsupported_parameter", "messages[0].content[1].type"),
        ({"messages": [{"role": "user", "content": None}]}, "wrong_type", "messages[0].content"),
        ({"stream_options": {"include_obfuscation": True}}, "unsupported_parameter",
         "stream_options.include_obfuscation"),
        ({"reasoning_effort": "high"}, "unsupported_parameter", "reasoning_effort"),
        ({"top_logprobs": 2}, "unsupported_parameter", "top_logprobs"),
        ({"top_logprobs": False}, "unsupported_parameter", "top_logprobs"),
        ({"metadata": {"a": 1}}, "wrong_type", "metadata[...]"),
        ({"top_k": -2}, "out_of_range", "top_k"),
    ],
)  # fmt: skip
def test_what_asks_for_something_is_refused_by_name(
    echo: TestEngine, change: dict[str, Any], code: str, param: str
) -> None:  # fmt: skip
    response = call(echo, "POST", "/v1/chat/completions", {"messages": [TURN], **change})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, code, param)
    assert error["type"] == "invalid_request_error"


def test_neutral_values_are_no_reason_to_refuse(echo: TestEngine) -> None:
    """Each alone, so that none hides another; what is null asks for nothing, whatever it is."""
    for path, main, defaults in (
        ("/v1/chat/completions", {"messages": [TURN]}, openai_client.CHAT_DEFAULTS),
        ("/v1/completions", {"prompt": "a b"}, openai_client.DEFAULTS),
    ):
        for key, value in defaults.items():
            for neutral in (value, None):
                choice = ok(echo, path, {**main, key: neutral})["choices"][0]
                assert (choice.get("text") or choice["message"]["content"]) == "a b", key


@pytest.mark.parametrize(("tokens", "param"), [([1, 2], "[0]"), ([[1, 2], [3]], "[0][0]")])
@pytest.mark.parametrize(("route", "field"), [("/v1/completions", "prompt"), ("/v1/embeddings", "input")])
def test_token_ids_are_refused_in_words(route: str, field: str, tokens: Any, param: str) -> None:
    engine = engine_of(EchoEmbedder if field == "input" else Echo)
    error = refused(engine, route, {field: tokens})
    assert (error["code"], error["param"]) == ("wrong_type", field + param)
    assert error["message"] == "token ids are not taken here, only text"


def test_turns_that_came_from_an_answer_are_taken_back(echo: TestEngine) -> None:
    none = dict.fromkeys(("refusal", "audio", "function_call", "tool_calls", "name"))
    said = {"role": "assistant", "content": "yes", "annotations": [], **none}
    answer = ok(echo, "/v1/chat/completions", {"messages": [TURN, said, TURN], "top_k": -1, "metadata": {"a": "b"}})
    assert answer["choices"][0]["message"]["content"] == "a b"


@pytest.mark.parametrize(("template", "role"), [("", "system"), ("{{ messages }} developer", "developer")])
def test_developer_is_the_system_where_the_template_knows_none(template: str, role: str) -> None:
    engine = engine_of(Roles)
    engine.bundle.manifest.options["chat_template"] = template
    answer = ok(engine, "/v1/chat/completions", {"messages": [{"role": "developer", "content": "be brief"}, TURN]})
    assert answer["choices"][0]["message"]["content"] == f"{role} user"


def test_the_models_own_size_asks_for_nothing() -> None:
    engine = engine_of(EchoEmbedder)
    answer = ok(engine, "/v1/embeddings", {"input": ["a", "b"], "dimensions": WIDTH})
    assert [len(item["embedding"]) for item in answer["data"]] == [WIDTH, WIDTH]
    error = refused(engine, "/v1/embeddings", {"input": "a", "dimensions": 3})
    assert (error["code"], error["param"]) == ("unsupported_parameter", "dimensions")
    assert f"vectors have {WIDTH}" in error["message"]
    for wrong in (True, 0, -1, "8"):
        assert refused(engine, "/v1/embeddings", {"input": "a", "dimensions": wrong})["code"] == "unsupported_parameter"


def test_a_route_of_another_task_says_so(echo: TestEngine) -> None:
    error = refused(echo, "/v1/embeddings", {"input": "a"}, 404)
    assert "this model does text-generation, not embeddings" in error["message"]
    assert error["type"] == "invalid_request_error"
    assert refused(echo, "/v1/responses", {"input": "a"}, 404)["type"] == "invalid_request_error"
