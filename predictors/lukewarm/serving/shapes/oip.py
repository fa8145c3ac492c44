"""Open Inference Protocol v2 (KServe, Triton): the task's fields as tensors, one row per item.

The main field (`prompt`, `text`, `data`, `inputs`) is a BYTES tensor of shape [n] or [n, 1]. Other fields are request
parameters or tensors of one or n values; a field that is no plain value (`messages`, `stop`) is JSON in BYTES.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from lukewarm.predictors.errors import RequestError
from lukewarm.predictors.tasks import ClassificationResult, EmbeddingResult, Result
from lukewarm.serving.core import Answer
from lukewarm.serving.decoding import convert, parse_json
from lukewarm.serving.engine import Engine
from lukewarm.serving.errors import HttpRefusal, error_body, relocated
from lukewarm.serving.http import Endpoint, Exchange, Reply
from lukewarm.serving.shapes import health
from lukewarm.serving.shapes.common import MAIN_FIELD, all_results, read
from lukewarm.serving.shapes.tensors import InputTensor, Output

VERSION = "1"
BINARY = "application/octet-stream"
HEADER_LENGTH = "inference-header-content-length"


class RequestedOutput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    parameters: dict[str, Any] = {}


class InferRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    inputs: Annotated[list[InputTensor], msgspec.Meta(min_length=1)]
    id: str | None = None
    parameters: dict[str, Any] = {}
    outputs: list[RequestedOutput] = []


def endpoints(engine: Engine) -> list[Endpoint]:
    rows = [
        _row("GET", "/v2", server, "OIP: server metadata"),
        _row("GET", "/v2/health/live", live, "OIP: the process runs"),
        _row("GET", "/v2/health/ready", ready, "OIP: the model answers"),
    ]
    for base in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        rows.append(_row("GET", base, metadata, "OIP: the model's tensors"))
        rows.append(_row("GET", f"{base}/ready", ready, "OIP: the model answers"))
        rows.append(_row("POST", f"{base}/infer", infer, "OIP: run the model"))
    return rows


def _row(method: str, path: str, handle: Any, summary: str) -> Endpoint:
    return Endpoint(
        method=method,
        path=path,
        handle=handle,
        summary=summary,
        request=(lambda schemas: schemas.ref(InferRequest)) if method == "POST" else None,
        response=lambda _: {"type": "object"},
        media=("application/json", BINARY),
        error=oip_error,
        error_schema=lambda schemas: schemas.oip_error(),
    )


def oip_error(error: BaseException) -> dict[str, Any]:
    """OIP wants a string in `error`; our four fields stand beside it in `detail`."""
    fields = error_body(error)["error"]
    return {"error": fields["message"], "detail": fields}


async def server(exchange: Exchange) -> Reply:
    version = health.lukewarm_version()
    return Reply({"name": "lukewarm", "version": version, "extensions": ["binary_tensor_data"]})


async def live(exchange: Exchange) -> Reply:
    return Reply({"live": True})


async def ready(exchange: Exchange) -> Reply:
    _check_name(exchange)
    exchange.engine.require_ready()
    return Reply({"ready": True})


async def metadata(exchange: Exchange) -> Reply:
    _check_name(exchange)
    engine = exchange.engine
    main = MAIN_FIELD[engine.task]
    return Reply(
        {
            "name": engine.spec.name,
            "versions": [VERSION],
            "platform": f"lukewarm_{engine.bundle.manifest.backend}",
            "inputs": [{"name": main, "datatype": "BYTES", "shape": [-1]}],
            "outputs": [
                {"name": name, "datatype": datatype, "shape": shape}
                for name, (datatype, shape) in _output_types(engine).items()
            ],
        }
    )


async def infer(exchange: Exchange) -> Reply:
    _check_name(exchange)
    engine = exchange.engine
    header, binary = _split_body(exchange)
    request = convert(await exchange.json(header), InferRequest)
    items = _items(engine, request, binary)
    names = {name: f"parameters.{name}" for name in request.parameters}
    names |= {tensor.name: f"inputs[{index}].data" for index, tensor in enumerate(request.inputs)}
    typed = [read(engine, item, "$", names) for item in items]
    wanted = [output.name for output in request.outputs] or list(_output_types(engine))
    for index, name in enumerate(wanted):
        if name not in _output_types(engine):
            known = ", ".join(_output_types(engine))
            raise RequestError("unknown_output", f"no output {name!r}", f"$.outputs[{index}].name", known)
    answer = await engine.arun(typed)
    results = all_results(answer, ["$.inputs"] * len(items), {})
    by_name = {output.name: output for output in _outputs(results)}
    return _reply(engine, request, answer, [by_name[name] for name in wanted if name in by_name])


def _check_name(exchange: Exchange) -> None:
    params, name = exchange.request.path_params, exchange.engine.spec.name
    if params.get("model", name) != name:
        raise HttpRefusal(404, "model_not_found", f"no model {params['model']!r} here", allowed=name)
    if params.get("version", VERSION) != VERSION:
        raise HttpRefusal(404, "model_not_found", f"no version {params['version']!r} here", allowed=VERSION)


def _split_body(exchange: Exchange) -> tuple[bytes, bytes]:
    length = exchange.request.headers.get(HEADER_LENGTH)
    if length is None:
        return exchange.body, b""
    if not length.isascii() or not length.isdigit() or int(length) > len(exchange.body):
        raise RequestError("invalid_header", f"{HEADER_LENGTH}: {length!r}", allowed="the bytes of the JSON part")
    size = int(length)
    return exchange.body[:size], exchange.body[size:]


def _items(engine: Engine, request: InferRequest, binary: bytes) -> list[dict[str, Any]]:
    """Native items out of the tensors' rows."""
    columns: dict[str, list[Any]] = {}
    for index, tensor in enumerate(request.inputs):
        at = f"$.inputs[{index}]"
        if tensor.name not in engine.reader.request_type.__struct_fields__:
            known = ", ".join(engine.reader.request_type.__struct_fields__)
            raise RequestError("unknown_input", f"no input {tensor.name!r}", f"{at}.name", known)
        if tensor.name in columns:
            raise RequestError("duplicate_key", f"input {tensor.name!r} stands twice", f"{at}.name", "each input once")
        size = tensor.parameters.get("binary_data_size")
        part = None
        if size is not None:
            if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(binary):
                where = f"{at}.parameters.binary_data_size"
                raise RequestError("out_of_range", f"{size!r} bytes of binary data", where, f"0 to {len(binary)}")
            part, binary = binary[:size], binary[size:]
        values = tensor.values(part, at)
        columns[tensor.name] = [_field(engine, tensor, value, at) for value in values]
    if binary:
        raise RequestError("shape_mismatch", f"{len(binary)} bytes of binary data belong to no input", "$.inputs")
    rows = max(len(column) for column in columns.values())
    engine.reader.items([None] * rows, "$.inputs")
    for name, column in columns.items():
        if len(column) not in (1, rows):
            raise RequestError("shape_mismatch", f"input {name!r} has {len(column)} rows", "$.inputs", f"1 or {rows}")
    shared = {name: value for name, value in request.parameters.items() if name != "binary_data_output"}
    return [
        {**shared, **{name: column[row if len(column) > 1 else 0] for name, column in columns.items()}}
        for row in range(rows)
    ]


def _field(engine: Engine, tensor: InputTensor, value: Any, at: str) -> Any:
    if tensor.datatype != "BYTES":
        return value
    types = {field.name: field.type for field in msgspec.structs.fields(engine.reader.request_type)}
    kind = types.get(tensor.name)
    if kind is bytes:
        return base64.b64encode(value).decode("ascii")
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError("invalid_utf8", f"not UTF-8 (byte {error.start})", f"{at}.data", "UTF-8") from error
    if kind in (str, str | None):
        return text
    try:
        return parse_json(value)
    except RequestError as error:
        raise relocated(error, f"{at}.data") from error


def _output_types(engine: Engine) -> Mapping[str, tuple[str, list[int]]]:
    tokens = ("INT64", [-1])
    if engine.task == "embeddings":
        return {"embedding": ("FP32", [-1, -1]), "prompt_tokens": tokens}
    if engine.task == "text-classification":
        return {"label": ("BYTES", [-1, -1]), "score": ("FP32", [-1, -1]), "prompt_tokens": tokens}
    if engine.task == "custom":
        return {"output": ("BYTES", [-1])}
    words = ("BYTES", [-1])
    return {"text": words, "finish_reason": words, "prompt_tokens": tokens, "completion_tokens": tokens}


def _outputs(results: Sequence[Result]) -> list[Output]:
    n = len(results)
    first = results[0]
    columns: dict[str, list[Any]] = {
        name: [getattr(result, name) for result in results] for name in first.__struct_fields__
    }
    if isinstance(first, EmbeddingResult):
        flat = [value for vector in columns.pop("embedding") for value in vector]
        vectors = [Output("embedding", "FP32", [n, len(flat) // n], flat)]
        return [*vectors, Output("prompt_tokens", "INT64", [n], columns["prompt_tokens"])]
    if isinstance(first, ClassificationResult):
        counts = {len(row) for row in columns["labels"]}
        if len(counts) > 1:
            message = "rows of different numbers of labels make no tensor"
            raise RequestError("shape_mismatch", message, "$.inputs", "one 'top_k' for all rows")
        labels = [label for row in columns.pop("labels") for label in row]
        shape = [n, counts.pop()]
        return [
            Output("label", "BYTES", shape, [label.label for label in labels]),
            Output("score", "FP32", shape, [label.score for label in labels]),
            Output("prompt_tokens", "INT64", [n], columns["prompt_tokens"]),
        ]
    if "output" in columns:
        return [Output("output", "BYTES", [n], [json.dumps(msgspec.to_builtins(value)) for value in columns["output"]])]
    kinds = {name: "INT64" if name.endswith("_tokens") else "BYTES" for name in columns}
    return [Output(name, kinds[name], [n], values) for name, values in columns.items()]


def _reply(engine: Engine, request: InferRequest, answer: Answer, outputs: Sequence[Output]) -> Reply:
    default = request.parameters.get("binary_data_output", False)
    as_binary = {output.name: output.parameters.get("binary_data", default) for output in request.outputs}
    headers, parts = [], []
    for output in outputs:
        if as_binary.get(output.name, default) is True:
            header, data = output.as_binary()
            headers.append(header)
            parts.append(data)
        else:
            headers.append(output.as_json())
    body: dict[str, Any] = {"model_name": engine.spec.name, "model_version": VERSION}
    body |= {"id": request.id} if request.id is not None else {}
    body |= {"parameters": msgspec.to_builtins(answer.meta), "outputs": headers}
    if not parts:
        return Reply(body, answer=answer)
    encoded = msgspec.json.encode(body)
    length = {"Inference-Header-Content-Length": str(len(encoded))}
    return Reply(b"".join([encoded, *parts]), answer=answer, headers=length, media=BINARY)
