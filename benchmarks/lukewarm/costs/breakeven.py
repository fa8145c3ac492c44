"""Break-even: the traffic from which an always-on machine is cheaper, by the closed form of one instance."""

from __future__ import annotations

from lukewarm.costs.catalog import SECONDS_PER_MONTH
from lukewarm.costs.evaluate import Workload
from lukewarm.costs.offers import Offer
from lukewarm.costs.price import Measured, closed_month

_FULL = 0.95  # the closed form is of one instance: beyond this load another one is needed anyway
_STEPS = 60
_SCAN, _DECADES = 120, 8


def break_even(
    offer: Offer, workload: Workload, *, window_s: float, kept: bool, always_on_usd_month: float
) -> float | None:
    """Requests a month at which the offer costs as much as an always-on machine; None where it never does.

    None too for always-on offers and for a kept minimum or warm hours, whose cost hardly depends on the traffic.
    """
    if offer.plan.kind == "always_on" or kept:
        return None
    return crossing(offer, measured(workload), window_s, always_on_usd_month)


def crossing(offer: Offer, times: Measured, window_s: float, usd_month: float) -> float | None:
    """The traffic (requests a month, Poisson, one instance) at which the offer's high end reaches `usd_month`."""
    if times.exec_s <= 0:
        return None
    low, high = 0.0, _FULL / times.exec_s * SECONDS_PER_MONTH

    def usd(requests: float) -> float:
        return closed_month(offer, times, window_s, requests)[0].high

    # steps up to the first crossing: where rounding is coarse, a busier instance can cost less again
    for k in range(1, _SCAN + 1):
        traffic = high * 10 ** (_DECADES * (k / _SCAN - 1))
        if usd(traffic) >= usd_month:
            high = traffic
            break
        low = traffic
    else:
        return None
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if usd(middle) < usd_month else (low, middle)
    return high


def measured(workload: Workload) -> Measured:
    """A workload's means, as the closed form takes them."""
    start_s = workload.cold.length.moments.mean
    return Measured(
        cold_start_s=start_s,
        exec_s=workload.exec.moments.mean,
        image_pull_s=start_s * workload.cold.pull_share,
        image_gb=workload.image_gb,
    )
