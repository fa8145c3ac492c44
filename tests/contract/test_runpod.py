"""The contract on the real local server of runpod."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lukewarm.adapters.build import build
from lukewarm.adapters.local import Running, start
from lukewarm.adapters.runpod import ENDPOINT, LOCAL_ENV
from lukewarm.adapters.targets import TARGETS
from lukewarm.adapters.wire import JSON, Call
from lukewarm.predictors.spec import Batching, ModelSpec, Scaling
from lukewarm.testing import DUPLICATES, TargetContract
from support.echo_bundle import write_echo_bundle


@pytest.mark.servers
class TestRunpod(TargetContract):
    target = "runpod"
    lenient = DUPLICATES
    slots = 4  # a worker of one slot sleeps for a second between two jobs; one with room left asks at once

    def test_a_cancelled_job_ends_early(self, server: Running) -> None:
        queue = f"/v2/{ENDPOINT}"
        body = b'{"input": {"prompt": "' + b"word " * 60 + b'"}}'
        job = post(server, f"{queue}/run", body)["id"]
        deadline = time.monotonic() + 60
        while (state := server.send(Call(method="GET", path=f"{queue}/status/{job}"))) and b"IN_QUEUE" in state.body:
            assert time.monotonic() < deadline, state
            time.sleep(0.05)
        assert post(server, f"{queue}/cancel/{job}")["status"] == "CANCELLED"
        assert server.request({"prompt": "after"}).ok


@pytest.mark.alone
@pytest.mark.servers
def test_jobs_run_together_and_the_worker_is_refreshed(tmp_path: Path) -> None:
    """`scaling.concurrency` reaches the SDK's concurrency modifier, `refresh_worker` ends the worker by itself."""
    write_echo_bundle(tmp_path / "bundle", delay_s=0.4)  # two seconds a job: all are taken before one is done
    spec = ModelSpec(
        name="echo",
        backend="echo",
        precision="none",
        scaling=Scaling(concurrency=3),
        batching=Batching(max_items=3),
        targets={"runpod": {"refresh_worker": True}},
    )
    artifact = build("runpod", spec, tmp_path, tmp_path / "bundle", tmp_path / "out")
    with start(TARGETS.load("runpod"), artifact.root) as running:
        with ThreadPoolExecutor(3) as pool:
            answers = list(pool.map(running.request, [{"prompt": "a b c d e"}] * 3))
        assert [answer.body["text"] for answer in answers] == ["a b c d e"] * 3
        assert len({answer.body["meta"]["boot_id"] for answer in answers}) == 1
        assert running.wait() == 0


@pytest.mark.servers
def test_the_test_input_of_the_artifact_runs(tmp_path: Path) -> None:
    """`python handler.py` with test_input.json beside it: the SDK's own check in CI, without a queue."""
    write_echo_bundle(tmp_path / "bundle")
    spec = ModelSpec(name="echo", backend="echo", precision="none")
    root = build("runpod", spec, tmp_path, tmp_path / "bundle", tmp_path / "out").root
    environment = {**os.environ, **LOCAL_ENV}
    done = subprocess.run(
        [sys.executable, "handler.py"], cwd=root, env=environment, capture_output=True, text=True, timeout=150
    )
    assert done.returncode == 0, done.stderr
    assert "The capital of France is" in done.stdout


def post(server: Running, path: str, body: bytes = b"{}") -> dict[str, Any]:
    reply = server.send(Call(method="POST", path=path, body=body, headers=JSON))
    answer: dict[str, Any] = json.loads(reply.body)
    return answer
