"""A fake of Replicate's HTTP API on loopback: models, versions, deployments; shapes after its docs."""

from __future__ import annotations

import re
from typing import Any

from lukewarm.adapters.fakes.loopback import Loopback, Reply, Request, allow

HARDWARE = {
    "cpu": "CPU",
    "gpu-t4": "Nvidia T4 GPU",
    "gpu-l40s": "Nvidia L40S GPU",
    "gpu-a100-large": "Nvidia A100 (80GB) GPU",
}
_WHEN = "2026-01-01T00:00:00.000000Z"
_MODEL = {"owner": str, "name": str, "visibility": str, "hardware": str}
_MODEL_MORE = dict.fromkeys(("description", "github_url", "paper_url", "license_url", "cover_image_url"), str)
_DEPLOY = {"name": str, "model": str, "version": str, "hardware": str, "min_instances": int, "max_instances": int}


class FakeReplicate(Loopback):
    """`pushed(owner/name, digest)` makes the version that a push to r8.im would; it is seen after `lag` look-ups."""

    title = "fake Replicate API"

    def __init__(self, token: str = "r8_fake", username: str = "me", *, lag: int = 0) -> None:
        super().__init__()
        self.token, self.username, self.lag = token, username, lag
        self.models: dict[str, dict[str, Any]] = {}
        self.versions: dict[str, list[str]] = {}
        self.deployments: dict[str, dict[str, Any]] = {}
        self.taken: set[str] = set()  # names of models that exist and may not be seen

    def pushed(self, model: str, digest: str) -> None:
        versions = self.versions.setdefault(model, [])
        identifier = digest.removeprefix("sha256:")
        if identifier not in versions:
            versions.append(identifier)

    def handle(self, request: Request) -> Reply:
        authorization = request.headers.get("Authorization", "")
        if not authorization:
            return _problem(401, "Unauthenticated", "You did not pass an authentication token")
        if authorization != f"Bearer {self.token}":
            return _problem(401, "Unauthenticated", "You did not pass a valid authentication token")
        method, path = request.method, request.path
        if (method, path) == ("GET", "/v1/account"):
            return Reply(200, {"type": "user", "username": self.username, "name": self.username, "github_url": ""})
        if (method, path) == ("GET", "/v1/hardware"):
            return Reply(200, [{"name": name, "sku": sku} for sku, name in HARDWARE.items()])
        if (method, path) == ("POST", "/v1/models"):
            return self._create_model(request)
        if match := re.fullmatch(r"/v1/models/([^/]+/[^/]+)(?:/versions(?:/(\w+))?)?", path):
            return self._model(path, match[1], match[2])
        if (method, path) == ("POST", "/v1/deployments"):
            return self._create_deployment(request)
        if match := re.fullmatch(r"/v1/deployments/([^/]+/[^/]+)", path):
            return self._deployment(request, match[1])
        return _problem(404, "Not found", "The requested resource could not be found.")

    def _create_model(self, request: Request) -> Reply:
        body = request.json()
        if wrong := allow(body, _MODEL, _MODEL_MORE):
            return _invalid(wrong)
        if body["owner"] != self.username:
            return _problem(403, "Forbidden", "You do not have permission to create a model for this owner")
        if body["visibility"] not in ("public", "private") or body["hardware"] not in HARDWARE:
            return _invalid(["visibility or hardware is not one of the allowed values"])
        name = f"{body['owner']}/{body['name']}"
        if name in self.models or name in self.taken:
            detail = "A model with that name and owner already exists."
            return Reply(409, {"title": "Conflict", "detail": detail, "status": 409, "errors": [{"detail": detail}]})
        self.models[name] = {**body, "url": f"https://replicate.com/{name}", "latest_version": None, "run_count": 0}
        return Reply(201, self.models[name])

    def _model(self, path: str, name: str, version: str | None) -> Reply:
        if name not in self.models:
            return _problem(404, "Not found", "The requested resource could not be found.")
        if "/versions" not in path:
            return Reply(200, self.models[name])
        if self.versions.get(name) and self.lag > 0:
            self.lag -= 1
            return _problem(404, "Not found", "The requested resource could not be found.")
        known = self.versions.get(name, [])
        if version is None:
            return Reply(200, {"results": [_version(v) for v in reversed(known)], "next": None, "previous": None})
        if version in known:
            return Reply(200, _version(version))
        return _problem(404, "Not found", "The requested resource could not be found.")

    def _create_deployment(self, request: Request) -> Reply:
        body = request.json()
        if wrong := allow(body, _DEPLOY, {}):
            return _invalid(wrong)
        if wrong := self._wrong_release(body):
            return _invalid(wrong)
        name = f"{self.username}/{body['name']}"
        if name in self.deployments:
            return _problem(409, "Conflict", "A deployment with that name already exists.")
        self.deployments[name] = self._release(body["name"], body, 1)
        return Reply(200, self.deployments[name])

    def _deployment(self, request: Request, name: str) -> Reply:
        if name not in self.deployments:
            return _problem(404, "Not found", "The requested resource could not be found.")
        found = self.deployments[name]
        if request.method == "GET":
            return Reply(200, found)
        if request.method != "PATCH":
            return _problem(405, "Method not allowed", f"Method {request.method} not allowed.")
        body = request.json()
        changeable = {key: kind for key, kind in _DEPLOY.items() if key not in ("name", "model")}
        release = found["current_release"]
        merged = {**release["configuration"], "model": release["model"], "version": release["version"], **body}
        if wrong := allow(body, {}, changeable) or self._wrong_release(merged):
            return _invalid(wrong)
        self.deployments[name] = self._release(found["name"], merged, release["number"] + 1)
        return Reply(200, self.deployments[name])

    def _wrong_release(self, body: dict[str, Any]) -> list[str]:
        wrong = []
        if body["version"] not in self.versions.get(body["model"], []):
            wrong.append("The specified version does not exist")
        if body["hardware"] not in HARDWARE:
            wrong.append(f"hardware {body['hardware']!r} is not available")
        if not 0 <= body["min_instances"] <= body["max_instances"] or body["max_instances"] < 1:
            wrong.append("min_instances and max_instances do not fit each other")
        return wrong

    def _release(self, name: str, body: dict[str, Any], number: int) -> dict[str, Any]:
        configuration = {key: body[key] for key in ("hardware", "min_instances", "max_instances")}
        who = {"type": "user", "username": self.username, "name": self.username}
        return {
            "owner": self.username,
            "name": name,
            "current_release": {
                "number": number, "model": body["model"], "version": body["version"], "created_at": _WHEN,
                "created_by": who, "configuration": configuration,
            },
        }  # fmt: skip


def _version(identifier: str) -> dict[str, Any]:
    return {"id": identifier, "created_at": _WHEN, "cog_version": "0.23.1", "openapi_schema": {}}


def _problem(status: int, title: str, detail: str) -> Reply:
    return Reply(status, {"title": title, "detail": detail, "status": status})


def _invalid(wrong: list[str]) -> Reply:
    body = {"title": "Input validation failed", "detail": "; ".join(wrong), "status": 422,
            "invalid_fields": [{"description": text} for text in wrong]}  # fmt: skip
    return Reply(422, body)
