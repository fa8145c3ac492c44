"""The contract on the real local server of modal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lukewarm.adapters import processes
from lukewarm.adapters.base import Process
from lukewarm.adapters.build import build
from lukewarm.predictors.spec import ModelSpec, Resources, Scaling
from lukewarm.testing import TargetContract
from support.echo_bundle import write_echo_bundle


@pytest.mark.servers
class TestModal(TargetContract):
    target = "modal"


@pytest.mark.servers
def test_what_modal_deploy_tells_the_control_plane(tmp_path: Path) -> None:
    """The real `modal deploy` against the fake control plane: the spec's hardware and scaling arrive."""
    write_echo_bundle(tmp_path / "bundle")
    spec = ModelSpec(
        name="parrot",
        backend="echo",
        precision="none",
        resources=Resources(cpu=2, memory_gb=4, gpu="L4"),
        scaling=Scaling(max_instances=5, idle_timeout_s=45, concurrency=3),
        secrets=["HF_TOKEN"],
        targets={"modal": {"volumes": {"/cache": "parrot-cache"}}},
    )
    root = build("modal", spec, tmp_path, tmp_path / "bundle", tmp_path / "out").root
    calls = deployed(root, tmp_path)
    function = next(call["function"] for name, call in calls if name == "FunctionCreate" and call.get("function"))
    assert function["resources"]["gpu_config"]["gpu_type"] == "L4"
    assert (function["resources"]["milli_cpu"], function["resources"]["memory_mb"]) == (2000, 4096)
    assert function["task_idle_timeout_secs"] == 45
    assert function["concurrency_limit"] == 5
    assert function["max_concurrent_inputs"] == 3
    assert function["checkpointing_enabled"] is True
    assert [mount["mount_path"] for mount in function["volume_mounts"]] == ["/cache"]
    assert next(call["name"] for name, call in calls if name == "AppPublish") == "parrot"
    layers = json.dumps([call for name, call in calls if name == "ImageGetOrCreate"])
    assert "msgspec" in layers
    assert '"modal==' not in layers


def deployed(root: Path, tmp_path: Path) -> list[tuple[str, dict[str, Any]]]:
    port, log, calls = processes.free_port(), tmp_path / "fake.log", tmp_path / "calls.jsonl"
    fake = Process(
        argv=(
            sys.executable,
            "-m",
            "lukewarm.adapters.fakes.modal_control_plane",
            "--port",
            str(port),
            "--log",
            str(calls),
        ),
        cwd=tmp_path,
    )
    with log.open("wb") as stream:
        child = processes.start(fake, stream)
    try:
        deadline = time.monotonic() + 60
        while processes.port_refused("127.0.0.1", port) and time.monotonic() < deadline:
            time.sleep(0.05)
        environment = {
            **os.environ,
            "MODAL_SERVER_URL": f"http://127.0.0.1:{port}",
            "MODAL_TOKEN_ID": "ak-fake",
            "MODAL_TOKEN_SECRET": "as-fake",
            "MODAL_CONFIG_PATH": str(tmp_path / "modal.toml"),
            "HOME": str(tmp_path),
        }
        done = subprocess.run(
            [sys.executable, "-m", "modal", "deploy", "modal_app.py"],
            cwd=root, env=environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        processes.stop(child, 5)
    records = [json.loads(line) for line in calls.read_text().splitlines()]
    return [(record["name"], record["message"]) for record in records]
