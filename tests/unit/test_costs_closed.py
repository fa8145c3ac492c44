"""Closed forms against their limits and against figures from tables."""

from __future__ import annotations

import math

import pytest

from lukewarm.costs import closed
from lukewarm.costs.closed import Moments, mg1_setup
from lukewarm.predictors.errors import PriceError


@pytest.mark.parametrize("window_s", [1e9, 1e12])
def test_window_without_end_is_pollaczek_khinchine(window_s: float) -> None:
    found = mg1_setup(0.2, Moments.constant(2), Moments.exponential(20), window_s)
    assert found.wait_mean_s == pytest.approx(0.2 * 4 / (2 * 0.6))
    assert found.cold_fraction == 0.0
    assert found.up_fraction == pytest.approx(1.0)


@pytest.mark.parametrize("window_s", [0.0, 1.0, 60.0])
def test_no_setup_is_pollaczek_khinchine_for_any_window(window_s: float) -> None:
    found = mg1_setup(0.2, Moments.exponential(2), Moments.constant(0), window_s)
    assert found.wait_mean_s == pytest.approx(0.2 * 8 / (2 * 0.6))


def test_no_window_starts_every_busy_period_cold() -> None:
    found = mg1_setup(0.1, Moments.constant(2), Moments.constant(10), 0.0)
    assert found.start_fraction == pytest.approx(0.8 / (1 + 0.1 * 10))
    assert found.idle_fraction == 0.0


def test_fractions_of_time_add_up() -> None:
    found = mg1_setup(0.02, Moments.exponential(2), Moments.constant(20), 60)
    assert found.setup_fraction + found.active_fraction + found.idle_fraction == pytest.approx(found.up_fraction)
    assert found.active_fraction == pytest.approx(0.04)
    assert found.start_fraction == pytest.approx(found.lives_per_s / 0.02)


@pytest.mark.parametrize(
    ("offered", "servers", "blocked"), [(1.0, 1, 0.5), (2.0, 2, 0.4), (10.0, 10, 0.2146), (5.0, 10, 0.0184)]
)
def test_erlang_b_tables(offered: float, servers: int, blocked: float) -> None:
    assert closed.erlang_b(offered, servers) == pytest.approx(blocked, abs=5e-5)


@pytest.mark.parametrize(("offered", "servers", "waits"), [(0.5, 1, 0.5), (1.0, 2, 1 / 3), (8.0, 10, 0.4092)])
def test_erlang_c_tables(offered: float, servers: int, waits: float) -> None:
    assert closed.erlang_c(offered, servers) == pytest.approx(waits, abs=5e-5)


def test_one_server_of_erlang_c_is_mm1() -> None:
    assert closed.erlang_c_wait_s(0.5, 1.0, 1) == pytest.approx(
        mg1_setup(0.5, Moments.exponential(1), Moments(0, 0), 9).wait_mean_s
    )


def test_busy_is_poisson() -> None:
    assert sum(closed.busy_probability(2.0, 3.0, k) for k in range(60)) == pytest.approx(1.0)
    assert closed.busy_probability(2.0, 3.0, 0) == pytest.approx(math.exp(-6))


def test_renewal_forms_agree_where_they_meet() -> None:
    poisson = closed.renewal_cold_exponential(0.01, 60)
    assert closed.renewal_cold_hyperexponential((1.0,), (0.01,), 60) == pytest.approx(poisson)
    assert closed.renewal_cold_gamma(1, 0.01, 60) == pytest.approx(poisson)


@pytest.mark.parametrize(
    "call",
    [
        lambda: mg1_setup(0.5, Moments.constant(2), Moments.constant(1), 1),
        lambda: mg1_setup(0, Moments.constant(2), Moments.constant(1), 1),
        lambda: closed.erlang_c(3, 3),
        lambda: closed.erlang_b(-1, 3),
        lambda: closed.busy_mean(math.inf, 1),
    ],
)
def test_what_can_never_be_served_is_refused(call) -> None:
    with pytest.raises(PriceError):
        call()
