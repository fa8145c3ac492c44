"""Traffic: profiles have the mean and shape they claim, recordings are read line by line and broken ones are named."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from lukewarm.costs import traces
from lukewarm.costs.arrivals import PROFILES, Arrivals, Gamma, Varying, profile
from lukewarm.costs.catalog import SECONDS_PER_MONTH
from lukewarm.costs.distributions import Constant, Exponential, LogNormal, Mixture, Scaled, parse
from lukewarm.costs.inputs import read_trace, traffic
from lukewarm.costs.replay import open_log, read_times
from lukewarm.predictors.errors import PriceError

COMBINED = '203.0.113.9 - - [{}] "POST /v1/completions HTTP/1.1" 200 512 "-" "curl/8"'


def times(arrivals: Arrivals, horizon_s: float, seed: int = 1) -> np.ndarray:
    return np.concatenate(list(arrivals.chunks(np.random.default_rng(seed), horizon_s)))


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_keep_their_mean_and_order(name: str) -> None:
    source = profile(name, 200_000)
    at = times(source, 6 * SECONDS_PER_MONTH)
    assert (np.diff(at) >= 0).all()
    assert 0 <= at[0] <= at[-1] < 6 * SECONDS_PER_MONTH
    # weeks do not fill months: working hours of six months differ from their mean by up to a percent
    assert at.size == pytest.approx(1_200_000, rel=0.02)


def test_a_varying_rate_integrates_to_its_counts() -> None:
    """Non-homogeneous Poisson: the count of each hour has the integral of the rate as mean, and varies like Poisson."""
    source = Varying((1.0, 3.0, 0.0, 4.0), 1.0, 4 * 3600.0)
    at = times(source, 400 * 3600.0)
    counts = np.bincount((at // 3600 % 4).astype(int), minlength=4)
    wanted = np.array([1, 3, 0, 4]) / 8 * 4 * 3600 * 100
    assert counts[2] == 0
    assert (np.abs(counts - wanted) <= 4 * np.sqrt(np.maximum(wanted, 1))).all()


def test_working_hours_are_monday_to_friday() -> None:
    at = times(profile("working-hours", 10_000), 4 * 7 * 86400.0)
    assert set((at // 86400 % 7).astype(int)) == set(range(5))
    assert set((at // 3600 % 24).astype(int)) == set(range(9, 17))


def test_front_page_puts_half_of_the_month_in_a_day() -> None:
    at = times(profile("front-page", 100_000), SECONDS_PER_MONTH)
    assert ((at >= (9 * 24 + 14) * 3600) & (at < (10 * 24 + 14) * 3600)).mean() > 0.5


@pytest.mark.parametrize("cv", [0.5, 1.0, 4.0])
def test_gamma_gaps_have_their_spread(cv: float) -> None:
    gaps = np.diff(times(Gamma(1.0, cv), 300_000.0))
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.05)


@pytest.mark.parametrize("rate", [0.0, -1.0, math.inf, math.nan])
def test_impossible_rates(rate: float) -> None:
    with pytest.raises(PriceError):
        profile("steady", rate)


@pytest.mark.parametrize(
    ("text", "mean", "second"),
    [
        ("2.5", 2.5, 6.25),
        ("exp:2", 2, 8),
        ("lognormal:2,1", 2, 8),
        ("0.5*2+0.5*exp:2", 2, 6),
        ("0.67*7+0.33*100", 37.69, 0.67 * 49 + 0.33 * 10_000),
    ],
)
def test_durations_from_text_have_their_moments(text: str, mean: float, second: float) -> None:
    found = parse(text)
    assert (found.moments.mean, found.moments.second) == (pytest.approx(mean), pytest.approx(second))
    drawn = found.draw(np.random.default_rng(3), 400_000)
    assert drawn.mean() == pytest.approx(mean, rel=0.02)
    assert (drawn**2).mean() == pytest.approx(second, rel=0.06)


def test_measured_durations_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "cold.txt"
    file.write_text("6.5\n\n7.5\n122\n")
    found = parse(f"file:{file}")
    assert set(found.draw(np.random.default_rng(0), 1000)) == {6.5, 7.5, 122.0}
    assert Scaled(found, 2).moments.mean == pytest.approx(2 * 136 / 3)
    file.write_text("6.5\nfast\n")
    with pytest.raises(PriceError, match=r"cold\.txt:2: 'fast' is no duration"):
        parse(f"file:{file}")


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "nan", "exp:", "exp:1,2", "normal:1,2", "0.5*1+0.6*2", "0.5*1+2", "file:/no/such", "1e999"]
)
def test_texts_that_are_no_duration(text: str) -> None:
    with pytest.raises(PriceError):
        parse(text)


def test_mixture_of_laws() -> None:
    mixed = Mixture(((0.25, Constant(1)), (0.75, LogNormal(4, 0.5))))
    assert (mixed.draw(np.random.default_rng(0), 100_000) == 1.0).mean() == pytest.approx(0.25, abs=0.01)
    assert Exponential(0).draw(np.random.default_rng(0), 3).tolist() == [0, 0, 0]


# -- recordings --


@pytest.mark.parametrize(
    ("lines", "gap_s"),
    [
        ([COMBINED.format("23/Nov/2026:10:00:00 +0100"), COMBINED.format("23/Nov/2026:09:00:30 +0000")], 30),
        (["2026-11-23T10:00:00Z", "2026-11-23T10:00:00.500+00:00"], 0.5),
        (["2026-11-23 10:00:00,GET", "2026-11-23 10:01:00,GET"], 60),
        ([json.dumps({"timestamp": "2026-11-23T10:00:00Z"}), json.dumps({"timestamp": "2026-11-23T10:00:01Z"})], 1),
        ([json.dumps({"ts": 1790000000}), json.dumps({"ts": 1790000002.5})], 2.5),
        (["1790000000000", "1790000001000"], 1),
        (["# a comment", "", "10", "12"], 2),
    ],
)
def test_log_formats(tmp_path: Path, lines: list[str], gap_s: float) -> None:
    file = tmp_path / "access.log"
    file.write_text("\n".join(lines) + "\n")
    first, second = read_times(file)
    assert second - first == pytest.approx(gap_s)


def test_replay_starts_at_the_full_hour_of_its_week(tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    stamps = ["24/Nov/2026:09:15:00 +0000", "24/Nov/2026:09:15:00 +0000", "24/Nov/2026:10:15:00 +0000"]
    file.write_text("\n".join(COMBINED.format(s) for s in stamps))
    found = open_log(file)
    assert found.start_hour == 24 + 9  # a Tuesday
    assert times(found, found.period_s).tolist() == [900.0, 900.0, 4500.0]
    assert found.rate == pytest.approx(3 / (4500 + 1800))


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ("garbage", r"access\.log:2: no request time in 'garbage'"),
        (COMBINED.format("32/Nov/2026:10:00:00 +0000"), r"access\.log:2: no request time"),
        (COMBINED.format("23/Nxx/2026:10:00:00 +0000"), r"access\.log:2: no request time"),
        (COMBINED.format("23/Nov/2026:09:59:00 +0000"), r"access\.log:2: out of order, 60 s before the line above"),
    ],
)
def test_broken_log_line_is_named(tmp_path: Path, second: str, said: str) -> None:
    file = tmp_path / "access.log"
    file.write_text(COMBINED.format("23/Nov/2026:10:00:00 +0000") + "\n" + second + "\n")
    with pytest.raises(PriceError, match=said):
        open_log(file)


@pytest.mark.parametrize("text", ["", "10\n", '{"time": null}\n{"time": 1}\n', "\xff\n"])
def test_logs_that_are_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "access.log"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(PriceError, match=r"access\.log"):
        open_log(file)
    with pytest.raises(PriceError, match="cannot read the log"):
        open_log(tmp_path / "absent.log")


def test_2019_trace_round_trip(tmp_path: Path) -> None:
    made = list(traces.synthetic(6, 2, seed=5))
    read = read_trace(tuple(traces.write_2019(made, tmp_path)))
    assert [t.name for t in read] == [t.name for t in made]
    for one, other in zip(made, read, strict=True):
        assert isinstance(other, traces.MinuteTrace)
        assert np.array_equal(one.counts, other.counts)
    busiest = max(made, key=lambda t: t.total)
    at = times(busiest, busiest.span_s)
    assert at.size == busiest.total
    assert np.array_equal(np.bincount((at // 60).astype(int), minlength=2880), busiest.counts)


def test_2021_trace(tmp_path: Path) -> None:
    file = tmp_path / "invocations.txt"
    file.write_text("app,func,end_timestamp,duration\na,f,10.5,0.5\na,g,11,4\na,f,20,1\n")
    found = {t.name: t for t in read_trace((file,))}
    assert found["f"].starts_s.tolist() == [3.0, 12.0]  # seconds from the first start, g's at 7
    assert found["f"].durations_s.tolist() == [0.5, 1.0]
    assert traffic(None, "steady", None, (file,), "g").rate == pytest.approx(1 / 13)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("a,f,10,1\na,f,9,1\n", "3: out of order, ends 1 s before the row above"),
        ("a,f,10\n", "2: 3 columns, the header has 4"),
        ("a,f,ten,1\n", "2: could not convert"),
        ("a,f,10,-1\n", "2: end_timestamp 10 and duration -1"),
    ],
)
def test_broken_2021_row_is_named(tmp_path: Path, body: str, said: str) -> None:
    file = tmp_path / "invocations.txt"
    file.write_text("app,func,end_timestamp,duration\n" + body)
    with pytest.raises(PriceError, match=rf"invocations\.txt:{said}"):
        read_trace((file,))


def test_broken_2019_row_is_named(tmp_path: Path) -> None:
    (file,) = traces.write_2019(list(traces.synthetic(2, 1)), tmp_path)
    rows = file.read_text().splitlines()
    cells = rows[2].split(",")
    for change, said in (("-1", r":3: minute 5 has a count of -1"), ("x", r":3: a count is no whole number")):
        file.write_text("\n".join([*rows[:2], ",".join([*cells[:8], change, *cells[9:]])]))
        with pytest.raises(PriceError, match=said):
            read_trace((file,))
    file.write_text("what,is,this\n")
    with pytest.raises(PriceError, match=r":1: columns"):
        read_trace((file,))


def test_traffic_needs_one_source(tmp_path: Path) -> None:
    for sources in ((None, None, ()), (100.0, tmp_path / "a.log", ())):
        with pytest.raises(PriceError, match="name one traffic"):
            traffic(sources[0], "steady", sources[1], sources[2], None)
