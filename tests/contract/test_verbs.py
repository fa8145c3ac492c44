"""`lukewarm build` and `lukewarm serve` as a user runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lukewarm.adapters import processes
from lukewarm.adapters.targets import TARGETS
from support.echo_bundle import write_echo_bundle

LUKEWARM = [sys.executable, "-m", "lukewarm.cli.main"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "lukewarm.yaml").write_text("name: echo\nbackend: echo\nprecision: none\n")
    write_echo_bundle(tmp_path / ".lukewarm/bundles/echo-echo-none")
    return tmp_path


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*LUKEWARM, *arguments], cwd=project, capture_output=True, text=True, timeout=120)


def test_build_all(project: Path) -> None:
    done = run(project, "build", "--all", "--json")
    assert done.returncode == 0, done.stderr
    built = json.loads(done.stdout)
    assert [one["target"] for one in built] == TARGETS.names()
    assert all((Path(one["folder"]) / one["entry"]).is_file() for one in built)
    again = json.loads(run(project, "build", "--all", "--json").stdout)
    assert {one["state"] for one in again} == {"unchanged"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["build"], 2, "give a TARGET or --all"),
        (["build", "cogg"], 5, "did you mean 'cog'?"),
        (["build", "--all", "--out", "x"], 2, "--out goes with one TARGET"),
        (["build", "cog", "--precision", "int8"], 6, "run: lukewarm convert"),
        (["build", "cog", "--out", "."], 9, "not written by lukewarm"),
        (["serve", "nowhere"], 5, "unknown target 'nowhere'"),
    ],
)
def test_wrong_use_ends_in_one_message(project: Path, arguments: list[str], code: int, message: str) -> None:
    done = run(project, *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.servers
@pytest.mark.parametrize("target", ["local", "cloudrun"])
def test_one_request(project: Path, target: str) -> None:
    done = run(project, "serve", target, "--json", "--request", '{"prompt": "a b"}')
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["text"] == "a b"
    plain = run(project, "serve", target, "--request", '{"prompt": "a b"}')
    assert plain.stdout == "a b\n"


@pytest.mark.servers
def test_a_refused_request_is_exit_11(project: Path) -> None:
    done = run(project, "serve", "--request", '{"promt": "a b"}')
    assert done.returncode == 11
    assert "did you mean 'prompt'?" in done.stderr
    assert json.loads(done.stdout)["error"]["code"] == "unknown_key"


@pytest.mark.servers
def test_a_server_that_cannot_start_is_exit_10_with_its_last_words(project: Path) -> None:
    manifest = project / ".lukewarm/bundles/echo-echo-none/bundle.json"
    manifest.write_text(manifest.read_text().replace("{", '{"options": {"delay_s": "soon"},', 1))
    done = run(project, "serve", "cloudrun", "--request", "{}")
    assert done.returncode == 10
    assert "could not set up the model" in done.stderr
    assert "soon" in done.stderr


@pytest.mark.servers
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_stops_what_it_started(project: Path, number: signal.Signals) -> None:
    port = processes.free_port()
    child = subprocess.Popen(
        [*LUKEWARM, "serve", "--port", str(port)], cwd=project, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    assert child.stdout is not None
    assert f"listening on http://127.0.0.1:{port}" in child.stdout.readline()
    child.send_signal(number)
    assert child.wait(timeout=60) == 0
    deadline = time.monotonic() + 30
    while not processes.port_refused("127.0.0.1", port):
        assert time.monotonic() < deadline, "the server outlived the command"
        time.sleep(0.05)
