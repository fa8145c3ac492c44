"""A platform that frees its slot after it has answered: callers of `Running` wait for it instead of failing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lukewarm.adapters.base import LocalServer
from lukewarm.adapters.cog import CogWire
from lukewarm.adapters.local import LOOPBACK, Running
from lukewarm.predictors.errors import ServerError

BUSY = b'{"error": "At capacity", "status": "failed"}'


class Slow(BaseHTTPRequestHandler):
    """Busy for as many calls as `server.busy` says, then an answer."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        busy = self.server.busy  # type: ignore[attr-defined]
        self.server.busy = busy - 1  # type: ignore[attr-defined]
        stream = "event-stream" in self.headers.get("accept", "")
        answer = b'data: {"chunk": "a"}\n\n' if stream else b'{"status": "succeeded", "output": {"text": "a"}}'
        body = BUSY if busy > 0 else answer
        self.send_response(409 if busy > 0 else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the base class writes to stderr."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer((LOOPBACK, 0), Slow) as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield found
        found.shutdown()
        thread.join(5)


def running(server: ThreadingHTTPServer) -> Running:
    return Running(LocalServer(processes=(), host=LOOPBACK, port=server.server_port, wire=CogWire()), "x", Path("none"))


def test_a_busy_slot_is_waited_for(server: ThreadingHTTPServer) -> None:
    server.busy = 2  # type: ignore[attr-defined]
    assert running(server).request({"prompt": "a"}).body["text"] == "a"
    server.busy = 2  # type: ignore[attr-defined]
    assert list(running(server).stream({"prompt": "a"})) == ["a"]


def test_the_first_answer_is_shown_when_asked_for(server: ThreadingHTTPServer) -> None:
    server.busy = 1  # type: ignore[attr-defined]
    assert running(server).request({"prompt": "a"}, settle_s=0).http_status == 409


def test_a_slot_that_stays_busy_is_an_error(server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lukewarm.adapters.local.SETTLE_S", 0.2)
    server.busy = 10**9  # type: ignore[attr-defined]
    with pytest.raises(ServerError, match=r"409.*At capacity"):
        list(running(server).stream({"prompt": "a"}))
