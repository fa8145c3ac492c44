"""What the simulator's kernel works on: one setting and one state, each a flat array with named places.

Flat, because numba counts references to every array it takes out of a tuple: with two arrays as plain arguments the
same loop runs several times faster. Sizes depend on the largest scale, never on how many requests are simulated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lukewarm.costs.columns import BINS, COLUMNS, SLICES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Reals = NDArray[np.float64]
    Whole = NDArray[np.int64]

# places in the setting `c`
WINDOW, SLOTS, MAXIMUM, PINNED, REJECT, BATCH, BATCH_WAIT, BATCH_MARGINAL = range(8)
QUEUE_SHARE, PULL_SHARE, TEARDOWN, HIT_TAU, STEP, PER_REQUEST, SLICE_PER_S, HORIZON = range(8, 16)
SIDES = 16  # two times (six flags, rounds up, minimum)
SIDE = 8
UP, MINIMUM = 6, 7
HOURS = SIDES + 2 * SIDE  # instances kept, by hour of the week
SETTING = HOURS + 168

# places in the whole numbers `n`
HEAP, ALIVE, IDLE_HEAD, IDLE_TAIL, FREE_TOP, AVAIL_HEAD, CURRENT, CURRENT_ROOM = range(8)
OPEN_OF, OPEN_N, FLOOR, NEXT_D, BUSY_ALL, PEAK, HEAP_N, HEAP_F, OPEN_F = range(8, 17)
WAIT_BINS = 32
LATENCY_BINS = WAIT_BINS + BINS
EACH_N = LATENCY_BINS + BINS  # then 8 places per instance
BUSY, IDLE_NEXT, IDLE_PREV, AVAIL_NEXT, AVAIL_PREV, FREE = range(6)

# places in the reals `f`
OPEN_BEGIN, OPEN_SERVICE, BOUNDARY, FLOOR_AT, FLOOR_S, LAST_DOWN, WAIT_MAX = range(7)
SUMS = 8
EACH_F = SUMS + SLICES * COLUMNS  # then 8 places per instance
READY, IDLE_AT, ACTIVE_AT, LIFE_ACTIVE, LIFE_IDLE, LIFE_SETUP = range(6)


def new_state(c: Reals) -> tuple[Reals, Whole]:
    """An empty service (reals, whole numbers) with room for the setting's largest scale."""
    most = int(c[MAXIMUM])
    slots = most * int(c[SLOTS])
    f = np.zeros(EACH_F + 8 * most + slots + 1 + int(c[BATCH]))
    n = np.zeros(EACH_N + 8 * most + slots + 1, dtype=np.int64)
    n[[IDLE_HEAD, IDLE_TAIL, AVAIL_HEAD, CURRENT]] = -1
    n[HEAP_N] = EACH_N + 8 * most
    n[HEAP_F] = EACH_F + 8 * most
    n[OPEN_F] = n[HEAP_F] + slots + 1
    n[FREE_TOP] = most
    n[EACH_N + FREE : EACH_N + 8 * most : 8] = np.arange(most - 1, -1, -1)
    f[BOUNDARY] = 0.0 if c[HOURS:].any() else np.inf
    f[LAST_DOWN] = -np.inf
    return f, n
