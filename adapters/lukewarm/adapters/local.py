"""Runs an artifact in its platform's real local server: start, wait until ready, ask, stop. Loopback only."""

from __future__ import annotations

import http.client
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from lukewarm.adapters import processes
from lukewarm.adapters.base import BUNDLE_DIR, SPEC_FILE, Adapter, LocalServer, Process, runtime_spec
from lukewarm.adapters.processes import free_port
from lukewarm.adapters.wire import Answer, AsgiWire, Call, Reply
from lukewarm.predictors.bundle import Bundle
from lukewarm.predictors.errors import ServerError
from lukewarm.predictors.spec import ModelSpec

LOOPBACK = "127.0.0.1"
RETRY_S = 0.05
MAX_RETRY_S = 0.5  # every probe is a line in the server's log
SETTLE_S = 5.0  # coglet frees a slot after it has answered: who asks one after another waits, instead of seeing 409


class Running:
    """A server that was started. A context manager: leaving it stops the server."""

    def __init__(self, server: LocalServer, name: str, log: Path, scratch: Path | None = None) -> None:
        self.server = server
        self.name = name
        self.scratch = scratch  # where its processes make temporary files; deleted with them
        self.log = log
        self.ready_s = 0.0  # from spawn to ready
        self._children: list[processes.Child] = []

    @property
    def url(self) -> str:
        return f"http://{self.server.host}:{self.server.port}"

    @property
    def alive(self) -> bool:
        """Whether every process that was started still runs."""
        return bool(self._children) and all(child.popen.poll() is None for child in self._children)

    @property
    def pids(self) -> list[int]:
        """Of all processes of the tree, the started ones first."""
        for child in self._children:
            processes.look(child)
        return [c.popen.pid for c in self._children] + [pid for c in self._children for pid in c.seen]

    def request(self, payload: bytes | dict[str, Any], timeout_s: float = 300.0, settle_s: float = SETTLE_S) -> Answer:
        """Send one request the platform's way and read the answer. Raises ServerError if the server is gone.

        `settle_s`: how long to ask again while the platform says that it is busy; 0 shows its first answer.
        """
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        deadline = time.monotonic() + settle_s
        while True:
            answer = self.server.wire.answer(self.send(self.server.wire.predict(body), timeout_s))
            if not answer.busy or time.monotonic() > deadline:
                return answer
            time.sleep(RETRY_S)

    def stream(self, payload: dict[str, Any], timeout_s: float = 300.0) -> Iterator[str]:
        """The pieces of a streamed answer as they come. Raises ServerError where the platform cannot stream."""
        body = json.dumps(payload).encode()
        polled = self.server.wire.poll(body, lambda call: self.send(call, timeout_s))
        if polled is not None:
            yield from polled
            return
        call = self.server.wire.stream(body)
        if call is None:
            raise ServerError(f"{self.name} cannot stream; see docs/targets.md")
        yield from self.server.wire.pieces(self._lines(call, timeout_s))

    def send(self, call: Call, timeout_s: float = 300.0) -> Reply:
        """One HTTP exchange."""
        connection = http.client.HTTPConnection(self.server.host, self.server.port, timeout=timeout_s)
        try:
            connection.request(call.method, call.path, body=call.body, headers=dict(call.headers))
            response = connection.getresponse()
            body = response.read()
            return Reply(
                status=response.status, body=body, headers={name.lower(): v for name, v in response.getheaders()}
            )
        except (OSError, http.client.HTTPException) as error:
            raise ServerError(
                f"{self.name} at {self.url} did not answer {call.method} {call.path}: {error!r}\n{self.last_log()}"
            ) from error
        finally:
            connection.close()

    def last_log(self, lines: int = 20) -> str:
        return processes.tail(self.log, lines)

    def wait(self) -> int:
        """Wait until the last process ends by itself; its exit code."""
        return self._children[-1].popen.wait()

    def stop(self, grace_s: float = 20.0, *, keep_log: bool = False) -> list[processes.Stopped]:
        """SIGTERM, then SIGKILL of what is left, then proof that the port is free. Raises ServerError if it is not."""
        crashed = any(child.popen.poll() for child in self._children)
        try:
            ended = processes.stop_all(self._children, grace_s)
        finally:
            self.clear(keep_log=keep_log or crashed)
        self._children = []
        deadline = time.monotonic() + 5
        while not processes.port_refused(self.server.host, self.server.port):
            if time.monotonic() > deadline:
                raise ServerError(f"{self.name}: port {self.server.port} still answers after the server was stopped")
            time.sleep(RETRY_S)
        return ended

    def clear(self, *, keep_log: bool = False) -> None:
        """Delete what the processes left in their temporary folder; the log stays where something went wrong."""
        if self.scratch is None:
            return
        if not keep_log or self.log.parent != self.scratch:
            shutil.rmtree(self.scratch, ignore_errors=True)
            return
        for entry in self.scratch.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            elif entry != self.log:
                entry.unlink(missing_ok=True)

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _lines(self, call: Call, timeout_s: float) -> Iterator[str]:
        deadline = time.monotonic() + SETTLE_S
        connection = http.client.HTTPConnection(self.server.host, self.server.port, timeout=timeout_s)
        try:
            while True:
                connection.request(call.method, call.path, body=call.body, headers=dict(call.headers))
                response = connection.getresponse()
                if response.status < 400:
                    break
                body = response.read()
                reply = Reply(status=response.status, body=body, headers={})
                if not self.server.wire.answer(reply).busy or time.monotonic() > deadline:
                    raise ServerError(f"{self.name} answered {reply.status}: {body.decode('utf-8', 'replace')[:1000]}")
                time.sleep(RETRY_S)
            for line in response:
                yield line.decode("utf-8", "replace").rstrip("\r\n")
        except (OSError, http.client.HTTPException) as error:
            raise ServerError(f"{self.name}: the stream broke off: {error!r}") from error
        finally:
            connection.close()


def start(
    adapter: Adapter, artifact: Path, *, host: str = LOOPBACK, port: int = 0, timeout_s: float | None = None,
    log: Path | None = None,
) -> Running:  # fmt: skip
    """Start the artifact's local server and wait until it is ready. Raises ServerError with its last log lines."""
    port = port or free_port(host)
    return start_server(adapter.local(artifact.resolve(), host, port), adapter.name, timeout_s=timeout_s, log=log)


def start_server(server: LocalServer, name: str, *, timeout_s: float | None = None, log: Path | None = None) -> Running:
    """Start the processes of a server and wait until it is ready."""
    if not processes.port_refused(server.host, server.port):
        raise ServerError(f"port {server.port} on {server.host} is in use; choose another with --port")
    scratch = Path(tempfile.mkdtemp(prefix=f"lukewarm-{name}-"))
    running = Running(server, name, log or scratch / "server.log", scratch)
    try:
        with running.log.open("ab") as stream:
            for number, process in enumerate(server.processes):
                if number == 1:  # the first one listens, the others call it
                    _wait_listening(running, timeout_s or server.start_timeout_s)
                running._children.append(processes.start(process, stream, scratch))
        _wait_ready(running, timeout_s or server.start_timeout_s)
    except BaseException as error:
        running.stop(grace_s=2, keep_log=isinstance(error, ServerError))
        raise
    return running


def _wait_ready(running: Running, timeout_s: float) -> None:
    began = time.monotonic()
    wire, last, pause_s = running.server.wire, "no answer", RETRY_S
    while time.monotonic() - began < timeout_s:
        for child in running._children:
            processes.look(child)
            if (code := child.popen.poll()) is not None:
                raise ServerError(f"{running.name} ended with exit code {code} before it was ready\n{_log(running)}")
        try:
            reply = running.send(wire.ready(), timeout_s=5)
        except ServerError:
            time.sleep(RETRY_S)
            continue
        if wire.is_ready(reply):
            running.ready_s = time.monotonic() - began
            return
        last = f"HTTP {reply.status}"
        if call := wire.why():
            reply = running.send(call, timeout_s=5)
        if reason := wire.failed(reply):
            raise ServerError(f"{running.name} could not set up the model: {reason}\n{_log(running)}")
        time.sleep(pause_s := min(pause_s * 1.2, MAX_RETRY_S))
    raise ServerError(f"{running.name} was not ready after {timeout_s:g} s ({last})\n{_log(running)}")


def _wait_listening(running: Running, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while processes.port_refused(running.server.host, running.server.port):
        if time.monotonic() > deadline or running._children[0].popen.poll() is not None:
            raise ServerError(f"{running.name}: what the server talks to did not start\n{_log(running)}")
        time.sleep(RETRY_S)


def _log(running: Running) -> str:
    lines = running.last_log()
    return f"last lines of {running.log}:\n{lines}" if lines else f"its log is empty: {running.log}"


def bundle_server(spec: ModelSpec, spec_root: Path, bundle: Path, folder: Path, host: str, port: int) -> LocalServer:
    """Our own ASGI server on a bundle, under the spec's limits; `folder` gets the spec and a link, no copy."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SPEC_FILE).write_bytes(runtime_spec(spec))
    link = folder / BUNDLE_DIR
    link.unlink(missing_ok=True)
    link.symlink_to(Bundle.open(bundle).root.resolve())
    argv = (sys.executable, "-m", "lukewarm.serving", str(folder), "--host", host, "--port", str(port))
    # the user's own predictor is a module beside the spec
    process = Process(argv=argv, cwd=folder, env={"PYTHONPATH": str(spec_root)})
    return LocalServer(processes=(process,), host=host, port=port, wire=AsgiWire())


def pretty(body: dict[str, Any]) -> str:
    """A body as indented JSON."""
    return json.dumps(body, indent=2, ensure_ascii=False)
