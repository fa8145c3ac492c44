"""An extra measurement: from a fork of this warm process (a zygote) to the child's first token."""

from __future__ import annotations

import os
import select
import signal
import time
from typing import Any

FORKS = 5
LIMIT_S = 20.0
NAME = "fork to first token"


def measure(contender: Any, model: Any, job: dict[str, Any], sample: dict[str, Any]) -> None:
    """Fork a few children, one after the other; a runtime whose threads did not survive the fork never answers."""
    times_s = []
    for _ in range(FORKS):
        taken_s = _fork(contender, model, job)
        if taken_s is None:
            sample["not_measured"][NAME] = f"the child gave no answer in {LIMIT_S:g} s: this runtime survives no fork"
            return
        times_s.append(taken_s)
    sample["figures"][NAME] = ("s", times_s)


def _fork(contender: Any, model: Any, job: dict[str, Any]) -> float | None:
    reader, writer = os.pipe()
    begun = time.perf_counter()
    child = os.fork()
    if child == 0:
        signal.alarm(int(LIMIT_S) + 1)
        contender.run(model, job["inputs"][:1], 1)
        os.write(writer, b"1")
        os._exit(0)
    os.close(writer)
    try:
        ready, _, _ = select.select([reader], [], [], LIMIT_S)
        answered = bool(ready) and os.read(reader, 1) == b"1"
        taken_s = time.perf_counter() - begun
        return taken_s if answered else None
    finally:
        os.close(reader)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
