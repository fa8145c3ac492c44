"""What the simulator's kernel works on: one setting, one state of fixed size, and the names of their columns."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lukewarm.costs.columns import BINS, COLUMNS, SLICES

Array = Any  # numba reads the arrays' types at compile time

# integers of the state
HEAP, ALIVE, IDLE_HEAD, IDLE_TAIL, FREE_TOP, AVAIL_HEAD, CURRENT, CURRENT_ROOM = range(8)
OPEN_ROOM, OPEN_N, FLOOR, NEXT_D, BUSY, PEAK = range(8, 14)
# floats of the state
OPEN_BEGIN, OPEN_SERVICE, BOUNDARY, FLOOR_AT, FLOOR_S, LAST_DOWN, WAIT_MAX = range(7)


class Config(NamedTuple):
    """One setting. Sides of the billing rule come as arrays of two: low and high."""

    window_s: float
    slots: int
    maximum: int
    pinned: bool
    reject: bool
    batch: int
    batch_wait_s: float
    batch_marginal: float
    queue_share: float
    pull_share: float
    teardown_s: float
    hit_tau_s: float
    flags: Array  # (2, 6)
    up: Array  # (2,)
    minimum_s: Array  # (2,)
    step_s: float
    per_request: bool
    hours: Array  # (168,) instances kept warm, by hour of the week
    slice_s: float
    horizon_s: float


class State(NamedTuple):
    """All that lives between two chunks of arrivals; sizes depend on the maximum scale, never on the requests."""

    i: Array
    f: Array
    heap_at: Array
    heap_of: Array
    ready: Array
    busy: Array
    idle_at: Array
    active_at: Array
    life_active: Array
    life_idle: Array
    life_setup: Array
    idle_next: Array
    idle_prev: Array
    avail_next: Array
    avail_prev: Array
    free: Array
    open_at: Array
    sums: Array
    wait_bins: Array
    latency_bins: Array


class Starts(NamedTuple):
    """Cold-start durations for this chunk: drawn from `hit` with probability exp(-gap/tau), else from `miss`."""

    miss: Array
    hit: Array
    chance: Array


def new_state(c: Config) -> State:
    """An empty service with room for `c.maximum` instances."""
    k, slots = c.maximum, c.maximum * c.slots
    i = np.zeros(16, np.int64)
    i[[IDLE_HEAD, IDLE_TAIL, AVAIL_HEAD, CURRENT]] = -1
    i[FREE_TOP] = k
    f = np.zeros(8)
    f[BOUNDARY] = 0.0 if c.hours.any() else np.inf
    f[LAST_DOWN] = -np.inf
    reals = [np.zeros(k) for _ in range(6)]
    links = [np.full(k, -1, np.int64) for _ in range(4)]
    return State(
        i,
        f,
        np.empty(slots + 1),
        np.empty(slots + 1, np.int64),
        reals[0],
        np.zeros(k, np.int64),
        *reals[1:],
        *links,
        np.arange(k - 1, -1, -1, dtype=np.int64),
        np.empty(max(c.batch, 1)),
        np.zeros((SLICES, COLUMNS)),
        np.zeros(BINS, np.int64),
        np.zeros(BINS, np.int64),
    )
