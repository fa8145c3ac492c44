"""The engine: batching, isolation, overload, deadlines, cancellation, drain, cache."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from lukewarm.predictors.errors import CancelledError, OverloadedError, RequestError, ServerError
from lukewarm.serving.engine import error_body
from lukewarm.serving.errors import error_headers, error_status
from lukewarm.serving.worker import PredictionError
from support.serving_engine import Scripted, TestEngine, engine_of, until


@contextlib.contextmanager
def started(**spec: Any) -> Iterator[TestEngine]:
    engine = engine_of(**spec)
    try:
        yield engine
    finally:
        engine.close()


@pytest.mark.alone
def test_answer_carries_the_four_figures() -> None:
    with started() as engine:
        first, second = engine.predict({"prompt": "a"}), engine.predict(b'{"prompt": "wait 0.05"}')
    assert first["text"] == "a"
    assert first["meta"].keys() == {"boot_id", "n_request", "load_s", "exec_s"}
    assert (first["meta"]["n_request"], second["meta"]["n_request"]) == (1, 2)
    assert first["meta"]["boot_id"] == second["meta"]["boot_id"] == engine.boot_id
    assert 0.05 <= second["meta"]["exec_s"] < 1
    assert first["meta"]["load_s"] == pytest.approx(engine.load_s, abs=1e-5)


@pytest.mark.alone
def test_concurrent_requests_are_batched_up_to_max_items() -> None:
    with started(batching={"max_items": 4, "max_wait_ms": 200}) as engine, ThreadPoolExecutor(9) as pool:
        block = pool.submit(engine.predict, {"prompt": "wait 0.3"})
        until(lambda: engine.admission.in_flight == 1)
        answers = list(pool.map(engine.predict, [{"prompt": f"p{index}"} for index in range(8)]))
        block.result()
    assert [answer["text"] for answer in answers] == [f"p{index}" for index in range(8)]
    sizes = sorted(len(batch) for batch in engine.predictor.batches)
    assert max(sizes) == 4
    assert sum(sizes) == 9


def test_items_of_one_request_count_towards_the_batch() -> None:
    with started(batching={"max_items": 4, "max_wait_ms": 0}) as engine:
        answer = engine.predict({"items": [{"prompt": str(index)} for index in range(10)]})
    assert [item["text"] for item in answer["items"]] == [str(index) for index in range(10)]
    assert [len(batch) for batch in engine.predictor.batches] == [4, 4, 2]


@pytest.mark.alone
def test_a_lone_request_waits_no_longer_than_max_wait() -> None:
    with started(batching={"max_items": 8, "max_wait_ms": 30}) as engine:
        engine.predict({"prompt": "warm"})
        begun = time.perf_counter()
        engine.predict({"prompt": "x"})
        assert time.perf_counter() - begun < 1.0


@pytest.mark.parametrize("bad", ["fail", "exit", "reject", "broken check", "short"])
def test_a_bad_item_does_not_fail_its_neighbours(bad: str) -> None:
    with started(batching={"max_items": 8, "max_wait_ms": 50}) as engine:
        items = engine.predict({"items": [{"prompt": "a"}, {"prompt": bad}, {"prompt": "b"}, {"prmpt": 1}]})["items"]
        again = engine.predict({"prompt": "still alive"})
    assert items[0]["text"] == "a"
    assert items[2]["text"] == "b"
    assert items[1]["error"]["code"] == ("too_long" if bad == "reject" else "internal")
    assert items[3]["error"]["path"] == "$.items[3].prmpt"
    assert again["text"] == "still alive"
    assert "secret" not in str(items)


def test_a_check_error_says_where_in_the_batch() -> None:
    with started() as engine:
        items = engine.predict({"items": [{"prompt": "a"}, {"prompt": "reject"}]})["items"]
    assert items[1]["error"]["path"] == "$.items[1].prompt"


def test_the_predictors_failure_is_internal_and_says_nothing() -> None:
    with started() as engine, pytest.raises(PredictionError) as caught:
        engine.predict({"prompt": "fail"})
    assert error_status(caught.value) == 500
    assert error_body(caught.value)["error"]["code"] == "internal"
    assert "secret" not in str(error_body(caught.value))


def test_the_model_runs_in_one_thread() -> None:
    with started(scaling={"concurrency": 8}) as engine, ThreadPoolExecutor(8) as pool:
        list(pool.map(engine.predict, [{"prompt": str(index)} for index in range(40)]))
    assert len(engine.predictor.threads) == 1
    assert threading.get_ident() not in engine.predictor.threads


@pytest.mark.alone
def test_too_many_requests_are_refused_with_a_time_to_come_back() -> None:
    with started(limits={"queue": 2}) as engine, ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(engine.predict, {"prompt": "wait 0.3"}) for _ in range(3)]
        until(lambda: engine.admission.in_flight == 3)
        with pytest.raises(OverloadedError) as caught:
            engine.predict({"prompt": "x"})
        assert error_status(caught.value) == 429
        assert int(error_headers(caught.value)["Retry-After"]) >= 1
        assert all(future.result()["text"].startswith("wait") for future in waiting)
        assert engine.predict({"prompt": "x"})["text"] == "x"


@pytest.mark.alone
def test_a_wait_that_cannot_end_in_time_is_refused_at_once() -> None:
    with started(limits={"queue": 50, "request_timeout_s": 0.5}) as engine, ThreadPoolExecutor(9) as pool:
        engine.predict({"prompt": "wait 0.2"})
        futures = [pool.submit(engine.predict, {"prompt": "wait 0.2"}) for _ in range(9)]
        outcomes = [future.exception() for future in futures]
    refused = [error for error in outcomes if isinstance(error, OverloadedError)]
    assert refused
    assert len(refused) < 9


@pytest.mark.alone
def test_the_deadline_ends_a_run_and_frees_the_slot() -> None:
    with started(limits={"request_timeout_s": 0.1, "queue": 0}) as engine:
        begun = time.perf_counter()
        with pytest.raises(CancelledError) as caught:
            engine.predict({"prompt": "wait 5"})
        assert time.perf_counter() - begun < 1.0
        assert error_status(caught.value) == 504
        assert caught.value.code == "timeout"
        until(lambda: engine.admission.in_flight == 0)
        assert engine.predict({"prompt": "x"})["text"] == "x"


@pytest.mark.alone
def test_cancelling_the_task_cancels_the_run_and_the_queue() -> None:
    async def scenario(engine: TestEngine) -> None:
        running = asyncio.create_task(engine.apredict({"prompt": "wait 5"}))
        queued = asyncio.create_task(engine.apredict({"prompt": "never"}))
        while engine.admission.in_flight < 2:
            await asyncio.sleep(0.005)
        queued.cancel()
        running.cancel()
        await asyncio.gather(running, queued, return_exceptions=True)
        assert (await engine.apredict({"prompt": "x"}))["text"] == "x"

    with started() as engine:
        begun = time.perf_counter()
        asyncio.run(scenario(engine))
        assert time.perf_counter() - begun < 2.0
        assert ["never"] not in engine.predictor.batches


@pytest.mark.alone
def test_one_who_leaves_a_batch_does_not_cancel_the_others() -> None:
    async def scenario(engine: TestEngine) -> dict[str, Any]:
        leaves = asyncio.create_task(engine.apredict({"prompt": "wait 0.3"}))
        stays = asyncio.create_task(engine.apredict({"prompt": "wait 0.31"}))
        await asyncio.sleep(0.15)
        leaves.cancel()
        return await stays

    with started(batching={"max_items": 2, "max_wait_ms": 100}) as engine:
        assert asyncio.run(scenario(engine))["finish_reason"] == "eos"
        assert len(engine.predictor.batches) == 1


def test_streams_join_to_the_result() -> None:
    with started() as engine:
        pieces = list(engine.stream({"prompt": "a b c", "stream": True}))
    assert [piece.get("delta") for piece in pieces[:-1]] == ["a", "b", "c"]
    assert pieces[-1]["result"]["text"] == "abc"
    assert pieces[-1]["result"]["meta"]["n_request"] == 1


def test_a_stream_that_fails_ends_with_the_error() -> None:
    with started() as engine:
        stream = engine.stream({"prompt": "a fail b"})
        assert next(stream) == {"delta": "a"}
        with pytest.raises(PredictionError):
            next(stream)
        with pytest.raises(PredictionError, match="without a result"):
            list(engine.stream({"prompt": "short"}))
        assert engine.predict({"prompt": "x"})["text"] == "x"


@pytest.mark.alone
def test_closing_a_stream_cancels_it() -> None:
    async def scenario(engine: TestEngine) -> None:
        stream = engine.astream({"prompt": "a nap nap nap nap nap nap nap nap nap nap nap nap"})
        assert await anext(stream) == {"delta": "a"}
        await stream.aclose()  # type: ignore[attr-defined]
        assert (await engine.apredict({"prompt": "x"}))["text"] == "x"

    with started() as engine:
        begun = time.perf_counter()
        asyncio.run(scenario(engine))
        assert time.perf_counter() - begun < 1.0


def test_drain_finishes_what_runs_and_refuses_what_comes() -> None:
    with started() as engine, ThreadPoolExecutor(2) as pool:
        running = pool.submit(engine.predict, {"prompt": "wait 0.2"})
        until(lambda: engine.admission.in_flight == 1)
        drained = pool.submit(engine.drain, 5.0)
        until(lambda: engine.admission.draining)
        with pytest.raises(OverloadedError) as caught:
            engine.predict({"prompt": "x"})
        assert (error_status(caught.value), caught.value.code) == (503, "draining")
        assert drained.result() is True
        assert running.result()["finish_reason"] == "eos"


def test_the_drain_deadline_answers_who_still_waits() -> None:
    with started() as engine, ThreadPoolExecutor(2) as pool:
        late = [pool.submit(engine.predict, {"prompt": "wait 5"}) for _ in range(2)]
        until(lambda: engine.admission.in_flight == 2)
        assert engine.drain(0.1) is False
        codes = {future.exception().code for future in late}  # type: ignore[union-attr]
        assert codes == {"draining"}
    assert engine.predictor.closed


def test_a_failed_setup_says_why_and_keeps_saying_it() -> None:
    class Broken(Scripted):
        def setup(self) -> None:
            raise OSError("no such device")

    engine = engine_of(Broken, start=False)
    with pytest.raises(RequestError) as before:
        engine.predict({"prompt": "x"})
    assert before.value.code == "starting"
    with pytest.raises(ServerError, match="no such device"):
        engine.start()
    for _ in range(2):
        with pytest.raises(RequestError, match="no such device") as caught:
            engine.predict({"prompt": "x"})
        assert (caught.value.code, error_status(caught.value)) == ("setup_failed", 503)
    assert not engine.ready
    engine.close()


@pytest.mark.parametrize(
    ("request_", "hits"),
    [
        ({"prompt": "a"}, 1),
        ({"prompt": "a", "temperature": 0.7}, 0),
        ({"prompt": "a", "temperature": 0.7, "seed": 1}, 1),
    ],
)
def test_the_cache_answers_only_what_is_deterministic(request_: dict[str, Any], hits: int) -> None:
    with started(limits={"cache_items": 2}) as engine:
        first, second = engine.predict(request_), engine.predict(request_)
        streamed = list(engine.stream(request_))
    assert first["text"] == second["text"] == "a"
    assert len(engine.predictor.batches) == 2 - hits
    assert second["meta"]["n_request"] == 2
    assert "".join(piece.get("delta", "") for piece in streamed) == streamed[-1]["result"]["text"] == "a"
    if hits:
        assert second["meta"]["exec_s"] == 0


def test_the_cache_is_off_by_default_and_bounded() -> None:
    with started() as engine:
        engine.predict({"prompt": "a"})
        engine.predict({"prompt": "a"})
        assert len(engine.predictor.batches) == 2
    with started(limits={"cache_items": 1}) as engine:
        for text in ("a", "b", "a"):
            engine.predict({"prompt": text})
        assert len(engine.predictor.batches) == 3


def test_the_engine_works_in_a_forked_child() -> None:
    with started() as engine:
        engine.predict({"prompt": "the thread exists before the fork"})
        pid = os.fork()
        if pid == 0:
            engine.after_fork()
            os._exit(0 if engine.predict({"prompt": "x"})["text"] == "x" else 1)
        assert os.waitpid(pid, 0)[1] == 0
