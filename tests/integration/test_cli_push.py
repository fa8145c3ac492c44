"""`lukewarm push` as a user runs it: plans, prices, questions, exit codes, and a whole push to fakes on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lukewarm.adapters.fakes.oci_registry import FakeRegistry
from lukewarm.adapters.fakes.replicate_api import FakeReplicate
from lukewarm.adapters.fakes.runpod_rest import FakeRunpod
from support.images import make_bundle

TOKEN = "rpa_0123456789-secret-token"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "lukewarm.yaml").write_text("name: demo\nbackend: echo\nprecision: none\nresources: {gpu: L4}\n")
    make_bundle(tmp_path / ".lukewarm" / "bundles" / "demo-echo-none")
    return tmp_path


def run(project: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """The command with nothing of this machine's logins. PIP_NO_DEPS: no minute spent on what an SDK drags in."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    given = {**kept, "HOME": str(project), "COLUMNS": "160", "PIP_NO_DEPS": "1", **env}
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "SSL_CERT_FILE", "PIP_CERT", "PIP_CONFIG_FILE"):
        if name in os.environ:
            given.setdefault(name, os.environ[name])
    command = [sys.executable, "-m", "lukewarm.cli.main", "push", *arguments]
    return subprocess.run(
        command,
        cwd=project,
        env=given,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=280,
        check=False,
    )


def test_dry_run_of_modal_shows_steps_and_a_quoted_price(project: Path) -> None:
    done = run(project, "modal", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "modal deploy modal_app.py --name demo" in done.stdout
    assert "quoted" in done.stdout
    assert "(grade " in done.stdout


def test_plan_as_json(project: Path) -> None:
    done = run(project, "modal", "--dry-run", "--json", "--hardware", "H100")
    plan = json.loads(done.stdout)
    assert plan["hardware"] == "H100"
    low, high = plan["price"]["usd_per_hour"]
    assert 0 < low <= high < 100
    assert plan["price"]["rows"][0]["as_of"]
    assert plan["steps"][-1]["upload_bytes"] > 0


def test_other_hardware_is_in_the_artifact_too(project: Path) -> None:
    run(project, "modal", "--dry-run", "--hardware", "h100")
    assert '"gpu": "H100"' in (project / ".lukewarm" / "build" / "modal" / "modal_app.py").read_text()


def test_a_dry_run_without_the_base_image_says_so(project: Path) -> None:
    done = run(project, "runpod", "--dry-run", "--image", "ghcr.io/me/demo", "--base", "127.0.0.1:9/nothing")
    assert done.returncode == 0, done.stderr
    assert "image not built, its bytes are not known: registry 127.0.0.1:9 cannot be reached" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("banana", "--yes"), 12, "shut down on 2024-03-31"),
        (("modal",), 2, "give --yes, or --dry-run"),
        (("modal", "--yes"), 12, "not logged in to Modal"),
        (("replicate", "--yes"), 12, "REPLICATE_API_TOKEN"),
        (("runpod", "--yes"), 12, "RUNPOD_API_KEY"),
        (("runpod", "--dry-run"), 3, "--image ghcr.io/me/demo"),
        (("replicate", "--dry-run"), 5, "unknown hardware of replicate 'L4' (did you mean 'L40S'?)"),
        (("runpod", "--dry-run", "--image", "Not A Reference"), 3, "is not a"),
        (("modal", "--dry-run", "--builder", "cog"), 2, "--builder cog is for replicate"),
        (("nobody", "--dry-run"), 5, "unknown provider 'nobody'"),
    ],
)  # fmt: skip
def test_refusals(project: Path, arguments: tuple[str, ...], code: int, says: str) -> None:
    done = run(project, *arguments)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project / ".lukewarm" / "images").exists()


def test_an_api_address_without_tls_is_refused(project: Path) -> None:
    done = run(
        project, "modal", "--yes", MODAL_SERVER_URL="http://10.0.0.1", MODAL_TOKEN_ID="ak-1", MODAL_TOKEN_SECRET="as-1"
    )
    assert done.returncode == 3
    assert "is not https" in done.stderr


@pytest.mark.servers
def test_a_whole_push_to_runpod_and_again(project: Path) -> None:
    with FakeRegistry() as registry, FakeRunpod(TOKEN) as runpod:
        env = {"RUNPOD_API_KEY": TOKEN, "RUNPOD_API_BASE_URL": runpod.url}
        arguments = ("runpod", "--yes", "--image", f"{registry.host}/me/demo", "--base", "scratch")
        done = run(project, *arguments, **env)
        assert done.returncode == 0, done.stderr
        assert "runpod: demo is made" in done.stdout
        again = run(project, *arguments, "--json", **env)
        assert json.loads(again.stdout)["deployment"]["uploaded_bytes"] == 0
        assert len(runpod.endpoints) == 1
        (endpoint,) = runpod.endpoints.values()
        assert endpoint["gpu"]["pools"] == ["AMPERE_24"]
    for text in (done.stdout, done.stderr, again.stdout, again.stderr):
        assert TOKEN not in text
    assert not [p for p in project.rglob("*") if p.is_file() and TOKEN.encode() in p.read_bytes()]


@pytest.mark.servers
def test_a_whole_push_to_replicate(project: Path) -> None:
    with FakeRegistry(required_label="run.cog.openapi_schema") as registry, FakeReplicate(TOKEN) as replicate:
        registry.options.on_push = lambda name, _target, digest: replicate.pushed(name, digest)
        env = {"REPLICATE_API_TOKEN": TOKEN, "REPLICATE_BASE_URL": replicate.url, "COG_REGISTRY_HOST": registry.host}
        done = run(project, "replicate", "--yes", "--base", "scratch", "--hardware", "T4", "--json", **env)
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert answer["deployment"]["id"] == "me/demo"
        assert answer["plan"]["price"]["usd_per_hour"]
        config_digest = json.loads(registry.repository("me/demo").manifests[answer["plan"]["image_digest"]])["config"][
            "digest"
        ]
        labels = json.loads(registry.blobs[config_digest])["config"]["Labels"]
        assert json.loads(labels["run.cog.config"])["build"]["python_version"] == "3.11"
        assert "/predictions" in json.loads(labels["run.cog.openapi_schema"])["paths"]
    assert TOKEN not in done.stdout + done.stderr
