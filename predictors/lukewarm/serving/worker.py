"""The one thread that runs the model: a first-in-first-out queue of items; batches are gathered, streams take turns."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError

from lukewarm.predictors.errors import CancelledError, LukewarmError, PredictorError, RequestError
from lukewarm.predictors.predictor import Predictor
from lukewarm.predictors.spec import Batching
from lukewarm.predictors.tasks import Delta, Request, Result

log = logging.getLogger("lukewarm.worker")
OnDelta = Callable[[str], None]


class PredictionError(LukewarmError):
    """The predictor itself failed; not the caller's fault."""

    exit_code = PredictorError.exit_code


class Run:
    """One run of the model over one or more jobs. It is cancelled when nobody waits for any of them."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = jobs
        self.cancel = threading.Event()
        self.exec_s = 0.0


class Job:
    """One item on its way through the model. `future` holds its result; `released` is called when the model let go."""

    def __init__(self, request: Request, on_delta: OnDelta | None = None) -> None:
        self.request = request
        self.on_delta = on_delta  # set: a stream, which joins no batch
        self.future: Future[Result] = Future()
        self.future.set_running_or_notify_cancel()  # asyncio must not cancel it behind the worker's back
        self.enqueued = time.monotonic()
        self.queue_s = 0.0
        self.run: Run | None = None
        self.gone = False
        self.released: Callable[[], None] = lambda: None

    def resolve(self, outcome: Result | BaseException) -> None:
        """Set the result or the error, unless there is one already."""
        try:
            if isinstance(outcome, BaseException):
                self.future.set_exception(outcome)
            else:
                self.future.set_result(outcome)
        except InvalidStateError:
            pass


class Worker:
    """Runs jobs in the order of their arrival, in one thread that starts with the first of them.

    At most `streams` streams are open at once and take turns, a piece each, where the predictor allows it. A batch
    waits for the streams that came before it, and the streams behind it wait for the batch: nobody is overtaken.
    """

    def __init__(
        self, predictor: Predictor, batching: Batching, observe: Callable[[Run, bool], None], streams: int = 1
    ) -> None:
        self._predictor = predictor
        self._batching = batching
        self._observe = observe
        self._streams = max(1, streams) if predictor.interleaves else 1
        self._reset()

    def _reset(self) -> None:
        self._queue: deque[Job] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._running = 0
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue jobs; they stay together and in order."""
        if self._pid != os.getpid():  # a fork carries over the lock, not the thread
            self._reset()
        with self._changed:
            self._queue.extend(jobs)
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="lukewarm-model", daemon=True)
                self._thread.start()
            self._changed.notify()

    def abandon(self, job: Job, error: BaseException | None = None) -> None:
        """Nobody waits for this job any more: take it out of the queue, or cancel its run if it was the last one."""
        with self._changed:
            queued = job in self._queue
            if queued:
                self._queue.remove(job)
            job.gone = True
            if job.run is not None and all(other.gone for other in job.run.jobs):
                job.run.cancel.set()
        job.resolve(error or CancelledError())
        if queued:
            job.released()

    @property
    def waiting(self) -> int:
        """Items in the queue."""
        return len(self._queue)

    @property
    def running(self) -> int:
        """Runs under way: a batch, or the streams that are open."""
        return self._running

    def stop(self, timeout_s: float = 5.0) -> bool:
        """End the thread after the run in progress; False if that run does not end in time."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
            thread = self._thread if self._pid == os.getpid() else None
        if thread is not None:
            thread.join(timeout_s)
        return thread is None or not thread.is_alive()

    def _loop(self) -> None:
        streams: deque[_Stream] = deque()
        while (jobs := self._gather(len(streams))) or streams:
            jobs = [job for job in jobs if self._passes_check(job)]
            if jobs and jobs[0].on_delta is not None:
                streams.append(self._open(jobs[0]))
            elif jobs:
                self._batch(jobs)
            for _ in range(len(streams)):
                stream = streams.popleft()
                if stream.step():
                    streams.append(stream)
                else:
                    self._observe(stream.run, False)
                    self._finish(stream.job, stream.outcome)
            self._running = len(streams)

    def _gather(self, streams: int) -> list[Job]:
        """The jobs to run next. Waits for some unless streams are open, which want their next turn."""
        with self._changed:
            while not self._queue:
                if self._stopping or streams:
                    return []
                self._changed.wait()
            if streams and (streams >= self._streams or self._queue[0].on_delta is None):
                return []
            jobs = [self._queue.popleft()]
            close_at = jobs[0].enqueued + self._batching.max_wait_ms / 1000
            while len(jobs) < self._batching.max_items and jobs[0].on_delta is None:
                if self._queue:
                    if self._queue[0].on_delta is not None:
                        break
                    jobs.append(self._queue.popleft())
                elif self._stopping or (left := close_at - time.monotonic()) <= 0:
                    break
                else:
                    self._changed.wait(left)
            run = Run(jobs)
            self._running = streams + 1
            now = time.monotonic()
            for job in jobs:
                job.queue_s = now - job.enqueued
                job.run = run
            return jobs

    def _passes_check(self, job: Job) -> bool:
        if job.gone:
            self._finish(job, CancelledError())
            return False
        try:
            self._predictor.check(job.request)
        except BaseException as error:  # noqa: BLE001 - a predictor may be anyone's code
            self._finish(job, _fault(error))
            return False
        return True

    def _batch(self, jobs: Sequence[Job]) -> None:
        run = self._start(jobs)
        started = time.perf_counter()
        try:
            results: Sequence[Result] = self._predictor.predict_batch([job.request for job in jobs], run.cancel)
            if len(results) != len(jobs):
                raise PredictionError(f"predict_batch gave {len(results)} results for {len(jobs)} requests")
        except BaseException as error:  # noqa: BLE001 - one bad item must fail neither the thread nor its neighbours
            run.exec_s = time.perf_counter() - started
            self._observe(run, len(jobs) > 1)
            if len(jobs) == 1:
                self._finish(jobs[0], _fault(error))
            else:
                log.warning("a batch of %d failed (%s); running its items one by one", len(jobs), error)
                for job in jobs:
                    self._batch([job])
            return
        run.exec_s = time.perf_counter() - started
        self._observe(run, False)
        for job, result in zip(jobs, results, strict=True):
            self._finish(job, result)

    def _open(self, job: Job) -> _Stream:
        run = self._start([job])
        return _Stream(job, run, self._predictor)

    def _start(self, jobs: Sequence[Job]) -> Run:
        run = Run(jobs)
        with self._changed:
            for job in jobs:
                job.run = run
            if all(job.gone for job in jobs):
                run.cancel.set()
        return run

    def _finish(self, job: Job, outcome: Result | BaseException) -> None:
        job.resolve(outcome)
        job.released()


class _Stream:
    """One open stream: its generator, and what it came to."""

    def __init__(self, job: Job, run: Run, predictor: Predictor) -> None:
        self.job = job
        self.run = run
        self.outcome: Result | BaseException = PredictionError("the stream ended without a result")
        self._predictor = predictor
        self._deltas: Iterator[Delta] | None = None

    def step(self) -> bool:
        """Run the model to the next piece; False: there is no more. `run.exec_s` counts this stream's own turns."""
        assert self.job.on_delta is not None
        started = time.perf_counter()
        try:
            if self._deltas is None:
                self._deltas = iter(self._predictor.stream(self.job.request, self.run.cancel))
            delta = next(self._deltas, None)
            if delta is None:
                return False
            if delta.text:
                self.job.on_delta(delta.text)
            if delta.result is not None:
                self.outcome = delta.result
        except BaseException as error:  # noqa: BLE001 - as in _batch
            self.outcome = _fault(error)
            return False
        finally:
            self.run.exec_s += time.perf_counter() - started
        return True


def _fault(error: BaseException) -> BaseException:
    if isinstance(error, RequestError):
        return error
    log.error("the predictor failed", exc_info=error)
    fault = PredictionError(str(error) if isinstance(error, LukewarmError) else f"{type(error).__name__}: {error}")
    fault.__cause__ = error
    return fault
