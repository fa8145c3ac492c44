"""Several processes behind one listening socket: `--workers N`.

A model whose runtime survives a fork is loaded once, in the parent; for the others each worker loads its own. Thread
pools of onnxruntime, CTranslate2 and torch do not survive: their threads exist in the parent only.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from lukewarm.predictors.errors import LukewarmError
from lukewarm.serving.engine import Engine
from lukewarm.serving.server import leave_on_signals, serve

log = logging.getLogger("lukewarm.workers")
FORK_SAFE = frozenset({"echo"})
SHARE_S = 1.0  # how old a worker's numbers may be in another worker's /metrics
RESTART_S = 1.0


def serve_workers(
    open_engine: Callable[[], Engine], listener: socket.socket, count: int, *, exit_on_failed_setup: bool = False
) -> int:
    """Serve from `count` processes until SIGTERM or SIGINT; a worker that dies is replaced. Returns the exit code."""
    engine = open_engine()
    if engine.bundle.manifest.backend in FORK_SAFE:
        with contextlib.suppress(LukewarmError):  # the workers say why
            engine.start()
    with tempfile.TemporaryDirectory(prefix="lukewarm-stats-") as folder:

        def child(index: int) -> int:
            engine.after_fork()
            _share_stats(engine, Path(folder), index, os.getppid())
            return serve(engine, listener, exit_on_failed_setup=exit_on_failed_setup)

        return _Pool(child, count).run()


class _Pool:
    """The parent: starts, replaces and stops the workers."""

    def __init__(self, child: Callable[[int], int], count: int) -> None:
        self._child = child
        self._count = count
        self._pids: dict[int, int] = {}  # pid -> index
        self._signal = 0

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
            index = self._pids.pop(pid)
            code = os.waitstatus_to_exitcode(status)
            if self._signal:
                worst = max(worst, abs(code)) if code not in (0, 130) else worst
                continue
            log.warning("a worker ended", extra={"pid": pid, "exit_code": code})
            time.sleep(RESTART_S)
            if not self._signal:
                self._fork(index)
        return worst or (130 if self._signal == signal.SIGINT else 0)

    def _fork(self, index: int) -> None:
        pid = os.fork()
        if pid:
            self._pids[pid] = index
            return
        code = 1
        try:
            leave_on_signals()
            code = self._child(index)
        except Exception:  # the child must end here, and the log is all that is left of it
            log.exception("a worker failed")
        finally:
            os._exit(code)  # the parent's cleanup is not the child's

    def _forward(self, number: int, frame: Any) -> None:
        self._signal = number
        for pid in list(self._pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


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
