"""The advice: every offer and policy under one traffic, ranked by what a month costs, with reasons for the rest."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from lukewarm.costs.arrivals import Arrivals
from lukewarm.costs.band import Band
from lukewarm.costs.billing import rule
from lukewarm.costs.breakeven import break_even
from lukewarm.costs.candidates import Excluded, candidates
from lukewarm.costs.catalog import Catalog
from lukewarm.costs.evaluate import SAMPLE, Evaluation, Workload, price, run
from lukewarm.costs.offers import Offer
from lukewarm.costs.policy import UNLIMITED, Policy, WarmHours
from lukewarm.costs.price import idle_window
from lukewarm.costs.result import Result
from lukewarm.predictors.errors import PriceError

WINDOWS_S = (5.0, 60.0, 300.0, 900.0)  # tried where a provider lets the window be set
Progress = Callable[[str, float | None], None]
Trial = tuple[str, Policy, tuple[float, ...]]  # label, policy, windows: two where the window is not documented


@dataclass(frozen=True)
class Goals:
    """What an option must meet; None where there is no goal."""

    slo_p95_s: float | None = None
    max_usd_month: float | None = None
    max_cold: float | None = None

    def missed(self, option: Option) -> str:
        """The first goal that an option misses, or an empty string. Bands are judged by their worse end."""
        p95, usd, cold = option.latency_s["p95"].high, option.usd_month.high, option.cold.high
        if self.slo_p95_s is not None and p95 > self.slo_p95_s:
            return f"p95 of {p95:.2f} s, goal {self.slo_p95_s:g}"
        if self.max_usd_month is not None and usd > self.max_usd_month:
            return f"{usd:.2f} USD a month, budget {self.max_usd_month:g}"
        if self.max_cold is not None and cold > self.max_cold:
            return f"{cold:.1%} of requests find it cold, goal {self.max_cold:.1%}"
        return ""


@dataclass(frozen=True)
class Option:
    """One offer under one policy. Bands: unknown billing flags, and a window that the provider does not document."""

    offer: Offer
    policy: str
    window_s: Band
    kept: bool
    instances_peak: int
    usd_month: Band
    usd_per_request: Band
    spread_usd: float
    cold: Band
    latency_s: dict[str, Band]
    phases_s: dict[str, Band]
    break_even: float | None
    unpriced: tuple[str, ...]


@dataclass(frozen=True)
class Advice:
    """Options that meet the goals, cheapest first; `excluded` says why the rest is not among them."""

    options: tuple[Option, ...]
    excluded: tuple[Excluded, ...]
    warnings: tuple[str, ...]
    always_on: Option | None
    basis: str


def _even(option: Option, workload: Workload, usd: float) -> float | None:
    window_s = option.window_s.high
    return break_even(option.offer, workload, window_s=window_s, kept=option.kept, always_on_usd_month=usd)


def advise(
    catalog: Catalog,
    workload: Workload,
    arrivals: Arrivals,
    goals: Goals = Goals(),
    *,
    names: tuple[str, ...] = (),
    settings: Settings | None = None,
) -> Advice:
    """Rank all that can run the workload. Raises PriceError for an unknown provider or GPU, or an unservable rate."""
    settings = settings or Settings()
    if (needed := instances_needed(workload, arrivals, settings.base)) > UNLIMITED:
        raise PriceError(
            f"{arrivals.rate:g} requests/s of {workload.exec.moments.mean:g} s each need {needed:,} instances at once: "
            f"they can never be served by the {UNLIMITED:,} that are simulated at most"
        )
    found, excluded = candidates(catalog, workload, names)
    runs: dict[object, Result] = {}
    options: list[Option] = []
    for number, one in enumerate(found):
        settings.progress(f"simulating {one.name}", number / len(found))
        for label, policy, windows in policies(one, workload, arrivals, settings):
            try:
                options.append(evaluate_policy(one, workload, arrivals, (label, policy, windows), runs, settings))
            except PriceError as error:
                excluded.append(Excluded(f"{one.name}, {label}", str(error)))
    baseline = cheapest_always_on(options)
    if baseline is not None:
        usd = baseline.usd_month.low
        options = [replace(o, break_even=_even(o, workload, usd)) for o in options]
    kept = []
    for option in options:
        if reason := goals.missed(option):
            excluded.append(Excluded(f"{option.offer.name}, {option.policy}", reason))
        else:
            kept.append(option)
    kept.sort(key=lambda o: (o.usd_month.high, o.usd_month.low))
    stale = catalog.stale(row for one in found for row in one.rows)
    return Advice(tuple(kept), tuple(excluded), tuple(stale), baseline, workload.basis)


@dataclass(frozen=True)
class Settings:
    """How to look: the policy to start from, whether to count the free tier, the seed, and who hears of progress."""

    base: Policy = field(default_factory=lambda: Policy(60.0))
    windows_s: tuple[float, ...] = WINDOWS_S
    warm_hours: bool = True
    free_tier: bool = False
    seed: int = 0
    sample: int = SAMPLE
    progress: Progress = lambda _message, _fraction: None


def policies(one: Offer, workload: Workload, arrivals: Arrivals, settings: Settings) -> list[Trial]:
    """What to try on an offer: the provider's own window, others where one can be set, a kept minimum, warm hours."""
    base, plan = settings.base, one.plan
    if plan.routing == "bound":
        base = replace(base, concurrency=1, batch=1)
    if plan.limits.concurrency is not None:
        base = replace(base, concurrency=min(base.concurrency, plan.limits.concurrency))
    if plan.kind == "always_on":
        count = instances_needed(workload, arrivals, base)
        fixed = replace(base, min_instances=count, max_instances=count)
        return [(f"always on, {count}", fixed, (math.inf,))]
    most = base.max_instances if base.max_instances is not None else plan.limits.max_instances
    base = replace(base, max_instances=most, min_instances=min(base.min_instances, most or base.min_instances))
    own = idle_window(plan)
    label = f"{own.text(0)} s window" + (" (assumed)" if plan.window_s.assumed else "")
    ends = (own.low,) if own.known else (own.low, own.high)
    tried: list[Trial] = [(label, base, ends)]
    low, high = plan.window_s.min or 0.0, plan.window_s.max or math.inf
    for window in settings.windows_s if plan.window_s.settable else ():
        if low <= window <= high and not (own.known and window == own.low):
            tried.append((f"{window:g} s window", base, (window,)))
    if base.min_instances == 0 and plan.keeps_minimum:
        tried.append(("minimum 1", replace(base, min_instances=1), (own.low,)))
        if settings.warm_hours and arrivals.period_s:
            warm = replace(base, warm=(WarmHours(9, 17),))
            tried.append(("warm Mon-Fri 9-17", warm, (own.low,)))
    return tried


def instances_needed(workload: Workload, arrivals: Arrivals, base: Policy) -> int:
    """The fewest always-on instances that keep up with the mean rate."""
    each = workload.exec.moments.mean * (1 + base.batch_marginal * (base.batch - 1)) / base.batch
    return max(math.floor(arrivals.rate * each / base.concurrency) + 1, base.min_instances, 1)


def evaluate_policy(
    one: Offer,
    workload: Workload,
    arrivals: Arrivals,
    trial: Trial,
    runs: dict[object, Result],
    settings: Settings,
) -> Option:
    """Price one trial; simulations that were run before are taken from `runs`, which is filled."""
    label, policy, windows = trial
    found: list[Evaluation] = []
    for window in windows:
        setting = replace(policy, window_s=window)
        key = (rule(one.plan), one.plan.routing, setting, workload.exec)
        if key not in runs:
            runs[key] = run(one, workload, setting, arrivals, settings.seed, settings.sample)
        found.append(price(one, workload, setting, runs[key], free_tier=settings.free_tier))
    usd = Band(min(e.usd_month.low for e in found), max(e.usd_month.high for e in found))
    requests = found[0].requests
    return Option(
        offer=one,
        policy=label,
        window_s=Band(min(windows), max(windows)),
        kept=policy.min_instances > 0 or bool(policy.warm),
        instances_peak=max(e.instances_peak for e in found),
        usd_month=usd,
        usd_per_request=usd * (1 / requests) if requests else Band(0.0, 0.0),
        spread_usd=max(e.spread_usd for e in found),
        cold=_span([e.cold_fraction for e in found]),
        latency_s={q: _span([e.latency_s[q] for e in found]) for q in found[0].latency_s},
        phases_s={p: _span([e.phases_s[p] for e in found]) for p in found[0].phases_s},
        break_even=None,
        unpriced=found[0].bill.unpriced,
    )


def _span(values: list[float]) -> Band:
    clean = [0.0 if math.isnan(v) else v for v in values]  # no request at all: no latency either
    return Band(min(clean), max(clean))


def cheapest_always_on(options: list[Option]) -> Option | None:
    """The thing to beat: the cheapest machine that is always on and cannot be taken away."""
    fixed = [o for o in options if o.offer.plan.kind == "always_on" and not o.offer.plan.interruptible]
    return min(fixed, key=lambda o: o.usd_month.high, default=None)
