"""A real `python -m lukewarm.serving` process over an echo bundle, on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from lukewarm.predictors.bundle import Manifest, write_manifest

JSON = {"content-type": "application/json"}


def echo_artifact(root: Path, delay_s: float = 0.0, **spec: Any) -> Path:
    """An artifact folder whose model answers with the prompt's words, `delay_s` seconds a word."""
    bundle = root / "bundle"
    bundle.mkdir(parents=True, exist_ok=True)
    manifest = Manifest(
        format=1, name="echo", task="text-generation", backend="echo", precision="none", options={"delay_s": delay_s}
    )
    write_manifest(bundle, manifest)
    values = {"name": "echo", "backend": "echo", "precision": "none", **spec}
    (root / "lukewarm.json").write_text(json.dumps(values))
    return root


class ServerProcess:
    """The process, its URL and its log lines."""

    def __init__(
        self, root: Path, *options: str, env: dict[str, str] | None = None, flags: tuple[str, ...] = ()
    ) -> None:  # fmt: skip
        command = [sys.executable, *flags, "-m", "lukewarm.serving", str(root), "--port", "0", *options]
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})}, cwd=root
        )
        self.lines: list[dict[str, Any]] = []
        self.other: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = self.wait_for(lambda line: line.get("message") == "listening")["url"]

    def _read(self) -> None:
        assert self.process.stderr is not None
        for text in self.process.stderr:
            try:
                self.lines.append(json.loads(text))
            except ValueError:
                self.other.append(text)

    def wait_for(self, wanted: Any, timeout_s: float = 120.0) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for line in self.lines:
                if wanted(line):
                    return line
            if self.process.poll() is not None and not self._reader.is_alive():
                break
            time.sleep(0.01)
        raise AssertionError(f"no such log line; exit code {self.process.poll()}; {self.lines[-5:]} {self.other[-5:]}")

    def wait_ready(self, timeout_s: float = 120.0) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/readyz").status_code == 200:
                    return
            time.sleep(0.02)
        raise AssertionError("not ready in time")

    def stop(self, timeout_s: float = 60.0) -> int:
        """SIGTERM, then the exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)
            raise
        self._reader.join(5)
        return code


@contextlib.contextmanager
def running(
    root: Path, *options: str, env: dict[str, str] | None = None, ready: bool = True
) -> Iterator[ServerProcess]:
    """A server that is stopped at the end, whatever happened."""
    server = ServerProcess(root, *options, env=env)
    try:
        if ready:
            server.wait_ready()
        yield server
    finally:
        server.stop()
