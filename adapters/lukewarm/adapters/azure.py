"""Azure Machine Learning online endpoints: our ASGI server on /score, and the deployment's YAML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lukewarm.adapters.base import Support
from lukewarm.adapters.capabilities import full, no
from lukewarm.adapters.container import IMAGE, AsgiContainer
from lukewarm.adapters.wire import JSON, Call, Wire, envelope
from lukewarm.predictors.errors import SpecError
from lukewarm.predictors.spec import ModelSpec

DEFAULT_INSTANCE = "Standard_DS3_v2"
SCHEMA = "https://azuremlschemas.azureedge.net/latest/managedOnlineDeployment.schema.json"
MAX_TIMEOUT_MS = 180_000  # Azure's own limit


class AzureWire(Wire):
    """`POST /score` with `{"data": request}`."""

    def predict(self, payload: bytes) -> Call:
        return Call(method="POST", path="/score", body=envelope("data", payload), headers=JSON)


class Azure(AsgiContainer):
    name = "azure"
    title = "Azure Machine Learning online endpoints"
    providers = ("azure",)
    deployment = "deployment.yaml"
    overrides = "deployment.yaml"
    options: ClassVar[Mapping[str, str]] = {
        **AsgiContainer.options,
        "instance_type": f"default {DEFAULT_INSTANCE}; a GPU needs one of Azure's GPU sizes",
    }
    wire = AzureWire()

    def deploy(self, spec: ModelSpec) -> dict[str, Any]:
        instance = self.settings(spec).get("instance_type", DEFAULT_INSTANCE)
        if not isinstance(instance, str):
            raise SpecError(f"a size's name, not {instance!r}", "targets.azure.instance_type")
        route = {"port": self.port}
        deployment: dict[str, Any] = {
            "$schema": SCHEMA,
            "name": spec.name,
            "endpoint_name": spec.name,
            "environment": {
                "image": IMAGE,
                "inference_config": {
                    "liveness_route": {**route, "path": "/livez"},
                    "readiness_route": {**route, "path": "/readyz"},
                    "scoring_route": {**route, "path": "/score"},
                },
            },
            "instance_type": instance,
            "instance_count": max(1, spec.scaling.min_instances),
            "request_settings": {
                "request_timeout_ms": min(round(spec.limits.request_timeout_s * 1000), MAX_TIMEOUT_MS),
                "max_concurrent_requests_per_instance": max(spec.scaling.concurrency, spec.batching.max_items)
                + spec.limits.queue,
            },
        }
        return deployment | ({"environment_variables": dict(spec.env)} if spec.env else {})

    def capabilities(self) -> Mapping[str, Support]:
        return full(
            streaming=no("Azure's scoring route has no stream in our shape"),
        )


adapter = Azure()
