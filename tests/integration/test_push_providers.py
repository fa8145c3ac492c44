"""Pushes to Replicate and Runpod, executed against fakes of their APIs and a fake registry on loopback."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lukewarm.adapters.fakes.loopback import Reply
from lukewarm.adapters.fakes.oci_registry import FakeRegistry
from lukewarm.adapters.fakes.replicate_api import FakeReplicate
from lukewarm.adapters.fakes.runpod_rest import FakeRunpod
from lukewarm.adapters.push import PROVIDERS, PushInput, Run
from lukewarm.images import Image, ImageInput, build_image
from lukewarm.predictors.errors import NotLoggedIn, ProviderError
from lukewarm.predictors.spec import ModelSpec, Resources, Scaling
from support.images import QUICK, connect_with, make_artifact, silent

TOKEN = "r8_0123456789-secret-token"
SPEC = ModelSpec(name="demo", backend="echo", precision="none", secrets=["HF_TOKEN"], env={"MODE": "fast"})


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Built once: a push does not change it."""
    tmp_path = tmp_path_factory.mktemp("image")
    (tmp_path / "store").mkdir()
    given = ImageInput(
        name="demo", artifact=make_artifact(tmp_path / "artifact"), base="scratch", command=("python", "main.py"),
        labels={"run.cog.config": "{}"},
    )  # fmt: skip
    return build_image(given, tmp_path / "store", connect_with(), silent)


class Scene:
    """One provider, its fakes, and an image that is built already."""

    def __init__(self, provider: str, image: Image, artifact: Path, env: dict[str, str], **given: Any) -> None:
        self.provider = PROVIDERS.load(provider)
        self.image, self.env = image, env
        self.given = PushInput(spec=SPEC, artifact=artifact, artifact_bytes=1, image=image, env=env, **given)

    def push(self, **changes: Any) -> Any:
        run = Run(
            progress=silent, image=self.image, connect=connect_with(), retry=QUICK, env=self.env,
            wait_s=changes.pop("wait_s", 5),
        )  # fmt: skip
        plan = self.provider.plan(dataclasses.replace(self.given, **changes))
        return self.provider.execute(plan, self.provider.credentials(self.env), run)


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry(required_label="run.cog.config") as fake:
        yield fake


@pytest.fixture
def replicate(registry: FakeRegistry) -> Iterator[FakeReplicate]:
    with FakeReplicate(TOKEN, lag=2) as fake:
        registry.options.on_push = lambda name, _target, digest: fake.pushed(name, digest)
        yield fake


@pytest.fixture
def on_replicate(tmp_path: Path, image: Image, replicate: FakeReplicate, registry: FakeRegistry) -> Scene:
    env = {"REPLICATE_API_TOKEN": TOKEN, "REPLICATE_BASE_URL": replicate.url, "COG_REGISTRY_HOST": registry.host}
    return Scene("replicate", image, tmp_path, env)


@pytest.fixture
def runpod() -> Iterator[FakeRunpod]:
    with FakeRunpod(TOKEN) as fake:
        yield fake


@pytest.fixture
def on_runpod(tmp_path: Path, image: Image, runpod: FakeRunpod, registry: FakeRegistry) -> Scene:
    env = {"RUNPOD_API_KEY": TOKEN, "RUNPOD_API_BASE_URL": runpod.url}
    return Scene("runpod", image, tmp_path, env, image_reference=f"{registry.host}/me/demo")


# -- Replicate


def test_replicate_from_nothing(on_replicate: Scene, replicate: FakeReplicate) -> None:
    done = on_replicate.push()
    assert (done.name, done.created) == ("me/demo", True)
    assert done.version == on_replicate.image.manifest.digest.removeprefix("sha256:")
    assert replicate.models["me/demo"]["visibility"] == "private"
    release = replicate.deployments["me/demo"]["current_release"]
    assert release["version"] == done.version
    assert release["configuration"] == {"hardware": "cpu", "min_instances": 0, "max_instances": 3}


def test_replicate_again_changes_nothing(on_replicate: Scene, replicate: FakeReplicate) -> None:
    on_replicate.push()
    replicate.requests.clear()
    again = on_replicate.push()
    assert (again.created, again.uploaded_bytes) == (False, 0)
    assert {request.method for request in replicate.requests} == {"GET"}


def test_replicate_moves_a_deployment_to_other_hardware(on_replicate: Scene, replicate: FakeReplicate) -> None:
    on_replicate.push()
    assert on_replicate.push(hardware="L40S").created is False
    release = replicate.deployments["me/demo"]["current_release"]
    assert (release["number"], release["configuration"]["hardware"]) == (2, "gpu-l40s")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/account"), ("GET", "/v1/hardware"), ("GET", "/v1/models/me/demo"), ("POST", "/v1/models"),
        ("GET", "/v1/models/.*/versions/.*"), ("GET", "/v1/deployments/.*"), ("POST", "/v1/deployments"),
    ],
)  # fmt: skip
def test_replicate_resumes_after_a_failure_at_any_step(
    on_replicate: Scene, replicate: FakeReplicate, method: str, path: str
) -> None:
    replicate.fail(method, path, Reply(500, {"title": "Server error", "status": 500}), times=99)
    with pytest.raises(ProviderError, match="answers 500") as failed:
        on_replicate.push()
    assert failed.value.reason == "unavailable"
    replicate.faults.clear()
    assert on_replicate.push().version in replicate.versions["me/demo"]
    assert len(replicate.seen("POST", "/v1/models")) <= 4 + 1
    assert len(replicate.models) == len(replicate.deployments) == 1


def test_replicate_500_twice_is_no_failure(on_replicate: Scene, replicate: FakeReplicate) -> None:
    for path in ("/v1/models", "/v1/deployments"):
        replicate.fail("POST", path, Reply(500), times=2)
    assert on_replicate.push().created


def test_a_lost_answer_to_a_creation_makes_no_second_one(on_replicate: Scene, replicate: FakeReplicate) -> None:
    replicate.hang_up("POST", "/v1/models", after=True)
    replicate.hang_up("POST", "/v1/deployments", after=True)
    on_replicate.push()
    assert len(replicate.seen("POST", "/v1/models")) == len(replicate.seen("POST", "/v1/deployments")) == 1


def problem(status: int, detail: str) -> Reply:
    return Reply(status, {"title": "x", "detail": detail, "status": status})


@pytest.mark.parametrize(
    ("method", "path", "reply", "reason", "says"),
    [
        ("POST", "/v1/models", problem(402, "You have insufficient credit"), "quota", "replicate.com/account/billing"),
        (
            "POST",
            "/v1/models",
            problem(409, "A model with that name exists."),
            "name_taken",
            "choose another with --name",
        ),
        ("POST", "/v1/models", problem(403, "not yours"), "rejected", "right to deploy"),
        ("POST", "/v1/deployments", problem(422, "version is invalid"), "rejected", "version is invalid"),
        ("GET", "/v1/account", Reply(200, b"<html>"), "rejected", "no JSON"),
        ("GET", "/v1/account", problem(429, "slow down"), "unavailable", "slow down"),
    ],
)
def test_replicate_failures_say_one_clear_thing(
    on_replicate: Scene, replicate: FakeReplicate, method: str, path: str, reply: Reply, reason: str, says: str
) -> None:
    replicate.fail(method, path, reply, times=99)
    with pytest.raises(ProviderError, match=says) as failed:
        on_replicate.push()
    assert failed.value.reason == reason
    assert "Replicate" in str(failed.value)


def test_replicate_wrong_token(on_replicate: Scene, replicate: FakeReplicate) -> None:
    replicate.token = "another"
    with pytest.raises(NotLoggedIn, match="REPLICATE_API_TOKEN"):
        on_replicate.push()


def test_replicate_hardware_that_the_account_has_not(on_replicate: Scene) -> None:
    with pytest.raises(ProviderError, match="no hardware 'gpu-h100' for this account; it has: cpu, gpu-a100-large"):
        on_replicate.push(hardware="H100")


def test_replicate_version_that_never_comes(on_replicate: Scene, registry: FakeRegistry) -> None:
    registry.options.on_push = lambda *_: None
    with pytest.raises(ProviderError, match="run the same command again") as failed:
        on_replicate.push(wait_s=0)
    assert failed.value.reason == "unavailable"


def test_replicate_deployment_of_another_model(on_replicate: Scene, replicate: FakeReplicate) -> None:
    on_replicate.push()
    replicate.deployments["me/demo"]["current_release"]["model"] = "me/other"
    with pytest.raises(ProviderError, match="runs another model") as failed:
        on_replicate.push()
    assert failed.value.reason == "name_taken"


def test_an_image_that_the_registry_refuses(on_replicate: Scene, registry: FakeRegistry) -> None:
    registry.options.required_label = "run.cog.something_else"
    with pytest.raises(ProviderError, match="no label run"):
        on_replicate.push()


def test_replicate_registry_without_a_login(on_replicate: Scene, registry: FakeRegistry) -> None:
    registry.options.login = ("me", "cli-token")
    with pytest.raises(NotLoggedIn, match=f"not logged in to registry {registry.host}"):
        on_replicate.push()


def test_cog_builds_and_pushes_when_asked(on_replicate: Scene, replicate: FakeReplicate, tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match="cog is not on PATH"):
        on_replicate.push(builder="cog")
    program = tmp_path / "bin" / "cog"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$PWD $@" > {tmp_path}/called\n')
    program.chmod(0o755)
    on_replicate.env["PATH"] = f"{program.parent}:/usr/bin:/bin"
    replicate.versions["me/demo"] = ["v1"]
    replicate.models["me/demo"]["latest_version"] = {"id": "v1"}
    assert on_replicate.push(builder="cog").version == "v1"
    called = (tmp_path / "called").read_text().split()
    assert called[0] == str(tmp_path)
    assert called[1] == "push"
    assert called[2].endswith("/me/demo")
    program.write_text("#!/bin/sh\necho 'You are not logged in' >&2; exit 1\n")
    with pytest.raises(NotLoggedIn, match="run: cog login"):
        on_replicate.push(builder="cog")


# -- Runpod


def test_runpod_from_nothing(on_runpod: Scene, runpod: FakeRunpod, registry: FakeRegistry) -> None:
    done = on_runpod.push()
    (endpoint,) = runpod.endpoints.values()
    assert done.id == endpoint["id"]
    assert done.image == endpoint["image"] == f"{registry.host}/me/demo:{on_runpod.image.manifest.digest[7:19]}"
    assert endpoint["cpu"] == [{"id": "cpu5c", "vcpuCount": 2}]
    assert endpoint["workers"] == {"min": 0, "max": 3, "idleTimeout": 60}
    assert endpoint["env"] == {
        "MODE": "fast", "HF_TOKEN": "{{ RUNPOD_SECRET_HF_TOKEN }}", "LUKEWARM_MODEL": "demo",
    }  # fmt: skip
    assert endpoint["timeout"] == 300_000
    assert "runsync" in done.next
    assert "$RUNPOD_API_KEY" in done.next


def test_runpod_again_changes_nothing_then_updates(on_runpod: Scene, runpod: FakeRunpod) -> None:
    on_runpod.push()
    runpod.requests.clear()
    assert on_runpod.push().created is False
    assert {request.method for request in runpod.requests} == {"GET"}
    spec = msgspec.structs.replace(SPEC, scaling=Scaling(max_instances=7))
    assert on_runpod.push(spec=spec).created is False
    (endpoint,) = runpod.endpoints.values()
    assert endpoint["workers"]["max"] == 7


def test_runpod_gpus_are_pools_and_overrides_are_laid_over(on_runpod: Scene, runpod: FakeRunpod) -> None:
    spec = msgspec.structs.replace(SPEC, resources=Resources(gpu="L4", gpu_count=2, disk_gb=33))
    on_runpod.push(spec=spec, options={"flashboot": "OFF", "gpu": {"excludedTypes": ["NVIDIA RTX A5000"]}})
    (endpoint,) = runpod.endpoints.values()
    assert endpoint["gpu"] == {"pools": ["AMPERE_24"], "count": 2, "excludedTypes": ["NVIDIA RTX A5000"]}
    assert (endpoint["disk"], endpoint["flashboot"]) == (33, "OFF")


def test_runpod_does_not_touch_an_endpoint_of_somebody_else(
    on_runpod: Scene, runpod: FakeRunpod, registry: FakeRegistry
) -> None:
    runpod.endpoints["x"] = {"id": "x", "name": "demo", "env": {}}
    with pytest.raises(ProviderError, match="that lukewarm did not make; choose another with --name") as failed:
        on_runpod.push()
    assert failed.value.reason == "name_taken"
    assert registry.requests == []  # nothing was sent before that was known
    assert on_runpod.push(name="demo-2").created


@pytest.mark.parametrize(("method", "path"), [("GET", "/v2/serverless"), ("POST", "/v2/serverless")])
def test_runpod_resumes(on_runpod: Scene, runpod: FakeRunpod, method: str, path: str) -> None:
    runpod.fail(method, path, Reply(503, {"title": "Unavailable", "status": 503, "detail": "later"}), times=99)
    with pytest.raises(ProviderError, match="answers 503"):
        on_runpod.push()
    runpod.faults.clear()
    runpod.fail(method, path, Reply(500), times=2)
    runpod.hang_up("POST", "/v2/serverless", after=True)
    on_runpod.push()
    assert len(runpod.endpoints) == 1


@pytest.mark.parametrize(
    ("reply", "reason", "says"),
    [
        (Reply(401, {"title": "Unauthorized", "status": 401, "detail": "bad"}), "not_logged_in", "RUNPOD_API_KEY"),
        (Reply(402, {"title": "Payment", "status": 402, "detail": "no funds"}), "quota", "user/billing"),
        (Reply(400, {"title": "Bad", "status": 400, "detail": "account balance is too low"}), "quota", "balance"),
        (Reply(422, {"title": "U", "status": 422, "detail": "Request validation failed.", "errors": ["$.disk: 1"]}),
         "rejected", r"validation failed.; \$.disk: 1"),
        (Reply(409, {"title": "Conflict", "status": 409, "detail": "name exists"}), "name_taken", "--name"),
    ],
)  # fmt: skip
def test_runpod_failures_say_one_clear_thing(
    on_runpod: Scene, runpod: FakeRunpod, reply: Reply, reason: str, says: str
) -> None:
    runpod.fail("POST", "/v2/serverless", reply, times=99)
    with pytest.raises(ProviderError, match=says) as failed:
        on_runpod.push()
    assert failed.value.reason == reason


def test_runpod_rejects_what_its_api_does_not_know(on_runpod: Scene) -> None:
    with pytest.raises(ProviderError, match="additional properties 'bogus' not allowed"):
        on_runpod.push(options={"bogus": 1})


@pytest.mark.parametrize("scene", ["on_replicate", "on_runpod"])
def test_an_api_that_is_not_there(scene: str, request: pytest.FixtureRequest) -> None:
    found: Scene = request.getfixturevalue(scene)
    variable = next(name for name in found.env if name.endswith("_BASE_URL"))
    found.env[variable] = "http://127.0.0.1:9"
    with pytest.raises(ProviderError, match="cannot be reached") as failed:
        found.push()
    assert failed.value.reason == "unavailable"


@pytest.mark.parametrize("scene", ["on_replicate", "on_runpod"])
def test_the_token_appears_nowhere(
    scene: str, request: pytest.FixtureRequest, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Not in the plan, the result, any file, the log, the output, or an error that sends it back."""
    caplog.set_level(logging.DEBUG)
    found: Scene = request.getfixturevalue(scene)
    plan = found.provider.plan(found.given)
    credentials = found.provider.credentials(found.env)
    done = found.push()
    fake = request.getfixturevalue(scene.removeprefix("on_"))
    fake.fail("GET", ".*", problem(422, f"strange token {TOKEN}"), times=99)
    with pytest.raises(ProviderError) as failed:
        found.push()
    shown = [repr(plan), json.dumps(msgspec.to_builtins(plan, enc_hook=str)), repr(credentials), repr(done)]
    shown += [str(failed.value), repr(failed.value), caplog.text, *capfd.readouterr()]
    assert not [text for text in shown if TOKEN in text]
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert fake.requests[0].headers["Authorization"] == f"Bearer {TOKEN}"


# -- what goes into Cog's image


def test_cog_image_follows_cog_yaml(tmp_path: Path) -> None:
    from lukewarm.adapters.build import build
    from lukewarm.adapters.push.image import image_input
    from lukewarm.adapters.targets import TARGETS
    from lukewarm.predictors.errors import UnsupportedError
    from support.images import make_bundle

    bundle = make_bundle(tmp_path / "bundle")

    def given(**overrides: Any) -> ImageInput:
        spec = msgspec.structs.replace(SPEC, targets={"cog": {"overrides": overrides}})
        artifact = build("cog", spec, tmp_path, bundle, tmp_path / "cog")
        return image_input(TARGETS.load("cog"), spec, tmp_path, artifact)

    plain = given()
    assert plain.env["MODE"] == "fast"
    assert plain.command == ("python", "-m", "cog.server.http")
    assert any(line.startswith("cog==") for line in plain.requirements)
    assert plain.labels["run.cog.version"]
    assert given(concurrency={"max": 2}).env["COG_MAX_CONCURRENCY"] == "2"
    assert given(build={"gpu": True}).env["NVIDIA_DRIVER_CAPABILITIES"] == "all"
    with pytest.raises(UnsupportedError, match="--builder cog"):
        given(build={"run": ["make"]})
