"""Google Vertex AI: our ASGI server with `instances`, and the flags of `gcloud ai models upload`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lukewarm.adapters.base import Support
from lukewarm.adapters.capabilities import full, no, partly, yes
from lukewarm.adapters.container import IMAGE, AsgiContainer
from lukewarm.adapters.wire import JSON, Answer, Call, Reply, Wire, json_answer
from lukewarm.predictors.spec import ModelSpec

PREDICT, HEALTH = "/vertex/predict", "/vertex/health"


class VertexWire(Wire):
    """`{"instances": [request]}` to `{"predictions": [result]}`; one instance's error stands in its place."""

    def ready(self) -> Call:
        return Call(method="GET", path=HEALTH)

    def predict(self, payload: bytes) -> Call:
        return Call(method="POST", path=PREDICT, body=b'{"instances":[' + payload + b"]}", headers=JSON)

    def answer(self, reply: Reply) -> Answer:
        plain = json_answer(reply)
        predictions = plain.body.get("predictions")
        if not isinstance(predictions, list) or not predictions:
            return plain
        if "error" in predictions[0]:
            return Answer(status=400, body=predictions[0], http_status=reply.status)
        body = {**predictions[0], "meta": plain.body.get("meta", {})}
        return Answer(status=200, body=body, http_status=reply.status)


class Vertex(AsgiContainer):
    name = "vertex"
    title = "Google Vertex AI"
    providers = ("vertex",)
    deployment = "model.yaml"
    overrides = "model.yaml"
    wire = VertexWire()

    def deploy(self, spec: ModelSpec) -> dict[str, Any]:
        flags: dict[str, Any] = {
            "--display-name": spec.name,
            "--container-image-uri": IMAGE,
            "--container-ports": [self.port],
            "--container-predict-route": PREDICT,
            "--container-health-route": HEALTH,
        }
        return flags | ({"--container-env-vars": dict(spec.env)} if spec.env else {})

    def notes(self, spec: ModelSpec) -> tuple[str, ...]:
        command = f"gcloud ai models upload --region REGION --flags-file {self.deployment}"
        return (f"Put the pushed image's name in place of {IMAGE} in {self.deployment}: {command}",)

    def capabilities(self) -> Mapping[str, Support]:
        return full(
            ready=yes(f"GET {HEALTH}"),
            streaming=no("Vertex's predict route has no stream"),
            error_shape=partly(
                "in place of the instance's prediction, HTTP 200",
                "Vertex's shape gives each instance its own result; one bad one does not fail its neighbours",
            ),
        )


adapter = Vertex()
