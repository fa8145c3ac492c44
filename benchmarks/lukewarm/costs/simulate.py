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

    from lukewarm.costs.machine import Config, Starts


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
    config = _config(service, rule, horizon_s)
    state = machine.new_state(config)
    starts = _starts(rng, service.cold, 1024)
    for times in arrivals.chunks(rng, horizon_s):
        starts = _starts(rng, service.cold, times.size + 1024)
        kernel.run_chunk(config, state, times, service.exec.draw(rng, times.size), starts)
    kernel.finish(config, state, starts)
    if service.policy.max_instances is None and state.i[machine.PEAK] >= config.maximum:
        raise PriceError(f"{config.maximum} instances at once are not enough for this load: give --max-instances")
    return Result(
        sums=state.sums,
        wait_bins=state.wait_bins,
        latency_bins=state.latency_bins,
        horizon_s=horizon_s,
        floor_s=float(state.f[machine.FLOOR_S]),
        wait_max_s=float(state.f[machine.WAIT_MAX]),
    )


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


def _config(service: Service, rule: Rule, horizon_s: float) -> Config:
    import numpy as np

    from lukewarm.costs import machine

    policy = service.policy
    sides = (rule.low, rule.high)
    return machine.Config(
        window_s=float(policy.window_s),
        slots=policy.concurrency,
        maximum=policy.maximum,
        pinned=policy.routing == "bound",
        reject=policy.reject,
        batch=policy.batch,
        batch_wait_s=float(policy.batch_wait_s),
        batch_marginal=float(policy.batch_marginal),
        queue_share=float(service.cold.queue_share),
        pull_share=float(service.cold.pull_share),
        teardown_s=float(service.teardown_s),
        hit_tau_s=float(service.cold.hit_tau_s),
        flags=np.array([s.flags for s in sides], dtype=np.float64),
        up=np.array([s.round_up for s in sides], dtype=np.float64),
        minimum_s=np.array([s.minimum_s for s in sides], dtype=np.float64),
        step_s=float(rule.granularity_s),
        per_request=rule.per_request,
        hours=np.array(policy.hours(), dtype=np.int64),
        slice_s=horizon_s / machine.SLICES,
        horizon_s=float(horizon_s),
    )


def _starts(rng: np.random.Generator, cold: Cold, count: int) -> Starts:
    from lukewarm.costs import machine

    miss = cold.length.draw(rng, count)
    if cold.hit is None or cold.hit_tau_s <= 0:
        return machine.Starts(miss, miss, miss)
    return machine.Starts(miss, cold.hit.draw(rng, count), rng.random(count))
