"""Tuning: the idle window, minimum, maximum, concurrency and batch that meet the goals for the least money."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from lukewarm.costs.advice import Goals, Option, Settings, evaluate_policy
from lukewarm.costs.arrivals import Arrivals
from lukewarm.costs.candidates import candidates
from lukewarm.costs.catalog import Catalog
from lukewarm.costs.distributions import Scaled
from lukewarm.costs.evaluate import Workload
from lukewarm.costs.offers import Offer
from lukewarm.costs.policy import Policy
from lukewarm.costs.price import idle_window
from lukewarm.costs.result import Result
from lukewarm.costs.specedit import Changes
from lukewarm.predictors.errors import PriceError

WINDOWS_S = (5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0)
SIZES = (1, 2, 4, 8, 16)
_SAMPLE = 60_000  # requests a setting is simulated for: hundreds of settings are tried
_EQUAL = 1.005  # costs this near are the same: the lower p95 wins


@dataclass(frozen=True)
class Gains:
    """How much more than one costs: the extra time of each further request at once, and of each further batch item.

    1 means no gain (requests share the machine in turns), 0 that a further one is free. Supposed 1 unless measured.
    """

    concurrency_marginal: float = 1.0
    batch_marginal: float = 1.0

    def __post_init__(self) -> None:
        for value in (self.concurrency_marginal, self.batch_marginal):
            if not 0 <= value <= 1:
                raise PriceError(f"a marginal of {value!r}: 0 (free) to 1 (no gain) is needed")


@dataclass(frozen=True)
class Tuned:
    """The choice, what it gives on every target, and how many settings were tried."""

    policy: Policy
    options: tuple[Option, ...]
    tried: int

    @property
    def changes(self) -> Changes:
        """What belongs in the spec file."""
        policy = self.policy
        scaling: dict[str, float | int] = {
            "idle_timeout_s": int(policy.window_s) if policy.window_s == int(policy.window_s) else policy.window_s,
            "min_instances": policy.min_instances,
            "max_instances": policy.maximum,
            "concurrency": policy.concurrency,
        }
        return {"scaling": scaling, "batching": {"max_items": policy.batch}}


def tune(
    catalog: Catalog,
    workload: Workload,
    arrivals: Arrivals,
    goals: Goals,
    names: tuple[str, ...],
    gains: Gains = Gains(),
) -> Tuned:
    """One setting for all targets in `names`: goals met on each, the sum of their monthly costs least.

    A target whose window cannot be set keeps its own. Raises PriceError where no setting meets the goals, naming the
    nearest.
    """
    offers = _one_per_target(catalog, workload, names)
    runs: dict[object, Result] = {}
    best: tuple[float, float, Policy, tuple[Option, ...]] | None = None
    nearest: tuple[float, str] = (math.inf, "")
    tried = 0
    for policy in _grid(offers, gains):
        tried += 1
        options, missed = [], ""
        for one in offers:
            option = _option(one, workload, arrivals, policy, gains, runs)
            options.append(option)
            missed = missed or goals.missed(option)
        usd = sum(o.usd_month.high for o in options)
        p95 = max(o.latency_s["p95"].high for o in options)
        if missed:
            nearest = min(nearest, (p95, missed))
            continue
        if best is None or usd * _EQUAL < best[0] or (usd < best[0] * _EQUAL and p95 < best[1]):
            best = (usd, p95, policy, tuple(options))
    if best is None:
        raise PriceError(f"none of {tried} settings meets the goals on {', '.join(names)}; the nearest: {nearest[1]}")
    peak = max(o.instances_peak for o in best[3])
    return Tuned(replace(best[2], max_instances=max(peak, best[2].min_instances, 1)), best[3], tried)


def _one_per_target(catalog: Catalog, workload: Workload, names: tuple[str, ...]) -> list[Offer]:
    """The cheapest fitting offer that scales, for each target; PriceError says why one has none."""
    chosen = []
    for name in names:
        found, excluded = candidates(catalog, workload, (name,))
        scaling = [o for o in found if o.plan.kind == "scale"]
        if not scaling:
            why = "; ".join(f"{e.name}: {e.reason}" for e in excluded) or "it bills machines that are always on"
            raise PriceError(f"nothing to tune for {name}: {why}")
        chosen.append(min(scaling, key=lambda o: o.usd_per_s.high))
    if not chosen:
        raise PriceError("nothing to tune: name a target, or put one under `targets:` in the spec")
    return chosen


def _grid(offers: list[Offer], gains: Gains) -> Iterator[Policy]:
    """Settings worth trying: a size above 1 only where it gains something, windows that every target allows."""
    settable = [o.plan.window_s for o in offers if o.plan.window_s.settable]
    low = max((w.min or 0.0 for w in settable), default=0.0)
    high = min((math.inf if w.max is None else w.max for w in settable), default=math.inf)
    windows = [w for w in WINDOWS_S if low <= w <= high] or [low]
    for concurrency in SIZES if gains.concurrency_marginal < 1 else (1,):
        for batch in SIZES if gains.batch_marginal < 1 else (1,):
            for minimum in (0, 1):
                for window in windows if settable else windows[:1]:
                    yield Policy(
                        window,
                        min_instances=minimum,
                        concurrency=concurrency,
                        batch=batch,
                        batch_marginal=gains.batch_marginal,
                    )


def _option(
    one: Offer,
    workload: Workload,
    arrivals: Arrivals,
    policy: Policy,
    gains: Gains,
    runs: dict[object, Result],
) -> Option:
    window = one.plan.window_s
    own = idle_window(one.plan)
    windows = (policy.window_s,) if window.settable else tuple(dict.fromkeys((own.low, own.high)))
    # all slots taken is the slowest a request can be: its time is priced as if that were always so
    factor = 1 + gains.concurrency_marginal * (policy.concurrency - 1)
    slowed = replace(workload, exec=Scaled(workload.exec, factor)) if factor > 1 else workload
    fitted = replace(policy, min_instances=policy.min_instances if one.plan.keeps_minimum else 0)
    if one.plan.routing == "bound":
        fitted = replace(fitted, concurrency=1, batch=1)
    return evaluate_policy(one, slowed, arrivals, ("tuned", fitted, windows), runs, Settings(sample=_SAMPLE))
