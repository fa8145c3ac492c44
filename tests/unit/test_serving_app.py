"""The ASGI app in process: routes, shapes, error styles, OpenAPI, metrics."""

from __future__ import annotations

import asyncio
import builtins
import json
from collections.abc import Callable, Sequence
from threading import Event
from typing import Any, ClassVar

import httpx
import jsonschema
import pytest

from lukewarm.predictors.echo import EchoPredictor
from lukewarm.predictors.predictor import NEVER, Predictor
from lukewarm.predictors.spec import Task
from lukewarm.predictors.tasks import (
    BinaryRequest,
    ClassificationResult,
    EmbeddingResult,
    Label,
    Request,
    Result,
    TextToTextResult,
)
from lukewarm.serving.app import create_app
from lukewarm.serving.conformance import error_of, http_cases, violations
from lukewarm.serving.errors import error_body
from support.serving_app import call, ok, refused
from support.serving_engine import Scripted, TestEngine, engine_of


class Echo(EchoPredictor):
    def setup(self) -> None:
        self.delay_s = 0.0


class Fixed(Predictor):
    """Answers every request with one result per text."""

    answer: ClassVar[Callable[[Request], Result]]

    def setup(self) -> None: ...

    def predict_batch(self, requests: Sequence[Request], cancel: Event = NEVER) -> list[Result]:
        return [type(self).answer(request) for request in requests]


class Embedder(Fixed):
    task: ClassVar[Task] = "embeddings"
    answer = lambda request: EmbeddingResult(embedding=[0.5, -1.25, float(len(request.text))], prompt_tokens=2)  # noqa: E731


class Classifier(Fixed):
    task: ClassVar[Task] = "text-classification"
    answer = lambda _: ClassificationResult(labels=[Label("good", 0.75), Label("bad", 0.25)], prompt_tokens=2)  # noqa: E731


class Captioner(Fixed):
    task: ClassVar[Task] = "image-to-text"

    @staticmethod
    def answer(request: Request) -> Result:
        assert isinstance(request, BinaryRequest)
        text = request.data.decode("latin-1")
        return TextToTextResult(text=text, finish_reason="eos", prompt_tokens=1, completion_tokens=1)


@pytest.fixture(scope="module")
def echo() -> TestEngine:
    return engine_of(Echo)


def test_every_response_carries_the_identity(echo: TestEngine) -> None:
    for method, path, value in (
        ("GET", "/livez", None),
        ("POST", "/predict", {"prompt": "a"}),
        ("POST", "/predict", {}),
    ):
        headers = call(echo, method, path, value).headers
        assert headers["x-lukewarm-boot-id"] == echo.boot_id
        assert int(headers["x-lukewarm-n-request"]) == echo.admission.n_request
        assert float(headers["x-lukewarm-load-s"]) == pytest.approx(echo.load_s, abs=1e-5)
        assert float(headers["x-lukewarm-exec-s"]) >= 0
    streamed = call(echo, "POST", "/predict", {"prompt": "a", "stream": True})
    assert streamed.headers["x-lukewarm-boot-id"] == echo.boot_id
    assert "x-lukewarm-exec-s" not in streamed.headers, "its run has only begun; its last event says it"
    assert '"exec_s":' in streamed.text


@pytest.mark.parametrize(("path", "case"), http_cases(), ids=lambda item: getattr(item, "name", None))
def test_requests_wrong_before_their_body(echo: TestEngine, path: str, case: Any) -> None:
    response = call(echo, case.method, path, content=case.body, headers=dict(case.headers))
    assert violations(case, response.status_code, response.json()) == []
    if response.status_code == 405:
        assert response.headers["allow"] == "POST"


def test_head_is_get_without_a_body(echo: TestEngine) -> None:
    assert call(echo, "HEAD", "/readyz").status_code == 200


def test_chunks_are_counted_while_they_come(echo: TestEngine) -> None:
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while True:
            sent += 2**20
            yield b"a" * 2**20

    response = call(echo, "POST", "/predict", content=endless(), headers={"content-type": "application/json"})
    assert response.status_code == 413
    assert sent < 100 * 2**20


def test_not_ready_says_why_on_every_route() -> None:
    class Broken(Scripted):
        def setup(self) -> None:
            raise OSError("no such device")

    engine = engine_of(Broken, start=False)
    assert call(engine, "GET", "/readyz").json()["error"]["code"] == "starting"
    assert call(engine, "GET", "/livez").status_code == 200
    engine.start_in_background().join()
    for method, path in (("GET", "/readyz"), ("POST", "/predict"), ("GET", "/ping"), ("GET", "/v2/health/ready")):
        response = call(engine, method, path, {"prompt": "a"} if method == "POST" else None)
        error = error_of(response.json())
        assert (response.status_code, error["code"]) == (503, "setup_failed")  # type: ignore[index]
        assert "no such device" in response.text
        assert int(response.headers["retry-after"]) >= 1


def test_a_failing_predictor_is_500_without_details() -> None:
    response = call(engine_of(), "POST", "/predict", {"prompt": "fail"})
    assert response.status_code == 500
    assert response.json() == error_body(RuntimeError())
    assert "secret" not in response.text


def test_streams_end_with_the_result_or_the_error() -> None:
    engine = engine_of()
    good = events(call(engine, "POST", "/predict", {"prompt": "a b", "stream": True}))
    assert good[:2] == [{"delta": "a"}, {"delta": "b"}]
    assert good[2]["result"]["text"] == "ab"
    by_header = call(engine, "POST", "/predict", {"prompt": "a b"}, headers={"accept": "text/event-stream"})
    assert len(events(by_header)) == 3
    broken = events(call(engine, "POST", "/predict", {"prompt": "a fail", "stream": True}))
    assert broken[0] == {"delta": "a"}
    assert broken[1]["error"]["code"] == "internal"
    early = call(engine, "POST", "/predict", {"prompt": "reject", "stream": True})
    assert early.status_code == 400


def events(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    return [json.loads(line) if line != "[DONE]" else {"done": True} for line in lines]


def test_sagemaker_takes_the_native_shape(echo: TestEngine) -> None:
    assert call(echo, "GET", "/ping").status_code == 200
    assert ok(echo, "/invocations", {"prompt": "a b"})["text"] == "a b"


def test_vertex_takes_instances_and_its_own_routes(echo: TestEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"instances": ["a b", {"prompt": "c d", "max_new_tokens": 2}, {"x": 1}], "parameters": {"max_new_tokens": 1}}
    predictions = ok(echo, "/vertex/predict", body)["predictions"]
    assert [item.get("text") for item in predictions] == ["a", "c d", None]
    assert predictions[2]["error"]["path"] == "$.instances[2].x"
    monkeypatch.setenv("AIP_PREDICT_ROUTE", "/v1/endpoints/7/deployedModels/9:predict")
    monkeypatch.setenv("AIP_HEALTH_ROUTE", "/v1/endpoints/7")
    assert ok(echo, "/v1/endpoints/7/deployedModels/9:predict", body)["predictions"] == predictions
    assert call(echo, "GET", "/v1/endpoints/7").status_code == 200
    assert refused(echo, "/v1/endpoints/7/deployedModels/9:predict", {"instances": [], "x": 1})["path"] == "$.x"


def test_azure_takes_data(echo: TestEngine) -> None:
    assert ok(echo, "/score", {"data": "a b"})["text"] == "a b"
    several = ok(echo, "/score", {"data": [{"prompt": "a"}, 4]})
    assert several[0]["text"] == "a"
    assert several[1]["error"]["path"] == "$.data[1].prompt"
    assert refused(echo, "/score", {"data": {"prompt": 4}})["path"] == "$.data.prompt"
    assert refused(echo, "/score", {})["code"] == "missing_key"


def test_huggingface_takes_inputs_and_parameters(echo: TestEngine) -> None:
    body = {"inputs": "a b", "parameters": {"max_new_tokens": 1, "do_sample": False}}
    assert ok(echo, "/", body) == [{"generated_text": "a"}]
    assert ok(echo, "/", {"inputs": ["a", "b"], "parameters": None}) == [
        {"generated_text": "a"},
        {"generated_text": "b"},
    ]
    assert refused(echo, "/", {"inputs": "a", "parameters": {"top_q": 1}})["path"] == "$.parameters.top_q"
    assert refused(echo, "/", {"inputs": ["a", 3]})["path"] == "$.inputs[1]"
    assert refused(echo, "/", {"inputs": "a", "parameters": {"prompt": "b"}})["code"] == "unknown_key"
    assert ok(engine_of(Classifier), "/", {"inputs": "x"})[0] == {"label": "good", "score": 0.75}
    assert ok(engine_of(Embedder), "/", {"inputs": "xyz"}) == [[0.5, -1.25, 3.0]]
    assert ok(engine_of(Captioner), "/", {"inputs": "aGk="}) == [{"generated_text": "hi"}]


def test_oip_in_json(echo: TestEngine) -> None:
    prompt = {"name": "prompt", "shape": [2, 1], "datatype": "BYTES", "data": [["a b"], ["c"]]}
    tokens = {"name": "max_new_tokens", "shape": [1], "datatype": "INT32", "data": [1]}
    answer = ok(echo, "/v2/models/echo/infer", {"id": "7", "inputs": [prompt, tokens]})
    assert (answer["id"], answer["model_name"]) == ("7", "echo")
    assert {output["name"]: output["data"] for output in answer["outputs"]} == {
        "text": ["a", "c"],
        "finish_reason": ["length", "eos"],
        "prompt_tokens": [2, 1],
        "completion_tokens": [1, 1],
    }
    chat = [{"role": "user", "content": "hi"}]
    messages = {"name": "messages", "shape": [1], "datatype": "BYTES", "data": [json.dumps(chat)]}
    wanted = {"inputs": [messages], "parameters": {"temperature": 0.5}, "outputs": [{"name": "text"}]}
    outputs = ok(echo, "/v2/models/echo/versions/1/infer", wanted)["outputs"]
    assert outputs == [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["hi"]}]


@pytest.mark.parametrize(
    ("change", "code", "path"),
    [
        ({"shape": [3]}, "shape_mismatch", "$.inputs[0].data"),
        ({"shape": []}, "out_of_range", "$.inputs[0].shape"),
        ({"datatype": "FP8"}, "unsupported_datatype", "$.inputs[0].datatype"),
        ({"datatype": "INT32"}, "wrong_type", "$.inputs[0].data"),
        ({"data": None}, "missing_key", "$.inputs[0]"),
        ({"name": "promt"}, "unknown_input", "$.inputs[0].name"),
        ({"name": "stop", "data": ["{"]}, "invalid_json", "$.inputs[0].data"),
        ({"name": "top_p", "datatype": "FP32", "data": [2.0]}, "out_of_range", "$.inputs[0].data"),
        ({"parameters": {"binary_data_size": 4}}, "out_of_range", "$.inputs[0].parameters.binary_data_size"),
        ({"shape": [65], "data": ["a"] * 65}, "out_of_range", "$.inputs"),
    ],
)
def test_oip_refuses(echo: TestEngine, change: dict[str, Any], code: str, path: str) -> None:
    tensor = {"name": "prompt", "shape": [1], "datatype": "BYTES", "data": ["a"], **change}
    error = refused(echo, "/v2/models/echo/infer", {"inputs": [tensor]})
    assert (error["code"], error["path"]) == (code, path)


def test_oip_speaks_its_own_error_shape(echo: TestEngine) -> None:
    body = call(echo, "POST", "/v2/models/nope/infer", {"inputs": []}).json()
    assert body["error"] == body["detail"]["message"]
    assert body["detail"]["code"] == "model_not_found"


def test_oip_tensors_of_the_other_tasks() -> None:
    def infer(engine: TestEngine, name: str, *values: str) -> dict[str, Any]:
        tensor = {"name": name, "shape": [len(values)], "datatype": "BYTES", "data": list(values)}
        outputs = ok(engine, "/v2/models/echo/infer", {"inputs": [tensor]})["outputs"]
        return {output["name"]: (output["shape"], output["data"]) for output in outputs}

    assert infer(engine_of(Embedder), "text", "a", "bb")["embedding"] == ([2, 3], [0.5, -1.25, 1, 0.5, -1.25, 2])
    labels = infer(engine_of(Classifier), "text", "a", "b")
    assert labels["label"] == ([2, 2], ["good", "bad", "good", "bad"])
    assert labels["score"] == ([2, 2], [0.75, 0.25, 0.75, 0.25])
    assert infer(engine_of(Captioner), "data", "raw bytes")["text"] == ([1], ["raw bytes"])


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"n": 2}, "unsupported_parameter", "n"),
        ({"logprobs": 3}, "unsupported_parameter", "logprobs"),
        ({"logit_bias": {"1": 2}}, "unsupported_parameter", "logit_bias"),
        ({"max_tokens": 5000}, "out_of_range", "max_tokens"),
        ({"max_tokens": 0}, "out_of_range", "max_tokens"),
        ({"temprature": 1}, "unknown_key", "temprature"),
        ({"prompt": [1, 2]}, "wrong_type", "prompt[0]"),
        ({"prompt": ["a", "b"], "stream": True}, "not_streamable", "prompt"),
    ],
)
def test_openai_refuses_by_name(echo: TestEngine, change: dict[str, Any], code: str, param: str) -> None:
    response = call(echo, "POST", "/v1/completions", {"model": "echo", "prompt": "a", **change})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, code, param)
    assert error["type"] == "invalid_request_error"


def test_openai_takes_neutral_values(echo: TestEngine) -> None:
    neutral = {"n": 1, "presence_penalty": 0.0, "frequency_penalty": 0, "logprobs": None, "stop": "b", "user": "me"}
    answer = ok(echo, "/v1/completions", {"model": "echo", "prompt": ["a b", "c"], **neutral})
    assert [choice["text"] for choice in answer["choices"]] == ["a", "c"]
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] + answer["usage"]["completion_tokens"]


def test_openai_embeddings_in_both_encodings() -> None:
    import base64
    import struct

    engine = engine_of(Embedder)
    floats = ok(engine, "/v1/embeddings", {"model": "echo", "input": ["a", "bb"]})
    assert [item["embedding"] for item in floats["data"]] == [[0.5, -1.25, 1.0], [0.5, -1.25, 2.0]]
    packed = ok(engine, "/v1/embeddings", {"input": "a", "encoding_format": "base64"})["data"][0]["embedding"]
    assert struct.unpack("<3f", base64.b64decode(packed)) == (0.5, -1.25, 1.0)
    assert refused(engine, "/v1/embeddings", {"input": "a", "dimensions": 2})["code"] == "unsupported_parameter"
    assert refused(engine, "/v1/completions", {"prompt": "a"}, 404)["code"] == "not_found"


@pytest.mark.parametrize("predictor", [Echo, Embedder, Classifier, Captioner])
def test_the_openapi_document_describes_every_route(predictor: type[Predictor]) -> None:
    engine = engine_of(predictor, limits={"url_inputs": True})
    document = call(engine, "GET", "/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    router = create_app(engine).router
    assert {(method.upper(), path) for path, item in document["paths"].items() for method in item} == {
        (method, path) for method, path, _ in router.rows
    }
    ids = [operation["operationId"] for item in document["paths"].values() for operation in item.values()]
    assert len(ids) == len(set(ids))
    text = json.dumps(document)
    for reference in {part.split('"')[0] for part in text.split('"$ref": "')[1:]}:
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"]
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_answers_and_errors_are_as_the_document_says(echo: TestEngine) -> None:
    document = call(echo, "GET", "/openapi.json").json()
    for path, value in (
        ("/predict", {"prompt": "a"}),
        ("/predict", {"items": [{"prompt": "a"}, {}]}),
        ("/predict", {"prompt": 1}),
        ("/v1/completions", {"prompt": 1}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}),
        ("/v2/models/echo/infer", {"inputs": 1}),
        ("/score", {"data": ["a", 1]}),
        ("/vertex/predict", {"instances": ["a", 1]}),
    ):
        response = call(echo, "POST", path, value)
        operation = document["paths"][path.replace("/echo/", "/{model}/")]["post"]
        schema = operation["responses"][str(response.status_code)]["content"]["application/json"]["schema"]
        jsonschema.validate(response.json(), {**schema, "components": document["components"]})


def test_metrics_count(echo: TestEngine) -> None:
    engine = engine_of(Scripted, batching={"max_items": 4}, limits={"cache_items": 4})
    call(engine, "POST", "/predict", {"items": [{"prompt": "a"}, {"prompt": "fail"}]})
    call(engine, "POST", "/predict", {"prompt": "a"})
    call(engine, "POST", "/predict", {"prompt": 1})
    lines = call(engine, "GET", "/metrics").text.splitlines()
    assert 'lukewarm_requests_total{method="POST",route="/predict",status="200"} 2.0' in lines
    assert 'lukewarm_errors_total{code="wrong_type"} 1.0' in lines
    assert "lukewarm_cache_hits_total 1.0" in lines
    assert "lukewarm_batch_retries_total 1.0" in lines
    assert "lukewarm_ready 1.0" in lines
    assert 'lukewarm_batch_items_bucket{le="2.0"} 3.0' in lines


def test_metrics_without_the_extra_say_what_to_install(echo: TestEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("prometheus_client"):
            raise ModuleNotFoundError(name=name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    response = call(echo, "GET", "/metrics")
    assert response.status_code == 501
    assert "pip install 'lukewarm[metrics]'" in response.json()["error"]["message"]


def test_the_app_works_below_a_prefix_and_starts_the_engine_in_its_lifespan() -> None:
    engine = engine_of(Echo, start=False)

    async def scenario() -> None:
        app = create_app(engine)
        inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        outbox: asyncio.Queue[Any] = asyncio.Queue()
        inbox.put_nowait({"type": "lifespan.startup"})
        task = asyncio.create_task(app({"type": "lifespan"}, inbox.get, outbox.put))
        assert (await outbox.get())["type"] == "lifespan.startup.complete"
        await asyncio.to_thread(engine.wait_until_settled, 5.0)
        transport = httpx.ASGITransport(app, root_path="/models/a")  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            assert (await client.get("/models/a/readyz")).status_code == 200
        inbox.put_nowait({"type": "lifespan.shutdown"})
        await task
        assert engine.status == "closed"

    asyncio.run(scenario())
