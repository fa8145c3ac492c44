"""What one measured request would cost: MODELLED from quoted prices and a closed form, never a measured bill."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lukewarm.costs.band import ZERO, Band
from lukewarm.costs.billing import Phases, Rule, Usage, bill, rule
from lukewarm.costs.catalog import SECONDS_PER_MONTH, Catalog
from lukewarm.costs.closed import Moments, mg1_setup
from lukewarm.costs.offers import Offer, offer
from lukewarm.costs.schema import Plan, Shape
from lukewarm.predictors.errors import PriceError


@dataclass(frozen=True)
class Measured:
    """Durations to be priced, in seconds, and the shape they were measured on.

    `cold_start_s` is everything from a start to ready; `image_pull_s` is the part of it spent on fetching the image.
    """

    cold_start_s: float
    exec_s: float
    image_pull_s: float = 0.0
    image_gb: float = 0.0
    vcpu: float | None = None
    memory_gib: float | None = None

    def __post_init__(self) -> None:
        for name in ("cold_start_s", "exec_s", "image_pull_s", "image_gb"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise PriceError(f"{name} is {value!r}: a finite number that is not negative is needed")
        if self.image_pull_s > self.cold_start_s:
            raise PriceError(f"image_pull_s {self.image_pull_s:g} is longer than cold_start_s {self.cold_start_s:g}")

    @property
    def shape(self) -> Shape | None:
        if self.vcpu is None or self.memory_gib is None:
            return None
        return Shape(vcpu=self.vcpu, memory_gib=self.memory_gib)

    @property
    def setup_s(self) -> float:
        return self.cold_start_s - self.image_pull_s


@dataclass(frozen=True)
class PricedRequest:
    """USD, modelled from quoted prices. A cold request pays its start as well; `idle_usd` is the window after it.

    On an always-on plan a request has no price of its own (`kept` is True): both are the share of running seconds it
    takes, and the month is the whole machine. `month_usd` is None unless a traffic was given.
    """

    provider: str
    hardware: str
    warm_usd: Band
    cold_usd: Band
    idle_usd: Band
    idle_window_s: Band
    month_usd: Band | None
    cold_fraction: Band | None
    kept: bool
    warnings: tuple[str, ...]
    basis: str = "modelled from quoted prices"

    @property
    def low_usd(self) -> float:
        """A warm request, every unknown in the customer's favour."""
        return self.warm_usd.low

    @property
    def high_usd(self) -> float:
        """A cold request with the idle window that follows it, every unknown against the customer."""
        return self.cold_usd.high + self.idle_usd.high


def price_measured(
    catalog: Catalog,
    provider: str,
    hardware: str,
    measured: Measured,
    *,
    idle_timeout_s: float | None = None,
    requests_per_month: float | None = None,
) -> PricedRequest:
    """Price a measured case on one provider (`modal`, `runpod:flex`, a target's name) and hardware (`L4`, `cpu`, ...).

    The month is the closed form of one instance with Poisson arrivals (`closed.mg1_setup`). Raises PriceError for an
    unknown or closed provider, unknown hardware, and a traffic that one instance can never serve.
    """
    plan = catalog.deployable(provider)
    chosen = offer(catalog, plan, hardware, measured.shape)
    billing = rule(plan)
    kept = plan.kind == "always_on"
    window = ZERO if kept else idle_window(plan, idle_timeout_s)
    request_fee = chosen.usd_per_request + chosen.fee_per_request
    warm = _request_s(billing, Phases(active_s=measured.exec_s))
    start = Phases(pull_s=measured.image_pull_s, setup_s=measured.setup_s, active_s=measured.exec_s)
    month, cold = None, None
    if requests_per_month is not None:
        month, cold = _month(chosen, measured, window, requests_per_month)
    return PricedRequest(
        provider=plan.name,
        hardware=chosen.hardware,
        warm_usd=chosen.usd_per_s * warm + request_fee,
        cold_usd=chosen.usd_per_s * _request_s(billing, start) + request_fee,
        idle_usd=chosen.usd_per_s * _idle_s(billing, window),
        idle_window_s=window,
        month_usd=month,
        cold_fraction=cold,
        kept=kept,
        warnings=tuple(catalog.stale(chosen.rows)),
    )


def idle_window(plan: Plan, asked_s: float | None = None) -> Band:
    """The window asked for where one can be set, else the provider's default, else the recorded bounds."""
    window = plan.window_s
    if asked_s is not None:
        if not window.settable:
            raise PriceError(f"{plan.name} does not let the idle window be set; leave it out to use the provider's own")
        low, high = window.min or 0.0, math.inf if window.max is None else window.max
        if not low <= asked_s <= high:
            raise PriceError(f"{plan.name}: an idle window of {asked_s:g} s is outside {low:g} to {high:g} s")
        return Band.exact(asked_s)
    if window.default is not None:
        return Band.exact(window.default)
    return Band(window.low or 0.0, window.high or window.low or 0.0)


def _request_s(billing: Rule, phases: Phases) -> Band:
    """Billed seconds of a request: rounded where invocations are billed; a life's rounding is not a request's."""
    if billing.per_request:
        return billing.billed_s(phases)
    low = sum(s for s, f in zip(phases.each(), billing.low.flags, strict=True) if f)
    high = sum(s for s, f in zip(phases.each(), billing.high.flags, strict=True) if f)
    return Band(low, high)


def _idle_s(billing: Rule, window: Band) -> Band:
    idle_at = 4
    return Band(window.low if billing.low.flags[idle_at] else 0.0, window.high if billing.high.flags[idle_at] else 0.0)


def _month(chosen: Offer, measured: Measured, window: Band, requests: float) -> tuple[Band, Band]:
    """USD a month and the cold fraction by the closed form, over the window's low and high."""
    if not (math.isfinite(requests) and requests >= 0):
        raise PriceError(f"requests_per_month is {requests!r}: a finite number that is not negative is needed")
    if chosen.plan.kind == "always_on":
        whole = Usage(Band.exact(SECONDS_PER_MONTH), requests)
        return bill(chosen, whole, image_gb=measured.image_gb).total, ZERO
    if requests == 0:
        return bill(chosen, Usage(ZERO, 0), image_gb=measured.image_gb).total, ZERO
    ends = [closed_month(chosen, measured, w, requests) for w in dict.fromkeys((window.low, window.high))]
    usd = Band(min(e[0].low for e in ends), max(e[0].high for e in ends))
    cold = [e[1] for e in ends]
    return usd, Band(min(cold), max(cold))


def closed_month(chosen: Offer, measured: Measured, window_s: float, requests: float) -> tuple[Band, float]:
    """One instance, Poisson arrivals: USD a month and the fraction of requests that wait for a start."""
    rate = requests / SECONDS_PER_MONTH
    queue = mg1_setup(rate, Moments.exponential(measured.exec_s), Moments.constant(measured.cold_start_s), window_s)
    lives = queue.lives_per_s * SECONDS_PER_MONTH
    billing = rule(chosen.plan)
    pull_share = measured.image_pull_s / measured.cold_start_s if measured.cold_start_s else 0.0
    starting_s = queue.setup_fraction * SECONDS_PER_MONTH
    active_s = queue.active_fraction * SECONDS_PER_MONTH
    idle_s = queue.idle_fraction * SECONDS_PER_MONTH
    if billing.per_request:
        starts = _scaled(billing, Phases(pull_s=starting_s * pull_share, setup_s=starting_s * (1 - pull_share)), lives)
        billed = starts + _scaled(billing, Phases(active_s=active_s), requests)
    else:
        phases = Phases(
            pull_s=starting_s * pull_share, setup_s=starting_s * (1 - pull_share), active_s=active_s, idle_s=idle_s
        )
        billed = _scaled(billing, phases, lives)
    return bill(chosen, Usage(billed, requests), image_gb=measured.image_gb).total, queue.cold_fraction


def _scaled(billing: Rule, total: Phases, count: float) -> Band:
    """Billed seconds of `count` lives adding up to `total`; lengths vary, so a step up costs half a step each."""
    if count <= 0:
        return ZERO
    sides = []
    for side in (billing.low, billing.high):
        each = sum(s for s, f in zip(total.each(), side.flags, strict=True) if f) / count
        step = billing.granularity_s / 2 if side.round_up and each > 0 else 0.0
        sides.append(max(each + step, side.minimum_s if each > 0 else 0.0) * count)
    return Band(*sides)
