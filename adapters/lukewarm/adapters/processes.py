"""Starts and stops a tree of processes: SIGTERM, then proof that the port is free, then SIGKILL of every descendant."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from lukewarm.adapters.base import Process
from lukewarm.predictors.errors import MissingExtra, ServerError

if TYPE_CHECKING:
    import psutil

POLL_S = 0.05


@dataclass
class Child:
    """A started process and all descendants seen so far; BentoML's workers outlive their parent if it is killed."""

    popen: subprocess.Popen[bytes]
    seen: dict[int, psutil.Process]


@dataclass(frozen=True)
class Stopped:
    """How a server ended. `killed`: it did not end by itself within the grace period."""

    exit_code: int | None
    seconds: float
    killed: int


def start(process: Process, log: IO[bytes], scratch: Path | None = None) -> Child:
    """Start one process in a session of its own, output to `log`. Raises ServerError if it cannot be started.

    `scratch`: where it makes its temporary files; who gives it deletes it.
    """
    environment = {**os.environ, **({"TMPDIR": str(scratch)} if scratch else {}), **process.env}
    try:
        popen = subprocess.Popen(
            process.argv, cwd=process.cwd, env=environment, stdin=subprocess.DEVNULL, stdout=log,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise ServerError(f"cannot start {process.argv[0]}: {error.strerror}") from error
    return Child(popen, {})


def look(child: Child) -> None:
    """Remember the descendants that live now; later they may have other parents."""
    ps = _psutil()
    try:
        found = ps.Process(child.popen.pid).children(recursive=True)
    except ps.NoSuchProcess:
        return
    child.seen.update({process.pid: process for process in found})


def stop(child: Child, grace_s: float) -> Stopped:
    """SIGTERM, wait, then SIGKILL whatever of the tree is left. Never touches a process it did not start."""
    began = time.monotonic()
    look(child)
    if child.popen.poll() is None:
        child.popen.send_signal(signal.SIGTERM)
    deadline = began + grace_s
    while time.monotonic() < deadline and (child.popen.poll() is None or _alive(child)):
        look(child)
        time.sleep(POLL_S)
    left = _alive(child)
    killed = len(left) + (child.popen.poll() is None)
    if child.popen.poll() is None:
        child.popen.kill()
    for process in left:
        _kill(process)
    child.popen.wait(timeout=10)
    return Stopped(child.popen.returncode, time.monotonic() - began, killed)


def port_refused(host: str, port: int) -> bool:
    """Whether nobody listens there."""
    try:
        with socket.create_connection((host, port), timeout=0.5):
            return False
    except OSError:
        return True


def free_port(host: str = "127.0.0.1") -> int:
    """A port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind((host, 0))
        return int(listener.getsockname()[1])


def tail(log: Path, lines: int = 20) -> str:
    """The last lines of a log, for an error message."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - 16384))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def _alive(child: Child) -> list[psutil.Process]:
    ps = _psutil()
    alive = []
    for process in child.seen.values():
        try:
            # is_running compares creation times, so a reused pid is not ours
            if process.is_running() and process.status() != ps.STATUS_ZOMBIE:
                alive.append(process)
        except ps.NoSuchProcess:
            continue
    return alive


def _kill(process: psutil.Process) -> None:
    ps = _psutil()
    with contextlib.suppress(ps.NoSuchProcess):  # ended meanwhile
        process.kill()


def _psutil() -> Any:
    try:
        import psutil
    except ModuleNotFoundError as error:
        raise MissingExtra("psutil, which stops local servers,", "local") from error
    return psutil


def stop_all(children: Iterable[Child], grace_s: float) -> list[Stopped]:
    """Stop several, last started first."""
    return [stop(child, grace_s) for child in reversed(list(children))]
