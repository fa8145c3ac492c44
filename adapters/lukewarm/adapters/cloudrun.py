"""Google Cloud Run: our ASGI server on $PORT, and the service's YAML."""

from __future__ import annotations

import math
from typing import Any

from lukewarm.adapters.container import IMAGE, AsgiContainer, env_list, kubernetes_resources
from lukewarm.predictors.spec import ModelSpec

MAX_TIMEOUT_S = 3600  # Cloud Run's own limit


class CloudRun(AsgiContainer):
    name = "cloudrun"
    title = "Google Cloud Run"
    providers = ("cloudrun",)
    deployment = "service.yaml"
    overrides = "service.yaml"

    def deploy(self, spec: ModelSpec) -> dict[str, Any]:
        probe = {"httpGet": {"path": "/readyz", "port": self.port}, "periodSeconds": 5, "timeoutSeconds": 4}
        server: dict[str, Any] = {
            "image": IMAGE,
            "ports": [{"containerPort": self.port}],
            "resources": kubernetes_resources(spec),
            "startupProbe": {**probe, "failureThreshold": max(1, math.ceil(spec.scaling.startup_timeout_s / 5))},
            "livenessProbe": {"httpGet": {"path": "/livez", "port": self.port}},
        }
        variables = [*env_list(spec), *(_secret(name) for name in spec.secrets)]
        server |= {"env": variables} if variables else {}
        pod: dict[str, Any] = {
            "containerConcurrency": max(spec.scaling.concurrency, spec.batching.max_items) + spec.limits.queue,
            "timeoutSeconds": min(round(spec.limits.request_timeout_s) + 10, MAX_TIMEOUT_S),
            "containers": [server],
        }
        annotations = {
            "autoscaling.knative.dev/minScale": str(spec.scaling.min_instances),
            "autoscaling.knative.dev/maxScale": str(spec.scaling.max_instances),
            "run.googleapis.com/startup-cpu-boost": "true",
        }
        if spec.resources.gpu:
            pod["nodeSelector"] = {"run.googleapis.com/accelerator": f"nvidia-{spec.resources.gpu.lower()}"}
            annotations["run.googleapis.com/gpu-zonal-redundancy-disabled"] = "true"
        return {
            "apiVersion": "serving.knative.dev/v1",
            "kind": "Service",
            "metadata": {"name": spec.name},
            "spec": {"template": {"metadata": {"annotations": annotations}, "spec": pod}},
        }


def _secret(name: str) -> dict[str, Any]:
    """A variable from Secret Manager, where secrets have lower case names with hyphens by custom."""
    source = {"secretKeyRef": {"name": name.lower().replace("_", "-"), "key": "latest"}}
    return {"name": name, "valueFrom": source}


adapter = CloudRun()
