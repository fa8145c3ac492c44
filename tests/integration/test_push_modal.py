"""A push to Modal: its real command and SDK against a fake control plane on loopback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lukewarm.adapters.build import build
from lukewarm.adapters.push import PROVIDERS, Deployment, PushInput, Run
from lukewarm.predictors.errors import NotLoggedIn, ProviderError
from lukewarm.predictors.spec import ModelSpec, Resources
from support.images import make_bundle, silent

SPEC = ModelSpec(name="demo", backend="echo", precision="none", resources=Resources(gpu="L4", cpu=2, memory_gb=8))
SECRET = "as-0123456789-secret"
PROVIDER = PROVIDERS.load("modal")


@pytest.fixture
def control_plane(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The fake's address, and the file to which it writes every call."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path / "calls.jsonl"
    command = [
        sys.executable,
        "-m",
        "lukewarm.adapters.fakes.modal_control_plane",
        "--port",
        str(port),
        "--log",
        str(log),
    ]
    with subprocess.Popen(command) as process:
        for _ in range(200):
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}", log
        process.terminate()


def push(tmp_path: Path, server: str, **more: str) -> Deployment:
    artifact = build("modal", SPEC, tmp_path, make_bundle(tmp_path / "bundle"), tmp_path / "artifact")
    env = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "MODAL_SERVER_URL": server, "MODAL_TOKEN_ID": "ak-1",
        "MODAL_TOKEN_SECRET": SECRET, **more,
    }  # fmt: skip
    given = PushInput(spec=SPEC, artifact=artifact.root, artifact_bytes=artifact.total_bytes, env=env)
    plan = PROVIDER.plan(given)
    done: Deployment = PROVIDER.execute(plan, PROVIDER.credentials(env), Run(progress=silent, env=env))
    return done


@pytest.mark.servers
def test_modal_deploys_the_artifact(tmp_path: Path, control_plane: tuple[str, Path]) -> None:
    server, log = control_plane
    done = push(tmp_path, server)
    calls = [json.loads(line) for line in log.read_text().splitlines()]
    names = [call["name"] for call in calls]
    assert "AppPublish" in names
    (published,) = [call["message"] for call in calls if call["name"] == "AppPublish"]
    assert published["name"] == "demo"
    functions = [call["message"] for call in calls if call["name"] == "FunctionCreate"]
    wanted = [f.get("function") or f["function_data"]["ranked_functions"][0]["function"] for f in functions]
    resources = next(f["resources"] for f in wanted if "gpu_config" in f.get("resources", {}))
    assert resources["gpu_config"] == {"count": 1, "gpu_type": "L4"}
    assert resources["memory_mb"] == 8192
    assert done.url.startswith("http")
    assert SECRET not in log.read_text()
    assert not [p for p in (tmp_path / "artifact").rglob("*") if p.is_file() and SECRET.encode() in p.read_bytes()]


@pytest.mark.servers
def test_modal_broken_app_says_what_modal_said(tmp_path: Path, control_plane: tuple[str, Path]) -> None:
    server, _log = control_plane
    push(tmp_path, server)
    plan_input = PushInput(spec=SPEC, artifact=tmp_path / "artifact", artifact_bytes=1)
    app = tmp_path / "artifact" / "modal_app.py"
    app.write_text(f"raise ValueError('no app today {SECRET}')\n")
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "MODAL_SERVER_URL": server, "MODAL_TOKEN_ID": "ak-1",
           "MODAL_TOKEN_SECRET": SECRET}  # fmt: skip
    with pytest.raises(ProviderError, match="no app today") as failed:
        PROVIDER.execute(PROVIDER.plan(plan_input), PROVIDER.credentials(env), Run(progress=silent, env=env))
    assert SECRET not in str(failed.value)


def test_modal_that_cannot_be_reached_is_found_out_in_seconds(tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(ProviderError, match="cannot be reached") as failed:
        push(tmp_path, "http://127.0.0.1:9")
    assert failed.value.reason == "unavailable"
    assert time.monotonic() - start < 15


def test_modal_tokens_from_its_file(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path)}
    with pytest.raises(NotLoggedIn, match="modal setup"):
        PROVIDER.credentials(env)
    profiles = (
        '[a]\ntoken_id = "ak-a"\ntoken_secret = "as-a"\n[b]\ntoken_id = "ak-b"\ntoken_secret = "as-b"\nactive = true\n'
    )
    (tmp_path / ".modal.toml").write_text(profiles)
    assert PROVIDER.credentials(env).values["token_id"] == "ak-b"
    assert PROVIDER.credentials({**env, "MODAL_PROFILE": "a"}).values["token_id"] == "ak-a"
    (tmp_path / ".modal.toml").write_text("not toml [")
    with pytest.raises(NotLoggedIn):
        PROVIDER.credentials(env)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("Token missing. Could not authenticate client.", "not_logged_in"),
        ("Workspace has reached its spend limit", "quota"),
        ("Could not connect to the Modal server.", "unavailable"),
        ("Secret 'demo' not found in environment 'main'", "not_found"),
        ("SyntaxError: invalid syntax", "rejected"),
    ],
)
def test_what_modal_says_becomes_one_reason(said: str, reason: str) -> None:
    from lukewarm.adapters.push.modal import _failure

    error = _failure(f"╭─ Error ───╮\n│ {said} │\n╰───────────╯\n")
    assert error.reason == reason
    assert said in str(error)
