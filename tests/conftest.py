"""What no test may depend on: how fast the machine is, whether the shell ignores Ctrl-C, what other workers do."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

from support import alone

settings.register_profile("lukewarm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lukewarm")
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background has it ignored, and its children too
CONTROLLER = os.getppid() if alone.in_worker() else os.getpid()
if alone.in_worker():
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported: the workers are the parallel part


@pytest.hookimpl(wrapper=True, tryfirst=True)  # outside of pytest-timeout: waiting for a turn is no test's time
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    if not alone.in_worker():
        return (yield)
    with alone.turn(CONTROLLER, item.get_closest_marker("alone") is not None):
        return (yield)


def pytest_sessionfinish() -> None:
    if tiny := sys.modules.get("support.tiny_models"):  # a worker ends without atexit
        tiny.forget()
    if not alone.in_worker():
        alone.forget(CONTROLLER)
