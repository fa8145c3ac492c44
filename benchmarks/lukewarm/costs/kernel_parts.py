"""Compiled pieces of the simulator's kernel: the heap of free times, two linked lists, bins and billing steps."""

from __future__ import annotations

import math

from numba import njit  # noqa: TID253 - loaded by kernel.py only

from lukewarm.costs.columns import BIN_LOW_S, BIN_PER_LOG, BINS, LOW, SLICES
from lukewarm.costs.machine import AVAIL_HEAD, HEAP, IDLE_HEAD, IDLE_TAIL, Config, State


@njit(cache=False)
def push(s: State, at: float, of: int) -> None:
    k = s.i[HEAP]
    s.i[HEAP] = k + 1
    while k > 0:
        parent = (k - 1) >> 1
        if s.heap_at[parent] <= at:
            break
        s.heap_at[k] = s.heap_at[parent]
        s.heap_of[k] = s.heap_of[parent]
        k = parent
    s.heap_at[k] = at
    s.heap_of[k] = of


@njit(cache=False)
def pop(s: State) -> None:
    n = s.i[HEAP] - 1
    s.i[HEAP] = n
    at = s.heap_at[n]
    of = s.heap_of[n]
    k = 0
    while True:
        child = 2 * k + 1
        if child >= n:
            break
        if child + 1 < n and s.heap_at[child + 1] < s.heap_at[child]:
            child += 1
        if s.heap_at[child] >= at:
            break
        s.heap_at[k] = s.heap_at[child]
        s.heap_of[k] = s.heap_of[child]
        k = child
    s.heap_at[k] = at
    s.heap_of[k] = of


@njit(cache=False)
def bin_of(seconds: float) -> int:
    if seconds <= BIN_LOW_S:
        return 0
    k = int(math.log(seconds / BIN_LOW_S) * BIN_PER_LOG) + 1
    return min(k, BINS - 1)


@njit(cache=False)
def slice_of(c: Config, at: float) -> int:
    return min(int(at / c.slice_s), SLICES - 1)


@njit(cache=False)
def step(c: Config, side: int, seconds: float) -> float:
    if seconds <= 0.0:
        return 0.0
    if c.up[side] > 0:
        seconds = max(seconds, math.ceil(seconds / c.step_s - 1e-9) * c.step_s)
    return max(seconds, c.minimum_s[side])


@njit(cache=False)
def bill(c: Config, s: State, at: float, setup_s: float, active_s: float, idle_s: float, down_s: float) -> None:  # noqa: PLR0913
    """Add the billed seconds, low and high, of one life, one invocation or one busy period."""
    queue_s = setup_s * c.queue_share
    pull_s = setup_s * c.pull_share
    rest_s = setup_s - queue_s - pull_s
    k = slice_of(c, at)
    for side in range(2):
        g = c.flags[side]
        seconds = g[0] * queue_s + g[1] * pull_s + g[2] * rest_s + g[3] * active_s + g[4] * idle_s + g[5] * down_s
        s.sums[k, LOW + side] += step(c, side, seconds)


@njit(cache=False)
def idle_remove(s: State, j: int) -> None:
    before, after = s.idle_prev[j], s.idle_next[j]
    if before >= 0:
        s.idle_next[before] = after
    else:
        s.i[IDLE_HEAD] = after
    if after >= 0:
        s.idle_prev[after] = before
    else:
        s.i[IDLE_TAIL] = before


@njit(cache=False)
def avail_remove(s: State, j: int) -> None:
    before, after = s.avail_prev[j], s.avail_next[j]
    if before >= 0:
        s.avail_next[before] = after
    else:
        s.i[AVAIL_HEAD] = after
    if after >= 0:
        s.avail_prev[after] = before
