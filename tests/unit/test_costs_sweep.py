"""Sweeps: the same results in one process, in several, and (by a stand-in) on Ray; a trace of many functions scales."""

from __future__ import annotations

import sys
import tracemalloc
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lukewarm.costs.arrivals import Poisson
from lukewarm.costs.billing import rule
from lukewarm.costs.catalog import load
from lukewarm.costs.distributions import Constant, Exponential
from lukewarm.costs.policy import Policy
from lukewarm.costs.simulate import Cold, Service
from lukewarm.costs.sweep import Case, Processes, Ray, Serial, executor, sweep
from lukewarm.costs.traces import synthetic
from lukewarm.predictors.errors import MissingExtra, PriceError

SERVICE = Service(Exponential(1.0), Cold(Constant(10.0)), Policy(60.0))
RULE = rule(load().plan("modal"))


def cases(count: int) -> Iterator[Case]:
    for k in range(count):
        yield Case(f"c{k}", Poisson(0.01 * (k + 1)), SERVICE, RULE, 1e5, seed=k)


def test_processes_give_what_one_process_gives() -> None:
    assert list(sweep(cases(5), Processes(2))) == list(sweep(cases(5), Serial()))


def test_ray_gets_the_same_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """A FAKE ray that runs everything here: what is checked is how this code calls it, not Ray itself."""
    calls: list[str] = []
    pending: list[int] = []

    class Remote:
        def __init__(self, function: Callable[[Any], Any]) -> None:
            self.function = function

        def remote(self, item: Any) -> Any:
            pending.append(1)
            calls.append(f"under way {len(pending)}")
            return lambda: self.function(item)

    def get(job: Callable[[], Any]) -> Any:
        pending.pop()
        return job()

    fake = types.ModuleType("ray")
    fake.is_initialized = lambda: False  # type: ignore[attr-defined]
    fake.init = lambda **options: calls.append(f"init {options['address']}")  # type: ignore[attr-defined]
    fake.remote = Remote  # type: ignore[attr-defined]
    fake.get = get  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", fake)
    found = list(sweep(cases(6), Ray("auto", in_flight=2)))
    assert found == list(sweep(cases(6)))
    assert calls[0] == "init auto"
    assert max(calls[1:]) == "under way 2"


def test_ray_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"lukewarm\[ray\]"):
        list(sweep(cases(1), Ray()))


def test_executors_by_name() -> None:
    assert executor("serial").__class__ is Serial
    assert executor("processes:3") == Processes(3)
    assert executor("ray:10.0.0.1:6379") == Ray("10.0.0.1:6379")
    assert executor("ray") == Ray(None)
    for wrong in ("processes", "processes:0", "dask"):
        with pytest.raises(PriceError):
            executor(wrong)


def test_a_fourteen_day_trace_of_many_functions_is_a_stream() -> None:
    """SYNTHETIC functions in the 2019 shape, one at a time: memory is that of one, not of all."""

    def of(count: int) -> Iterator[Case]:
        for trace in synthetic(count, 14, seed=1):
            if trace.total:
                yield Case(trace.name, trace, SERVICE, RULE, trace.span_s)

    peaks = []
    for count in (10, 60):
        tracemalloc.start()
        outcomes = list(sweep(of(count)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(outcomes) > count * 0.8
        assert all(0 <= o.cold_fraction <= 1 and o.requests > 0 for o in outcomes)
    assert peaks[1] < peaks[0] * 2
