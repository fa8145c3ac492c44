"""One start of a platform's local server, timed from the spawn of its process to its first good answer."""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from lukewarm.adapters import processes
from lukewarm.adapters.base import Adapter, LocalServer
from lukewarm.adapters.local import LOOPBACK, Running
from lukewarm.adapters.wire import Call
from lukewarm.benchmarks import hello, launch
from lukewarm.benchmarks.framework import HELLO
from lukewarm.predictors.errors import ServerError

PAYLOAD = {"prompt": "hello there", "max_new_tokens": 2}
POLL_S = 0.02
ASK_S = 10.0  # of one request: a server that took it before it was ready may never answer it
LIMIT_S = 60.0


class Sample(TypedDict):
    """What one start gave, all at the first good answer."""

    seconds: float
    cpu_s: float  # of the platform's process and its descendants
    memory_bytes: int  # resident in them


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One server to be started again and again. `reason`: it cannot be."""

    target: str
    kind: str  # OWN or HELLO
    key: str = ""  # digest of what is run
    folder: Path = Path()
    adapter: Adapter | None = None
    requirements: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()  # pinned, as its image gets them
    closed: bool = False  # `packages` are all: installed without what they ask for
    own_bytes: int = 0  # of the artifact without its weights: our sources and its entry
    unsized: str = ""  # why its packages cannot be counted
    reason: str = ""

    def server(self, port: int) -> tuple[LocalServer, Call]:
        """How to run it on this port, and the request to send."""
        assert self.adapter is not None
        local = self.adapter.local(self.folder, LOOPBACK, port)
        call = local.wire.predict(json.dumps(PAYLOAD).encode())
        if self.kind != HELLO:
            return local, call
        made = hello.HELLOS.get(self.target, hello.UVICORN)
        return hello.server(made, local, self.folder), hello.call(self.target, call)


def first_answer(contender: Contender, limit_s: float = LIMIT_S) -> Sample:
    """Start it, ask every 20 ms until it answers well, and end it.

    A fresh port each time, and proof that it is free before and after: what an earlier server left behind would
    answer at once. Raises ServerError.
    """
    port = processes.free_port(LOOPBACK)
    server, call = contender.server(port)
    mark = {launch.RUN_ID: uuid.uuid4().hex, **launch.QUIET}
    server = dataclasses.replace(
        server, processes=tuple(dataclasses.replace(p, env={**p.env, **mark}) for p in server.processes)
    )
    if not processes.port_refused(LOOPBACK, port):
        raise ServerError(f"port {port} answers before the server was started")
    with tempfile.TemporaryDirectory(prefix="lukewarm-start-") as folder:
        running = Running(server, contender.target, Path(folder, "server.log"), Path(folder))
        try:
            return _start(running, call, limit_s)
        finally:
            try:
                running.stop(grace_s=10)
            finally:
                launch.sweep(mark[launch.RUN_ID])


def _start(running: Running, call: Call, limit_s: float) -> Sample:
    server, last = running.server, "it refused every connection"
    begun = time.monotonic()
    with running.log.open("ab") as log:
        for number, process in enumerate(server.processes):
            if number:  # the first is a fake of the platform's queue: not what is measured
                _listening(running)
            begun = time.monotonic()
            running._children.append(processes.start(process, log, running.scratch))
    while time.monotonic() - begun < limit_s:
        try:
            reply = running.send(call, timeout_s=min(ASK_S, limit_s))
        except ServerError:
            if running._children[-1].popen.poll() is not None:
                last = f"its process ended with code {running._children[-1].popen.returncode}"
                break
        else:
            # some platforms answer 200 with an error in it: only the echoed words are a good answer
            if reply.status == 200 and b"hello" in reply.body:
                return _sample(running, time.monotonic() - begun)
            last = f"it last answered {reply.status}: {reply.body[:200].decode('utf-8', 'replace')}"
        time.sleep(POLL_S)
    said = (running.last_log(1) or "its log is empty").strip()
    raise ServerError(f"no good answer within {time.monotonic() - begun:.1f} s, {last}; {said[-300:]}")


def _listening(running: Running) -> None:
    deadline = time.monotonic() + LIMIT_S
    while processes.port_refused(running.server.host, running.server.port):
        if time.monotonic() > deadline:
            raise ServerError("the fake of the platform's queue did not start")
        time.sleep(POLL_S)


def _sample(running: Running, seconds: float) -> Sample:
    """With the processor time and memory of the platform's process and its descendants; a fake beside it is none."""
    import psutil

    resident, cpu_s = 0, 0.0
    child = running._children[-1]
    processes.look(child)
    for pid in {child.popen.pid, *child.seen}:
        try:
            process = psutil.Process(pid)
            times = process.cpu_times()
            resident += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
        cpu_s += times.user + times.system + times.children_user + times.children_system
    return Sample(seconds=seconds, cpu_s=cpu_s, memory_bytes=resident)
