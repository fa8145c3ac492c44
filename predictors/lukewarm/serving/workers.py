"""Several processes behind one listening socket: `--workers N`.

A model that survives a fork (its backend says so) is loaded and warmed up once, in the parent; meanwhile
one child answers that it is loading. A further or a replaced worker then costs a fork. For the other backends each
worker loads its own: their thread pools live in the process that made them.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from lukewarm.predictors.errors import LukewarmError
from lukewarm.predictors.predictor import Backend
from lukewarm.predictors.registry import BACKENDS
from lukewarm.serving import tracing
from lukewarm.serving.engine import Engine
from lukewarm.serving.server import leave_on_signals, serve

log = logging.getLogger("lukewarm.workers")
SHARE_S = 1.0  # how old a worker's numbers may be in another worker's /metrics
RESTART_S = 1.0
END_S = 1.0  # for a child that only says that it is loading


def serve_workers(
    open_engine: Callable[[], Engine], listener: socket.socket, count: int, *, exit_on_failed_setup: bool = False
) -> int:
    """Serve from `count` processes until SIGTERM or SIGINT; a worker that dies is replaced. Returns the exit code."""
    engine = open_engine()
    with tempfile.TemporaryDirectory(prefix="lukewarm-stats-") as folder:

        def child(index: int) -> int:
            engine.after_fork()
            _share_stats(engine, Path(folder), index, os.getppid())
            return serve(engine, listener, exit_on_failed_setup=exit_on_failed_setup)

        pool = _Pool(child, count, Path(folder), end_on_failure=exit_on_failed_setup)
        if loads_once(engine):
            with pool.placeholder(lambda: _say_loading(child, engine, count)):
                _preload(engine)
        return pool.run()


def loads_once(engine: Engine) -> bool:
    """Whether the parent may load the model for all workers."""
    backend: Backend = BACKENDS.load(engine.bundle.manifest.backend)
    return backend.answers_forked(engine.runtime)


def _say_loading(child: Callable[[int], int], engine: Engine, index: int) -> int:
    engine.status = "loading"  # which this process never goes beyond
    return child(index)


def _preload(engine: Engine) -> None:
    """What all workers share: the model, warm, and the server's modules. If it fails, the workers try and say why."""
    from lukewarm.serving import app, protocol  # noqa: F401 - imported for the workers

    with contextlib.suppress(LukewarmError):
        engine.start()
    gc.collect()
    gc.freeze()  # a collection in a worker would otherwise write to every page that it shares


class _Pool:
    """The parent: starts, replaces and stops the workers."""

    def __init__(
        self, child: Callable[[int], int], count: int, folder: Path, *, end_on_failure: bool = False
    ) -> None:  # fmt: skip
        self._child = child
        self._folder = folder
        self._count = count
        self._end_on_failure = end_on_failure
        self._pids: dict[int, int] = {}  # pid -> index
        self._signal = 0

    @contextlib.contextmanager
    def placeholder(self, child: Callable[[], int]) -> Iterator[None]:
        """One child in the place of the workers, until the parent is ready to fork them."""

        def leave(number: int, frame: Any) -> None:
            self._forward(number, frame)
            shutil.rmtree(self._folder, ignore_errors=True)
            os._exit(130 if number == signal.SIGINT else 0)

        pid = self._start(child)
        self._pids[pid] = -1
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, leave)
        try:
            yield
        finally:
            del self._pids[pid]
            _end(pid)  # before the workers begin: who saw one of them ready must not meet a 503 of this one

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._forward)
        for index in range(self._count):
            self._fork(index)
        worst = 0
        while self._pids:
            try:
                pid, status = os.wait()
            except ChildProcessError:
                break
            index = self._pids.pop(pid, -1)
            if index < 0:
                continue  # the placeholder
            code = os.waitstatus_to_exitcode(status)
            if self._signal:
                worst = max(worst, abs(code)) if code not in (0, 130) else worst
                continue
            log.warning("a worker ended", extra={"pid": pid, "exit_code": code})
            if self._end_on_failure and code > 0:  # it chose to, so another one would too
                self._forward(signal.SIGTERM, None)
                worst = code
                continue
            time.sleep(RESTART_S)
            if not self._signal:
                self._fork(index)
        return worst or (130 if self._signal == signal.SIGINT else 0)

    def _fork(self, index: int) -> None:
        pid = self._start(lambda: self._child(index))
        self._pids[pid] = index
        if self._signal:  # it came while there was no such process
            os.kill(pid, self._signal)

    def _start(self, child: Callable[[], int]) -> int:
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            leave_on_signals()
            code = child()
        except Exception:  # the child must end here, and the log is all that is left of it
            log.exception("a worker failed")
        finally:
            tracing.flush()
            os._exit(code)  # the parent's cleanup is not the child's

    def _forward(self, number: int, frame: Any) -> None:
        self._signal = number
        for pid in list(self._pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _end(pid: int) -> None:
    """End a child that has nothing to finish, and wait until it is gone."""
    deadline = time.monotonic() + END_S
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGTERM)
        while os.waitpid(pid, os.WNOHANG)[0] == 0:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return
            time.sleep(0.002)


def _share_stats(engine: Engine, folder: Path, index: int, parent: int) -> None:
    """Write this worker's numbers every second, read those of the others when asked, end when the parent is gone."""
    mine = folder / f"{index}-{engine.boot_id}.json"

    def loop() -> None:
        while True:
            time.sleep(SHARE_S)
            if os.getppid() != parent:
                os.kill(os.getpid(), signal.SIGTERM)
                return
            with contextlib.suppress(OSError):
                temporary = mine.with_suffix(".part")
                temporary.write_bytes(msgspec.json.encode(engine.stats.snapshot()))
                temporary.replace(mine)

    def others() -> list[dict[str, Any]]:
        return [msgspec.json.decode(path.read_bytes()) for path in folder.glob("*.json") if path != mine]

    engine.other_stats = others
    threading.Thread(target=loop, name="lukewarm-stats", daemon=True).start()
