"""Contenders without a model, for tests of the measuring harness. Each is found as `support.fake_contenders:name`."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any


def _answer(_model: Any, inputs: list[str], new_tokens: int) -> dict[str, Any]:
    return {"units": new_tokens * len(inputs), "text": inputs[0]}


def _sleep_in_load(job: dict[str, Any]) -> float:
    time.sleep(0.2)
    return float(job["options"].get("first_s", 0.0))


def _sleep_in_run(model: float, inputs: list[str], new_tokens: int) -> dict[str, Any]:
    time.sleep(model)
    return _answer(model, inputs, new_tokens)


def _slow_import(job: dict[str, Any]) -> None:
    import support.sleeps_when_imported  # noqa: F401


def _crash(job: dict[str, Any]) -> None:
    raise RuntimeError("the weights are made of cheese")


def _kill_itself(job: dict[str, Any]) -> None:
    os.kill(os.getpid(), 9)


def _leave_an_orphan(job: dict[str, Any]) -> None:
    orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"], start_new_session=True)
    with open(job["options"]["pid_file"], "a") as stream:
        stream.write(f"{orphan.pid}\n")


def _log_pid(job: dict[str, Any]) -> None:
    with open(job["options"]["pid_file"], "a") as stream:
        stream.write(f"{job['options'].get('tag', '')} {os.getpid()}\n")


def _hang(job: dict[str, Any]) -> None:
    time.sleep(120)


def _log_and_hang(job: dict[str, Any]) -> None:
    _log_pid(job)
    time.sleep(120)


def _chatty(job: dict[str, Any]) -> None:
    print("a library that prints to standard output")
    os.write(1, b"and one that does so from C\n")


def _look_around(job: dict[str, Any]) -> str:
    found = {name: importlib.util.find_spec(name) for name in ("msgspec", "starlette")}
    return ", ".join(f"{name} {'found' if spec else 'hidden'}" for name, spec in found.items())


def _say(model: str, inputs: list[str], new_tokens: int) -> dict[str, Any]:
    return {"units": 1, "text": model}


sleeper = SimpleNamespace(load=_sleep_in_load, run=_sleep_in_run)
importer = SimpleNamespace(load=_slow_import, run=_answer)
crasher = SimpleNamespace(load=_crash, run=_answer)
killed = SimpleNamespace(load=_kill_itself, run=_answer)
parent = SimpleNamespace(load=_leave_an_orphan, run=_answer)
counter = SimpleNamespace(load=_log_pid, run=_answer)
hanger = SimpleNamespace(load=_hang, run=_answer)
chatty = SimpleNamespace(load=_chatty, run=_answer)
foreigner = SimpleNamespace(load=_look_around, run=_say)
logging_hanger = SimpleNamespace(load=_log_and_hang, run=_answer)
