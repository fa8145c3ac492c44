"""Columns and bins of a simulation's sums, free of numpy so that results can be read anywhere."""

from __future__ import annotations

SLICES = 32
BINS = 64 * 36  # octaves of 64 equal parts, from BIN_LOW_S: within 1 % up to 79 days
BIN_LOW_S = 1e-4
# columns of the per-slice sums
N, WAIT, WAIT2, LATENCY, STARTS, COLD, ACTIVE, SETUP, IDLE, LIVES, LOW, HIGH, REJECTED, SEEN, SEEN_NONE = range(15)
COLUMNS = 15


def bin_middle_s(number: int) -> float:
    """The middle of a bin in seconds; 0 for the first, which holds what is below BIN_LOW_S."""
    if number == 0:
        return 0.0
    octave, part = divmod(number - 1, 64)
    return float(BIN_LOW_S * 2.0**octave * (1 + (part + 0.5) / 64))
