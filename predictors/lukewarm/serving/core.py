"""The core of the engine: load, readiness, admission, drain, and typed requests."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import msgspec

from lukewarm.predictors.ahead import MANIFEST
from lukewarm.predictors.bundle import Bundle
from lukewarm.predictors.errors import BundleError, LukewarmError, RequestError, ServerError
from lukewarm.predictors.predictor import Predictor, Runtime, load_predictor
from lukewarm.predictors.spec import Generation, ModelSpec
from lukewarm.predictors.tasks import TASKS, Request, Result
from lukewarm.serving.admission import Admission
from lukewarm.serving.cache import ResultCache
from lukewarm.serving.call import Call, Meta, Outcome
from lukewarm.serving.errors import unavailable
from lukewarm.serving.requests import RequestReader
from lukewarm.serving.stats import Stats
from lukewarm.serving.worker import Job, Run, Worker

log = logging.getLogger("lukewarm.engine")
Status = Literal["new", "loading", "ready", "failed", "closed"]


class Answer(msgspec.Struct, frozen=True):
    """Outcomes in the caller's order, and where the time went."""

    outcomes: Sequence[Outcome]
    meta: Meta
    queue_s: float = 0.0
    cached: bool = False

    def result(self) -> Result:
        """The single result, or its error raised."""
        outcome = self.outcomes[0]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


class EngineCore:
    """One model: loaded once, asked from any thread or event loop, run in one thread of its own.

    `scaling.concurrency` (at least `batching.max_items`) plus `limits.queue` requests are in the process at most.
    """

    def __init__(self, bundle: Bundle, spec: ModelSpec, runtime: Runtime | None = None) -> None:
        self.bundle = bundle
        self.spec = spec
        self.task = bundle.manifest.task
        self.boot_id = uuid.uuid4().hex
        self.opened_at = time.time()
        self.status: Status = "new"
        self.failure = ""  # why setup failed
        self.exit_code = 0  # and the exit code of that
        self.load_s = 0.0
        self.reader = RequestReader(TASKS[self.task][0], spec.limits, self.defaults)
        self._at_once = max(spec.scaling.concurrency, spec.batching.max_items)
        capacity = self._at_once + spec.limits.queue
        self.admission = Admission(capacity, spec.limits.request_timeout_s, self._expected_wait_s)
        self.runtime = runtime or Runtime()
        self._cache = ResultCache(spec.limits.cache_items, self.defaults)
        self._predictor: Predictor | None = None
        self._worker: Worker | None = None
        self._calls: set[Call] = set()
        self._lock = threading.Lock()
        self._settled = threading.Event()
        self.stats = Stats()
        self.other_stats: Callable[[], list[dict[str, Any]]] = list  # of further workers of one server
        self.ready_at = 0.0
        self._run_s = 0.0  # how long a run takes, smoothed

    @classmethod
    def open(cls, root: Path, runtime: Runtime | None = None, *, spec: Mapping[str, Any] | None = None) -> Self:
        """From an artifact folder (bundle/ and lukewarm.json) or a bundle's own directory. Loads no model yet.

        `spec`: sections that a bundle alone does not know, such as limits, where there is no lukewarm.json.
        """
        root = Path(root)
        if not (root / MANIFEST).exists() and not (root / "bundle").exists():
            what = f"has neither {MANIFEST} nor a folder bundle/" if root.is_dir() else "is no folder"
            raise BundleError(f"{root} {what}; name a bundle that lukewarm convert made, or an artifact's folder")
        bundle = Bundle.open(root if (root / MANIFEST).is_file() else root / "bundle")
        file = root / "lukewarm.json"
        manifest = bundle.manifest
        if file.is_file():
            return cls(bundle, read_spec(file), runtime)
        known = {name: getattr(manifest, name) for name in ("name", "task", "backend", "precision")}
        return cls(bundle, msgspec.convert({**known, **(spec or {})}, ModelSpec), runtime)

    @property
    def defaults(self) -> Generation:
        """Generation defaults: the bundle's, where it has some, else the spec's."""
        spec, bundle = self.spec.generation, self.bundle.manifest.generation
        values = {name: getattr(bundle, name) for name in bundle.__struct_fields__}
        return msgspec.structs.replace(spec, **{name: value for name, value in values.items() if value is not None})

    # -- life

    def start(self) -> None:
        """Setup and warm-up, in the caller's thread. Raises what setup raised; the reason stays in `failure`."""
        with self._lock:
            if self.status not in ("new", "failed"):
                return
            self.status, self.failure = "loading", ""
        started = time.perf_counter()
        try:
            predictor = self._load()
        except BaseException as error:
            self.failure = f"{error}" if isinstance(error, LukewarmError) else f"{type(error).__name__}: {error}"
            self.exit_code = error.exit_code if isinstance(error, LukewarmError) else 1
            self.status = "failed"
            self._settled.set()
            if isinstance(error, LukewarmError) or not isinstance(error, Exception):
                raise
            raise ServerError(f"setup failed: {self.failure}") from error
        self.load_s = time.perf_counter() - started
        self.reader = RequestReader(predictor.request_type, self.spec.limits, self.defaults)
        self._predictor = predictor
        self._worker = Worker(predictor, self.spec.batching, self._observe, self._at_once)
        self.ready_at = time.perf_counter()
        self.status = "ready"
        self._settled.set()

    def _load(self) -> Predictor:
        return load_predictor(self.bundle, self.runtime, warm_up=True)

    def after_fork(self) -> None:
        """In a forked worker: a process of its own, with its own numbers."""
        self.boot_id = uuid.uuid4().hex
        self.stats = Stats()
        self.runtime = msgspec.structs.replace(self.runtime, forks=False)  # what is set up here answers here

    def start_in_background(self) -> threading.Thread:
        """`start` in a thread of its own; a failure is logged and stays in `failure`."""
        thread = threading.Thread(target=self._start_and_log, name="lukewarm-setup", daemon=True)
        thread.start()
        return thread

    def _start_and_log(self) -> None:
        try:
            self.start()
        except (Exception, SystemExit) as error:  # any backend, anyone's code; /readyz keeps saying why
            log.error("setup failed: %s", self.failure, exc_info=error)

    def wait_until_settled(self, timeout_s: float | None = None) -> bool:
        """Block until setup is done or has failed; True if ready."""
        self._settled.wait(timeout_s)
        return self.ready

    @property
    def ready(self) -> bool:
        """Setup and warm-up are done, and the process is not about to end."""
        return self.status == "ready" and not self.admission.draining

    def require_ready(self) -> None:
        """Raise a 503 RequestError unless requests can be taken."""
        if self.status == "failed":
            raise unavailable("setup_failed", f"setup failed: {self.failure}", 30.0)
        if self.admission.draining or self.status == "closed":
            raise unavailable("draining", "this instance is shutting down; another one will answer")
        if self.status != "ready":
            raise unavailable("starting", "the model is still loading")

    def drain(self, timeout_s: float | None = None) -> bool:
        """Refuse new requests, finish those in flight; the rest is answered 503 at the deadline and False returned."""
        limit = self.spec.limits.drain_timeout_s if timeout_s is None else timeout_s
        finished = self.admission.drain(limit)
        for call in list(self._calls):
            call.end_for_drain()
        return finished

    def close(self) -> bool:
        """End at once: cancel what runs, stop the thread, free the model. False: the model does not let go."""
        self.drain(0.0)
        self.status = "closed"
        ended = self._worker.stop() if self._worker else True
        if self._predictor and ended:  # freeing a model that still runs would crash the process
            self._predictor.close()
            self._predictor = None
        return ended

    # -- typed requests, for the shapes

    def submit(self, requests: Sequence[Request | RequestError], on_delta: Any = None) -> Call:
        """Admit one caller's request of one or more items. Raises OverloadedError. The caller must wait for it."""
        self.require_ready()
        assert self._worker is not None
        slots: list[Job | Outcome] = []
        for request in requests:
            if isinstance(request, RequestError):
                slots.append(request)
                continue
            key = self._cache.key(request)
            hit = self._cache.get(key)
            slots.append(hit if hit is not None else self._job(request, key, on_delta))
        n_request = self.admission.enter()
        call = Call(slots, self._worker, self.spec.limits.request_timeout_s, lambda: self._left(call))
        call.n_request = n_request
        if not call.jobs:  # all refused or all cached: nothing will run that could release the slot
            self._left(call)
            return call
        with self._lock:
            self._calls.add(call)
        self._worker.submit(call.jobs)
        return call

    def _job(self, request: Request, key: bytes | None, on_delta: Any) -> Job:
        job = Job(request, on_delta)
        if key is not None:
            job.future.add_done_callback(
                lambda future: None if future.exception() else self._cache.put(key, future.result())
            )
        return job

    def _left(self, call: Call) -> None:
        for job in call.jobs:
            self.stats.observe("queue", job.queue_s)
            result = None if job.future.exception() else job.future.result()
            self.stats.add("items")
            for name in ("prompt_tokens", "completion_tokens"):
                self.stats.add(name, amount=getattr(result, name, 0))
        if hits := sum(isinstance(slot, Result) for slot in call.slots):
            self.stats.add("cache_hits", amount=hits)
        with self._lock:
            self._calls.discard(call)
        self.admission.leave()

    def meta(self, call: Call) -> Meta:
        return Meta(
            boot_id=self.boot_id,
            n_request=call.n_request,
            load_s=round(self.load_s, 6),
            exec_s=round(call.exec_s, 6),
        )

    def answer(self, call: Call, outcomes: Sequence[Outcome]) -> Answer:
        return Answer(outcomes, self.meta(call), call.queue_s, cached=not call.jobs)

    async def arun(self, requests: Sequence[Request | RequestError]) -> Answer:
        """Answer typed requests as one caller's request. Cancelling the task cancels the model's work."""
        call = self.submit(requests)
        return self.answer(call, await call.await_())

    async def aiter(self, request: Request) -> AsyncIterator[str | Answer]:
        """The texts of one answer as they come, then the Answer."""
        loop = asyncio.get_running_loop()
        feed: asyncio.Queue[str | None] = asyncio.Queue()
        call = self.submit([request], lambda text: loop.call_soon_threadsafe(feed.put_nowait, text))
        if call.jobs:
            async for text in call.aiterate(feed):
                yield text
        elif text := getattr(call.outcomes()[0], "text", ""):
            yield text
        yield self.answer(call, call.outcomes())

    # -- load

    @property
    def waiting(self) -> int:
        """Items that wait for the model."""
        return self._worker.waiting if self._worker else 0

    def _observe(self, run: Run, retried: bool) -> None:
        self.stats.observe("run", run.exec_s)
        self.stats.observe("batch", len(run.jobs))
        if retried:
            self.stats.add("batch_retries")
        self._run_s = run.exec_s if not self._run_s else 0.8 * self._run_s + 0.2 * run.exec_s

    def _expected_wait_s(self) -> float:
        if self._worker is None:
            return 0.0
        runs = math.ceil(self._worker.waiting / self.spec.batching.max_items) + self._worker.running
        return runs * self._run_s


def read_spec(file: Path) -> ModelSpec:
    """The spec as JSON. Raises SpecError with the place."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=ModelSpec)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        from lukewarm.predictors import specfile  # its messages are better; its YAML and TOML are not needed else

        return specfile.load(file)
