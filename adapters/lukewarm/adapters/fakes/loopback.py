"""What the fakes of HTTP APIs share: a threaded loopback server that records requests and fails on demand."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit


@dataclass
class Request:
    """One request as it came. The body is read on demand; `Disconnect` may cut it short."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: Mapping[str, str]
    body: bytes = b""

    def json(self) -> Any:
        return json.loads(self.body)

    def first(self, name: str) -> str:
        return self.query.get(name, [""])[0]


@dataclass
class Reply:
    """An answer. `body` that is neither bytes nor None goes as JSON."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Fault:
    """Break the next `times` requests that match. `keep_bytes`: read so much of the body, then hang up."""

    method: str
    path: str  # a regular expression for the whole path
    reply: Reply = field(default_factory=lambda: Reply(500))
    times: int = 1
    keep_bytes: int | None = None
    after: bool = False  # do what was asked, then hang up: the answer is lost


class Loopback:
    """A fake API on 127.0.0.1. Use in a `with`; subclasses answer in `handle`."""

    title = "fake"

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.lock = threading.RLock()

    def handle(self, request: Request) -> Reply:
        raise NotImplementedError

    def partial(self, request: Request) -> None:
        """What a real server does with the part of a body that came before the connection broke."""

    def fail(self, method: str, path: str, reply: Reply, times: int = 1) -> None:
        """Answer the next matching requests with `reply`."""
        self.faults.append(Fault(method, path, reply, times))

    def hang_up(self, method: str, path: str, *, keep_bytes: int = 0, after: bool = False, times: int = 1) -> None:
        """Close the connection on the next matching requests, in the body or after the work is done."""
        self.faults.append(Fault(method, path, times=times, keep_bytes=keep_bytes, after=after))

    def seen(self, method: str, path: str) -> list[Request]:
        """Recorded requests whose whole path matches a regular expression."""
        return [r for r in self.requests if r.method == method and re.fullmatch(path, r.path)]

    def fault_for(self, method: str, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and fault.method == method and re.fullmatch(fault.path, path):
                    fault.times -= 1
                    return fault
        return None

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def __enter__(self) -> Any:
        fake = self

        class Handler(_Handler):
            owner = fake

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: Loopback
    timeout = 20

    def _serve(self) -> None:
        url = urlsplit(self.path)
        request = Request(self.command, url.path, parse_qs(url.query), cast(Mapping[str, str], self.headers))
        length = int(self.headers.get("Content-Length") or 0)
        fault = self.owner.fault_for(request.method, request.path)
        if fault and fault.keep_bytes is not None and not fault.after:
            request.body = self.rfile.read(min(length, fault.keep_bytes))
            self.owner.partial(request)
            self.close_connection = True
            return
        request.body = self.rfile.read(length)
        with self.owner.lock:
            self.owner.requests.append(request)
            reply = self.owner.handle(request) if fault is None or fault.after else fault.reply
        if fault and fault.after:
            self.close_connection = True
            return
        self._answer(reply)

    def _answer(self, reply: Reply) -> None:
        body = reply.body
        headers = dict(reply.headers)
        if body is None:
            data = b""
        elif isinstance(body, bytes):
            data = body
        else:
            data = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        self.send_response(reply.status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def log_message(self, *_args: object) -> None:
        """Nothing: a request line may hold a token."""


def allow(body: Any, required: Mapping[str, type | tuple[type, ...]], optional: Mapping[str, Any]) -> list[str]:
    """What is wrong with a JSON body: missing keys, wrong types, keys that the API does not know."""
    if not isinstance(body, dict):
        return ["$: not an object"]
    wrong = [f"$: missing property {name!r}" for name in required if name not in body]
    for name, value in body.items():
        kind = required.get(name, optional.get(name))
        if kind is None:
            wrong.append(f"$: additional properties {name!r} not allowed")
        elif not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
            wrong.append(f"$.{name}: got {type(value).__name__}")
    return wrong
