"""Closed forms of the queues that scale to zero: exact answers where they apply, and the check on the simulator.

M/G/1 with setup and delayed-off is an M/G/1 with an exceptional first service in each busy period (Welch 1964): an
instance that has been idle for less than the window serves at once, else the first request waits for a setup.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lukewarm.predictors.errors import PriceError


@dataclass(frozen=True)
class Moments:
    """First and second moment of a duration, in s and s²."""

    mean: float
    second: float

    @classmethod
    def constant(cls, value: float) -> Moments:
        return cls(value, value * value)

    @classmethod
    def exponential(cls, mean: float) -> Moments:
        return cls(mean, 2 * mean * mean)


@dataclass(frozen=True)
class Delayed:
    """One instance that goes down after `window_s` without a request; fractions are of requests or of time."""

    wait_mean_s: float
    start_fraction: float
    """Requests that trigger a start."""
    cold_fraction: float
    """Requests that wait for a start: those that trigger one and those that come in during it."""
    up_fraction: float
    setup_fraction: float
    active_fraction: float
    idle_fraction: float
    lives_per_s: float
    """How often an instance starts (and ends)."""


def mg1_setup(rate: float, service: Moments, setup: Moments, window_s: float) -> Delayed:
    """M/G/1 with setup and a deterministic delayed-off window. Raises PriceError where the rate can never be served."""
    check_rate(rate)
    load = rate * service.mean
    if load >= 1:
        raise PriceError(
            f"{rate:g} requests/s of {service.mean:g} s each need {load:.2f} instances at once: one can never keep up; "
            f"allow at least {math.floor(load) + 1}"
        )
    expired = math.exp(-rate * window_s)
    d1, d2 = expired * setup.mean, expired * setup.second
    cycle_s = 1 / rate + (d1 + service.mean) / (1 - load)
    idle_s = (1 - expired) / rate
    wait = rate * service.second / (2 * (1 - load)) + (2 * d1 + rate * d2) / (2 * (1 + rate * d1))
    up = (idle_s + (d1 + service.mean) / (1 - load)) / cycle_s
    return Delayed(
        wait_mean_s=wait,
        start_fraction=expired * (1 - load) / (1 + rate * d1),
        cold_fraction=(expired + rate * d1) * (1 - load) / (1 + rate * d1),
        up_fraction=up,
        setup_fraction=d1 / cycle_s,
        active_fraction=load,
        idle_fraction=idle_s / cycle_s,
        lives_per_s=expired / cycle_s,
    )


def erlang_b(offered: float, servers: int) -> float:
    """The share of requests that find all `servers` busy when none may wait (M/G/k/k)."""
    _check_servers(offered, servers)
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = offered * blocked / (k + offered * blocked)
    return blocked


def erlang_c(offered: float, servers: int) -> float:
    """The share of requests that must wait in M/M/k. Raises PriceError unless offered < servers."""
    _check_servers(offered, servers)
    if offered >= servers:
        raise PriceError(
            f"a load of {offered:g} can never be served by {servers}; allow {math.floor(offered) + 1} or more"
        )
    blocked = erlang_b(offered, servers)
    return servers * blocked / (servers - offered * (1 - blocked))


def erlang_c_wait_s(rate: float, service_s: float, servers: int) -> float:
    """Mean wait of M/M/k, in seconds."""
    return erlang_c(rate * service_s, servers) * service_s / (servers - rate * service_s)


def busy_mean(rate: float, service_s: float) -> float:
    """M/G/infinity: the mean number of requests in service (Little); the number is Poisson with this mean."""
    check_rate(rate)
    return rate * service_s


def busy_probability(rate: float, service_s: float, count: int) -> float:
    """M/G/infinity: the probability of exactly `count` requests in service."""
    mean = busy_mean(rate, service_s)
    return math.exp(count * math.log(mean) - mean - math.lgamma(count + 1)) if mean else float(count == 0)


def scale_per_request_mean(rate: float, service_s: float, setup_s: float) -> float:
    """Mean instances up when every request gets its own and none is kept (window 0): Little, any distribution."""
    return busy_mean(rate, service_s + setup_s)


def renewal_cold_exponential(rate: float, window_s: float) -> float:
    """1 - F(window), the share of gaps longer than the window: Poisson arrivals, a service far below the gaps."""
    check_rate(rate)
    return math.exp(-rate * window_s)


def renewal_cold_hyperexponential(shares: tuple[float, ...], rates: tuple[float, ...], window_s: float) -> float:
    """1 - F(window) for gaps drawn from a mixture of exponentials."""
    return sum(p * math.exp(-r * window_s) for p, r in zip(shares, rates, strict=True))


def renewal_cold_gamma(shape: int, rate: float, window_s: float) -> float:
    """1 - F(window) for Erlang (gamma of whole shape) gaps with mean shape/rate."""
    x = rate * window_s
    return math.exp(-x) * sum(x**k / math.factorial(k) for k in range(shape))


def check_rate(rate: float) -> None:
    """PriceError unless a rate is a positive finite number of requests a second."""
    if not (rate > 0 and math.isfinite(rate)):
        raise PriceError(f"a rate of {rate!r} requests/s: a positive finite number is needed")


def _check_servers(offered: float, servers: int) -> None:
    if servers < 1 or not (offered > 0 and math.isfinite(offered)):
        raise PriceError(f"offered load {offered!r} on {servers!r} servers: both must be positive")
