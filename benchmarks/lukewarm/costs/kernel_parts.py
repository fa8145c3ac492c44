"""Compiled pieces of the simulator's kernel: the heap of free times, two linked lists, bins and billing steps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lukewarm.costs.columns import BIN_LOW_S, BINS, COLUMNS, LOW, SLICES
from lukewarm.costs.compiled import compiled
from lukewarm.costs.machine import (
    AVAIL_HEAD,
    AVAIL_NEXT,
    AVAIL_PREV,
    EACH_F,
    EACH_N,
    HEAP,
    HEAP_F,
    HEAP_N,
    IDLE_HEAD,
    IDLE_NEXT,
    IDLE_PREV,
    IDLE_TAIL,
    MINIMUM,
    PULL_SHARE,
    QUEUE_SHARE,
    SIDE,
    SIDES,
    SLICE_PER_S,
    STEP,
    SUMS,
    UP,
)

if TYPE_CHECKING:
    from lukewarm.costs.machine import Reals, Whole


@compiled
def of(j: int, field: int) -> int:
    """Where instance `j` keeps a real."""
    return EACH_F + 8 * j + field


@compiled
def on(j: int, field: int) -> int:
    """Where instance `j` keeps a whole number."""
    return EACH_N + 8 * j + field


@compiled
def add(c: Reals, f: Reals, at: float, column: int, value: float) -> None:
    """Add to a sum of the slice in which `at` lies."""
    k = min(int(at * c[SLICE_PER_S]), SLICES - 1)
    f[SUMS + k * COLUMNS + column] += value


@compiled
def push(f: Reals, n: Whole, at: float, j: int) -> None:
    """A slot of instance `j` becomes free at `at`."""
    times, owners = n[HEAP_F], n[HEAP_N]
    k = n[HEAP]
    n[HEAP] = k + 1
    while k > 0:
        parent = (k - 1) >> 1
        if f[times + parent] <= at:
            break
        f[times + k] = f[times + parent]
        n[owners + k] = n[owners + parent]
        k = parent
    f[times + k] = at
    n[owners + k] = j


@compiled
def pop(f: Reals, n: Whole) -> None:
    """Drop the earliest entry of the heap."""
    times, owners = n[HEAP_F], n[HEAP_N]
    size = n[HEAP] - 1
    n[HEAP] = size
    at, j = f[times + size], n[owners + size]
    k = 0
    while True:
        child = 2 * k + 1
        if child >= size:
            break
        if child + 1 < size and f[times + child + 1] < f[times + child]:
            child += 1
        if f[times + child] >= at:
            break
        f[times + k] = f[times + child]
        n[owners + k] = n[owners + child]
        k = child
    f[times + k] = at
    n[owners + k] = j


@compiled
def bin_of(seconds: float) -> int:
    """The bin of a duration: octaves of 64 equal parts each."""
    if seconds <= BIN_LOW_S:
        return 0
    mantissa, octave = math.frexp(seconds / BIN_LOW_S)
    return min((octave << 6) + int(mantissa * 128.0) - 127, BINS - 1)


@compiled
def bill(c: Reals, f: Reals, at: float, start_s: float, active_s: float, rest: tuple[float, float]) -> None:
    """Add the billed seconds, low and high, of a life, an invocation or a busy period; `rest` is (idle, teardown)."""
    queue_s = start_s * c[QUEUE_SHARE]
    pull_s = start_s * c[PULL_SHARE]
    setup_s = start_s - queue_s - pull_s
    for side in range(2):
        g = SIDES + side * SIDE
        seconds = c[g] * queue_s + c[g + 1] * pull_s + c[g + 2] * setup_s + c[g + 3] * active_s
        seconds += c[g + 4] * rest[0] + c[g + 5] * rest[1]
        if seconds <= 0.0:
            continue
        if c[g + UP] > 0:
            seconds = max(seconds, math.ceil(seconds / c[STEP] - 1e-9) * c[STEP])
        add(c, f, at, LOW + side, max(seconds, c[g + MINIMUM]))


@compiled
def idle_append(n: Whole, j: int) -> None:
    """Put instance `j` at the end of the idle list: the others became idle before it."""
    tail = n[IDLE_TAIL]
    n[on(j, IDLE_PREV)] = tail
    n[on(j, IDLE_NEXT)] = -1
    if tail >= 0:
        n[on(tail, IDLE_NEXT)] = j
    else:
        n[IDLE_HEAD] = j
    n[IDLE_TAIL] = j


@compiled
def unlink(n: Whole, j: int, before_of: int, after_of: int, head: int) -> None:
    """Take instance `j` out of the list that keeps its neighbours in the two given fields."""
    before, after = n[on(j, before_of)], n[on(j, after_of)]
    if before >= 0:
        n[on(before, after_of)] = after
    else:
        n[head] = after
    if after >= 0:
        n[on(after, before_of)] = before


@compiled
def idle_remove(n: Whole, j: int) -> None:
    """Take instance `j` out of the idle list."""
    if n[IDLE_TAIL] == j:
        n[IDLE_TAIL] = n[on(j, IDLE_PREV)]
    unlink(n, j, IDLE_PREV, IDLE_NEXT, IDLE_HEAD)


@compiled
def avail_push(n: Whole, j: int) -> None:
    """Put instance `j` in front of those with a free slot: the last used serves next, so that others can go down."""
    head = n[AVAIL_HEAD]
    n[on(j, AVAIL_PREV)] = -1
    n[on(j, AVAIL_NEXT)] = head
    if head >= 0:
        n[on(head, AVAIL_PREV)] = j
    n[AVAIL_HEAD] = j


@compiled
def avail_remove(n: Whole, j: int) -> None:
    """Take instance `j` out of those with a free slot."""
    unlink(n, j, AVAIL_PREV, AVAIL_NEXT, AVAIL_HEAD)
