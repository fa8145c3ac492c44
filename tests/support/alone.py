"""Tests marked `alone` run while no other worker of pytest-xdist runs any: what they measure is the machine's time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


def in_worker() -> bool:
    return "PYTEST_XDIST_WORKER" in os.environ


def _file(controller: int, name: str) -> Path:
    return Path(tempfile.gettempdir()) / f"lukewarm-tests-{os.getuid()}-{controller}.{name}"


@contextlib.contextmanager
def turn(controller: int, alone: bool) -> Iterator[None]:
    """Hold the machine for one test, `alone` or shared with the tests of the controller process's other workers."""
    with _file(controller, "door").open("w") as door, _file(controller, "room").open("w") as room:
        fcntl.flock(door, fcntl.LOCK_EX)  # who waits inside the door for an empty room keeps later ones out
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(room, fcntl.LOCK_UN)  # closing would not do: a process forked by the test has the file open too


def forget(controller: int) -> None:
    for name in ("door", "room"):
        _file(controller, name).unlink(missing_ok=True)
