"""Strict decoding: the corpus against the engine, and what must be accepted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lukewarm.predictors.echo import EchoPredictor
from lukewarm.predictors.errors import RequestError
from lukewarm.predictors.spec import Generation, Limits
from lukewarm.predictors.tasks import BinaryRequest, CustomRequest, TextGenerationRequest
from lukewarm.serving.conformance import BadRequest, json_cases, text_generation_cases, violations
from lukewarm.serving.decoding import MAX_DEPTH, check_json, convert, parse_json
from lukewarm.serving.errors import error_body, error_status, relocated
from lukewarm.serving.requests import RequestReader
from support.serving_engine import TestEngine, engine_of

CASES = [*text_generation_cases(), *json_cases()]


class Echo(EchoPredictor):
    def setup(self) -> None:
        self.delay_s = 0.0


@pytest.fixture(scope="module")
def engine() -> TestEngine:
    return engine_of(Echo)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_bad_bodies_are_refused(engine: TestEngine, case: BadRequest) -> None:
    with pytest.raises(RequestError) as caught:
        engine.predict(case.body)
    assert violations(case, error_status(caught.value), error_body(caught.value)) == []


@pytest.mark.parametrize("case", [case for case in CASES if case.is_json], ids=lambda case: case.name)
def test_bad_data_is_refused_like_bad_bytes(engine: TestEngine, case: BadRequest) -> None:
    if not isinstance(case.value, dict):
        return  # other servers hand over objects only
    with pytest.raises(RequestError) as caught:
        engine.predict(case.value)
    assert violations(case, error_status(caught.value), error_body(caught.value)) == []


@pytest.mark.parametrize(
    ("value", "code", "path"),
    [
        ({"prompt": "a", "temperature": float("nan")}, "out_of_range", "$.temperature"),
        ({"prompt": "a", "temperature": float("inf")}, "out_of_range", "$.temperature"),
        ({"prompt": "a\ud800"}, "lone_surrogate", "$.prompt"),
        ({"prompt": "a", "\ud800": 1}, "lone_surrogate", "$"),
        ({"prompt": b"a"}, "wrong_type", "$.prompt"),
        ({1: 2}, "wrong_type", "$"),
    ],
)
def test_data_that_no_json_holds_is_refused(engine: TestEngine, value: Any, code: str, path: str) -> None:
    with pytest.raises(RequestError) as caught:
        engine.predict(value)
    assert (caught.value.code, caught.value.path) == (code, path)
    json.dumps(error_body(caught.value)).encode("utf-8")


def test_data_nested_too_deep_is_refused() -> None:
    value: dict[str, Any] = {}
    for _ in range(100_000):
        value = {"a": value}
    with pytest.raises(RequestError) as caught:
        check_json(value)
    assert caught.value.code == "too_deep"
    while value:  # taking it apart by hand, as the interpreter would recurse
        value = value.pop("a")


@pytest.mark.parametrize(
    "body",
    [
        b'{"prompt": "a"}',
        b' \n{"prompt": "a"}\n ',
        '{"prompt": "\\ud83d\\ude00 \u00e9 \\u0000"}'.encode(),
        b'{"prompt": ""}',
        b'{"messages": [{"role": "user", "content": "hi"}], "prompt": null}',
        b'{"prompt": "a", "temperature": 0, "top_p": 1, "top_k": 0, "seed": 9223372036854775807, "stop": []}',
        b'{"prompt": "a", "max_new_tokens": 1024, "ignore_eos": true, "stream": false}',
    ],
)
def test_good_requests_are_taken(engine: TestEngine, body: bytes) -> None:
    assert "text" in engine.predict(body)


def test_text_and_buffers_are_taken(engine: TestEngine) -> None:
    for payload in ('{"prompt": "a"}', bytearray(b'{"prompt": "a"}'), memoryview(b'{"prompt": "a"}')):
        assert engine.predict(payload)["text"] == "a"


def test_the_deepest_allowed_nesting_is_taken() -> None:
    assert parse_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    with pytest.raises(RequestError):
        parse_json(b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=20,
)


def largest_integer(value: Any) -> int:
    if isinstance(value, (list, dict)):
        return max(
            (largest_integer(child) for child in (value.values() if isinstance(value, dict) else value)), default=0
        )
    return abs(value) if isinstance(value, int) else 0


@given(json_values)
@settings(max_examples=200, deadline=None)
def test_json_means_what_the_standard_library_says(value: Any) -> None:
    body = json.dumps(value).encode()
    if largest_integer(value) < 10**300:  # beyond, parsers do not agree
        assert parse_json(body) == json.loads(body)


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_no_bytes_raise_anything_else(body: bytes) -> None:
    try:
        convert(parse_json(body), TextGenerationRequest)
    except RequestError as error:
        json.dumps(error_body(error)).encode("utf-8")


def reader(request_type: Any, defaults: Generation | None = None, **limits: Any) -> RequestReader:
    return RequestReader(request_type, Limits(**limits), defaults or Generation())


def test_the_token_limit_caps_the_default() -> None:
    capped = reader(TextGenerationRequest, max_new_tokens=16).read({"prompt": "a"})
    assert isinstance(capped, TextGenerationRequest)
    assert capped.max_new_tokens == 16
    free = reader(TextGenerationRequest, Generation(max_new_tokens=8), max_new_tokens=16).read({"prompt": "a"})
    assert isinstance(free, TextGenerationRequest)
    assert free.max_new_tokens is None  # the predictor's own default is within the limit


def test_base64_is_checked_and_urls_are_off() -> None:
    binary = reader(BinaryRequest)
    taken = binary.read({"data": "aGk="})
    assert isinstance(taken, BinaryRequest)
    assert taken.data == b"hi"
    for item, code in (
        ({"data": "a!"}, "invalid_base64"),
        ({"url": "http://x/"}, "url_inputs_off"),
        ({}, "missing_key"),
    ):
        with pytest.raises(RequestError) as caught:
            binary.read(item)
        assert caught.value.code == code


def test_custom_inputs_may_be_called_items() -> None:
    assert reader(CustomRequest).read({"inputs": {"items": [1], "stream": 2}})


def test_relocation_renames_and_prefixes() -> None:
    moved = relocated(RequestError("x", "y", "$.stop[2]"), "$.instances[1]", {"stop": "parameters.stop"})
    assert moved.path == "$.instances[1].parameters.stop[2]"
    assert relocated(RequestError("x", "y"), "$.items[0]").path == "$.items[0]"
