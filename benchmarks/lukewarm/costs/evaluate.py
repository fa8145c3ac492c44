"""One offer under one traffic: a simulation, priced. MODELLED from quoted prices and the caller's durations."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from lukewarm.costs import columns as col
from lukewarm.costs.arrivals import WEEK_S, Arrivals
from lukewarm.costs.band import ZERO, Band
from lukewarm.costs.billing import Bill, Usage, bill, rule
from lukewarm.costs.catalog import SECONDS_PER_MONTH
from lukewarm.costs.distributions import Constant, Distribution
from lukewarm.costs.offers import Offer
from lukewarm.costs.policy import Policy
from lukewarm.costs.result import Result
from lukewarm.costs.schema import PHASES
from lukewarm.costs.simulate import Cold, Service, simulate

SAMPLE = 200_000  # requests a setting is simulated for, where the traffic does not ask for more
MONTHS_MAX = 120


@dataclass(frozen=True)
class Workload:
    """What one request needs: seconds, memory, image and hardware; measured or supposed, `basis` says which."""

    exec: Distribution
    cold: Cold
    memory_gb: float = 2.0
    vcpu: float = 1.0
    gpu: str | None = None
    gpu_memory_gb: float = 0.0
    image_gb: float = 0.0
    teardown_s: float = 0.0
    basis: str = "supposed"


@dataclass(frozen=True)
class Evaluation:
    """A month of one offer under one policy. `spread_usd` is the standard deviation between months."""

    offer: Offer
    policy: Policy
    bill: Bill
    requests: float
    cold_fraction: float
    start_fraction: float
    latency_s: dict[str, float]
    wait_mean_s: float
    instances_mean: float
    phases_s: dict[str, float]
    billed_s: Band
    spread_usd: float
    instances_peak: int

    @property
    def usd_month(self) -> Band:
        return self.bill.total

    @property
    def usd_per_request(self) -> Band:
        return self.bill.total * (1 / self.requests) if self.requests else ZERO


def horizon_s(arrivals: Arrivals, sample: int = SAMPLE) -> float:
    """How long to simulate: enough requests for stable percentiles, whole periods, at most ten years."""
    if arrivals.period_s and arrivals.period_s not in (WEEK_S, SECONDS_PER_MONTH):
        return arrivals.period_s  # a recording
    wanted = min(sample / arrivals.rate, MONTHS_MAX * SECONDS_PER_MONTH)
    if not arrivals.period_s:
        return max(wanted, 3600.0)
    return max(math.ceil(wanted / arrivals.period_s), 1) * arrivals.period_s


def evaluate(
    offer: Offer, workload: Workload, policy: Policy, arrivals: Arrivals, *, seed: int = 0, free_tier: bool = False
) -> Evaluation:
    """Simulate the traffic on the offer and price it for a month of 730 hours."""
    return price(offer, workload, policy, run(offer, workload, policy, arrivals, seed), free_tier=free_tier)


def run(
    offer: Offer, workload: Workload, policy: Policy, arrivals: Arrivals, seed: int = 0, sample: int = SAMPLE
) -> Result:
    """The simulation alone: it depends on the plan's billing rule and not on the hardware's price."""
    routed = replace(policy, routing=offer.plan.routing)
    service = Service(workload.exec, workload.cold, routed, workload.teardown_s)
    return simulate(arrivals, service, rule(offer.plan), horizon_s=horizon_s(arrivals, sample), seed=seed)


def price(offer: Offer, workload: Workload, policy: Policy, result: Result, *, free_tier: bool = False) -> Evaluation:
    """A month's figures from a simulation of any length."""
    months = result.horizon_s / SECONDS_PER_MONTH
    requests = result.requests / months
    billed = _always(policy) if offer.plan.kind == "always_on" else result.billed_s * (1 / months)
    idle = ZERO if offer.plan.kind == "always_on" else result.kept_idle_s * (1 / months)
    month = bill(offer, Usage(billed, requests, idle), image_gb=workload.image_gb, free_tier=free_tier)
    return Evaluation(
        offer=offer,
        policy=policy,
        bill=month,
        requests=requests,
        cold_fraction=result.cold_fraction,
        start_fraction=result.start_fraction,
        latency_s={name: result.latency_s(q) for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))},
        wait_mean_s=result.wait_mean_s,
        instances_mean=result.instances_mean,
        phases_s={name: seconds / months for name, seconds in result.phases_s.items()},
        billed_s=billed,
        spread_usd=0.0 if offer.plan.kind == "always_on" else _spread(offer, result),
        instances_peak=result.instances_peak,
    )


def _always(policy: Policy) -> Band:
    """An always-on plan bills its instances all month, whatever they do."""
    return Band.exact(max(policy.min_instances, 1) * SECONDS_PER_MONTH)


def _spread(offer: Offer, result: Result) -> float:
    """Between months: the variance between the slices of the run, brought to the length of a month."""
    flags = rule(offer.plan).high.flags
    starting, active, idle = (flags[PHASES.index(p)] for p in ("setup", "active", "idle"))
    billed = (
        starting * result.sums[:, col.SETUP] + active * result.sums[:, col.ACTIVE] + idle * result.sums[:, col.IDLE]
    )  # by phase: a life is billed when it ends, which may be slices later
    requests = result.sums[:, col.N]
    usd = billed * offer.usd_per_s.high + requests * (offer.usd_per_request.high + offer.fee_per_request.high)
    slice_s = result.horizon_s / len(result.sums)
    return float(usd.std(ddof=1)) * math.sqrt(SECONDS_PER_MONTH / slice_s)


def supposed(exec_s: float, cold_start_s: float, pull_s: float = 0.0) -> tuple[Distribution, Cold]:
    """Constant durations from plain figures; the pull's share of a start is what a provider may not bill."""
    share = min(pull_s / cold_start_s, 1.0) if cold_start_s > 0 else 0.0
    return Constant(exec_s), Cold(Constant(cold_start_s), pull_share=share)
