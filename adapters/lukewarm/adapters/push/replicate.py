"""Replicate: a model, its image in r8.im, the version that comes of it, and a deployment of that version."""

from __future__ import annotations

import time
from collections.abc import Mapping
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
from lukewarm.adapters.push.cog_tool import cog_push
from lukewarm.adapters.push.image import push_step
from lukewarm.images.push import push_image
from lukewarm.images.reference import parse_reference
from lukewarm.predictors.errors import NotLoggedIn, ProviderError, SpecError

VENDOR = Vendor(
    "Replicate", "set REPLICATE_API_TOKEN (a token is made at https://replicate.com/account/api-tokens)",
    "https://replicate.com/account/billing",
)  # fmt: skip
ACCOUNT = "<account>"  # stands for the token's own account, which a plan does not ask for
_POLL_S = 2.0


class Replicate(Provider):
    name = "replicate"
    target = "cog"
    needs_image = True
    hardware: ClassVar[Mapping[str, str]] = {
        "cpu": "cpu", "T4": "gpu-t4", "L40S": "gpu-l40s", "A100-80GB": "gpu-a100-large", "H100": "gpu-h100",
    }  # fmt: skip

    def plan(self, given: PushInput) -> PushPlan:
        owner, _, name = given.deployment_name.rpartition("/")
        owner = owner or ACCOUNT
        if "/" in owner:
            raise SpecError(f"{given.deployment_name!r} is not a model's name; write it like me/my-model", "--name")
        sku, gpu = self.hardware_for(given.gpu)
        count = given.spec.resources.gpu_count if gpu != "cpu" else 1
        sku = sku if count == 1 else f"{sku}-{count}x"
        image = f"{given.env.get('COG_REGISTRY_HOST') or 'r8.im'}/{owner}/{name}"
        parse_reference(image.replace(ACCOUNT, "account"))  # its grammar, before anything is sent
        return PushPlan(
            provider=self.name, name=f"{owner}/{name}", hardware=sku, price_hardware=gpu, gpu_count=count, image=image,
            builder=given.builder, artifact=given.artifact, steps=_steps(given, owner, name, sku, image),
            notes=_notes(given),
        )  # fmt: skip

    def credentials(self, env: Mapping[str, str]) -> Credentials:
        if token := env.get("REPLICATE_API_TOKEN"):
            return Credentials(source="REPLICATE_API_TOKEN", values={"token": token})
        raise NotLoggedIn(f"not logged in to Replicate: {VENDOR.token_help}, and run `cog login` for its registry")

    def run(self, plan: PushPlan, credentials: Credentials, run: Run) -> Deployment:
        url = base_url(run.env, "REPLICATE_BASE_URL", "https://api.replicate.com")
        with Api(url, credentials.values["token"], VENDOR, run.retry) as api:
            owner, name = plan.name.split("/")
            owner = _check(api, owner, plan.hardware)
            full = f"{owner}/{name}"
            run.progress(f"model {full}", None)
            api.step(lambda: _ensure_model(api, {**(plan.steps[1].body or {}), "owner": owner}))
            version, uploaded = _bring_image(api, plan, owner, run)
            wanted = {**(plan.steps[-1].body or {}), "model": full, "version": version}
            run.progress(f"deployment {full}", None)
            created = api.step(lambda: _apply(api, owner, wanted))
        return Deployment(
            provider=self.name, name=full, id=full, url=f"https://replicate.com/deployments/{full}", created=created,
            image=str(plan.image).replace(ACCOUNT, owner), version=version, uploaded_bytes=uploaded,
            next=f"curl -X POST {url}/v1/deployments/{full}/predictions -H 'Prefer: wait' "
            "-H \"Authorization: Bearer $REPLICATE_API_TOKEN\" -H 'Content-Type: application/json' "
            "-d '{\"input\": {...}}'",
        )  # fmt: skip


def _steps(given: PushInput, owner: str, name: str, sku: str, image: str) -> tuple[Step, ...]:
    url = base_url(given.env, "REPLICATE_BASE_URL", "https://api.replicate.com")
    scaling = given.spec.scaling
    model = {"owner": owner, "name": name, "visibility": "private", "hardware": sku}
    deployment = {
        "name": name, "model": f"{owner}/{name}", "version": "<digest of the image>", "hardware": sku,
        "min_instances": scaling.min_instances, "max_instances": scaling.max_instances,
    }  # fmt: skip
    by_cog = Step(what="image: Cog builds it with Docker and pushes it", how=f"cog push {image}")
    return (
        Step(what="account: check the token and the hardware's name", how=f"GET {url}/v1/account, {url}/v1/hardware"),
        Step(what=f"model {owner}/{name}: make it if it is missing", how=f"POST {url}/v1/models", body=model),
        by_cog if given.builder == "cog" else push_step(image, image_bytes(given)),
        Step(what="version: wait for it to be listed", how=f"GET {url}/v1/models/{owner}/{name}/versions/<digest>"),
        Step(
            what=f"deployment {name}: make it, or move it to the new version",
            how=f"POST {url}/v1/deployments, or PATCH {url}/v1/deployments/{owner}/{name}",
            body=deployment,
        ),
    )


def _notes(given: PushInput) -> tuple[str, ...]:
    notes = []
    if given.builder != "cog":
        notes.append("built and labelled as Cog does it, without Cog's tool; not tried on Replicate's own hosts yet")
        notes.append("its registry takes the login of `cog login`, not the API token")
    if given.spec.secrets:
        names = ", ".join(given.spec.secrets)
        notes.append(f"Replicate gives models no secrets: {names} will be empty; pass them as inputs")
    return tuple(notes)


def _check(api: Api, owner: str, sku: str) -> str:
    """The owner's name. Raises ProviderError if the account cannot rent this hardware."""
    account = api.step(lambda: api.get("/v1/account")) or {}
    known = [str(item.get("sku")) for item in api.step(lambda: api.get_list("/v1/hardware"))]
    if sku not in known:
        raise ProviderError(f"Replicate has no hardware {sku!r} for this account; it has: {', '.join(sorted(known))}")
    if owner != ACCOUNT:
        return owner
    if not account.get("username"):
        raise ProviderError("Replicate does not say whose token this is; give --name owner/model")
    return str(account["username"])


def _ensure_model(api: Api, model: dict[str, Any]) -> None:
    if api.get(f"/v1/models/{model['owner']}/{model['name']}") is None:
        api.post("/v1/models", model)


def _bring_image(api: Api, plan: PushPlan, owner: str, run: Run) -> tuple[str, int]:
    """Push the image; returns the version that comes of it and the bytes that were sent."""
    model, image = plan.name.replace(ACCOUNT, owner), str(plan.image).replace(ACCOUNT, owner)
    if plan.builder == "cog":
        cog_push(plan.artifact, image, run)
        latest = (api.step(lambda: api.get(f"/v1/models/{model}")) or {}).get("latest_version") or {}
        if not latest.get("id"):
            raise ProviderError(f"cog push ended well, but Replicate lists no version of {model} yet; run again")
        return str(latest["id"]), 0
    assert run.image is not None
    pushed = push_image(run.image, parse_reference(image), run.connect, run.progress)
    version = pushed.digest.removeprefix("sha256:")  # a version's id is the digest of its image
    run.progress("waiting for Replicate to list the version", None)
    _wait_for_version(api, model, version, run)
    return version, pushed.uploaded_bytes


def _wait_for_version(api: Api, model: str, version: str, run: Run) -> None:
    deadline = time.monotonic() + run.wait_s
    while api.step(lambda: api.get(f"/v1/models/{model}/versions/{version}")) is None:
        if time.monotonic() > deadline:
            raise ProviderError(
                f"the image is pushed, but Replicate did not list version {version[:12]} of {model} within "
                f"{run.wait_s:.0f} s; run the same command again to go on from there",
                reason="unavailable",
            )
        run.retry.sleep(_POLL_S)


def _apply(api: Api, owner: str, wanted: dict[str, Any]) -> bool:
    """Make the deployment or move ours. True if it is new. Raises ProviderError (name_taken)."""
    path = f"/v1/deployments/{owner}/{wanted['name']}"
    found = api.get(path)
    if found is None:
        api.post("/v1/deployments", wanted)
        return True
    release = found.get("current_release") or {}
    if release.get("model") not in (None, wanted["model"]):
        raise ProviderError(
            f"Replicate deployment {owner}/{wanted['name']} runs another model ({release['model']}); "
            "choose another with --name",
            reason="name_taken",
        )
    now = {**(release.get("configuration") or {}), "version": release.get("version")}
    change = {key: value for key, value in wanted.items() if key not in ("name", "model")}
    if any(now.get(key) != value for key, value in change.items()):
        api.patch(path, change)
    return False


provider = Replicate()
