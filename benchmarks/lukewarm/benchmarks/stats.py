"""Medians with their spread: order-statistic intervals, bootstrap intervals of ratios. Never a minimum alone."""

from __future__ import annotations

import math
import operator
import random
import statistics
from collections.abc import Callable, Sequence

import msgspec

CONFIDENCE = 0.95
RESAMPLES = 2000


class Figure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One quantity measured `n` times. `low` to `high` holds the true median with probability `coverage`."""

    unit: str
    n: int
    median: float
    low: float
    high: float
    coverage: float
    min: float
    max: float
    samples: list[float]


class Ratio(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ratio or difference of two medians with its 95 % bootstrap interval; `n` counts the samples of both."""

    value: float
    low: float
    high: float
    n: tuple[int, int]


def figure(samples: Sequence[float], unit: str) -> Figure:
    """Summarise samples, kept in the order in which they were taken. Raises ValueError if there are none."""
    values = [float(value) for value in samples]
    if not values or not all(math.isfinite(value) for value in values):
        raise ValueError(f"a figure needs finite samples, got {values!r}")
    low, high, coverage = median_interval(values)
    return Figure(
        unit=unit,
        n=len(values),
        median=statistics.median(values),
        low=low,
        high=high,
        coverage=round(coverage, 4),
        min=min(values),
        max=max(values),
        samples=values,
    )


def median_interval(samples: Sequence[float]) -> tuple[float, float, float]:
    """The narrowest symmetric pair of order statistics that covers the median with 95 %, and its coverage.

    Distribution-free. With fewer than 6 samples nothing reaches 95 %: then the whole range, with the coverage it has.
    """
    ordered = sorted(samples)
    n = len(ordered)
    best = 0
    for k in range(1, n // 2 + n % 2):
        if _coverage(n, k) < CONFIDENCE:
            break
        best = k
    return ordered[best], ordered[n - 1 - best], _coverage(n, best)


def _coverage(n: int, k: int) -> float:
    """P(x[k] <= median <= x[n-1-k]) for continuous samples: at least k+1 below and k+1 above."""
    return max(0.0, 1.0 - 2.0 * sum(math.comb(n, i) for i in range(k + 1)) / 2.0**n)


def ratio(above: Sequence[float], below: Sequence[float]) -> Ratio:
    """median(above) / median(below), resampled 2,000 times from a fixed seed."""
    return _compared(above, below, operator.truediv)


def difference(one: Sequence[float], other: Sequence[float]) -> Ratio:
    """median(one) - median(other), resampled as a ratio is."""
    return _compared(one, other, operator.sub)


def _compared(one: Sequence[float], other: Sequence[float], how: Callable[[float, float], float]) -> Ratio:
    value = how(statistics.median(one), statistics.median(other))
    chance = random.Random(0)
    draws = sorted(
        how(statistics.median(chance.choices(one, k=len(one))), statistics.median(chance.choices(other, k=len(other))))
        for _ in range(RESAMPLES)
    )
    tail = round(RESAMPLES * (1 - CONFIDENCE) / 2)
    return Ratio(value=value, low=draws[tail], high=draws[-1 - tail], n=(len(one), len(other)))
