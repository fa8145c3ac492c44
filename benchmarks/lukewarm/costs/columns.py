"""Columns and bins of a simulation's sums, free of numpy so that results can be read anywhere."""

from __future__ import annotations

import math

SLICES = 32
BINS = 2400
BIN_LOW_S = 1e-4
BIN_RATIO = 1.01
BIN_PER_LOG = 1 / math.log(BIN_RATIO)
# columns of the per-slice sums
N, WAIT, WAIT2, LATENCY, STARTS, COLD, ACTIVE, SETUP, IDLE, LIVES, LOW, HIGH, REJECTED, SEEN, SEEN_NONE = range(15)
COLUMNS = 15
