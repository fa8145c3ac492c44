"""The simulator's inner loop, compiled: one FIFO service whose instances start, idle for a window and go down.

Imported by `simulate.py` when a simulation runs, and by nothing else. Arrivals come in order; each is placed at once on
the slot that will be free first (Kiefer and Wolfowitz), so a heap of the times at which slots become free is the whole
calendar. Idle instances stand in a list ordered by the moment they became idle, so the head is the next to go down.
`c` is the setting, `f` and `n` the state (see machine.py), `d` three rows: start on a miss, on a hit, and a chance.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lukewarm.costs import columns as col
from lukewarm.costs import machine as m
from lukewarm.costs.compiled import compiled
from lukewarm.costs.kernel_parts import (
    add,
    avail_push,
    avail_remove,
    bill,
    bin_of,
    idle_append,
    idle_remove,
    of,
    on,
    pop,
    push,
)

if TYPE_CHECKING:
    from lukewarm.costs.machine import Reals, Whole


@compiled
def _end_life(c: Reals, f: Reals, n: Whole, j: int, at: float) -> None:
    """Instance `j`, idle, goes down at `at`."""
    idle_s = at - f[of(j, m.IDLE_AT)]
    all_idle_s = f[of(j, m.LIFE_IDLE)] + idle_s
    add(c, f, at, col.IDLE, idle_s)
    add(c, f, at, col.LIVES, 1.0)
    if c[m.PER_REQUEST] > 0:
        bill(c, f, at, 0.0, 0.0, (all_idle_s, c[m.TEARDOWN]))
    else:
        bill(c, f, at, f[of(j, m.LIFE_SETUP)], f[of(j, m.LIFE_ACTIVE)], (all_idle_s, c[m.TEARDOWN]))
    idle_remove(n, j)
    avail_remove(n, j)
    n[m.ALIVE] -= 1
    n[on(n[m.FREE_TOP], m.FREE)] = j
    n[m.FREE_TOP] += 1
    f[m.LAST_DOWN] = at


@compiled
def _complete(c: Reals, f: Reals, n: Whole, at: float, j: int) -> None:
    """A slot of instance `j` becomes free at `at`."""
    n[m.BUSY_ALL] -= 1
    busy = n[on(j, m.BUSY)] - 1
    n[on(j, m.BUSY)] = busy
    if busy == c[m.SLOTS] - 1:
        avail_push(n, j)
    if busy > 0:
        return
    active_s = max(at - f[of(j, m.ACTIVE_AT)], 0.0)
    f[of(j, m.LIFE_ACTIVE)] += active_s
    add(c, f, at, col.ACTIVE, active_s)
    if c[m.PER_REQUEST] > 0 and c[m.SLOTS] > 1:
        bill(c, f, at, 0.0, active_s, (0.0, 0.0))
    f[of(j, m.IDLE_AT)] = at
    idle_append(n, j)


@compiled
def _settle(c: Reals, f: Reals, n: Whole, at: float) -> None:
    """All that happens by itself up to `at`: a batch starts, slots become free, idle instances go down."""
    if n[m.OPEN_N] > 0 and f[m.OPEN_BEGIN] <= at:
        _close_batch(c, f, n)
    while n[m.HEAP] > 0 and f[n[m.HEAP_F]] <= at:
        done, j = f[n[m.HEAP_F]], n[n[m.HEAP_N]]
        pop(f, n)
        _complete(c, f, n, done, j)
    while n[m.IDLE_HEAD] >= 0 and n[m.ALIVE] > n[m.FLOOR]:
        j = n[m.IDLE_HEAD]
        due = max(f[of(j, m.IDLE_AT)] + c[m.WINDOW], f[m.FLOOR_AT])
        if due > at:
            break
        _end_life(c, f, n, j, due)


@compiled
def _start(c: Reals, f: Reals, n: Whole, at: float, d: Reals) -> int:
    """A new instance from `at`, all its slots taken by the setup; returns its number."""
    k = n[m.NEXT_D] % d.shape[1]
    n[m.NEXT_D] += 1
    length = d[0, k]
    if c[m.HIT_TAU] > 0 and d[2, k] < math.exp((f[m.LAST_DOWN] - at) / c[m.HIT_TAU]):
        length = d[1, k]
    n[m.FREE_TOP] -= 1
    j = int(n[on(n[m.FREE_TOP], m.FREE)])
    n[m.ALIVE] += 1
    n[m.PEAK] = max(n[m.PEAK], n[m.ALIVE])
    slots = int(c[m.SLOTS])
    n[m.BUSY_ALL] += slots
    n[on(j, m.BUSY)] = slots
    f[of(j, m.READY)] = at + length
    f[of(j, m.ACTIVE_AT)] = at + length
    f[of(j, m.LIFE_ACTIVE)] = 0.0
    f[of(j, m.LIFE_IDLE)] = 0.0
    f[of(j, m.LIFE_SETUP)] = length
    add(c, f, at, col.SETUP, length)
    if c[m.PER_REQUEST] > 0:
        bill(c, f, at, length, 0.0, (0.0, 0.0))
    return j


@compiled
def _start_free(c: Reals, f: Reals, n: Whole, at: float, d: Reals) -> int:
    """A new instance whose slots become free when it is ready."""
    j = _start(c, f, n, at, d)
    for _ in range(c[m.SLOTS]):
        push(f, n, f[of(j, m.READY)], j)
    return j


@compiled
def _advance(c: Reals, f: Reals, n: Whole, at: float, d: Reals) -> None:
    """Settle up to `at`, stopping at every hour at which the number of instances to keep may change."""
    while f[m.BOUNDARY] <= at:
        edge = f[m.BOUNDARY]
        _settle(c, f, n, edge)
        floor = int(c[m.HOURS + int(edge / 3600.0) % 168])
        if floor != n[m.FLOOR]:
            n[m.FLOOR] = floor
            f[m.FLOOR_AT] = edge
        while n[m.ALIVE] < floor:
            _start_free(c, f, n, edge, d)
        f[m.FLOOR_S] += floor * min(3600.0, c[m.HORIZON] - edge)
        f[m.BOUNDARY] = edge + 3600.0
    _settle(c, f, n, at)


@compiled
def _record(c: Reals, f: Reals, n: Whole, arrived: float, times: tuple[float, float, float]) -> None:
    """One served request; `times` are (service begins, ends, its instance was ready)."""
    begin, done, ready = times
    k = m.SUMS + min(int(arrived * c[m.SLICE_PER_S]), col.SLICES - 1) * col.COLUMNS
    wait = begin - arrived
    f[k + col.N] += 1.0
    f[k + col.WAIT] += wait
    f[k + col.WAIT2] += wait * wait
    f[k + col.LATENCY] += done - arrived
    if ready > arrived:
        f[k + col.COLD] += 1.0
    f[m.WAIT_MAX] = max(f[m.WAIT_MAX], wait)
    n[m.WAIT_BINS + bin_of(wait)] += 1
    n[m.LATENCY_BINS + bin_of(done - arrived)] += 1


@compiled
def _serve(c: Reals, f: Reals, n: Whole, job: tuple[float, float], begin: float, j: int) -> None:
    """Give the request `job` (came at, takes) a slot of instance `j` from `begin` on."""
    at, service = job
    if c[m.BATCH] == 1:
        done = begin + service
        _record(c, f, n, at, (begin, done, f[of(j, m.READY)]))
        if c[m.PER_REQUEST] > 0 and c[m.SLOTS] == 1:
            bill(c, f, at, 0.0, service, (0.0, 0.0))
        push(f, n, done, j)
        return
    if n[m.OPEN_N] > 0:
        _close_batch(c, f, n)
    n[m.OPEN_OF] = j
    n[m.OPEN_N] = 1
    f[m.OPEN_BEGIN] = max(begin, at + c[m.BATCH_WAIT])
    f[m.OPEN_SERVICE] = service
    f[n[m.OPEN_F]] = at
    if f[m.OPEN_BEGIN] <= at:
        _close_batch(c, f, n)


@compiled
def _close_batch(c: Reals, f: Reals, n: Whole) -> None:
    """Nobody can join the open batch any more: its length is known now, and with it every latency in it."""
    j = n[m.OPEN_OF]
    begin, done = f[m.OPEN_BEGIN], f[m.OPEN_BEGIN] + f[m.OPEN_SERVICE]
    for k in range(n[m.OPEN_N]):
        _record(c, f, n, f[n[m.OPEN_F] + k], (begin, done, f[of(j, m.READY)]))
    if c[m.PER_REQUEST] > 0 and c[m.SLOTS] == 1:
        bill(c, f, begin, 0.0, f[m.OPEN_SERVICE], (0.0, 0.0))
    n[m.OPEN_N] = 0
    push(f, n, done, j)


@compiled
def _join_batch(c: Reals, f: Reals, n: Whole, job: tuple[float, float]) -> bool:
    """Join the open batch if there is one with room."""
    size = n[m.OPEN_N]
    if size == 0 or size >= c[m.BATCH]:
        return False
    f[n[m.OPEN_F] + size] = job[0]
    n[m.OPEN_N] = size + 1
    f[m.OPEN_SERVICE] += job[1] * c[m.BATCH_MARGINAL]
    if size + 1 == c[m.BATCH]:
        _close_batch(c, f, n)
    return True


@compiled
def _arrive(c: Reals, f: Reals, n: Whole, job: tuple[float, float], d: Reals) -> None:
    at = job[0]
    add(c, f, at, col.SEEN, n[m.BUSY_ALL])
    if n[m.BUSY_ALL] == 0:
        add(c, f, at, col.SEEN_NONE, 1.0)
    if _join_batch(c, f, n, job):
        return
    j = n[m.AVAIL_HEAD]
    if j < 0:
        _arrive_full(c, f, n, job, d)
        return
    if n[on(j, m.BUSY)] == 0:
        idle_s = at - f[of(j, m.IDLE_AT)]
        f[of(j, m.LIFE_IDLE)] += idle_s
        add(c, f, at, col.IDLE, idle_s)
        f[of(j, m.ACTIVE_AT)] = at
        idle_remove(n, j)
    n[on(j, m.BUSY)] += 1
    n[m.BUSY_ALL] += 1
    if n[on(j, m.BUSY)] == c[m.SLOTS]:
        avail_remove(n, j)
    _serve(c, f, n, job, at, j)


@compiled
def _arrive_full(c: Reals, f: Reals, n: Whole, job: tuple[float, float], d: Reals) -> None:
    """No slot is free: take room that is already starting, start an instance, queue, or refuse."""
    at = job[0]
    if n[m.CURRENT_ROOM] > 0 and f[of(n[m.CURRENT], m.READY)] > at:
        n[m.CURRENT_ROOM] -= 1
    elif n[m.ALIVE] < c[m.MAXIMUM]:
        add(c, f, at, col.STARTS, 1.0)
        if c[m.PINNED] > 0:
            j = _start(c, f, n, at, d)
            _serve(c, f, n, job, f[of(j, m.READY)], j)
            return
        n[m.CURRENT] = _start_free(c, f, n, at, d)
        n[m.CURRENT_ROOM] = int(c[m.SLOTS]) - 1
    elif c[m.REJECT] > 0:
        add(c, f, at, col.REJECTED, 1.0)
        return
    begin, j = f[n[m.HEAP_F]], n[n[m.HEAP_N]]
    pop(f, n)
    _serve(c, f, n, job, begin, j)


@compiled
def run_chunk(c: Reals, f: Reals, n: Whole, times: Reals, services: Reals, d: Reals) -> int:
    """Simulate arrivals in order on the state left before; returns how many were done before `d` was used up."""
    for k in range(times.size):
        if n[m.NEXT_D] >= d.shape[1]:
            return k
        _advance(c, f, n, times[k], d)
        _arrive(c, f, n, (times[k], services[k]), d)
    return times.size


@compiled
def finish(c: Reals, f: Reals, n: Whole, d: Reals) -> None:
    """Run to the horizon and account for the lives that are cut there."""
    _advance(c, f, n, c[m.HORIZON], d)
    if n[m.OPEN_N] > 0:
        _close_batch(c, f, n)
    # a slot that frees after the horizon: its instance is cut at the horizon, in its setup or in a request
    while n[m.HEAP] > 0:
        done, j = min(f[n[m.HEAP_F]], c[m.HORIZON]), n[n[m.HEAP_N]]
        pop(f, n)
        _complete(c, f, n, done, j)
    while n[m.IDLE_HEAD] >= 0:
        j = n[m.IDLE_HEAD]
        add(c, f, c[m.HORIZON], col.LIVES, -1.0)  # still up: its end is not part of the sample
        _end_life(c, f, n, j, max(c[m.HORIZON], f[of(j, m.IDLE_AT)]))
