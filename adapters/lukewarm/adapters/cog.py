"""Cog (Replicate): cog.yaml, run.py with typed inputs, and the schema that `cog build` would write."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import yaml

from lukewarm.adapters.base import (
    DEFAULTS,
    HEADER,
    OVERRIDES,
    SPEC_FILE,
    Adapter,
    ArtifactPlan,
    LocalServer,
    PlanOptions,
    Process,
    Support,
)  # fmt: skip
from lukewarm.adapters.capabilities import no, partly, without_http, yes
from lukewarm.adapters.cog_entry import STREAMING_TASKS, openapi, run_source
from lukewarm.adapters.inputs import task_inputs
from lukewarm.adapters.render import json_source, merge, yaml_source
from lukewarm.adapters.wire import (
    JSON,
    Answer,
    Call,
    Reply,
    StreamError,
    Wire,
    embedded_error,
    envelope,
    json_answer,
    sse,
)
from lukewarm.predictors import specfile
from lukewarm.predictors.bundle import Bundle
from lukewarm.predictors.errors import SpecError
from lukewarm.predictors.spec import ModelSpec

META = ("boot_id", "n_request", "load_s", "exec_s")
SCHEMA_FILE = ".cog/openapi_schema.json"


class CogWire(Wire):
    """`POST /predictions`; a failed prediction is HTTP 200 with a status of its own."""

    def ready(self) -> Call:
        return Call(method="GET", path="/health-check")

    def is_ready(self, reply: Reply) -> bool:
        return bool(json_answer(reply).body.get("status") == "READY")

    def failed(self, reply: Reply) -> str:
        body = json_answer(reply).body
        return str(body.get("setup", {}).get("logs", "")) if body.get("status") == "SETUP_FAILED" else ""

    def predict(self, payload: bytes) -> Call:
        return Call(method="POST", path="/predictions", body=envelope("input", payload), headers=JSON)

    def answer(self, reply: Reply) -> Answer:
        plain = json_answer(reply)
        body = plain.body
        if body.get("status") == "succeeded":
            output, metrics = body.get("output"), body.get("metrics", {})
            if isinstance(output, dict):
                return Answer(status=200, body=output, http_status=reply.status)
            meta = {name: metrics[name] for name in META if name in metrics}
            fields = {name: value for name, value in metrics.items() if name not in (*META, "predict_time")}
            text = "".join(output or ())
            return Answer(status=200, body={"text": text, **fields, "meta": meta}, http_status=reply.status)
        if body.get("status") in ("failed", "canceled") or "detail" in body:
            status, error = _error(body)
            return Answer(
                status=status if reply.status == 200 else reply.status, body=error, http_status=reply.status,
            )  # fmt: skip
        return plain

    def stream(self, payload: bytes) -> Call | None:
        call = self.predict(payload)
        return Call(method=call.method, path=call.path, body=call.body, headers={**JSON, "accept": "text/event-stream"})

    def pieces(self, lines: Iterable[str]) -> Iterator[str]:
        for event in sse(lines):
            if "chunk" in event:
                yield str(event["chunk"])
            elif event.get("status") in ("failed", "canceled"):
                raise StreamError(_error(event)[1])


class Cog(Adapter):
    name = "cog"
    title = "Cog, Replicate"
    entry = "run.py"
    runs = "coglet (`python -m cog.server.http`)"
    overrides = "cog.yaml"
    closes = False  # an image of ours is closed by `push/image.py`
    installs = (
        "`cog build` runs pip on requirements.txt its own way; the image that `lukewarm push replicate` builds without "
        "Cog's tool takes the closed list, slimmed"
    )
    extra = "cog"
    sdk_in_image = False
    needs_asgi = False
    providers = ("replicate",)
    options: ClassVar[Mapping[str, str]] = {"compat": "true: `predict:` and BasePredictor, for Cog before `run:`"}
    wire = CogWire()

    def plan(self, spec: ModelSpec, bundle: Bundle, options: PlanOptions = DEFAULTS) -> ArtifactPlan:
        settings = self.settings(spec)
        compat = settings.get("compat", False)
        if not isinstance(compat, bool):
            raise SpecError(f"true or false, not {compat!r}", "targets.cog.compat")
        config = merge(_config(spec, options, compat=compat), settings[OVERRIDES])
        inputs = task_inputs(spec.task)
        files = {
            "run.py": run_source(spec.task, inputs, options, slots=_slots(spec), compat=compat),
            "cog.yaml": yaml_source(config, HEADER),
            SCHEMA_FILE: json_source(openapi(inputs, streams=spec.task in STREAMING_TASKS)),
        }
        return self.assemble(spec, bundle, options, files)

    def local(self, artifact: Path, host: str, port: int) -> LocalServer:
        # coglet starts its worker as `python` from PATH, whatever interpreter runs the server
        path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
        config = yaml.safe_load((artifact / "cog.yaml").read_text())
        env = {
            "PATH": path,
            "PORT": str(port),
            "COG_PREDICT_TYPE_STUB": config.get("run") or config["predict"],
            "COG_MAX_CONCURRENCY": str(_slots(specfile.load(artifact / SPEC_FILE))),
            "PYTHONPATH": str(artifact),
        }
        argv = (sys.executable, "-m", "cog.server.http", "--host", host)
        process = Process(argv=argv, cwd=artifact, env=env)
        return LocalServer(processes=(process,), host=host, port=port, wire=self.wire)

    def capabilities(self) -> Mapping[str, Support]:
        return without_http(
            validation=partly(
                "coglet checks the schema that we write, then the engine",
                "coglet drops unknown inputs and the first of two equal keys before we see them",
            ),
            error_shape=partly(
                "the error text holds our JSON; 422 with `detail` for what coglet refuses",
                "coglet answers a failed prediction with HTTP 200 and `status: failed`",
            ),
            body_limit=no("coglet reads up to its own 100 MiB and hands us parsed values"),
            overload=partly(
                "HTTP 409 when all slots are taken", "coglet has slots and no queue, and sends no Retry-After"
            ),
            live=yes("GET /"),
            ready=partly("GET /health-check, look at `status`", "coglet's health check is always HTTP 200"),
            setup_failure=yes("status SETUP_FAILED with the log"),
            drain=yes("coglet"),
            disconnect=yes("coglet cancels a prediction whose caller has gone"),
            streaming=partly(
                "SSE with `Accept: text/event-stream`, with one slot",
                "coglet holds back what asynchronous `run` yields, which more than one slot needs",
            ),
        )


def _slots(spec: ModelSpec) -> int:
    """Predictions at once."""
    return max(spec.scaling.concurrency, spec.batching.max_items)


def _config(spec: ModelSpec, options: PlanOptions, *, compat: bool) -> dict[str, Any]:
    build: dict[str, Any] = {"gpu": spec.resources.gpu is not None, "python_version": spec.python}
    if options.in_place:
        build["python_packages"] = list(options.requirements)
    else:
        build["python_requirements"] = "requirements.txt"
    if spec.system_packages:
        build["system_packages"] = list(spec.system_packages)
    config: dict[str, Any] = {"build": build}
    if compat:
        config["predict"] = "run.py:Predictor"
        config |= {"concurrency": {"max": _slots(spec)}} if _slots(spec) > 1 else {}
    else:
        config["run"] = "run.py:Runner"
    if spec.env:
        config["environment"] = [f"{name}={value}" for name, value in spec.env.items()]
    return config


def _error(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Cog's error as ours: either our own JSON inside its text, or its validator's list."""
    detail = body.get("detail")
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):
        place = ".".join(["$", *map(str, detail[0].get("loc", [])[2:])])
        error = {"code": "invalid_request", "message": str(detail[0].get("msg", "")), "path": place, "allowed": ""}
        return 422, {"error": error}
    return embedded_error(str(body.get("error", "")))


adapter = Cog()
