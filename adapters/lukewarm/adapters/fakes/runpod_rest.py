"""A fake of Runpod's REST API v2 on loopback: serverless endpoints, checked by its published OpenAPI document."""

from __future__ import annotations

import re
from typing import Any

from lukewarm.adapters.fakes.loopback import Loopback, Reply, Request, allow

POOLS = {"AMPERE_16", "AMPERE_24", "ADA_24", "AMPERE_48", "ADA_48_PRO", "AMPERE_80", "ADA_80_PRO", "HOPPER_141"}
CPUS = {"cpu3c", "cpu3g", "cpu5c", "cpu5g"}
_CONTAINER = {"image": str, "args": str, "disk": int, "env": dict, "ports": list, "registry": (str, type(None))}
_ENDPOINT = {
    "gpu": dict, "cpu": list, "workers": dict, "scaling": dict, "flashboot": str, "timeout": int, "dataCenterIds": list,
    "networkVolumes": list, "templateId": str,
}  # fmt: skip


class FakeRunpod(Loopback):
    """`pullable`, if set, says which image references a worker could pull."""

    title = "fake Runpod REST v2"

    def __init__(self, token: str = "rpa_fake") -> None:
        super().__init__()
        self.token = token
        self.endpoints: dict[str, dict[str, Any]] = {}

    def handle(self, request: Request) -> Reply:
        authorization = request.headers.get("Authorization", "")
        if not authorization:
            return _problem(401, "Unauthorized", "missing bearer token")
        if authorization != f"Bearer {self.token}":
            return _problem(401, "Unauthorized", "invalid api key")
        if request.path == "/v2/serverless":
            if request.method == "GET":
                return Reply(200, {"endpoints": list(self.endpoints.values())})
            return self._create(request)
        if match := re.fullmatch(r"/v2/serverless/(\w+)", request.path):
            return self._one(request, match[1])
        return _problem(404, "Not Found", "resource not found")

    def _create(self, request: Request) -> Reply:
        body = request.json()
        wrong = allow(body, {"name": str, "type": str, "scaling": dict}, {**_CONTAINER, **_ENDPOINT})
        if "image" not in body and "templateId" not in body:
            wrong.append("$: missing property 'image'")
        if ("gpu" in body) == ("cpu" in body):
            wrong.append("$: exactly one of gpu and cpu is needed")
        if wrong := wrong or _wrong_values(body):
            return _unprocessable(wrong)
        identifier = f"ep{len(self.endpoints) + 1:08d}"
        self.endpoints[identifier] = self._filled(identifier, body)
        return Reply(201, self.endpoints[identifier])

    def _one(self, request: Request, identifier: str) -> Reply:
        if identifier not in self.endpoints:
            return _problem(404, "Not Found", "endpoint not found")
        if request.method == "GET":
            return Reply(200, self.endpoints[identifier])
        if request.method != "PATCH":
            return _problem(405, "Method Not Allowed", "The requested method is not allowed for this path.")
        body, found = request.json(), self.endpoints[identifier]
        wrong = allow(body, {}, {"name": str, **_CONTAINER, **_ENDPOINT})
        if ("gpu" in body and "cpu" in found) or ("cpu" in body and "cpu" not in found):
            return _problem(400, "Bad Request", "endpoint compute family cannot be changed")
        if wrong := wrong or _wrong_values({**found, **body}):
            return _unprocessable(wrong)
        found.update(body)
        return Reply(200, found)

    def _filled(self, identifier: str, body: dict[str, Any]) -> dict[str, Any]:
        base = f"https://api.runpod.ai/v2/{identifier}"
        urls = {"run": f"{base}/run", "runSync": f"{base}/runsync", "health": f"{base}/health"}
        defaults = {"args": "", "disk": 20, "env": {}, "registry": None, "flashboot": "OFF", "timeout": 300000,
                    "dataCenterIds": [], "networkVolumes": []}  # fmt: skip
        workers = {"min": 0, "max": 3, "idleTimeout": 5, **body.get("workers", {})}
        made = {"id": identifier, "createdAt": "2026-01-01T00:00:00Z", "requestUrls": urls, "workers": workers}
        return {**defaults, **body, **made}


def _wrong_values(body: dict[str, Any]) -> list[str]:
    wrong = []
    workers, scaling = body.get("workers", {}), body["scaling"]
    wrong += allow(workers, {}, {"min": int, "max": int, "idleTimeout": int})
    if not 1 <= workers.get("idleTimeout", 5) <= 3600:
        wrong.append("$.workers.idleTimeout: 1 to 3600")
    if scaling.get("type") == "QUEUE_DELAY":
        wrong += allow(scaling, {"type": str, "queueDelay": (int, float)}, {})
    else:
        wrong += allow(scaling, {"type": str, "requestCount": int}, {})
    if body["type"] not in ("QUEUE", "LOAD_BALANCER"):
        wrong.append("$.type: value must be one of 'QUEUE', 'LOAD_BALANCER'")
    if body.get("flashboot", "OFF") not in ("OFF", "FLASHBOOT", "PRIORITY_FLASHBOOT"):
        wrong.append("$.flashboot: not one of the allowed values")
    if any(not isinstance(value, str) for value in body.get("env", {}).values()):
        wrong.append("$.env: values are strings")
    if "gpu" in body and (not body["gpu"].get("pools") or not set(body["gpu"]["pools"]) <= POOLS):
        wrong.append("$.gpu.pools: unknown pool")
    for cpu in body.get("cpu", []):
        count = cpu.get("vcpuCount", 0)
        if cpu.get("id") not in CPUS or count < 2 or count & (count - 1):
            wrong.append("$.cpu: id and a vcpuCount that is a power of two, at least 2")
    return wrong


def _problem(status: int, title: str, detail: str) -> Reply:
    return Reply(
        status, {"title": title, "status": status, "detail": detail}, {"Content-Type": "application/problem+json"}
    )


def _unprocessable(wrong: list[str]) -> Reply:
    body = {"title": "Unprocessable Entity", "status": 422, "detail": "Request validation failed.", "errors": wrong}
    return Reply(422, body, {"Content-Type": "application/problem+json"})
