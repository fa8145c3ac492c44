"""`--workers` with a real model: one load for all where the backend survives a fork, and a worker that is killed."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.converted import converted
from support.serving import ServerProcess, running

pytestmark = pytest.mark.models
PROMPT = {"prompt": "the model answers a request", "max_new_tokens": 8, "ignore_eos": True}


@pytest.mark.parametrize(
    ("backend", "shared"),
    [
        ("ort", True),
        pytest.param("hf", True, marks=pytest.mark.slow),
        pytest.param("ct2", False, marks=pytest.mark.slow),
    ],
)
def test_a_killed_worker_is_replaced(tmp_path: Path, backend: str, shared: bool) -> None:
    from support.tiny_models import tiny_model

    root = converted(tiny_model(), tmp_path, "text-generation", backend)
    with running(root, "--workers", "2", "--threads", "1") as server:
        first = answers_of(server, 2)
        assert len({answer["text"] for answer in first.values()}) == 1
        loads = {answer["meta"]["load_s"] for answer in first.values()}
        assert len(loads) == (1 if shared else 2), "loaded once, or once in each worker"
        victim = next(pid for pid in children(server.process.pid))
        os.kill(victim, signal.SIGKILL)
        after = answers_of(server, 2, known=set(first))
        (fresh,) = set(after) - set(first)
        assert after[fresh]["text"] == next(iter(first.values()))["text"]
        assert (after[fresh]["meta"]["load_s"] in loads) == shared
        assert victim not in children(server.process.pid)
        workers = children(server.process.pid)
        assert server.stop() == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def answers_of(server: ServerProcess, count: int, known: set[str] = frozenset()) -> dict[str, Any]:  # type: ignore[assignment]
    """The last answer of each of `count` workers, at least one of them not among the known."""
    deadline = time.monotonic() + 60
    found: dict[str, Any] = {}

    def ask(_: int) -> httpx.Response | None:
        try:
            return httpx.post(f"{server.url}/predict", json=PROMPT, timeout=30)
        except httpx.TransportError:  # the connection was the killed worker's
            return None

    while len(found) < count or known >= found.keys():
        assert time.monotonic() < deadline, found
        # at once: one caller after the other would meet the same idle worker for ever
        with ThreadPoolExecutor(2 * count) as pool:
            replies = [reply for reply in pool.map(ask, range(2 * count)) if reply is not None]
        for reply in replies:
            assert reply.status_code in (200, 503), reply.text  # 503: a worker that loads a model of its own
            if reply.status_code == 200:
                found[reply.json()["meta"]["boot_id"]] = reply.json()
    return found


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]
