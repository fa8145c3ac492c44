"""KServe: our ASGI server speaking the Open Inference Protocol v2, and the InferenceService's YAML."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lukewarm.adapters.base import SPEC_FILE, LocalServer, Support
from lukewarm.adapters.capabilities import full, no, partly, yes
from lukewarm.adapters.container import IMAGE, AsgiContainer, env_list, kubernetes_resources
from lukewarm.adapters.wire import JSON, Answer, Call, Reply, Wire, json_answer, parsed_object
from lukewarm.predictors.spec import ModelSpec


class OipWire(Wire):
    """`POST /v2/models/<name>/infer`: every field is a tensor of one value."""

    def __init__(self, model: str) -> None:
        self.model = model

    def ready(self) -> Call:
        return Call(method="GET", path="/v2/health/ready")

    def predict(self, payload: bytes) -> Call:
        return Call(method="POST", path=f"/v2/models/{self.model}/infer", body=self._body(payload), headers=JSON)

    def answer(self, reply: Reply) -> Answer:
        plain = json_answer(reply)
        if isinstance(detail := plain.body.get("detail"), dict):
            return Answer(status=reply.status, body={"error": detail}, http_status=reply.status)
        outputs = plain.body.get("outputs")
        if not isinstance(outputs, list):
            return plain
        fields = {output["name"]: _value(output) for output in outputs}
        if {"label", "score"} <= fields.keys():  # two tensors are one field of ours: the classes, best first
            pairs = zip(fields.pop("label"), fields.pop("score"), strict=True)
            fields["labels"] = [{"label": label, "score": score} for label, score in pairs]
        meta = plain.body.get("parameters", {})
        return Answer(status=200, body={**fields, "meta": meta}, http_status=reply.status)

    def _body(self, payload: bytes) -> bytes:
        request = parsed_object(payload)
        if request is None:
            return payload
        return json.dumps({"inputs": [_tensor(name, value) for name, value in request.items()]}).encode()


class KServe(AsgiContainer):
    name = "kserve"
    title = "KServe (Open Inference Protocol v2)"
    providers = ("kserve",)
    deployment = "inferenceservice.yaml"
    overrides = "inferenceservice.yaml"
    wire = OipWire("model")

    def deploy(self, spec: ModelSpec) -> dict[str, Any]:
        server: dict[str, Any] = {
            "name": "kserve-container",
            "image": IMAGE,
            "ports": [{"containerPort": self.port, "protocol": "TCP"}],
            "resources": kubernetes_resources(spec),
            "readinessProbe": {"httpGet": {"path": "/v2/health/ready", "port": self.port}},
            "livenessProbe": {"httpGet": {"path": "/v2/health/live", "port": self.port}},
        }
        secrets = [
            {"name": name, "valueFrom": {"secretKeyRef": {"name": spec.name, "key": name}}} for name in spec.secrets
        ]
        server |= {"env": [*env_list(spec), *secrets]} if spec.env or secrets else {}
        predictor: dict[str, Any] = {
            "minReplicas": spec.scaling.min_instances,
            "maxReplicas": spec.scaling.max_instances,
            "containerConcurrency": max(spec.scaling.concurrency, spec.batching.max_items) + spec.limits.queue,
            "timeout": round(spec.limits.request_timeout_s) + 10,
            "containers": [server],
        }
        return {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": spec.name},
            "spec": {"predictor": predictor},
        }

    def local(self, artifact: Path, host: str, port: int) -> LocalServer:
        wire = OipWire(json.loads((artifact / SPEC_FILE).read_bytes())["name"])
        return dataclasses.replace(super().local(artifact, host, port), wire=wire)

    def capabilities(self) -> Mapping[str, Support]:
        return full(
            live=yes("GET /v2/health/live"),
            ready=yes("GET /v2/health/ready"),
            streaming=no("the protocol's REST form has no stream"),
            error_shape=partly(
                "`error` is the message, `detail` our four fields",
                "the Open Inference Protocol wants a string in `error`",
            ),
        )


def _tensor(name: str, value: Any) -> dict[str, Any]:
    """One value as a tensor; what is no plain value is a JSON document."""
    kinds: tuple[tuple[type, str], ...] = ((bool, "BOOL"), (int, "INT64"), (float, "FP64"), (str, "BYTES"))
    datatype = next((known for kind, known in kinds if isinstance(value, kind)), None)
    data = json.dumps(value) if datatype is None else value
    return {"name": name, "datatype": datatype or "BYTES", "shape": [1], "data": [data]}


def _value(output: dict[str, Any]) -> Any:
    """A tensor of one item as the plain value, or the row of one."""
    data = output.get("data", [])
    return data[0] if len(output.get("shape", [])) == 1 and data else data


adapter = KServe()
