"""What must hold for any traffic: hypothesis looks for a trace that breaks it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lukewarm.costs import columns as col
from lukewarm.costs.band import Band
from lukewarm.costs.billing import Rule, Side, rule
from lukewarm.costs.catalog import load
from lukewarm.costs.distributions import Constant
from lukewarm.costs.offers import offers
from lukewarm.costs.policy import Policy
from lukewarm.costs.price import Measured, closed_month, price_measured
from lukewarm.costs.result import Result
from lukewarm.costs.simulate import Cold, Service, simulate

CATALOG = load(dt.date(2026, 11, 24))
HORIZON_S = 20_000.0
TIMES = st.lists(st.floats(0, 9_000), min_size=1, max_size=40).map(sorted)
SCALING = [p.name for p in CATALOG.plans if p.kind == "scale" and p.status == "active"]
BY_LIFE = [name for name in SCALING if CATALOG.plan(name).scope == "instance"]
OFFERS = {name: offers(CATALOG, CATALOG.plan(name))[0] for name in SCALING}


@dataclass(frozen=True)
class Times:
    at_s: tuple[float, ...]
    period_s: float = 0.0
    rate: float = 1e-9

    def chunks(self, rng: np.random.Generator, horizon_s: float) -> Iterator[np.ndarray]:
        yield np.array(self.at_s)


def run(at_s: list[float], billing: Rule, policy: Policy, cold_s: float = 20.0, exec_s: float = 2.0) -> Result:
    service = Service(Constant(exec_s), Cold(Constant(cold_s), pull_share=0.25), policy)
    return simulate(Times(tuple(at_s)), service, billing, horizon_s=HORIZON_S)


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    """Compile the kernel before hypothesis times anything."""
    run([0.0], rule(CATALOG.plan("modal")), Policy(60.0))


@settings(deadline=None, max_examples=60)
@given(at_s=TIMES, more=TIMES, window_s=st.floats(0, 1000), plan=st.sampled_from(SCALING))
def test_more_traffic_never_costs_less_when_no_start_is_avoided(
    at_s: list[float], more: list[float], window_s: float, plan: str
) -> None:
    """Starts cost nothing here, so none can be saved; then time in use and requests only grow."""
    billing = rule(CATALOG.plan(plan))
    smooth = Rule(
        Side(billing.low.flags, False, 0.0),
        Side(billing.high.flags, False, 0.0),
        billing.granularity_s,
        billing.per_request,
    )
    policy = Policy(window_s, max_instances=1)
    less, most = (run(t, smooth, policy, cold_s=0.0) for t in (at_s, sorted(at_s + more)))
    assert less.billed_s.low <= most.billed_s.low + 1e-6
    assert less.billed_s.high <= most.billed_s.high + 1e-6


@settings(deadline=None, max_examples=60)
@given(
    at_s=TIMES,
    window_s=st.floats(0, 1000),
    extra_s=st.floats(0, 1000),
    instances=st.integers(1, 4),
    plan=st.sampled_from(SCALING),
)
def test_a_longer_window_never_costs_less_when_no_start_is_avoided(
    at_s: list[float], window_s: float, extra_s: float, instances: int, plan: str
) -> None:
    billing = rule(CATALOG.plan(plan))
    short = run(at_s, billing, Policy(window_s, max_instances=instances))
    long = run(at_s, billing, Policy(window_s + extra_s, max_instances=instances))
    assert long.start_fraction <= short.start_fraction
    if long.start_fraction == short.start_fraction:
        assert short.billed_s.low <= long.billed_s.low + 1e-6
        assert short.billed_s.high <= long.billed_s.high + 1e-6


@settings(deadline=None, max_examples=60)
@given(
    at_s=TIMES, window_s=st.floats(0, 500), granularity_s=st.sampled_from([0.1, 1.0, 60.0]), per_request=st.booleans()
)
def test_rounding_never_lowers_a_simulated_bill(
    at_s: list[float], window_s: float, granularity_s: float, per_request: bool
) -> None:
    flags = (True,) * 6
    billing = Rule(Side(flags, False, 0.0), Side(flags, True, granularity_s), granularity_s, per_request)
    found = run(at_s, billing, Policy(window_s))
    assert found.total(col.LOW) <= found.total(col.HIGH) + 1e-6  # the columns themselves: the band would hide it
    assert found.billed_s.low == pytest.approx(found.total(col.LOW))


@settings(deadline=None, max_examples=60)
@given(
    at_s=TIMES,
    window_s=st.floats(0, 500),
    instances=st.integers(1, 5),
    concurrency=st.integers(1, 4),
    batch=st.integers(1, 4),
)
def test_every_request_is_served_once_and_every_second_is_in_a_phase(
    at_s: list[float], window_s: float, instances: int, concurrency: int, batch: int
) -> None:
    flags = (True,) * 6
    billing = Rule(Side(flags, False, 0.0), Side(flags, False, 0.0), 1.0, False)
    policy = Policy(window_s, max_instances=instances, concurrency=concurrency, batch=batch, batch_marginal=0.5)
    found = run(at_s, billing, policy)
    assert found.requests == len(at_s)
    assert int(found.latency_bins.sum()) == len(at_s)
    assert found.billed_s.high == pytest.approx(sum(found.phases_s.values()))
    assert 1 <= found.instances_peak <= instances
    assert found.latency_mean_s >= 2.0 - 1e-9


@given(
    requests=st.floats(1, 1e5),
    more=st.floats(1, 3),
    exec_s=st.floats(0.01, 5),
    cold_s=st.floats(0, 100),
    plan=st.sampled_from(BY_LIFE),
)
def test_closed_form_month_never_falls_with_traffic_beyond_its_rounding(
    requests: float, more: float, exec_s: float, cold_s: float, plan: str
) -> None:
    """Where a life is billed, starts saved are idle time gained; busier instances save steps of rounding, no more."""
    one = OFFERS[plan]
    times = Measured(cold_s, exec_s)
    less, most = (closed_month(one, times, 60.0, r)[0] for r in (requests, requests * more))
    lives = requests  # at most one life per request
    slack = one.usd_per_s.high * max(one.plan.granularity_s, one.plan.minimum_s or 0) * lives
    assert less.low <= most.low + slack + 1e-9
    assert less.high <= most.high + slack + 1e-9


@given(cold_s=st.floats(0, 1000), exec_s=st.floats(0, 100), share=st.floats(0, 1), plan=st.sampled_from(SCALING))
def test_a_cold_request_never_costs_less_than_a_warm_one(cold_s: float, exec_s: float, share: float, plan: str) -> None:
    one = OFFERS[plan]
    priced = price_measured(CATALOG, plan, one.hardware, Measured(cold_s, exec_s, image_pull_s=cold_s * share))
    assert priced.warm_usd.low <= priced.cold_usd.low + 1e-12
    assert priced.warm_usd.high <= priced.cold_usd.high + 1e-12


@given(low=st.floats(0, 1e6), width=st.floats(0, 1e6), by=st.floats(0, 1e3))
def test_bands_stay_bands(low: float, width: float, by: float) -> None:
    band = Band(low, low + width)
    for made in (band + band, band * by, band.less(by), band * band):
        assert made.low <= made.high
