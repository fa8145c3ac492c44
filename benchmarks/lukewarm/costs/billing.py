"""The interpreter of billing rules: phases of a container's life in, billed seconds (low and high) out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from lukewarm.costs.band import ZERO, Band
from lukewarm.costs.offers import Offer
from lukewarm.costs.schema import PHASES, Plan

_ROUNDING_SLACK = 1e-9  # 0.3 / 0.1 is 2.9999999999999996: a count of steps is compared with this much tolerance


@dataclass(frozen=True)
class Phases:
    """Seconds of one container's life (or a sum over many); what a provider bills of them is its rule's business."""

    queue_s: float = 0.0
    pull_s: float = 0.0
    setup_s: float = 0.0
    active_s: float = 0.0
    idle_s: float = 0.0
    teardown_s: float = 0.0

    def each(self) -> tuple[float, ...]:
        return tuple(getattr(self, f"{name}_s") for name in PHASES)


@dataclass(frozen=True)
class Side:
    """One reading of a rule: every unknown taken in the customer's favour (low) or against (high)."""

    flags: tuple[bool, ...]
    round_up: bool
    minimum_s: float


@dataclass(frozen=True)
class Rule:
    """A plan's billing as numbers. `per_request`: rounding and minimum apply to each invocation, not to a life."""

    low: Side
    high: Side
    granularity_s: float
    per_request: bool

    def billed_s(self, phases: Phases) -> Band:
        """Billed seconds of one container's life, or of one invocation where the plan bills invocations."""
        return Band(self._side_s(self.low, phases), self._side_s(self.high, phases))

    def _side_s(self, side: Side, phases: Phases) -> float:
        seconds = sum(s for s, billed in zip(phases.each(), side.flags, strict=True) if billed)
        return step_up(seconds, self.granularity_s, side.round_up, side.minimum_s)


def rule(plan: Plan) -> Rule:
    """A plan's rule; where a flag, the rounding or the minimum is not documented, `low` and `high` differ."""
    flags = [getattr(plan.billed, name) for name in PHASES]
    documented = plan.minimum_s is not None and plan.minimum_grade is None
    minimum_low = plan.minimum_s if documented and plan.minimum_s is not None else 0.0
    minimum_high = plan.minimum_s if plan.minimum_s is not None else plan.granularity_s
    up = plan.rounding == "up"
    low = Side(tuple(f is True for f in flags), up, minimum_low)
    high = Side(tuple(f is not False for f in flags), True, minimum_high)
    return Rule(low, high, plan.granularity_s, plan.scope == "request")


def step_up(seconds: float, granularity_s: float, up: bool, minimum_s: float) -> float:
    """`seconds` rounded up to the next step and to the minimum; nothing stays nothing."""
    if seconds <= 0:
        return 0.0
    if up:
        seconds = max(seconds, math.ceil(seconds / granularity_s - _ROUNDING_SLACK) * granularity_s)
    return max(seconds, minimum_s)


@dataclass(frozen=True)
class Usage:
    """What a month used: billed instance seconds, requests, and seconds of minimum instances at the idle rate."""

    billed_s: Band
    requests: float
    idle_s: Band = ZERO


@dataclass(frozen=True)
class Bill:
    """A month in USD. `unpriced` names the fees for which the catalog holds no figure: they are not in the total."""

    compute: Band
    requests: Band
    storage: Band
    fees: Band
    unpriced: tuple[str, ...] = field(default=())

    @property
    def total(self) -> Band:
        return self.compute + self.requests + self.storage + self.fees


def bill(offer: Offer, usage: Usage, *, image_gb: float = 0.0, free_tier: bool = False) -> Bill:
    """The month's bill for what was used; the free tier counts only when asked for."""
    free = offer.plan.free_tier
    compute = ZERO
    for meter in offer.meters:
        used = usage.billed_s * meter.units
        if free_tier:
            used = used.less(getattr(free, meter.kind, 0.0))
        compute += used * meter.usd
    compute += usage.idle_s * offer.idle_usd_per_s
    counted = max(usage.requests - (free.requests if free_tier else 0.0), 0.0)
    requests = offer.usd_per_request * counted + offer.fee_per_request * usage.requests
    if free_tier:
        compute = compute.less(free.usd_credit)
    stored_gb = max(image_gb - offer.plan.storage_free_gb, 0.0)
    return Bill(compute, requests, offer.storage_usd_per_gb * stored_gb, offer.fee_per_month, offer.unpriced)
