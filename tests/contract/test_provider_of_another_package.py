"""A push provider that another package brings: found, planned, its price honestly not known, pushed to a fake API."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from support.packages import install, lukewarm

PROVIDER = '''\
"""Shelf: a provider that does not exist. It takes the artifact's file list."""

import json
import urllib.error
import urllib.request

from lukewarm.adapters.push import Credentials, Deployment, Provider, PushPlan, Step
from lukewarm.adapters.push.base import base_url
from lukewarm.predictors.errors import NotLoggedIn, ProviderError


class Shelf(Provider):
    name, target, needs_image = "shelf", "cloudrun", False
    hardware = {"cpu": "small", "L4": "large"}

    def plan(self, given):
        own, gpu = self.hardware_for(given.gpu)
        url = base_url(given.env, "SHELF_URL", "https://shelf.example")
        step = Step(what="put it on the shelf", how=f"POST {url}/models", body={"name": given.deployment_name})
        return PushPlan(provider=self.name, name=given.deployment_name, hardware=own, price_hardware=gpu,
                        artifact=given.artifact, steps=(step,))

    def credentials(self, env):
        if not env.get("SHELF_TOKEN"):
            raise NotLoggedIn("not logged in to Shelf: set SHELF_TOKEN")
        return Credentials(source="SHELF_TOKEN", values={"token": env["SHELF_TOKEN"]})

    def run(self, plan, credentials, run):
        url = plan.steps[0].how.removeprefix("POST ")
        files = sorted(str(path.relative_to(plan.artifact)) for path in plan.artifact.rglob("*") if path.is_file())
        body = json.dumps({**plan.steps[0].body, "files": files}).encode()
        headers = {"authorization": f"Bearer {credentials.values['token']}"}
        request = urllib.request.Request(url, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            raise ProviderError(f"Shelf refused {headers}: {error.read().decode()}") from error
        return Deployment(provider=self.name, name=plan.name, id=answer["id"], url=answer["url"], created=True)


provider = Shelf()
'''
PROJECT = """\
[project]
name = "lukewarm-shelf"
version = "0.1.0"

[project.entry-points."lukewarm.providers"]
shelf = "lukewarm_shelf:provider"
"""
SPEC = "name: m\nbackend: echo\nprecision: none\n"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("package")
    install(root, {"pyproject.toml": PROJECT, "lukewarm_shelf.py": PROVIDER, "lukewarm.yaml": SPEC})
    assert lukewarm(root, "convert").returncode == 0
    return root


@pytest.fixture
def shelf() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A fake of its API on loopback: what it was sent."""
    seen: list[dict[str, Any]] = []

    class Fake(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            seen.append({"path": self.path, "token": self.headers["authorization"], **body})
            taken = sum(one["name"] == body["name"] for one in seen) > 1
            answer = {"detail": "name taken"} if taken else {"id": "7", "url": "https://shelf.example/7"}
            self.send_response(409 if taken else 200)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Fake)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_it_is_planned_and_its_price_is_not_known(package: Path) -> None:
    planned = lukewarm(package, "push", "shelf", "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "put it on the shelf" in planned.stdout
    assert "price: not known: " in planned.stdout
    assert "$" not in planned.stdout, "no price is made up"
    assert "note: not logged in to Shelf: set SHELF_TOKEN" in planned.stdout
    refused = lukewarm(package, "push", "shelf", "--yes")
    assert (refused.returncode, refused.stderr) == (12, "error: not logged in to Shelf: set SHELF_TOKEN\n")


def test_it_pushes_and_no_error_shows_the_token(package: Path, shelf: tuple[str, list[dict[str, Any]]]) -> None:
    url, seen = shelf
    env = {"SHELF_URL": url, "SHELF_TOKEN": "tok-0123456789abcdef"}
    done = lukewarm(package, "push", "shelf", "--yes", "--json", env=env)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["deployment"]["id"] == "7"
    assert (seen[0]["path"], seen[0]["token"]) == ("/models", "Bearer tok-0123456789abcdef")
    assert "Dockerfile" in seen[0]["files"]
    taken = lukewarm(package, "push", "shelf", "--yes", env=env)
    assert taken.returncode == 12
    assert "name taken" in taken.stderr
    assert "tok-0123456789abcdef" not in done.stdout + done.stderr + taken.stdout + taken.stderr
