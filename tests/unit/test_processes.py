"""Local servers: started, waited for, and stopped without a trace, however they behave."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from lukewarm.adapters import local, processes
from lukewarm.adapters.base import LocalServer, Process
from lukewarm.adapters.wire import AsgiWire
from lukewarm.predictors.errors import ServerError

LISTEN = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(STATUS); self.end_headers(); self.wfile.write(b'{}')
    def log_message(self, *a): pass
http.server.HTTPServer(('127.0.0.1', PORT), Handler).serve_forever()
"""


def server(tmp_path: Path, body: str, status: int = 200) -> LocalServer:
    port = processes.free_port()
    code = textwrap.dedent(body).replace("PORT", str(port)).replace("STATUS", str(status))
    process = Process(argv=(sys.executable, "-c", code), cwd=tmp_path)
    return LocalServer(processes=(process,), host="127.0.0.1", port=port, wire=AsgiWire())


def test_starts_waits_and_stops(tmp_path: Path) -> None:
    running = local.start_server(server(tmp_path, LISTEN), "x", timeout_s=20)
    pid = running.pids[0]
    assert running.ready_s > 0
    ended = running.stop()
    assert [(one.exit_code, one.killed) for one in ended] == [(-signal.SIGTERM, 0)]
    assert not psutil.pid_exists(pid)
    assert processes.port_refused("127.0.0.1", running.server.port)


def test_a_server_that_dies_shows_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"(?s)ended with exit code 3 before it was ready.*no weights here"):
        local.start_server(server(tmp_path, "print('no weights here', flush=True); raise SystemExit(3)"), "x")


def test_a_server_that_never_listens_is_given_up(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(ServerError, match="not ready after 1 s"):
        local.start_server(server(tmp_path, "import time; time.sleep(60)"), "x", timeout_s=1)
    assert time.monotonic() - began < 10


def test_a_server_that_is_never_ready_says_how_it_answered(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"not ready after 1 s \(HTTP 503\)"):
        local.start_server(server(tmp_path, LISTEN, status=503), "x", timeout_s=1)


def test_a_port_in_use_is_refused_at_once(tmp_path: Path) -> None:
    with (
        local.start_server(server(tmp_path, LISTEN), "x", timeout_s=20) as running,
        pytest.raises(ServerError, match="in use; choose another with --port"),
    ):
        local.start_server(running.server, "y")


def test_children_that_outlive_their_parent_are_killed(tmp_path: Path) -> None:
    """A worker in a session of its own that ignores SIGTERM, as BentoML's outlive their arbiter."""
    stubborn = "import signal, time\\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\\ntime.sleep(600)"
    body = f"""
    import subprocess, sys
    subprocess.Popen([sys.executable, "-c", "{stubborn}"], start_new_session=True)
    """
    running = local.start_server(server(tmp_path, textwrap.dedent(body) + LISTEN), "x", timeout_s=20)
    time.sleep(0.3)
    worker = running.pids[1]
    assert psutil.pid_exists(worker)
    ended = running.stop(grace_s=1)
    assert ended[0].killed == 1
    gone = time.monotonic() + 60
    while psutil.pid_exists(worker) and psutil.Process(worker).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < gone, "the orphan lives"
        time.sleep(0.05)


def test_what_cannot_be_started(tmp_path: Path) -> None:
    broken = LocalServer(
        processes=(Process(argv=(str(tmp_path / "absent"),), cwd=tmp_path),),
        host="127.0.0.1",
        port=processes.free_port(),
        wire=AsgiWire(),
    )
    with pytest.raises(ServerError, match="cannot start"):
        local.start_server(broken, "x")


LITTER = "import pathlib, tempfile\ntempfile.mkstemp()\npathlib.Path(tempfile.mkdtemp(), 'socket').touch()\n"


def test_no_temporary_file_outlives_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "temporary"
    home.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(home))
    with local.start_server(server(tmp_path, LITTER + LISTEN), "x", timeout_s=20) as running:
        assert len(list(running.scratch.iterdir())) == 3, "its log and its litter"
    assert not list(home.iterdir())


def test_of_a_server_that_failed_the_log_is_kept_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "temporary"
    home.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(home))
    with pytest.raises(ServerError) as caught:
        local.start_server(server(tmp_path, LITTER + "print('sorry'); raise SystemExit(3)"), "x")
    log = next(home.glob("lukewarm-x-*/*"))
    assert str(log) in str(caught.value)
    assert [path.name for path in log.parent.iterdir()] == ["server.log"]
    assert log.read_text() == "sorry\n"


def test_no_file_of_the_caller_is_left_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    local.start_server(server(tmp_path, LISTEN), "x", timeout_s=20).stop()
    assert len(os.listdir("/proc/self/fd")) == before
