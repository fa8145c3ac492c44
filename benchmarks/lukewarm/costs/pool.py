"""Several models on one machine: one shared pool against a scale-to-zero service for each."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lukewarm.costs.advice import Settings, evaluate_policy
from lukewarm.costs.arrivals import Arrivals, Poisson
from lukewarm.costs.band import ZERO, Band
from lukewarm.costs.billing import rule
from lukewarm.costs.candidates import candidates
from lukewarm.costs.catalog import SECONDS_PER_MONTH, Catalog
from lukewarm.costs.distributions import Constant, Mixture
from lukewarm.costs.evaluate import Workload
from lukewarm.costs.offers import Offer, offers
from lukewarm.costs.policy import Policy
from lukewarm.costs.price import idle_window
from lukewarm.costs.simulate import Cold, Service, simulate
from lukewarm.predictors.errors import PriceError

_SAMPLE = 200_000


@dataclass(frozen=True)
class Model:
    """One of several models, with its own traffic."""

    name: str
    workload: Workload
    arrivals: Arrivals


@dataclass(frozen=True)
class Shared:
    """Always-on machines that hold all models; `risk` states what can happen to a machine that may be taken away."""

    offer: Offer
    machines: int
    usd_month: Band
    utilisation: float
    p95_s: float
    cold_fraction: float
    risk: str


@dataclass(frozen=True)
class Separate:
    """One scale-to-zero service per model on the same plan; the cold fraction is over all requests."""

    plan: str
    usd_month: Band
    p95_s: float
    cold_fraction: float
    each_usd: dict[str, Band]


@dataclass(frozen=True)
class Comparison:
    shared: tuple[Shared, ...]
    separate: tuple[Separate, ...]


def compare(
    catalog: Catalog, models: list[Model], *, names: tuple[str, ...] = (), interruptions_per_month: float | None = None
) -> Comparison:
    """Shared pools (on demand and spot) and separate services, each list cheapest first. MODELLED from quoted prices.

    `interruptions_per_month` is the caller's figure for spot machines: without one the risk is stated, not priced.
    """
    if not models:
        raise PriceError("no models to compare")
    if len({m.name for m in models}) < len(models):
        raise PriceError("two models have the same name")
    shared = [
        pool
        for plan in catalog.plans
        if plan.status == "active" and plan.kind == "always_on"
        for one in offers(catalog, plan)
        if (pool := _shared(one, models, interruptions_per_month)) is not None
    ]
    separate = _separate(catalog, models, names)
    return Comparison(
        tuple(sorted(shared, key=lambda s: s.usd_month.high)), tuple(sorted(separate, key=lambda s: s.usd_month.high))
    )


def _shared(one: Offer, models: list[Model], interruptions_per_month: float | None) -> Shared | None:
    """All models resident on each of as many machines as the load needs; None where they do not fit."""
    memory_gb = sum(m.workload.memory_gb for m in models)
    gpu_memory_gb = sum(m.workload.gpu_memory_gb for m in models)
    needs_gpu = any(m.workload.gpu for m in models)
    if one.memory_gib is None or one.memory_gib < memory_gb or bool(one.gpu) != needs_gpu:
        return None
    if needs_gpu and (one.gpu_memory_gb or 0.0) < gpu_memory_gb:
        return None
    if any(m.workload.gpu not in (None, "any", one.gpu) for m in models):
        return None
    rate = sum(m.arrivals.rate for m in models)
    load = sum(m.arrivals.rate * m.workload.exec.moments.mean for m in models)
    machines = math.floor(load) + 1
    service = Service(
        Mixture(tuple((m.arrivals.rate / rate, m.workload.exec) for m in models)),
        Cold(Constant(0.0)),
        Policy(math.inf, min_instances=machines, max_instances=machines),
    )
    # many independent sources together are near Poisson, whatever each of them is
    result = simulate(Poisson(rate), service, rule(one.plan), horizon_s=_SAMPLE / rate)
    restart_s = max(m.workload.cold.length.moments.mean for m in models)
    lost = 0.0
    if one.plan.interruptible and interruptions_per_month is not None:
        lost = min(interruptions_per_month * restart_s / SECONDS_PER_MONTH, 1.0)
    return Shared(
        offer=one,
        machines=machines,
        usd_month=one.usd_per_s * (SECONDS_PER_MONTH * machines) + one.fee_per_month,
        utilisation=load / machines,
        p95_s=result.latency_s(0.95),
        cold_fraction=lost,
        risk=one.plan.interruptible,
    )


def _separate(catalog: Catalog, models: list[Model], names: tuple[str, ...]) -> list[Separate]:
    """Every plan that can run all of the models, each on its cheapest fitting hardware, with the plan's own window."""
    per_plan: dict[str, dict[str, Offer]] = {}
    for model in models:
        found, _ = candidates(catalog, model.workload, names)
        for one in found:
            if one.plan.kind != "scale":
                continue
            mine = per_plan.setdefault(one.plan.name, {})
            if model.name not in mine or one.usd_per_s.high < mine[model.name].usd_per_s.high:
                mine[model.name] = one
    return [_of_plan(name, mine, models) for name, mine in per_plan.items() if len(mine) == len(models)]


def _of_plan(name: str, mine: dict[str, Offer], models: list[Model]) -> Separate:
    total, cold, requests, p95_s = ZERO, 0.0, 0.0, 0.0
    each: dict[str, Band] = {}
    for model in models:
        one = mine[model.name]
        own = idle_window(one.plan)
        windows = tuple(dict.fromkeys((own.low, own.high)))
        option = evaluate_policy(one, model.workload, model.arrivals, ("", Policy(own.low), windows), {}, Settings())
        each[model.name] = option.usd_month
        total += option.usd_month
        cold += option.cold.high * model.arrivals.rate
        requests += model.arrivals.rate
        p95_s = max(p95_s, option.latency_s["p95"].high)
    return Separate(name, total, p95_s, cold / requests, each)
