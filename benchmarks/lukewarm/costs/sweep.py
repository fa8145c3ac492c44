"""Many simulations at once: the same code in this process, in a few processes, or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from lukewarm.costs.arrivals import Arrivals
from lukewarm.costs.band import Band
from lukewarm.costs.billing import Rule
from lukewarm.costs.simulate import Service, simulate
from lukewarm.predictors.errors import MissingExtra, PriceError, unknown

T = TypeVar("T")
R = TypeVar("R")


class Executor(Protocol):
    """Applies a picklable function to items, in order, holding only a few of them at once."""

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]: ...


class Serial:
    """One after the other, in this process."""

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        return map(function, items)


@dataclass(frozen=True)
class Processes:
    """A few processes of this machine."""

    workers: int

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        # fork would copy numba's threads half-way; a fresh interpreter reads the compiled kernel from its cache
        import multiprocessing

        with ProcessPoolExecutor(self.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            yield from _windowed(pool.submit, lambda future: future.result(), function, items, 4 * self.workers)


@dataclass(frozen=True)
class Ray:
    """The user's Ray cluster (extra `ray`); `address` as for `ray.init`, None starts one on this machine."""

    address: str | None = None
    in_flight: int = 256

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        try:
            import ray
        except ImportError as error:
            raise MissingExtra("ray", "ray") from error
        if not ray.is_initialized():
            ray.init(address=self.address, log_to_driver=False)
        remote = ray.remote(function)
        yield from _windowed(lambda _f, item: remote.remote(item), ray.get, function, items, self.in_flight)


def _windowed(
    submit: Callable[..., Any],
    take: Callable[[Any], R],
    function: Callable[[T], R],
    items: Iterable[T],
    most: int,
) -> Iterator[R]:
    """Results in order with at most `most` items under way, so that a long sweep does not pile up in memory."""
    waiting: list[Any] = []
    for item in items:
        waiting.append(submit(function, item))
        if len(waiting) >= most:
            yield take(waiting.pop(0))
    for job in waiting:
        yield take(job)


def executor(name: str) -> Executor:
    """An executor from text: `serial`, `processes:4`, `ray` or `ray:ADDRESS`."""
    kind, _, argument = name.partition(":")
    if kind == "serial":
        return Serial()
    if kind == "ray":
        return Ray(argument or None)
    if kind == "processes":
        if not argument.isdigit() or int(argument) < 1:
            raise PriceError(f"{name!r}: write processes:N with N of 1 or more")
        return Processes(int(argument))
    raise PriceError(unknown("executor", name, ["serial", "processes:N", "ray", "ray:ADDRESS"]))


@dataclass(frozen=True)
class Case:
    """One simulation of a sweep; everything in it can be sent to another process."""

    name: str
    arrivals: Arrivals
    service: Service
    rule: Rule
    horizon_s: float
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """What is kept of one simulation."""

    name: str
    requests: int
    cold_fraction: float
    p95_s: float
    instances_mean: float
    billed_s: Band


def run_case(case: Case) -> Outcome:
    """Simulate one case."""
    result = simulate(case.arrivals, case.service, case.rule, horizon_s=case.horizon_s, seed=case.seed)
    return Outcome(
        case.name,
        result.requests,
        result.cold_fraction,
        result.latency_s(0.95),
        result.instances_mean,
        result.billed_s,
    )


def sweep(cases: Iterable[Case], on: Executor | None = None) -> Iterator[Outcome]:
    """Simulate all cases, in order; `cases` may be a generator of any length."""
    return (on or Serial()).map(run_case, cases)
