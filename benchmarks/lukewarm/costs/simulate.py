"""The traffic simulator: arrivals, durations and a policy in; cold fraction, latencies and billed seconds out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lukewarm.costs.arrivals import Arrivals
from lukewarm.costs.billing import Rule
from lukewarm.costs.distributions import Constant, Distribution
from lukewarm.costs.policy import Policy
from lukewarm.costs.result import Result
from lukewarm.predictors.errors import MissingExtra, PriceError

if TYPE_CHECKING:
    import numpy as np

    from lukewarm.costs.machine import Reals, Whole


@dataclass(frozen=True)
class Cold:
    """A cold start: its whole length, and which shares of it are queueing for hardware and pulling the image.

    With `hit` and `hit_tau_s`, a start within a gap g of the last shutdown is drawn from `hit` with probability
    exp(-g/tau): the nearer the last run, the likelier a snapshot or a cached image is still there.
    """

    length: Distribution = field(default_factory=lambda: Constant(0.0))
    queue_share: float = 0.0
    pull_share: float = 0.0
    hit: Distribution | None = None
    hit_tau_s: float = 0.0

    def __post_init__(self) -> None:
        if min(self.queue_share, self.pull_share) < 0 or self.queue_share + self.pull_share > 1:
            raise PriceError("queue_share and pull_share must not be negative nor add up to more than 1")


@dataclass(frozen=True)
class Service:
    """What is simulated: how long a request takes, how long a start takes, and how instances scale."""

    exec: Distribution
    cold: Cold
    policy: Policy
    teardown_s: float = 0.0


def simulate(arrivals: Arrivals, service: Service, rule: Rule, *, horizon_s: float, seed: int = 0) -> Result:
    """Simulate `horizon_s` seconds. Memory does not depend on how many requests that is; equal seeds, equal results.

    Raises PriceError for a rate that the policy can never serve, and MissingExtra without numpy and numba.
    """
    if not (math.isfinite(horizon_s) and horizon_s > 0):
        raise PriceError(f"a horizon of {horizon_s!r} s: a positive finite number is needed")
    check_load(arrivals.rate, service)
    try:
        import numpy as np

        from lukewarm.costs import kernel, machine
    except ImportError as error:
        raise MissingExtra("numba", "costs") from error
    rng = np.random.default_rng(seed)
    setting = _setting(service, rule, horizon_s, getattr(arrivals, "start_hour", 0))
    reals, whole = machine.new_state(setting)
    starts = _starts(rng, service.cold)
    for times in arrivals.chunks(rng, horizon_s):
        services = service.exec.draw(rng, times.size)
        done = kernel.run_chunk(setting, reals, whole, times, services, starts)
        while done < times.size:
            starts, whole[machine.NEXT_D] = _starts(rng, service.cold), 0
            done += kernel.run_chunk(setting, reals, whole, times[done:], services[done:], starts)
    kernel.finish(setting, reals, whole, starts)
    if service.policy.max_instances is None and whole[machine.PEAK] >= service.policy.maximum:
        raise PriceError(f"{service.policy.maximum} instances at once are too few for this load: set max_instances")
    return _result(reals, whole, horizon_s)


def check_load(rate: float, service: Service) -> None:
    """PriceError where requests come faster than the largest allowed scale can ever serve them."""
    policy = service.policy
    lone = service.exec.moments.mean
    each = lone * (1 + policy.batch_marginal * (policy.batch - 1)) / policy.batch
    load = rate * each / policy.concurrency
    if load >= policy.maximum and not policy.reject:
        raise PriceError(
            f"{rate:g} requests/s of {each:g} s each need {load:.2f} instances at once, max_instances allows "
            f"{policy.maximum}: they can never be served; allow at least {math.floor(load) + 1}"
        )


def _setting(service: Service, rule: Rule, horizon_s: float, start_hour: int) -> Reals:
    """The policy and the billing rule as the kernel's numbers."""
    import numpy as np

    from lukewarm.costs import columns, machine

    policy, cold = service.policy, service.cold
    c = np.zeros(machine.SETTING)
    c[machine.WINDOW] = policy.window_s
    c[machine.SLOTS] = policy.concurrency
    c[machine.MAXIMUM] = policy.maximum
    c[machine.PINNED] = policy.routing == "bound"
    c[machine.REJECT] = policy.reject
    c[machine.BATCH] = policy.batch
    c[machine.BATCH_WAIT] = policy.batch_wait_s
    c[machine.BATCH_MARGINAL] = policy.batch_marginal
    c[machine.QUEUE_SHARE] = cold.queue_share
    c[machine.PULL_SHARE] = cold.pull_share
    c[machine.TEARDOWN] = service.teardown_s
    c[machine.HIT_TAU] = cold.hit_tau_s if cold.hit is not None else 0.0
    c[machine.STEP] = rule.granularity_s
    c[machine.PER_REQUEST] = rule.per_request
    c[machine.SLICE_PER_S] = columns.SLICES / horizon_s
    c[machine.HORIZON] = horizon_s
    for number, side in enumerate((rule.low, rule.high)):
        start = machine.SIDES + number * machine.SIDE
        c[start : start + machine.SIDE] = [*side.flags, side.round_up, side.minimum_s]
    c[machine.HOURS :] = np.roll(policy.hours(), -start_hour)
    return c


def _starts(rng: np.random.Generator, cold: Cold, count: int = 4096) -> Reals:
    """The next starts, as three rows: the start on a miss, on a hit, and the chance that decides between them."""
    import numpy as np

    miss = cold.length.draw(rng, count)
    if cold.hit is None or cold.hit_tau_s <= 0:
        return np.vstack([miss, miss, miss])
    return np.vstack([miss, cold.hit.draw(rng, count), rng.random(count)])


def _result(reals: Reals, whole: Whole, horizon_s: float) -> Result:
    from lukewarm.costs import columns, machine

    sums = reals[machine.SUMS : machine.EACH_F].reshape(columns.SLICES, columns.COLUMNS)
    return Result(
        sums=sums.copy(),
        wait_bins=whole[machine.WAIT_BINS : machine.LATENCY_BINS].copy(),
        latency_bins=whole[machine.LATENCY_BINS : machine.EACH_N].copy(),
        horizon_s=horizon_s,
        floor_s=float(reals[machine.FLOOR_S]),
        wait_max_s=float(reals[machine.WAIT_MAX]),
        instances_peak=int(whole[machine.PEAK]),
    )
