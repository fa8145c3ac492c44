"""The simulator against closed forms: inside the sample's own 99 % interval, one seed for all settings."""

from __future__ import annotations

import math
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from lukewarm.costs import closed
from lukewarm.costs import columns as col
from lukewarm.costs.arrivals import Gamma, Poisson
from lukewarm.costs.billing import Rule, Side
from lukewarm.costs.distributions import Constant, Distribution, Exponential, LogNormal, Mixture
from lukewarm.costs.policy import Policy, WarmHours
from lukewarm.costs.result import Result
from lukewarm.costs.simulate import Cold, Service, simulate
from lukewarm.predictors.errors import PriceError

SEED = 20261124
ALL = Side((True,) * 6, False, 0.0)
RULE = Rule(ALL, ALL, 1.0, False)
REQUESTS = 300_000


@dataclass(frozen=True)
class Times:
    """Fixed arrival times, as a traffic source."""

    at_s: tuple[float, ...]
    period_s: float = 0.0

    @property
    def rate(self) -> float:
        return 1e-9

    def chunks(self, rng: np.random.Generator, horizon_s: float) -> Iterator[np.ndarray]:
        yield np.array(self.at_s)


def fixed(
    at_s: tuple[float, ...], policy: Policy, exec_s: float = 1.0, cold_s: float = 10.0, end_s: float = 1e4
) -> Result:
    service = Service(Constant(exec_s), Cold(Constant(cold_s)), policy)
    return simulate(Times(at_s), service, RULE, horizon_s=end_s)


def steady(rate: float, service: Service, requests: int = REQUESTS) -> Result:
    return simulate(Poisson(rate), service, RULE, horizon_s=requests / rate, seed=SEED)


# -- closed forms --

SETUP = [
    (0.02, Exponential(2), Constant(20), 60.0),
    (0.02, Constant(2), Exponential(20), 60.0),
    (0.2, Exponential(2), Constant(20), 5.0),
    (0.2, Constant(2), Exponential(20), 5.0),
    (0.4, Exponential(1), Constant(10), 1.0),
    (0.005, Exponential(1), Constant(30), 300.0),
    (0.05, LogNormal(3, 0.8), Constant(40), 0.0),
    (0.1, LogNormal(2, 1.5), Mixture(((0.67, Constant(7)), (0.33, LogNormal(100, 0.1)))), 30.0),
    (0.3, Constant(2), Constant(0), 10.0),
    (0.6, Exponential(1), Constant(5), 1e9),
]


@pytest.mark.parametrize(("rate", "service", "setup", "window_s"), SETUP)
def test_one_instance_with_setup_and_window(
    rate: float, service: Distribution, setup: Distribution, window_s: float
) -> None:
    found = steady(rate, Service(service, Cold(setup), Policy(window_s, max_instances=1)))
    exact = closed.mg1_setup(rate, service.moments, setup.moments, window_s)
    assert found.per_request(col.WAIT).holds(exact.wait_mean_s)
    if window_s < 1e9:  # with no end to the window one start is all there is: no sample of starts
        assert found.per_request(col.STARTS).holds(exact.start_fraction)
        assert found.per_second(col.SETUP, col.ACTIVE, col.IDLE).holds(exact.up_fraction)
        if setup.moments.mean:  # a start that takes no time is waited for by nobody
            assert found.per_request(col.COLD).holds(exact.cold_fraction)


@pytest.mark.parametrize(("rate", "servers"), [(0.8, 1), (1.6, 2), (4.0, 5), (9.0, 10), (18.0, 20)])
def test_waiting_is_erlang_c(rate: float, servers: int) -> None:
    policy = Policy(math.inf, min_instances=servers, max_instances=servers)
    found = steady(rate, Service(Exponential(1), Cold(), policy))
    assert found.per_request(col.WAIT).holds(closed.erlang_c_wait_s(rate, 1.0, servers))


@pytest.mark.parametrize(("rate", "servers"), [(1.0, 1), (2.0, 2), (5.0, 4), (10.0, 10)])
@pytest.mark.parametrize("service", [Exponential(1), LogNormal(1, 1)])
def test_refusing_is_erlang_b_for_any_service(rate: float, servers: int, service: Distribution) -> None:
    policy = Policy(math.inf, min_instances=servers, max_instances=servers, reject=True)
    found = steady(rate, Service(service, Cold(), policy))
    assert found.per_arrival(col.REJECTED).holds(closed.erlang_b(rate, servers))


@pytest.mark.parametrize(("rate", "service"), [(0.5, Exponential(3)), (2.0, LogNormal(3, 1)), (8.0, Constant(2))])
def test_unlimited_and_kept_is_m_g_infinity(rate: float, service: Distribution) -> None:
    found = steady(rate, Service(service, Cold(), Policy(1e12, routing="bound")))
    mean = closed.busy_mean(rate, service.moments.mean)
    assert found.per_request(col.SEEN).holds(mean)  # arrivals see time averages
    if mean < 8:
        assert found.per_request(col.SEEN_NONE).holds(closed.busy_probability(rate, service.moments.mean, 0))


@pytest.mark.parametrize(("rate", "setup"), [(1.0, Constant(5)), (0.5, Exponential(4))])
def test_an_instance_per_request_is_little(rate: float, setup: Distribution) -> None:
    found = steady(rate, Service(Exponential(2), Cold(setup), Policy(0.0, routing="bound")))
    assert found.cold_fraction == 1.0
    exact = closed.scale_per_request_mean(rate, 2.0, setup.moments.mean)
    assert found.per_second(col.SETUP, col.ACTIVE, col.IDLE).holds(exact)


@pytest.mark.parametrize(("shape", "window_s"), [(1, 60.0), (2, 60.0), (4, 120.0)])
def test_renewal_gaps_longer_than_the_window_start_cold(shape: int, window_s: float) -> None:
    rate = 0.01
    service = Service(Constant(1e-6), Cold(Constant(1e-6)), Policy(window_s, max_instances=1))
    found = simulate(Gamma(rate, 1 / math.sqrt(shape)), service, RULE, horizon_s=REQUESTS / rate, seed=SEED)
    assert found.per_request(col.STARTS).holds(closed.renewal_cold_gamma(shape, rate * shape, window_s))


def test_the_interval_can_fail() -> None:
    """A value a little beside the truth is outside: the checks above are no formality."""
    found = steady(0.2, Service(Exponential(2), Cold(Constant(20)), Policy(5.0, max_instances=1)))
    exact = closed.mg1_setup(0.2, Exponential(2).moments, Constant(20).moments, 5.0)
    assert not found.per_request(col.STARTS).holds(exact.start_fraction * 1.03)
    assert not found.per_request(col.WAIT).holds(exact.wait_mean_s * 1.03)


# -- the policy, on arrivals that can be followed by hand --


def test_window_decides_who_finds_it_cold() -> None:
    found = fixed((0.0, 50.0, 200.0), Policy(60.0))
    assert (found.requests, found.start_fraction) == (3, 2 / 3)  # 50 comes within the window, 200 does not
    # 2 starts of 10 s, 3 requests of 1 s; idle 39 s until 50, then 60 s, and 60 s at the end
    assert found.phases_s == {"start": 20.0, "active": 3.0, "idle": 159.0}
    assert found.billed_s.high == 182.0


def test_queue_takes_the_first_free_slot_and_bound_waits_for_its_own() -> None:
    queued = fixed((0.0, 10.5), Policy(60.0), exec_s=2.0)
    assert queued.wait_mean_s == pytest.approx((10.0 + 1.5) / 2)
    bound = fixed((0.0, 10.5), Policy(60.0, routing="bound"), exec_s=2.0)
    assert bound.wait_mean_s == pytest.approx((10.0 + 10.0) / 2)


def test_concurrency_shares_an_instance() -> None:
    found = fixed((0.0, 0.1, 0.2, 0.3), Policy(60.0, concurrency=4))
    assert found.start_fraction == 1 / 4
    assert found.instances_peak == 1
    assert found.phases_s["active"] == 1.0
    assert fixed((0.0, 0.1, 0.2, 0.3, 0.4), Policy(60.0, concurrency=4)).instances_peak == 2


def test_maximum_queues() -> None:
    found = fixed((0.0, 0.0, 0.0), Policy(60.0, max_instances=1))
    assert found.instances_peak == 1
    assert found.wait_mean_s == pytest.approx((10 + 11 + 12) / 3)


def test_batch_is_served_together() -> None:
    policy = Policy(60.0, max_instances=1, batch=4, batch_marginal=0.5)
    found = fixed((0.0, 1.0, 2.0), policy, exec_s=2.0)
    # all three wait for the start; together they take 2 * (1 + 0.5 + 0.5) = 4 s
    assert found.phases_s["active"] == 4.0
    assert found.latency_mean_s == pytest.approx((14 + 13 + 12) / 3)


def test_batch_wait_collects_on_an_idle_instance() -> None:
    policy = Policy(60.0, min_instances=1, max_instances=1, batch=8, batch_wait_s=1.0, batch_marginal=0.0)
    found = fixed((100.0, 100.5), policy, exec_s=2.0)
    assert found.latency_mean_s == pytest.approx((3.0 + 2.5) / 2)


def test_minimum_never_goes_down() -> None:
    found = fixed((5000.0,), Policy(60.0, min_instances=1))
    assert found.cold_fraction == 0.0
    assert found.billed_s.high == pytest.approx(1e4)


def test_warm_hours_start_without_a_request_and_end() -> None:
    policy = Policy(60.0, warm=(WarmHours(9, 17),))
    found = fixed((10 * 3600.0, 20 * 3600.0), policy, end_s=86400.0)
    assert found.start_fraction == 1 / 2  # the one at 20:00
    # warm from 9:00 to 17:00 (kept to the hour, idle before it), then a start, a request and a window
    assert found.billed_s.high == pytest.approx(8 * 3600 + 10 + 1 + 60)


def test_a_hit_is_likelier_soon_after_the_last_run() -> None:
    cold = Cold(Constant(100.0), hit=Constant(5.0), hit_tau_s=1000.0)
    service = Service(Constant(1.0), cold, Policy(0.0, max_instances=1))
    often = simulate(Poisson(1 / 100), service, RULE, horizon_s=1e6, seed=SEED)
    rarely = simulate(Poisson(1 / 20000), service, RULE, horizon_s=1e8, seed=SEED)
    assert often.wait_mean_s < 30 < 80 < rarely.wait_mean_s


def test_per_request_rounding_applies_to_each_request() -> None:
    active = Side((False, False, False, True, False, False), True, 0.0)
    rule = Rule(active, active, 0.1, True)
    service = Service(Constant(0.25), Cold(Constant(10.0)), Policy(900.0))
    found = simulate(Times((0.0, 50.0, 99.0)), service, rule, horizon_s=1e4)
    assert found.billed_s.high == pytest.approx(3 * 0.3)


def test_life_rounding_and_minimum() -> None:
    rule = Rule(ALL, Side((True,) * 6, True, 60.0), 60.0, False)
    service = Service(Constant(1.0), Cold(Constant(10.0)), Policy(50.0))
    found = simulate(Times((0.0, 1000.0)), service, rule, horizon_s=1e4)
    assert (found.billed_s.low, found.billed_s.high) == (122.0, 240.0)


# -- what does not depend on the setting --


def test_equal_seeds_equal_results() -> None:
    service = Service(Exponential(2), Cold(Constant(20)), Policy(60.0))
    one, two = (simulate(Poisson(0.1), service, RULE, horizon_s=1e5, seed=7) for _ in range(2))
    other = simulate(Poisson(0.1), service, RULE, horizon_s=1e5, seed=8)
    assert np.array_equal(one.sums, two.sums)
    assert not np.array_equal(one.sums, other.sums)


def test_quantiles_are_within_a_percent() -> None:
    found = steady(0.5, Service(Exponential(1.0), Cold(), Policy(1e9, routing="bound")))
    for q in (0.5, 0.95, 0.99):
        assert found.latency_s(q) == pytest.approx(-math.log(1 - q), rel=0.03)
    assert found.wait_s(0.5) == 0.0


def test_memory_is_flat_in_the_number_of_requests() -> None:
    service = Service(Exponential(2), Cold(Constant(5)), Policy(600.0, max_instances=64))
    peaks = []
    for requests in (200_000, 2_000_000):
        tracemalloc.start()
        simulate(Poisson(5.0), service, RULE, horizon_s=requests / 5.0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.2


@pytest.mark.parametrize(
    ("rate", "policy", "said"),
    [
        (2.0, Policy(60.0, max_instances=1), "can never be served; allow at least 3"),
        (2.0, Policy(60.0, max_instances=2), "can never be served"),
        (0.0, Policy(60.0), "positive finite"),
        (float("nan"), Policy(60.0), "positive finite"),
    ],
)
def test_impossible_traffic(rate: float, policy: Policy, said: str) -> None:
    with pytest.raises(PriceError, match=said):
        steady(rate, Service(Constant(1.01), Cold(), policy))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Policy(-1.0),
        lambda: Policy(60.0, min_instances=3, max_instances=2),
        lambda: Policy(60.0, concurrency=2, routing="bound"),
        lambda: Policy(60.0, batch_marginal=2.0),
        lambda: Policy(60.0, warm=(WarmHours(17, 9),)),
        lambda: Policy(60.0, max_instances=1, warm=(WarmHours(9, 17, instances=2),)).hours(),
    ],
)
def test_impossible_policies(make) -> None:
    with pytest.raises(PriceError):
        make()


@pytest.mark.alone
def test_two_million_requests_a_second_of_one_core() -> None:
    """Processor time, best of five. `python -m lukewarm.costs.bench` says more."""
    service = Service(Exponential(1.991), Cold(Constant(0.253)), Policy(600.0, routing="bound"))
    steady(0.9, service, 1000)
    best = math.inf
    for _ in range(5):
        start = time.process_time()
        found = steady(0.9, service, 500_000)
        best = min(best, (time.process_time() - start) / found.requests)
    assert 1 / best >= 2e6
