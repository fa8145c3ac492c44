"""The contract of a target as one test class. What a platform cannot do must stand in its capability table.

A test file for a target is five lines:

    @pytest.mark.servers
    class TestMine(TargetContract):
        target = "mine"
"""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from lukewarm.adapters import build, local
from lukewarm.adapters.base import Adapter
from lukewarm.adapters.capabilities import checked
from lukewarm.adapters.processes import Stopped
from lukewarm.adapters.targets import TARGETS
from lukewarm.adapters.wire import Answer
from lukewarm.predictors.ahead import MANIFEST
from lukewarm.predictors.bundle import Bundle
from lukewarm.predictors.errors import ServerError
from lukewarm.serving.conformance import BadRequest, error_of, json_cases, text_generation_cases, violations
from lukewarm.serving.engine import Engine
from lukewarm.testing.clients import ClientContract
from lukewarm.testing.load import ATTEMPTS, LONG, LoadContract
from lukewarm.testing.project import DELAY_S, LIMITS, Built, echo_project

GOLDEN: tuple[dict[str, Any], ...] = (
    {"prompt": "one two three"},
    {"prompt": "one two three", "max_new_tokens": 2},
    {"prompt": "one two stop three", "stop": ["stop"]},
    {"prompt": 'grüße 世界 🙂 "quoted" \\ back'},
    {"messages": [{"role": "user", "content": "said in a chat"}]},
    {"prompt": "x", "temperature": 0.0, "top_k": 5, "top_p": 0.5, "repetition_penalty": 1.1, "seed": 7},
)
FAILING_S = (8.0, 25.0, 90.0)  # how long to wait for the reason in the log, until it is there
TOO_LARGE = frozenset({"too large"})
DUPLICATES = frozenset({"duplicate key", "duplicate key, escaped", "duplicate key, deep"})


class TargetContract(ClientContract, LoadContract):
    """One real local server per class, and one more for each test that ends it."""

    target: ClassVar[str]
    # bad requests that the platform's own server changes before we see them, so that they are answered; the reason
    # stands in the capability table
    lenient: ClassVar[frozenset[str]] = frozenset()
    # bad requests that are good ones in the platform's own shape
    other_meaning: ClassVar[frozenset[str]] = frozenset()
    # bad requests that the platform's own server answers with a 5xx of its own, before we see them
    platform_fails: ClassVar[frozenset[str]] = frozenset()

    @pytest.fixture(scope="class")
    @classmethod
    def adapter(cls) -> Adapter:
        found: Adapter = TARGETS.load(cls.target)
        return found

    @pytest.fixture(scope="class")
    @classmethod
    def built(cls, tmp_path_factory: pytest.TempPathFactory) -> Built:
        return echo_project(tmp_path_factory.mktemp(cls.target), cls.target, slots=cls.slots)

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, adapter: Adapter, built: Built) -> Iterator[local.Running]:
        with local.start(adapter, built.artifact, timeout_s=cls.start_timeout_s) as running:
            yield running

    def level(self, adapter: Adapter, point: str) -> str:
        return checked(adapter)[point].level

    # -- requests

    @pytest.mark.parametrize("number", range(len(GOLDEN)))
    def test_golden_requests_give_the_engines_own_answers(
        self, server: local.Running, built: Built, number: int
    ) -> None:
        engine = Engine.open(built.bundle)
        engine.start()
        expected = engine.predict(dict(GOLDEN[number]))
        engine.close()
        answer = server.request(GOLDEN[number], timeout_s=60)
        assert answer.ok, answer
        assert without_meta(answer.body) == without_meta(expected)

    def test_bad_requests_are_refused(self, server: local.Running, adapter: Adapter) -> None:
        level = self.level(adapter, "validation")
        lenient = self.lenient | (TOO_LARGE if self.level(adapter, "body_limit") == "no" else frozenset())
        wrong = {}
        for case in bad_requests():
            answer = ask_raw(server, case.body)
            if case.name in lenient | self.other_meaning:
                # the day the platform refuses it, the table is out of date
                found = [] if answer.ok else [f"listed as answered, but {answer}"[:300]]
            elif case.name in self.platform_fails:
                found = [] if answer.http_status >= 500 else [f"listed as a 5xx of the platform's, but {answer}"[:300]]
            else:
                found = judged(case, answer, level, native=server.server.wire.native)
            if found:
                wrong[case.name] = found
        assert not wrong
        assert not self.lenient | self.platform_fails or level != "yes", (
            "what the platform lets through stands in its capability table"
        )
        assert server.request(GOLDEN[0], timeout_s=60).ok, "the server is alive after all that"

    def test_identity_is_in_every_answer(self, server: local.Running, adapter: Adapter) -> None:
        assert self.level(adapter, "meta") == "yes"
        first, second = (server.request(GOLDEN[0], timeout_s=60).body["meta"] for _ in range(2))
        assert first["boot_id"] == second["boot_id"]
        assert second["n_request"] == first["n_request"] + 1
        assert first["load_s"] >= 0
        assert first["exec_s"] > 0

    def test_streaming(self, server: local.Running, adapter: Adapter) -> None:
        request = {"prompt": " ".join(str(number) for number in range(20))}
        if self.level(adapter, "streaming") == "no":
            with pytest.raises(ServerError, match="cannot stream"):
                list(server.stream(request))
            return
        for _ in range(ATTEMPTS):  # a reader that was held up sees the pieces together, however they were sent
            pieces, arrivals = [], []
            for piece in server.stream(request):
                pieces.append(piece)
                arrivals.append(time.monotonic())
            assert "".join(pieces) == request["prompt"]
            assert len(pieces) == 20
            if arrivals[-1] - arrivals[0] > 10 * DELAY_S:
                return
        raise AssertionError("all pieces came at once: they were held back until the end")

    # -- life

    def test_drain(self, adapter: Adapter, built: Built) -> None:
        """SIGTERM in mid-request."""
        level = self.level(adapter, "drain")
        for attempt in range(ATTEMPTS):
            answer, ended, in_time = self._ended_in_mid_request(adapter, built, (15 + 10 * attempt) * DELAY_S)
            assert ended.killed == 0, "it ended by itself"
            if level == "yes":
                assert ended.exit_code == 0
            # on a busy machine the request may not have begun, or have ended, when the signal came
            if in_time and (level == "no" or (isinstance(answer, Answer) and answer.ok)):
                return
        raise AssertionError(f"what ran was not finished: {answer}")

    def _ended_in_mid_request(
        self, adapter: Adapter, built: Built, after_s: float
    ) -> tuple[Answer | ServerError, Stopped, bool]:
        """What the caller got, how the server ended, and whether the signal came before the answer."""
        running = local.start(adapter, built.artifact, timeout_s=self.start_timeout_s)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            caller = pool.submit(outcome, running)
            time.sleep(after_s)
            in_time = not caller.done()
            ended = running.stop()
            return caller.result(60), ended[0], in_time

    def test_a_failed_setup_says_why(self, adapter: Adapter, built: Built, tmp_path: Path) -> None:
        broken = tmp_path / "broken"
        build.build(self.target, built.spec, tmp_path, built.bundle, broken)
        manifest = next(path for path in broken.rglob(MANIFEST) if path.parent.name == "bundle")
        text = manifest.read_text()
        manifest.write_text(text.replace('"delay_s": 0.03', '"delay_s": "soon"'))
        assert Bundle.open(manifest.parent).manifest.options == {"delay_s": "soon"}
        whole = self.level(adapter, "setup_failure") == "yes"
        said = ""
        for timeout_s in (self.start_timeout_s,) if whole else FAILING_S:  # where only the log tells, it tells at once
            with pytest.raises(ServerError) as caught:
                local.start(adapter, broken, timeout_s=timeout_s).stop()
            if "soon" in (said := str(caught.value)):
                break
        assert "soon" in said, said
        assert not whole or "was not ready after" not in said, "it was known before the time was over"


def outcome(running: local.Running) -> Answer | ServerError:
    """What one caller of a long request gets."""
    try:
        return running.request(LONG, timeout_s=60, settle_s=0)
    except ServerError as error:
        return error


def bad_requests() -> list[BadRequest]:
    """The corpus of our own server, at this suite's limits."""
    cases = text_generation_cases(LIMITS.max_new_tokens, LIMITS.max_items)
    return [*cases, *json_cases(int(LIMITS.body_mb * 2**20))]


def judged(case: BadRequest, answer: Answer, level: str, *, native: bool) -> list[str]:
    """What is wrong with a refusal.

    Native and `yes`: code, path and status of our own server. Another shape: our error, in its own words for the place.
    `partly`: any 4xx in any words. Never a 5xx, never a traceback.
    """
    if level == "yes" and native:
        return violations(case, answer.status, answer.body)
    wrong = []
    if not 400 <= answer.status < 500 or answer.http_status >= 500:
        wrong.append(f"status {answer.status}, HTTP {answer.http_status}: {answer.body}"[:300])
    if level == "yes" and (error_of(answer.body) is None or answer.code == "platform"):
        wrong.append(f"not our error shape: {answer.body}"[:300])
    if "Traceback" in str(answer.body):
        wrong.append("a traceback reached the client")
    return wrong


def ask_raw(server: local.Running, body: bytes) -> Answer:
    """Ask with a body that may be anything. A server that hangs up on us refused: status 400."""
    try:
        return server.request(body, timeout_s=30)
    except ServerError as error:
        if server.alive and isinstance(error.__cause__, ConnectionError):
            return Answer(status=400, body={"error": {}}, http_status=400)
        raise


def without_meta(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != "meta"}
