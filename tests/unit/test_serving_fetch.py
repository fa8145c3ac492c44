"""Safe URL inputs, against servers on loopback with the resolver injected."""

from __future__ import annotations

import contextlib
import ipaddress
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from lukewarm.predictors.errors import RequestError
from lukewarm.serving.fetch import FetchPolicy, fetch, is_public

PNG = b"\x89PNG data"


class Handler(BaseHTTPRequestHandler):
    """Each path is one kind of server to be careful with."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/to/"):
            self.answer(302, location=path.removeprefix("/to/"))
        elif path == "/loop":
            self.answer(302, location="/loop")
        elif path == "/html":
            self.answer(200, b"<html>", kind="text/html")
        elif path == "/gzip":
            self.answer(200, PNG, encoding="gzip")
        elif path == "/big":
            self.answer(200, b"a" * 5000)
        elif path == "/endless":
            self.drip(b"a" * 500, 0.0)
        elif path == "/slow":
            self.drip(b"a", 0.05)
        elif path == "/slow-head":
            for _ in range(100):
                self.wfile.write(b"x")
                time.sleep(0.05)
        elif path == "/cut":
            self.answer(200, PNG, length=100)
        elif path == "/404":
            self.answer(404)
        else:
            self.server.hosts.append(self.headers["Host"])  # type: ignore[attr-defined]
            self.answer(200, PNG)

    def answer(self, status: int, body: bytes = b"", *, location: str = "", **more: Any) -> None:
        self.send_response(status)
        self.send_header("Content-Type", more.get("kind", "image/png"))
        self.send_header("Content-Length", str(more.get("length", len(body))))
        if location:
            self.send_header("Location", location)
        if "encoding" in more:
            self.send_header("Content-Encoding", more["encoding"])
        self.end_headers()
        self.wfile.write(body)

    def drip(self, chunk: bytes, pause_s: float) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.end_headers()
        for _ in range(200):
            self.wfile.write(chunk)
            time.sleep(pause_s)

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # the client hung up, as it should
            super().handle()

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.hosts = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def get(server: ThreadingHTTPServer, path: str, **policy: Any) -> bytes:
    """Fetch as if `files.example` were public and stood on the test's server."""
    names = {"files.example": ["127.0.0.1"], "inside.example": ["10.0.0.7"]}
    url = f"http://files.example:{server.server_port}{path}" if path.startswith("/") else path
    return fetch(
        url,
        FetchPolicy(**{"max_bytes": 1000, "timeout_s": 0.5, **policy}),
        resolver=lambda host, _: names.get(host, [host]),
        allowed=lambda address: is_public(address) or str(address) == "127.0.0.1",
    )


def code(server: ThreadingHTTPServer, path: str, **policy: Any) -> str:
    with pytest.raises(RequestError) as caught:
        get(server, path, **policy)
    assert caught.value.path == "$.url"
    return caught.value.code


def test_content_is_fetched_from_the_checked_address(server: Any) -> None:
    assert get(server, "/a.png?x=1") == PNG
    assert server.hosts[-1] == f"files.example:{server.server_port}"
    assert get(server, "/to//a.png") == PNG


@pytest.mark.alone
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/html", "url_type"),
        ("/gzip", "url_type"),
        ("/big", "url_size"),
        ("/endless", "url_size"),
        ("/slow", "url_timeout"),
        ("/slow-head", "url_timeout"),
        ("/cut", "url_failed"),
        ("/404", "url_failed"),
        ("/loop", "url_redirect"),
        ("/to/http://inside.example/", "url_address"),
        ("/to/http://169.254.169.254/latest/meta-data/", "url_address"),
        ("/to/file:///etc/passwd", "url_scheme"),
        ("file:///etc/passwd", "url_scheme"),
        ("ftp://files.example/", "url_scheme"),
        ("gopher://files.example/", "url_scheme"),
        ("http://inside.example/", "url_address"),
        ("http://10.1.2.3/", "url_address"),
        ("http://[::1]/", "url_address"),
        ("http://[::ffff:10.0.0.1]/", "url_address"),
        ("http://user:secret@files.example/", "url_invalid"),
        ("http://files.example:99999/", "url_invalid"),
        ("http://files.example:0/", "url_invalid"),
        ("http:///x", "url_invalid"),
        ("http://[::1/", "url_invalid"),
        ("http://files.example/a b", "url_invalid"),
        ("http://files.example/\r\nHost: x", "url_invalid"),
        ("http://files.example/é", "url_invalid"),
        ("http://nowhere.example/", "url_failed"),
    ],
)
def test_everything_else_is_refused(server: Any, path: str, expected: str) -> None:
    begun = time.monotonic()
    assert code(server, path) == expected
    assert time.monotonic() - begun < 2.0


def test_one_private_address_among_several_is_enough(server: Any) -> None:
    with pytest.raises(RequestError) as caught:
        fetch("http://files.example/", resolver=lambda *_: ["93.184.216.34", "192.168.0.1"])
    assert caught.value.code == "url_address"


def test_loopback_is_refused_by_default(server: Any) -> None:
    with pytest.raises(RequestError) as caught:
        fetch(f"http://127.0.0.1:{server.server_port}/a.png")
    assert caught.value.code == "url_address"
    with pytest.raises(RequestError) as caught:
        fetch(f"http://2130706433:{server.server_port}/a.png")  # 127.0.0.1 as one number
    assert caught.value.code in ("url_address", "url_failed")


NOT_PUBLIC = """
127.0.0.1 0.0.0.0 10.0.0.1 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 224.0.0.1 255.255.255.255 240.0.0.1
:: ::1 fe80::1 fc00::1 ff02::1 ::ffff:127.0.0.1 64:ff9b::7f00:1 2002:7f00:1:: 2001:db8::1
"""


@pytest.mark.parametrize("text", NOT_PUBLIC.split())
def test_not_public(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))
