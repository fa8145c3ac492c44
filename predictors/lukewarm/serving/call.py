"""One admitted request: its items, its deadline, and the ways to wait for it."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import wait
from typing import Any

import msgspec

from lukewarm.predictors.tasks import Result
from lukewarm.serving.errors import timed_out, unavailable
from lukewarm.serving.worker import Job, Worker

Outcome = Result | BaseException


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """What makes a cold start visible from outside: the first answer of a new boot_id was cold."""

    boot_id: str  # new with every process
    n_request: int  # of this process, from 1
    load_s: float  # seconds from the start of setup to the end of warm-up
    exec_s: float  # seconds in which the model ran for this request


class Call:
    """Jobs of one request. The slot is held until the last job is released, not until the caller stops waiting."""

    def __init__(
        self, slots: Sequence[Job | Outcome], worker: Worker, timeout_s: float, on_released: Callable[[], None]
    ) -> None:
        self.slots = slots  # in the caller's order; an item that was refused or cached is its outcome already
        self.jobs = [job for job in slots if isinstance(job, Job)]
        self.n_request = 0
        self._worker = worker
        self._timeout_s = timeout_s
        self._deadline = time.monotonic() + timeout_s
        self._left = len(self.jobs)
        self._lock = threading.Lock()
        self._on_released = on_released
        for job in self.jobs:
            job.released = self._one_released

    def _one_released(self) -> None:
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self._on_released()

    @property
    def exec_s(self) -> float:
        """Seconds of model time: every run that carried an item of this request, once."""
        return sum(run.exec_s for run in {id(job.run): job.run for job in self.jobs if job.run}.values())

    @property
    def queue_s(self) -> float:
        """Seconds until the first item ran."""
        return min((job.queue_s for job in self.jobs), default=0.0)

    def abandon(self, error: BaseException | None = None) -> None:
        """Stop waiting; frees what is queued at once and what runs as soon as the model listens."""
        for job in self.jobs:
            if not job.future.done():
                self._worker.abandon(job, error)

    def end_for_drain(self) -> None:
        """Answer whoever waits still, because the process must end now."""
        self.abandon(unavailable("draining", "this instance shut down before the answer was ready"))

    def outcomes(self) -> list[Outcome]:
        """Results and errors in the caller's order, once all jobs are done."""
        return [_outcome(slot) if isinstance(slot, Job) else slot for slot in self.slots]

    def wait(self) -> list[Outcome]:
        """Block until all jobs are done. Raises CancelledError at the deadline."""
        try:
            if wait([job.future for job in self.jobs], max(0.0, self._deadline - time.monotonic())).not_done:
                raise self._timeout()
            return self.outcomes()
        finally:
            self.abandon()

    async def await_(self) -> list[Outcome]:
        """As `wait`, without blocking the event loop; cancelling the task abandons the jobs."""
        try:
            futures = [asyncio.wrap_future(job.future) for job in self.jobs]
            for future in futures:
                future.add_done_callback(_retrieved)
            if futures:
                left = max(0.0, self._deadline - time.monotonic())
                _, late = await asyncio.wait(futures, timeout=left)
                if late:
                    raise self._timeout()
            return self.outcomes()
        finally:
            self.abandon()

    def iterate(self, feed: queue.SimpleQueue[Any]) -> Iterator[str]:
        """The texts of a stream as they come, blocking. Raises the job's error, or CancelledError at the deadline."""
        job = self.jobs[0]
        job.future.add_done_callback(lambda _: feed.put(None))
        try:
            while True:
                try:
                    text = feed.get(timeout=max(0.0, self._deadline - time.monotonic()))
                except queue.Empty:
                    raise self._timeout() from None
                if text is None:
                    break
                yield text
            job.future.result()
        finally:
            self.abandon()

    async def aiterate(self, feed: asyncio.Queue[Any]) -> AsyncIterator[str]:
        """As `iterate`, without blocking the event loop."""
        job = self.jobs[0]
        loop = asyncio.get_running_loop()
        job.future.add_done_callback(lambda _: loop.call_soon_threadsafe(feed.put_nowait, None))
        try:
            while True:
                try:
                    async with asyncio.timeout_at(loop.time() + max(0.0, self._deadline - time.monotonic())):
                        text = await feed.get()
                except TimeoutError:
                    raise self._timeout() from None
                if text is None:
                    break
                yield text
            job.future.result()
        finally:
            self.abandon()

    def _timeout(self) -> BaseException:
        return timed_out(self._timeout_s, running=any(job.run is not None for job in self.jobs))


def _outcome(job: Job) -> Outcome:
    error = job.future.exception()
    return error if error is not None else job.future.result()


def _retrieved(future: asyncio.Future[Result]) -> None:
    if not future.cancelled():
        future.exception()  # or asyncio complains about errors that nobody waited for
