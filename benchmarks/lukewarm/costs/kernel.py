"""The simulator's inner loop, compiled: one FIFO service whose instances start, idle for a window and go down.

Imported by `simulate.py` when a simulation runs, and by nothing else. Arrivals come in order; each is placed at once on
the slot that will be free first (Kiefer and Wolfowitz), so a heap of the times at which slots become free is the whole
calendar. Idle instances stand in a list ordered by the moment they became idle, so the head is the next to go down.
"""

from __future__ import annotations

import math

from numba import njit  # noqa: TID253 - this module is the compiled kernel, loaded only when a simulation runs

from lukewarm.costs.columns import (
    ACTIVE,
    COLD,
    IDLE,
    LATENCY,
    LIVES,
    REJECTED,
    SEEN,
    SEEN_NONE,
    SETUP,
    SLICES,
    STARTS,
    WAIT,
    WAIT2,
    N,
)
from lukewarm.costs.kernel_parts import avail_remove, bill, bin_of, idle_remove, pop, push, slice_of
from lukewarm.costs.machine import (
    ALIVE,
    AVAIL_HEAD,
    BOUNDARY,
    BUSY,
    CURRENT,
    CURRENT_ROOM,
    FLOOR,
    FLOOR_AT,
    FLOOR_S,
    FREE_TOP,
    HEAP,
    IDLE_HEAD,
    IDLE_TAIL,
    LAST_DOWN,
    NEXT_D,
    OPEN_BEGIN,
    OPEN_N,
    OPEN_ROOM,
    OPEN_SERVICE,
    PEAK,
    WAIT_MAX,
    Array,
    Config,
    Starts,
    State,
)


@njit(cache=False)
def _end_life(c: Config, s: State, j: int, at: float) -> None:
    """Instance `j`, idle, goes down at `at`."""
    idle_s = at - s.idle_at[j]
    s.life_idle[j] += idle_s
    k = slice_of(c, at)
    s.sums[k, IDLE] += idle_s
    s.sums[k, LIVES] += 1
    if c.per_request:
        bill(c, s, at, 0.0, 0.0, s.life_idle[j], c.teardown_s)
    else:
        bill(c, s, at, s.life_setup[j], s.life_active[j], s.life_idle[j], c.teardown_s)
    idle_remove(s, j)
    avail_remove(s, j)
    s.i[ALIVE] -= 1
    s.free[s.i[FREE_TOP]] = j
    s.i[FREE_TOP] += 1
    s.f[LAST_DOWN] = at


@njit(cache=False)
def _complete(c: Config, s: State, at: float, j: int) -> None:
    """A slot of instance `j` becomes free at `at`."""
    s.i[BUSY] -= 1
    busy = s.busy[j] - 1
    s.busy[j] = busy
    if busy == c.slots - 1:
        head = s.i[AVAIL_HEAD]
        s.avail_prev[j] = -1
        s.avail_next[j] = head
        if head >= 0:
            s.avail_prev[head] = j
        s.i[AVAIL_HEAD] = j
    if busy == 0:
        active_s = max(at - s.active_at[j], 0.0)
        s.life_active[j] += active_s
        s.sums[slice_of(c, at), ACTIVE] += active_s
        if c.per_request and c.slots > 1 and active_s > 0:
            bill(c, s, at, 0.0, active_s, 0.0, 0.0)
        s.idle_at[j] = at
        tail = s.i[IDLE_TAIL]
        s.idle_prev[j] = tail
        s.idle_next[j] = -1
        if tail >= 0:
            s.idle_next[tail] = j
        else:
            s.i[IDLE_HEAD] = j
        s.i[IDLE_TAIL] = j


@njit(cache=False)
def _settle(c: Config, s: State, at: float) -> None:
    """All that happens by itself up to `at`: batches start, slots become free, idle instances go down."""
    if s.i[OPEN_N] > 0 and s.f[OPEN_BEGIN] <= at:
        _close_batch(c, s)
    while s.i[HEAP] > 0 and s.heap_at[0] <= at:
        done, j = s.heap_at[0], s.heap_of[0]
        pop(s)
        _complete(c, s, done, j)
    while s.i[IDLE_HEAD] >= 0 and s.i[ALIVE] > s.i[FLOOR]:
        j = s.i[IDLE_HEAD]
        due = max(s.idle_at[j] + c.window_s, s.f[FLOOR_AT])
        if due > at:
            break
        _end_life(c, s, j, due)


@njit(cache=False)
def _start(c: Config, s: State, at: float, d: Starts) -> int:
    """A new instance from `at`, all its slots taken by the setup; returns its number."""
    k = s.i[NEXT_D] % d.miss.size
    s.i[NEXT_D] += 1
    length = d.miss[k]
    if c.hit_tau_s > 0 and d.chance[k] < math.exp(-(at - s.f[LAST_DOWN]) / c.hit_tau_s):
        length = d.hit[k]
    s.i[FREE_TOP] -= 1
    j = s.free[s.i[FREE_TOP]]
    s.i[ALIVE] += 1
    s.i[PEAK] = max(s.i[PEAK], s.i[ALIVE])
    s.i[BUSY] += c.slots
    s.busy[j] = c.slots
    s.ready[j] = at + length
    s.active_at[j] = at + length
    s.life_active[j] = 0.0
    s.life_idle[j] = 0.0
    s.life_setup[j] = length
    s.sums[slice_of(c, at), SETUP] += length
    if c.per_request:
        bill(c, s, at, length, 0.0, 0.0, 0.0)
    return j


@njit(cache=False)
def _start_free(c: Config, s: State, at: float, d: Starts) -> int:
    """A new instance whose slots become free when it is ready."""
    j = _start(c, s, at, d)
    for _ in range(c.slots):
        push(s, s.ready[j], j)
    return j


@njit(cache=False)
def _advance(c: Config, s: State, at: float, d: Starts) -> None:
    """Settle up to `at`, stopping at every hour at which the number of instances to keep changes."""
    while s.f[BOUNDARY] <= at:
        edge = s.f[BOUNDARY]
        _settle(c, s, edge)
        floor = c.hours[int(edge / 3600.0) % 168]
        s.i[FLOOR] = floor
        s.f[FLOOR_AT] = edge
        while s.i[ALIVE] < floor:
            _start_free(c, s, edge, d)
        s.f[FLOOR_S] += floor * min(3600.0, c.horizon_s - edge)
        s.f[BOUNDARY] = edge + 3600.0
    _settle(c, s, at)


@njit(cache=False)
def _record(c: Config, s: State, arrived: float, begin: float, done: float, ready: float) -> None:
    k = slice_of(c, arrived)
    wait = begin - arrived
    row = s.sums[k]
    row[N] += 1
    row[WAIT] += wait
    row[WAIT2] += wait * wait
    row[LATENCY] += done - arrived
    if ready > arrived:
        row[COLD] += 1
    s.f[WAIT_MAX] = max(s.f[WAIT_MAX], wait)
    s.wait_bins[bin_of(wait)] += 1
    s.latency_bins[bin_of(done - arrived)] += 1


@njit(cache=False)
def _serve(c: Config, s: State, at: float, begin: float, service: float, j: int) -> None:
    """Give the request that came at `at` a slot of `j` from `begin` on."""
    if c.batch == 1:
        done = begin + service
        _record(c, s, at, begin, done, s.ready[j])
        if c.per_request and c.slots == 1:
            bill(c, s, at, 0.0, service, 0.0, 0.0)
        push(s, done, j)
        return
    if s.i[OPEN_N] > 0:
        _close_batch(c, s)
    s.i[OPEN_ROOM] = j
    s.i[OPEN_N] = 1
    s.f[OPEN_BEGIN] = max(begin, at + c.batch_wait_s)
    s.f[OPEN_SERVICE] = service
    s.open_at[0] = at
    if s.f[OPEN_BEGIN] <= at:
        _close_batch(c, s)


@njit(cache=False)
def _close_batch(c: Config, s: State) -> None:
    """The open batch starts: its length is known now, and with it every latency in it."""
    j, n = s.i[OPEN_ROOM], s.i[OPEN_N]
    begin, service = s.f[OPEN_BEGIN], s.f[OPEN_SERVICE]
    done = begin + service
    for k in range(n):
        _record(c, s, s.open_at[k], begin, done, s.ready[j])
    if c.per_request and c.slots == 1:
        bill(c, s, begin, 0.0, service, 0.0, 0.0)
    s.i[OPEN_N] = 0
    push(s, done, j)


@njit(cache=False)
def _arrive(c: Config, s: State, at: float, service: float, d: Starts) -> None:
    k = slice_of(c, at)
    s.sums[k, SEEN] += s.i[BUSY]
    if s.i[BUSY] == 0:
        s.sums[k, SEEN_NONE] += 1
    n = s.i[OPEN_N]
    if n > 0 and n < c.batch:
        s.open_at[n] = at
        s.i[OPEN_N] = n + 1
        s.f[OPEN_SERVICE] += service * c.batch_marginal
        if n + 1 == c.batch:
            _close_batch(c, s)
        return
    j = s.i[AVAIL_HEAD]
    if j >= 0:
        if s.busy[j] == 0:
            s.life_idle[j] += at - s.idle_at[j]
            s.sums[k, IDLE] += at - s.idle_at[j]
            s.active_at[j] = at
            idle_remove(s, j)
        s.busy[j] += 1
        s.i[BUSY] += 1
        if s.busy[j] == c.slots:
            avail_remove(s, j)
        _serve(c, s, at, at, service, j)
        return
    _arrive_full(c, s, at, service, d)


@njit(cache=False)
def _arrive_full(c: Config, s: State, at: float, service: float, d: Starts) -> None:
    """No slot is free: take room that is already starting, start an instance, queue, or refuse."""
    current = s.i[CURRENT]
    if s.i[CURRENT_ROOM] > 0 and s.ready[current] > at:
        s.i[CURRENT_ROOM] -= 1
    elif s.i[ALIVE] < c.maximum:
        s.sums[slice_of(c, at), STARTS] += 1
        if c.pinned:
            j = _start(c, s, at, d)
            _serve(c, s, at, s.ready[j], service, j)
            return
        s.i[CURRENT] = _start_free(c, s, at, d)
        s.i[CURRENT_ROOM] = c.slots - 1
    elif c.reject:
        s.sums[slice_of(c, at), REJECTED] += 1
        return
    begin, j = s.heap_at[0], s.heap_of[0]
    pop(s)
    _serve(c, s, at, begin, service, j)


@njit(cache=False)
def run_chunk(c: Config, s: State, arrivals: Array, services: Array, d: Starts) -> None:
    """Simulate one chunk of arrivals, in order, on the state left by the chunk before."""
    s.i[NEXT_D] = 0
    for k in range(arrivals.size):
        _advance(c, s, arrivals[k], d)
        _arrive(c, s, arrivals[k], services[k], d)


@njit(cache=False)
def finish(c: Config, s: State, d: Starts) -> None:
    """Run to the horizon and account for the lives that are cut there."""
    _advance(c, s, c.horizon_s, d)
    if s.i[OPEN_N] > 0:
        _close_batch(c, s)
    # a slot that frees after the horizon: its instance is cut at the horizon, mid-setup or mid-request
    while s.i[HEAP] > 0:
        done, j = min(s.heap_at[0], c.horizon_s), s.heap_of[0]
        pop(s)
        _complete(c, s, done, j)
    while s.i[IDLE_HEAD] >= 0:
        j = s.i[IDLE_HEAD]
        s.sums[SLICES - 1, LIVES] -= 1  # still up: its end is not part of the sample
        _end_life(c, s, j, max(c.horizon_s, s.idle_at[j]))
