"""A real server process on loopback: corpus, readiness, overload, drain, disconnects, workers, logs, traces."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from lukewarm.serving.conformance import error_of
from lukewarm.serving.conformance import run as run_corpus
from lukewarm.testing import load
from support.serving import ServerProcess, echo_artifact, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    root = echo_artifact(tmp_path_factory.mktemp("plain"))
    with running(root, "--log-level", "debug") as process:
        yield process


def predict(server: ServerProcess, **fields: Any) -> httpx.Response:
    return httpx.post(f"{server.url}/predict", json=fields, timeout=30)


def in_flight(server: ServerProcess) -> float:
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith("lukewarm_requests_in_flight ")).split()[1])


def until(condition: Any, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.02)


def in_background(call: Any) -> tuple[threading.Thread, list[Any]]:
    """Run a call in a thread; its result or exception goes into the list."""
    outcome: list[Any] = []

    def target() -> None:
        try:
            outcome.append(call())
        except httpx.HTTPError as error:
            outcome.append(error)

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread, outcome


def test_the_whole_corpus_is_refused_as_the_contract_says(server: ServerProcess) -> None:
    assert {case.name: wrong for case, wrong in run_corpus(server.url) if wrong} == {}
    assert server.process.poll() is None
    assert not any("Traceback" in line for line in server.other)


def test_the_corpus_runs_as_a_command(server: ServerProcess) -> None:
    command = [sys.executable, "-m", "lukewarm.serving.conformance", server.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1].endswith(" 0 failed")


@pytest.mark.parametrize(
    "data", [b"garbage\r\n\r\n", b"POST /predict HTTP/1.1\r\nContent-Length: -5\r\n\r\n", b"\x16\x03\x01"]
)
def test_bytes_that_are_no_http_get_the_error_shape(server: ServerProcess, data: bytes) -> None:
    parts = urlsplit(server.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
        connection.sendall(data + b"\r\n\r\n")
        answer = b""
        while chunk := connection.recv(4096):
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert error_of(json.loads(body)) is not None


def test_a_body_without_a_length_is_refused(server: ServerProcess) -> None:
    parts = urlsplit(server.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    connection.putrequest("POST", "/predict")
    connection.putheader("content-type", "application/json")
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == 411
    assert error_of(json.loads(response.read())) is not None


def test_a_huge_body_gets_its_answer(server: ServerProcess) -> None:
    body = b'{"prompt": "' + b"a" * 40 * 2**20 + b'"}'
    response = httpx.post(
        f"{server.url}/predict", content=body, headers={"content-type": "application/json"}, timeout=30
    )
    assert response.status_code == 413
    assert response.headers["connection"] == "close"
    assert predict(server, prompt="still here").status_code == 200


@pytest.mark.alone
def test_answers_do_not_wait_for_acknowledgements(server: ServerProcess) -> None:
    """A delayed ACK would cost each answer 40 ms, but for the first few of a connection."""
    wanted, times = 10, []
    with httpx.Client(base_url=server.url) as client:
        for number in range(500):  # on a busy machine most answers may be slow, for other reasons
            begun = time.perf_counter()
            client.post("/predict", json={"prompt": "a"})
            times.append(time.perf_counter() - begun)
            if number >= 20 and sum(one < 0.030 for one in times[20:]) >= wanted:
                return
    raise AssertionError(f"TCP_NODELAY is off: fastest {sorted(times[20:])[:wanted]}")


def test_one_json_line_per_request(server: ServerProcess) -> None:
    response = predict(server, prompt="a log line")
    number = response.json()["meta"]["n_request"]
    line = server.wait_for(lambda line: line.get("n_request") == number and line.get("route") == "/predict")
    assert line["status"] == 200
    assert line["boot_id"] == response.headers["x-lukewarm-boot-id"]
    assert line.keys() >= {"time", "level", "method", "duration_s", "queue_s", "exec_s", "bytes_in", "bytes_out"}
    predict(server, prompt=1)
    assert server.wait_for(lambda line: line.get("code") == "wrong_type")["status"] == 400


def test_a_failed_setup_keeps_saying_why(tmp_path: Path) -> None:
    root = echo_artifact(tmp_path, delay_s="not a number")  # type: ignore[arg-type]
    with running(root, ready=False) as server:
        server.wait_for(lambda line: "setup failed" in str(line.get("message")))
        for path in ("/readyz", "/ping"):
            response = httpx.get(f"{server.url}{path}")
            assert response.status_code == 503
            assert response.json()["error"]["code"] == "setup_failed"
            assert "could not convert string to float" in response.json()["error"]["message"]
        assert httpx.get(f"{server.url}/livez").status_code == 200
        assert predict(server, prompt="a").status_code == 503
        assert server.stop() == 0


def test_a_failed_setup_may_end_the_process(tmp_path: Path) -> None:
    root = echo_artifact(tmp_path, delay_s="not a number")  # type: ignore[arg-type]
    server = ServerProcess(root, "--exit-on-failed-setup")
    assert server.process.wait(20) == 1


@pytest.mark.parametrize(
    ("break_it", "code", "words"),
    [
        (lambda root: (root / "bundle" / "bundle.json").unlink(), 6, "lukewarm convert"),
        (lambda root: (root / "bundle" / "bundle.json").write_text("{"), 6, "damaged"),
        (lambda root: (root / "lukewarm.json").write_text('{"name": "echo", "limts": {}}'), 3, "limits"),
    ],
)
def test_what_cannot_be_opened_ends_with_one_message(tmp_path: Path, break_it: Any, code: int, words: str) -> None:
    root = echo_artifact(tmp_path)
    break_it(root)
    command = [sys.executable, "-m", "lukewarm.serving", str(root), "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == code
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_port_in_use_ends_with_one_message(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "lukewarm.serving", str(echo_artifact(tmp_path)), "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 10
    assert port in done.stderr


def test_drain_finishes_the_request_and_refuses_new_ones(tmp_path: Path) -> None:
    with running(echo_artifact(tmp_path, delay_s=0.1)) as server:
        thread, outcome = in_background(lambda: predict(server, prompt="w " * 30))
        until(lambda: in_flight(server) == 1)
        with httpx.Client(base_url=server.url) as client:
            client.get("/readyz")
            server.process.terminate()
            until(lambda: client.get("/readyz").status_code == 503)
            refused = client.post("/predict", json={"prompt": "a"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
        assert refused.headers["connection"] == "close"
        thread.join(30)
        assert outcome[0].status_code == 200
        assert outcome[0].json()["completion_tokens"] == 30
        assert server.process.wait(30) == 0


def test_a_stream_is_finished_by_the_drain(tmp_path: Path) -> None:
    with running(echo_artifact(tmp_path, delay_s=0.1)) as server:
        thread, outcome = in_background(lambda: predict(server, prompt="w " * 20, stream=True).text)
        until(lambda: in_flight(server) == 1)
        server.process.terminate()
        thread.join(30)
        assert '"result"' in outcome[0]
        assert server.process.wait(30) == 0


def test_the_drain_deadline_is_kept_with_a_clear_answer(tmp_path: Path) -> None:
    with running(echo_artifact(tmp_path, delay_s=0.1, limits={"drain_timeout_s": 0.3})) as server:
        thread, outcome = in_background(lambda: predict(server, prompt="w " * 200))
        until(lambda: in_flight(server) == 1)
        server.process.terminate()
        assert server.process.wait(15) == 0  # the request alone would take 20 s
        thread.join(30)
        assert (outcome[0].status_code, outcome[0].json()["error"]["code"]) == (503, "draining")


def test_a_signal_before_anything_is_served_ends_cleanly(tmp_path: Path) -> None:
    server = ServerProcess(echo_artifact(tmp_path))  # it listens, and is still importing
    assert server.stop() == 0


def test_interrupt_drains_too_and_is_told_apart(tmp_path: Path) -> None:
    with running(echo_artifact(tmp_path)) as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(30) == 130


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_its_slot(tmp_path: Path, stream: bool) -> None:
    root = echo_artifact(tmp_path, delay_s=0.05, limits={"queue": 0})
    with running(root) as server:
        parts = urlsplit(server.url)
        body = json.dumps({"prompt": "w " * 1000, "max_new_tokens": 1000, "stream": stream}).encode()
        with socket.create_connection((parts.hostname, parts.port)) as connection:
            head = (
                "POST /predict HTTP/1.1",
                "Host: x",
                "Content-Type: application/json",
                f"Content-Length: {len(body)}",
            )
            connection.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + body)
            until(lambda: in_flight(server) == 1)
            assert predict(server, prompt="a").status_code == 429
        until(lambda: in_flight(server) == 0, timeout_s=20.0)  # the request alone would take 50 s
        assert predict(server, prompt="a").status_code == 200
        assert server.wait_for(lambda line: line.get("status") == 499)


def test_the_deadline_answers_504(tmp_path: Path) -> None:
    root = echo_artifact(tmp_path, delay_s=0.05, limits={"request_timeout_s": 0.3})
    with running(root) as server:
        response = predict(server, prompt="w " * 100)
        assert (response.status_code, response.json()["error"]["code"]) == (504, "timeout")
        assert predict(server, prompt="a").status_code == 200


@pytest.mark.alone
def test_no_collapse_at_three_times_the_capacity(tmp_path: Path) -> None:
    """An open load of three times what the model can do: at least 90 % of its capacity comes out as answers."""
    with running(echo_artifact(tmp_path, delay_s=0.015, limits={"queue": 8})) as server, httpx.Client() as client:

        def ask() -> tuple[int, str | None]:
            answer = client.post(f"{server.url}/predict", json={"prompt": "a b c d e"}, timeout=60)
            return answer.status_code, answer.headers.get("retry-after")

        load.check_no_collapse(ask, callers=2, seconds=3.0)
        until(lambda: in_flight(server) == 0)
        assert predict(server, prompt="after").status_code == 200


def test_workers_share_the_port_and_the_numbers(tmp_path: Path) -> None:
    with running(echo_artifact(tmp_path), "--workers", "2") as server:
        boots: Counter[str] = Counter()

        def seen() -> bool:
            boots[predict(server, prompt="a").json()["meta"]["boot_id"]] += 1
            return len(boots) >= 2

        until(seen)
        total = sum(boots.values())
        line = f'lukewarm_requests_total{{method="POST",route="/predict",status="200"}} {float(total)}'
        until(lambda: line in httpx.get(f"{server.url}/metrics").text)
        workers = children(server.process.pid)
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        until(lambda: set(children(server.process.pid)) - set(workers) != set())
        assert predict(server, prompt="a").status_code == 200
        workers = children(server.process.pid)
        assert server.stop() == 0
        assert not any(alive(pid) for pid in workers)


def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    with running(echo_artifact(tmp_path), "--workers", "2") as server:
        workers = children(server.process.pid)
        server.process.kill()
        server.process.wait(30)
        until(lambda: not any(alive(pid) for pid in workers))


def children(pid: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = status.read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(status.parent.name))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("options", [(), ("--workers", "2")])
def test_spans_when_the_environment_asks_for_them(options: tuple[str, ...], tmp_path: Path) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    with running(echo_artifact(tmp_path), *options, env={"OTEL_TRACES_EXPORTER": "console"}) as server:
        headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
        httpx.post(f"{server.url}/predict", json={"prompt": "a"}, headers=headers)
        assert server.stop() == 0
        text = "".join(server.other)
    assert '"name": "POST /predict"' in text
    assert trace in text
    assert '"name": "lukewarm.load"' in text
    assert '"http.response.status_code": 200' in text
