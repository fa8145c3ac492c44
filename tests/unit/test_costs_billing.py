"""Billing rules: phases, rounding, minima, bands; what a measured request costs; and the published figures."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lukewarm.costs.band import Band
from lukewarm.costs.billing import Phases, Usage, bill, rule, step_up
from lukewarm.costs.catalog import Catalog, load
from lukewarm.costs.offers import offer
from lukewarm.costs.price import Measured, price_measured
from lukewarm.costs.scenarios import SCENARIOS, run
from lukewarm.costs.schema import PHASES, Shape
from lukewarm.predictors.errors import PriceError

LIFE = Phases(queue_s=1, pull_s=10, setup_s=20, active_s=30.5, idle_s=60, teardown_s=2)


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load(dt.date(2026, 11, 24))


@pytest.mark.parametrize(
    ("plan", "low", "high"),
    [
        ("runpod", 113, 113),  # setup + active + idle + teardown = 112.5, a second up
        ("modal", 110.5, 123),  # pull and teardown unknown; rounding too
        ("baseten", 120, 120),  # setup + active + idle = 110.5, a minute up
        ("hf_endpoints", 120.5, 180),  # pull too; queue and teardown unknown, rounding unknown
        ("aws_lambda", 50.5, 50.5),  # setup and active
        ("cloud_run:request", 52.5, 52.5),  # and teardown
        ("replicate:public", 30.5, 31),  # active only
        ("aws_ec2", 122.5, 123),
    ],
)
def test_billed_seconds_of_one_life(catalog: Catalog, plan: str, low: float, high: float) -> None:
    billed = rule(catalog.plan(plan)).billed_s(LIFE)
    assert (billed.low, billed.high) == (pytest.approx(low), pytest.approx(high))


def test_unconfirmed_minimum_opens_a_band(catalog: Catalog) -> None:
    """Cloud Run's 60 s are from memory (grade C): the low side does not count on them."""
    billed = rule(catalog.plan("cloud_run:instance")).billed_s(Phases(active_s=1.0))
    assert (billed.low, billed.high) == (1.0, 60.0)


@given(seconds=st.floats(0, 1e7), granularity=st.sampled_from([0.001, 0.1, 1.0, 60.0]), minimum=st.floats(0, 120))
def test_rounding_never_lowers(seconds: float, granularity: float, minimum: float) -> None:
    up = step_up(seconds, granularity, True, minimum)
    assert up >= seconds
    assert up >= step_up(seconds, granularity, False, minimum)
    assert up <= max(seconds + granularity * 1.000001, minimum)


def test_rounding_does_not_add_a_step_to_whole_steps() -> None:
    assert step_up(0.3, 0.1, True, 0) == pytest.approx(0.3)
    assert step_up(0.0, 60, True, 60) == 0.0


_SECONDS = st.floats(0, 1e5)
_PHASES = st.builds(Phases, *[_SECONDS] * 6)


@given(phases=_PHASES, which=st.sampled_from(PHASES), name=st.sampled_from(["modal", "runpod", "koyeb", "baseten"]))
def test_an_unknown_flag_widens_the_band_and_never_narrows_it(phases: Phases, which: str, name: str) -> None:
    plan = load(dt.date(2026, 11, 24)).plan(name)
    for known in (True, False):
        certain = msgspec.structs.replace(plan, billed=msgspec.structs.replace(plan.billed, **{which: known}))
        unknown = msgspec.structs.replace(plan, billed=msgspec.structs.replace(plan.billed, **{which: None}))
        sure, unsure = rule(certain).billed_s(phases), rule(unknown).billed_s(phases)
        assert unsure.low <= sure.low
        assert sure.high <= unsure.high


@given(phases=_PHASES, extra=_PHASES)
def test_more_of_any_phase_never_costs_less(phases: Phases, extra: Phases) -> None:
    more = Phases(*(a + b for a, b in zip(phases.each(), extra.each(), strict=True)))
    for plan in load(dt.date(2026, 11, 24)).plans:
        less, most = rule(plan).billed_s(phases), rule(plan).billed_s(more)
        assert less.low <= most.low * (1 + 1e-12)
        assert less.high <= most.high * (1 + 1e-12)


def test_free_tier_counts_only_when_asked(catalog: Catalog) -> None:
    one = offer(catalog, catalog.plan("aws_lambda"), "x86_64", Shape(vcpu=1, memory_gib=1))
    usage = Usage(Band.exact(100_000.0), 10_000)
    assert bill(one, usage).compute.high == pytest.approx(1.66667, abs=1e-5)
    free = bill(one, usage, free_tier=True)
    assert free.compute.high == 0.0
    assert free.requests.high == pytest.approx(0.01)  # what remains is the gateway, which is no part of it


def test_unknown_fee_is_named_and_not_counted(catalog: Catalog) -> None:
    one = offer(catalog, catalog.plan("cloud_run:request"), "cpu")
    found = bill(one, Usage(Band.exact(0.0), 0), image_gb=5)
    assert found.unpriced == ("registry_storage",)
    assert found.total.high == 0.0


def test_unbundled_meters_add_up(catalog: Catalog) -> None:
    """All-in L4 and T4 prices an hour, as the comparison in prices.md has them."""
    shape = Shape(vcpu=4, memory_gib=16)
    wanted = {
        ("modal", "L4"): 1.021,
        ("cerebrium", "T4"): 0.813,
        ("cloud_run:instance", "L4"): 1.047,
        ("azure_container_apps", "T4"): 1.556,
        ("beam", "A10G"): 2.134,
        ("runpod", "L4"): 0.684,
    }
    for (plan, gpu), usd in wanted.items():
        assert offer(catalog, catalog.plan(plan), gpu, shape).usd_per_hour.high == pytest.approx(usd, abs=6e-4), plan


@pytest.mark.parametrize(
    ("provider", "requests", "usd", "cold"),
    [
        ("runpod", 1_000, 5.1, 0.99),
        ("modal", 1_000, 22.8, 0.97),
        ("hf_endpoints:gcp", 1_000, 381, 0.25),
        ("modal", 10_000, 190, 0.75),
        ("hf_endpoints:gcp", 10_000, 511, 0.0),
        ("runpod", 100_000, 265, 0.47),
        ("cerebrium", 100_000, 680, 0.09),
        ("aws_ec2", 100_000, 588, 0.0),
    ],
)
def test_month_of_a_measured_request(catalog: Catalog, provider: str, requests: float, usd: float, cold: float) -> None:
    """Exec 2 s, cold 20 s on an L4: the dollars of prices.md section 0, which leaves rounding out."""
    priced = price_measured(catalog, provider, "L4", Measured(20, 2), requests_per_month=requests)
    assert priced.month_usd is not None
    assert priced.month_usd.low == pytest.approx(usd, rel=0.04)
    assert priced.cold_fraction is not None
    assert priced.cold_fraction.high >= cold - 0.01  # theirs counts triggers, ours all who wait
    assert priced.basis == "modelled from quoted prices"


def test_parts_of_a_measured_request(catalog: Catalog) -> None:
    priced = price_measured(catalog, "runpod", "L4", Measured(20, 2, image_pull_s=5))
    assert priced.warm_usd.high == pytest.approx(2 * 0.00019)
    assert priced.cold_usd.high == pytest.approx(17 * 0.00019)  # the pull is free
    assert priced.idle_usd.high == pytest.approx(5 * 0.00019)
    assert priced.low_usd <= priced.high_usd
    assert priced.month_usd is None


def test_undocumented_pull_is_a_band(catalog: Catalog) -> None:
    cold = price_measured(catalog, "modal", "T4", Measured(20, 2, image_pull_s=5)).cold_usd
    assert cold.high / cold.low == pytest.approx(22 / 17)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"exec_s": -1}, "exec_s is -1"),
        ({"cold_start_s": float("nan")}, "cold_start_s"),
        ({"image_pull_s": 21}, "longer than cold_start_s"),
    ],
)
def test_impossible_durations(change: dict[str, float], said: str) -> None:
    with pytest.raises(PriceError, match=said):
        replace(Measured(20, 2), **change)


def test_window_rules(catalog: Catalog) -> None:
    with pytest.raises(PriceError, match="outside 2 to 1200 s"):
        price_measured(catalog, "modal", "T4", Measured(20, 2), idle_timeout_s=5000)
    with pytest.raises(PriceError, match="does not let the idle window be set"):
        price_measured(catalog, "lambda", "cpu", Measured(20, 2), idle_timeout_s=60)
    with pytest.raises(PriceError, match="one can never keep up; allow at least 2"):
        price_measured(catalog, "modal", "T4", Measured(20, 2), requests_per_month=2e6)


def test_published_figures_to_the_cent() -> None:
    found = {s.name: s for s in run("all")}
    assert set(found) == set(SCENARIOS)
    usd = {name: s.usd for name, s in found.items() if s.usd is not None}
    assert usd == {
        "cloud-run-1-2": 57.02,
        "cloud-run-2-8": 134.78,
        "lambda-10k": 1.67,
        "lambda-registry": 0.20,
        "lambda-file-system": 0.40,
        "lambda-gateway": 0.035,
        "g4dn-always-on": 383.98,
        "fargate-vcpu-month": 29.55,
    }
    assert found["cloud-run-ratio"].ratio == 2.4
    assert found["sagemaker-ec2"].ratio == 1.40
    assert all(s.source and s.inputs for s in found.values())


def test_unknown_scenario() -> None:
    with pytest.raises(PriceError, match="unknown scenario 'lambda'"):
        run("lambda")
