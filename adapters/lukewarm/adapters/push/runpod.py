"""Runpod Serverless: the image goes to the user's own registry, then one endpoint is made or updated by REST v2.

No template is made: v2 copies a template into an endpoint when it is created and keeps no link, so it would only be one
more object to clean up. REST v1 was to be retired on 2026-11-15, and the SDK's create_endpoint still speaks GraphQL.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from lukewarm.adapters.push.api import Api, Vendor
from lukewarm.adapters.push.base import (
    Credentials,
    Deployment,
    Provider,
    PushInput,
    PushPlan,
    Run,
    Step,
    base_url,
    image_bytes,
)
from lukewarm.adapters.push.image import push_step, tagged
from lukewarm.adapters.render import merge
from lukewarm.images.push import push_image
from lukewarm.images.reference import parse_reference
from lukewarm.predictors.errors import NotLoggedIn, ProviderError, SpecError

_CONSOLE = "https://console.runpod.io"
VENDOR = Vendor(
    "Runpod",
    f"set RUNPOD_API_KEY or run: runpod config (a key is made at {_CONSOLE}/user/settings)",
    f"{_CONSOLE}/user/billing",
)
MARK = "LUKEWARM_MODEL"  # an environment variable by which we know our own endpoint again
_CPU_FLAVOR = "cpu5c"


class Runpod(Provider):
    name = "runpod"
    target = "runpod"
    needs_image = True
    takes_overrides = True
    # the pool of machines that has the GPU; Runpod places workers on any card of a pool
    hardware: ClassVar[Mapping[str, str]] = {
        "cpu": "cpu", "A4000": "AMPERE_16", "L4": "AMPERE_24", "A5000": "AMPERE_24", "RTX3090": "AMPERE_24",
        "RTX4090": "ADA_24", "A40": "AMPERE_48", "A6000": "AMPERE_48", "L40S": "ADA_48_PRO", "L40": "ADA_48_PRO",
        "A100-80GB": "AMPERE_80", "A100": "AMPERE_80", "H100": "ADA_80_PRO", "H200": "HOPPER_141",
    }  # fmt: skip

    def plan(self, given: PushInput) -> PushPlan:
        if not given.image_reference:
            example = f"--image ghcr.io/me/{given.deployment_name}"
            raise SpecError(f"Runpod pulls from your registry: say where the image goes, e.g. {example}")
        reference = str(tagged(given.image_reference, given.image))
        own, gpu = self.hardware_for(given.gpu)
        body = merge(_endpoint(given, own, reference), dict(given.options))
        url = base_url(given.env, "RUNPOD_API_BASE_URL", "https://api.runpod.io")
        steps = (
            push_step(reference, image_bytes(given)),
            Step(what=f"endpoint {given.deployment_name}: look for it", how=f"GET {url}/v2/serverless"),
            Step(
                what=f"endpoint {given.deployment_name}: make it, or update it if it is ours",
                how=f"POST {url}/v2/serverless, or PATCH {url}/v2/serverless/<id>",
                body=body,
            ),
        )
        return PushPlan(
            provider=self.name, name=given.deployment_name, hardware=own, price_hardware=gpu,
            gpu_count=given.spec.resources.gpu_count, image=reference, artifact=given.artifact, steps=steps,
            notes=_notes(given, body),
        )  # fmt: skip

    def credentials(self, env: Mapping[str, str]) -> Credentials:
        if key := env.get("RUNPOD_API_KEY"):
            return Credentials(source="RUNPOD_API_KEY", values={"token": key})
        path = Path(env.get("HOME") or Path.home()) / ".runpod" / "config.toml"
        try:
            profile = tomllib.loads(path.read_text("utf-8")).get("default", {})
        except (OSError, ValueError):
            profile = {}
        if key := profile.get("api_key"):
            return Credentials(source=str(path), values={"token": str(key)})
        raise NotLoggedIn(f"not logged in to Runpod: neither RUNPOD_API_KEY nor {path} has a key; {VENDOR.token_help}")

    def run(self, plan: PushPlan, credentials: Credentials, run: Run) -> Deployment:
        assert plan.image is not None
        assert run.image is not None
        body = dict(plan.steps[-1].body or {})
        url = base_url(run.env, "RUNPOD_API_BASE_URL", "https://api.runpod.io")
        with Api(url, credentials.values["token"], VENDOR, run.retry) as api:
            # before gigabytes are sent: the token works, and the name is free or ours
            run.progress("looking for the endpoint", None)
            api.step(lambda: _find(api, body["name"]))
            pushed = push_image(run.image, parse_reference(plan.image), run.connect, run.progress)
            run.progress("making the endpoint", None)
            endpoint, created = api.step(lambda: _apply(api, body))
        identifier = str(endpoint.get("id", ""))
        urls = endpoint.get("requestUrls") or {}
        run_url = str(urls.get("runSync") or f"https://api.runpod.ai/v2/{identifier}/runsync")
        return Deployment(
            provider=self.name, name=plan.name, id=identifier, url=f"{_CONSOLE}/serverless/user/endpoint/{identifier}",
            created=created, image=plan.image, version=pushed.digest, uploaded_bytes=pushed.uploaded_bytes,
            next=f"curl -X POST {run_url} -H \"Authorization: Bearer $RUNPOD_API_KEY\" "
            f"-H 'Content-Type: application/json' -d @{plan.artifact / 'test_input.json'}",
        )  # fmt: skip


def _endpoint(given: PushInput, own: str, reference: str) -> dict[str, Any]:
    spec = given.spec
    scaling, resources = spec.scaling, spec.resources
    secrets = {name: "{{ RUNPOD_SECRET_" + name + " }}" for name in spec.secrets}  # Runpod fills the value in
    body: dict[str, Any] = {
        "name": given.deployment_name,
        "type": "QUEUE",
        "image": reference,
        "env": {**spec.env, **secrets, MARK: spec.name},
        "disk": max(5, round(resources.disk_gb or (image_bytes(given) or 0) * 2 / 1e9 + 5)),
        "workers": {
            "min": scaling.min_instances,
            "max": scaling.max_instances,
            "idleTimeout": min(3600, max(1, round(scaling.idle_timeout_s))),
        },
        "scaling": {"type": "QUEUE_DELAY", "queueDelay": 4},
        "timeout": round(spec.limits.request_timeout_s * 1000),
        "flashboot": "FLASHBOOT",
    }
    if own == "cpu":
        body["cpu"] = [{"id": _CPU_FLAVOR, "vcpuCount": _power_of_two(resources.cpu)}]
    else:
        body["gpu"] = {"pools": [own], "count": resources.gpu_count}
    return body


def _power_of_two(cpu: float) -> int:
    count = 2
    while count < cpu:
        count *= 2
    return count


def _notes(given: PushInput, body: dict[str, Any]) -> tuple[str, ...]:
    notes = [
        "Runpod pulls the image itself: for a private repository set targets.runpod.overrides.registry to the id of a "
        f"registry credential (made at {_CONSOLE}/user/settings)"
    ]
    if given.spec.secrets:
        notes.append(f"set these secrets at {_CONSOLE}/user/secrets first: {', '.join(given.spec.secrets)}")
    if "gpu" in body:
        pool = body["gpu"]["pools"][0]
        notes.append(f"pool {pool} may hold several kinds of cards; narrow it with overrides.gpu.excludedTypes")
    return tuple(notes)


def _find(api: Api, name: str) -> dict[str, Any] | None:
    """Our endpoint of that name, or None. Raises ProviderError (name_taken) for one that somebody else made."""
    listed = (api.get("/v2/serverless") or {}).get("endpoints") or []
    # Runpod's console shows " -fb" behind the names of endpoints with FlashBoot
    same = [item for item in listed if str(item.get("name", "")).removesuffix(" -fb") == name]
    if not same:
        return None
    ours = [item for item in same if MARK in (item.get("env") or {})]
    if not ours:
        raise ProviderError(
            f"Runpod already has an endpoint {name!r} that lukewarm did not make; choose another with --name",
            reason="name_taken",
        )
    if len(ours) > 1:
        raise ProviderError(f"Runpod has {len(ours)} endpoints {name!r}; delete all but one", reason="name_taken")
    found: dict[str, Any] = ours[0]
    return found


def _apply(api: Api, body: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Make the endpoint, or bring ours up to date. Returns it and whether it is new."""
    found = _find(api, body["name"])
    if found is None:
        return api.post("/v2/serverless", body), True
    wanted = {key: value for key, value in body.items() if key not in ("name", "type")}  # type cannot be changed
    if all(_holds(found.get(key), value) for key, value in wanted.items()):
        return found, False
    return api.patch(f"/v2/serverless/{found['id']}", wanted), False


def _holds(have: Any, want: Any) -> bool:
    """Whether what is there says what is wanted; the API adds fields of its own."""
    if isinstance(want, dict) and isinstance(have, dict):
        return all(_holds(have.get(key), value) for key, value in want.items())
    if isinstance(want, list) and isinstance(have, list) and len(want) == len(have):
        return all(_holds(a, b) for a, b in zip(have, want, strict=True))
    return bool(have == want)


provider = Runpod()
