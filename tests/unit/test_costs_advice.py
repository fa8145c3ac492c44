"""Advice, tuning, shared pools and plots: what is ranked, what is ruled out and why, and what lands in the spec."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path

import pytest

from lukewarm.costs import plots
from lukewarm.costs.advice import Advice, Goals, Settings, advise
from lukewarm.costs.arrivals import profile
from lukewarm.costs.breakeven import crossing
from lukewarm.costs.catalog import Catalog, load
from lukewarm.costs.evaluate import Workload, supposed
from lukewarm.costs.inputs import read_models
from lukewarm.costs.offers import offer
from lukewarm.costs.pool import Model, compare
from lukewarm.costs.price import Measured, closed_month
from lukewarm.predictors.errors import PriceError

EXEC, COLD = supposed(2.0, 20.0, 5.0)
NEED = Workload(EXEC, COLD, memory_gb=16, vcpu=4, gpu="L4", gpu_memory_gb=8, image_gb=6)
SMALL = Workload(*supposed(0.5, 4.0), memory_gb=2, vcpu=1, image_gb=1)
TRAFFIC = profile("steady", 10_000)


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load(dt.date(2026, 11, 24))


@pytest.fixture(scope="module")
def everything(catalog: Catalog) -> Advice:
    return advise(catalog, NEED, TRAFFIC)


def reasons(advice: Advice) -> dict[str, str]:
    return {e.name: e.reason for e in advice.excluded}


def test_ranked_by_the_high_end(everything: Advice) -> None:
    high = [o.usd_month.high for o in everything.options]
    assert high == sorted(high)
    assert len({o.offer.plan.name for o in everything.options}) >= 8
    assert everything.options[0].offer.plan.name == "runpod:flex"


def test_simulated_months_agree_with_the_closed_form(catalog: Catalog) -> None:
    """Constant execution in one, exponential in the other, and more than one instance here: the same within 10 %."""
    found = advise(catalog, NEED, profile("steady", 3_000), names=("modal", "runpod:flex", "hf_endpoints:gcp"))
    checked = 0
    for option in found.options:
        if option.kept or option.offer.plan.kind == "always_on":
            continue
        usd, _ = closed_month(option.offer, Measured(20, 2, image_pull_s=5, image_gb=6), option.window_s.high, 3_000)
        assert option.usd_month.high == pytest.approx(usd.high, rel=0.1), (option.offer.name, option.policy)
        checked += 1
    assert checked >= 6


def test_everything_that_is_ruled_out_has_a_reason(catalog: Catalog, everything: Advice) -> None:
    why = reasons(everything)
    assert why["banana:serverless"] == "shut down on 2024-03-31"
    assert why["aws_lambda:on_demand"] == "offers no GPU"
    assert why["koyeb:standard"] == "does not offer L4"
    assert why["replicate:public"].startswith("only public models")
    assert why["aws_ec2:spot g6.xlarge"].startswith("no price known")
    shown = {o.offer.plan.name for o in everything.options} | {name.split(" ")[0].rstrip(",") for name in why}
    assert {p.name for p in catalog.plans} <= shown


@pytest.mark.parametrize(
    ("change", "name", "said"),
    [
        ({"memory_gb": 30.0}, "aws_ec2:on_demand g6.xlarge", "memory of 30 GB, the machine has 16"),
        ({"gpu_memory_gb": 30.0}, "modal:functions L4", "GPU memory of 30 GB, L4 has 24"),
        ({"image_gb": 90.0}, "runpod:flex", "image of 90 GB, at most 80"),
        ({"gpu": None, "image_gb": 11.0}, "aws_lambda:on_demand", "image of 11 GB, at most 10"),
        ({"gpu": None, "memory_gb": 12.0}, "aws_lambda:on_demand", "memory of 12 GB, at most 10"),
        (
            {"gpu": None, "memory_gb": 4.0, "exec": supposed(61.0, 1.0)[0]},
            "sagemaker:serverless",
            "a request takes 61 s, at most 60",
        ),
        ({"cold": supposed(1.0, 500.0)[1]}, "runpod:flex", "a start takes 500 s, at most 420"),
    ],
)
def test_limits(catalog: Catalog, change: dict[str, object], name: str, said: str) -> None:
    names = (name.split(" ")[0],)
    assert reasons(advise(catalog, replace(NEED, **change), TRAFFIC, names=names))[name] == said  # type: ignore[arg-type]


def test_goals_filter_and_say_why(catalog: Catalog, everything: Advice) -> None:
    goals = Goals(slo_p95_s=5, max_usd_month=600, max_cold=0.02)
    found = advise(catalog, NEED, TRAFFIC, goals)
    assert found.options
    assert len(found.options) < len(everything.options)
    for option in found.options:
        assert option.latency_s["p95"].high <= 5
        assert option.usd_month.high <= 600
        assert option.cold.high <= 0.02
    said = " ".join(reasons(found).values())
    for word in ("p95 of 22", "budget 600", "find it cold, goal 2.0%"):
        assert word in said


def test_window_that_is_not_documented_is_a_band(everything: Advice) -> None:
    option = next(o for o in everything.options if "assumed" in o.policy)
    assert option.offer.plan.name == "baseten:dedicated"
    assert option.window_s.low < option.window_s.high
    assert option.usd_month.low < option.usd_month.high
    assert option.cold.low < option.cold.high


def test_break_even_is_where_the_costs_meet(catalog: Catalog, everything: Advice) -> None:
    assert everything.always_on is not None
    fixed = everything.always_on.usd_month.low
    option = next(o for o in everything.options if o.offer.plan.name == "modal:functions" and o.break_even)
    assert option.break_even is not None
    usd, _ = closed_month(
        option.offer, Measured(20, 2, image_pull_s=5, image_gb=6), option.window_s.high, option.break_even
    )
    assert usd.high == pytest.approx(fixed, rel=1e-6)
    cheap = offer(catalog, catalog.plan("runpod:flex"), "L4")
    assert crossing(cheap, Measured(20, 2), 5.0, 1e6) is None


def test_request_plans_do_not_keep_a_minimum(catalog: Catalog) -> None:
    found = advise(catalog, SMALL, TRAFFIC, names=("aws_lambda", "cloud_run:request"))
    kept = {o.offer.plan.name for o in found.options if o.kept}
    assert kept == {"cloud_run:request"}


def test_zero_traffic_costs_nothing_but_storage(catalog: Catalog) -> None:
    from lukewarm.costs.band import ZERO
    from lukewarm.costs.billing import Usage, bill
    from lukewarm.costs.offers import offers

    for plan in catalog.plans:
        if plan.scale_to_zero and plan.status == "active":
            for one in offers(catalog, plan):
                found = bill(one, Usage(ZERO, 0), image_gb=2000)
                assert found.total == found.storage, one.name


def test_unknown_names_and_impossible_rates(catalog: Catalog) -> None:
    with pytest.raises(PriceError, match="unknown GPU 'L5'; known: A10, "):
        advise(catalog, replace(NEED, gpu="L5"), TRAFFIC)
    with pytest.raises(PriceError, match="unknown provider 'modla'"):
        advise(catalog, NEED, TRAFFIC, names=("modla",))
    with pytest.raises(PriceError, match="shut down"):
        advise(catalog, NEED, TRAFFIC, names=("banana",))
    with pytest.raises(PriceError, match="can never be served"):
        advise(catalog, NEED, profile("steady", 1e12))


# -- several models --


def models(count: int, gpu_memory_gb: float = 4.0) -> list[Model]:
    one = replace(NEED, memory_gb=3.0, vcpu=1.0, gpu="any", gpu_memory_gb=gpu_memory_gb)
    return [Model(f"m{k}", one, profile("steady", 2_000)) for k in range(count)]


def test_pool_against_services(catalog: Catalog) -> None:
    found = compare(catalog, models(4), names=("modal", "runpod:flex"), interruptions_per_month=5)
    assert {s.plan for s in found.separate} == {"modal:functions", "runpod:flex"}
    for pool in found.shared:
        assert (pool.offer.gpu_memory_gb or 0) >= 16
        assert pool.utilisation == pytest.approx(4 * 2_000 * 2 / (730 * 3600 * pool.machines))
        assert bool(pool.risk) == ("spot" in pool.offer.plan.plan)
        assert (pool.cold_fraction > 0) == bool(pool.risk)
    assert all(len(s.each_usd) == 4 for s in found.separate)
    service = found.separate[0]
    assert service.usd_month.high == pytest.approx(sum(b.high for b in service.each_usd.values()))


def test_models_that_fit_nowhere_together(catalog: Catalog) -> None:
    found = compare(catalog, models(8, gpu_memory_gb=100), names=("modal",))
    assert all((s.offer.gpu_memory_gb or 0) >= 800 for s in found.shared)
    assert not [s for s in found.shared if s.machines > 1]
    assert found.separate  # each alone fits a B200


def test_models_file(tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    file.write_text("- {name: a, service_s: exp:2, cold_start_s: 20, requests_per_month: 100, profile: diurnal}\n")
    (only,) = read_models(file)
    assert only.workload.exec.moments.mean == 2
    for text, said in (
        ("- {name: a, service_s: 1, cold_start_s: 1, requests_per_month: -1}", "model 1: Expected `float` > 0"),
        ("- {name: a, service_s: x, cold_start_s: 1, requests_per_month: 1}", "model 1: .*is no number"),
        ("{}", "a list of models"),
    ):
        file.write_text(text)
        with pytest.raises(PriceError, match=said):
            read_models(file)


# -- plots --


def test_plots_are_written_as_png_and_svg(tmp_path: Path, everything: Advice) -> None:
    pytest.importorskip("matplotlib")
    paths = plots.write(everything, NEED, tmp_path / "plots")
    assert sorted(p.name for p in paths) == sorted(p.name for p in (tmp_path / "plots").iterdir())
    assert len(paths) == 6
    for path in paths:
        start = path.read_bytes()[:100]
        assert start.startswith(b"\x89PNG" if path.suffix == ".png" else b"<?xml")


def test_nothing_beats_the_front(everything: Advice) -> None:
    front = plots.pareto(everything.options)
    assert 1 <= len(front) < len(everything.options)
    for point in front:
        assert not any(
            o.usd_month.high < point.usd_month.high and o.latency_s["p95"].high <= point.latency_s["p95"].high
            for o in everything.options
        )


def test_no_option_no_plot(catalog: Catalog, tmp_path: Path) -> None:
    found = advise(catalog, NEED, TRAFFIC, Goals(max_usd_month=0.01), names=("modal",), settings=Settings())
    with pytest.raises(PriceError, match="nothing to plot"):
        plots.write(found, NEED, tmp_path / "plots")
    assert not (tmp_path / "plots").exists()
