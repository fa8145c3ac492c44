"""Starts one measured process, in a group of its own, and makes sure that nothing of it outlives the measurement."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

RUNNER = Path(__file__).with_name("runner.py")
RUN_ID = "LUKEWARM_BENCH_RUN"  # in the environment of everything a measured process starts
QUIET = {
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
    "RUNPOD_SKIP_GPU_CHECK": "true",
    "BENTOML_DO_NOT_TRACK": "True",
}
# these would make every start compile its modules again, or name modules that are not the project's
DROPPED = ("PYTHONDONTWRITEBYTECODE", "PYTHONSTARTUP", "PYTHONPROFILEIMPORTTIME", "PYTHONVERBOSE", "PYTHONTRACEMALLOC")


class Failed(Exception):
    """A measured process gave no sample; the text says why in one line."""


def sample(job: Mapping[str, Any], *, limit_s: float, core: int | None = None, flags: tuple[str, ...] = ()) -> Any:
    """Run one job in a fresh process and return the JSON it printed. Raises Failed."""
    out, _ = run_job(job, limit_s=limit_s, core=core, flags=flags)
    return out


def run_job(
    job: Mapping[str, Any], *, limit_s: float, core: int | None = None, flags: tuple[str, ...] = ()
) -> tuple[Any, str]:
    """The JSON that a fresh process printed, and its standard error. Raises Failed."""
    run_id = uuid.uuid4().hex
    with tempfile.TemporaryFile() as errors, pinned(core), _orderly_end():
        # the argument list is made before the clock is read
        command = [sys.executable, *flags, "-P", str(RUNNER)]
        body = {**job, "spawned_s": 0.0}
        process = None
        try:
            body["spawned_s"] = time.monotonic()
            process = subprocess.Popen(
                [*command, msgspec.json.encode(body).decode()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment(run_id, job.get("env", {})),
                start_new_session=True,
                text=True,
            )
            out, _ = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"took longer than {limit_s:g} s") from error
        finally:
            if process is not None:
                end(process)
            sweep(run_id)
        errors.seek(0)
        text = errors.read().decode("utf-8", "replace")
    return _parse(out, process.returncode, text), text


def environment(run_id: str, extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of a measured process: the user's own, without what would disturb, marked with the run."""
    kept = {name: value for name, value in os.environ.items() if name not in DROPPED}
    return {**kept, **QUIET, **extra, RUN_ID: run_id}


@contextlib.contextmanager
def _orderly_end() -> Iterator[None]:
    """SIGTERM becomes an exception inside, so that the measured process is ended and not left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Processes started inside inherit one processor."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def end(process: subprocess.Popen[str], grace_s: float = 0.0) -> None:
    """End a process and its group: SIGTERM and `grace_s` to obey, then SIGKILL."""
    if process.poll() is None and grace_s:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def sweep(run_id: str) -> list[int]:
    """Kill what left the group (servers re-parent their workers): every process that carries this run's mark."""
    killed = []
    mark = f"{RUN_ID}={run_id}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                os.kill(int(folder.name), signal.SIGKILL)
                killed.append(int(folder.name))
        except OSError:  # gone meanwhile, or another user's
            continue
    return killed


def _parse(out: str, code: int, errors: str) -> Any:
    line = out.strip().rpartition("\n")[2]
    if code == 0 and line:
        try:
            return msgspec.json.decode(line)
        except msgspec.DecodeError as error:
            raise Failed(f"printed no JSON but {line[:80]!r}") from error
    raise Failed(reason(code, errors))


def reason(code: int, errors: str) -> str:
    """One line for a process that failed: its last error message, or the signal that ended it."""
    lines = [line.strip() for line in errors.strip().splitlines() if line.strip()]
    # the last line of a traceback that is not indented is the exception; libraries print below it
    last = next((line for line in reversed(lines) if _is_exception(line)), lines[-1] if lines else "no message")
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"ended by {name}{hint}: {last}"[:400]
    return last.removeprefix("lukewarm.predictors.errors.")[:400]


def _is_exception(line: str) -> bool:
    head = line.partition(":")[0].rpartition(".")[2]
    return head.isidentifier() and head.endswith(("Error", "Exception", "Extra", "Interrupt", "Weights", "Exit"))
