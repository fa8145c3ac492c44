"""What a simulation found: fractions, means with their own confidence interval, percentiles, billed seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lukewarm.costs import columns as col
from lukewarm.costs.band import Band

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T_995 = 2.7440  # Student's t, 0.995 quantile, 31 degrees of freedom: the 99 % interval of 32 slices


@dataclass(frozen=True)
class Estimate:
    """A mean with the half width of its 99 % interval, from the 32 slices of the run."""

    mean: float
    half_width: float

    def holds(self, value: float) -> bool:
        return abs(value - self.mean) <= self.half_width


@dataclass(frozen=True, eq=False)
class Result:
    """Sums per slice of the run and histograms of constant size; figures are MODELLED."""

    sums: NDArray[np.float64]
    wait_bins: NDArray[np.int64]
    latency_bins: NDArray[np.int64]
    horizon_s: float
    floor_s: float
    wait_max_s: float
    instances_peak: int

    def total(self, *columns: int) -> float:
        return float(sum(self.sums[:, c].sum() for c in columns))

    @property
    def requests(self) -> int:
        """Requests that were served."""
        return round(self.total(col.N))

    @property
    def cold_fraction(self) -> float:
        """Requests that waited for an instance to start."""
        return self.total(col.COLD) / max(self.requests, 1)

    @property
    def start_fraction(self) -> float:
        """Requests that triggered a start."""
        return self.total(col.STARTS) / max(self.requests, 1)

    @property
    def rejected(self) -> int:
        return round(self.total(col.REJECTED))

    @property
    def wait_mean_s(self) -> float:
        return self.total(col.WAIT) / max(self.requests, 1)

    @property
    def latency_mean_s(self) -> float:
        return self.total(col.LATENCY) / max(self.requests, 1)

    @property
    def instances_mean(self) -> float:
        """Instances up on average, starting ones included."""
        return self.total(col.SETUP, col.ACTIVE, col.IDLE) / self.horizon_s

    @property
    def phases_s(self) -> dict[str, float]:
        """Seconds of starting (queue, pull and setup together), active and idle instances."""
        return {"start": self.total(col.SETUP), "active": self.total(col.ACTIVE), "idle": self.total(col.IDLE)}

    @property
    def billed_s(self) -> Band:
        low, high = self.total(col.LOW), self.total(col.HIGH)
        return Band(low, max(low, high))

    @property
    def kept_idle_s(self) -> Band:
        """Idle seconds of instances that were kept on purpose: at least what activity cannot have covered."""
        return Band(min(max(self.floor_s - self.total(col.ACTIVE), 0.0), self.floor_s), self.floor_s)

    def latency_s(self, quantile: float) -> float:
        return _quantile(self.latency_bins, quantile)

    def wait_s(self, quantile: float) -> float:
        return _quantile(self.wait_bins, quantile)

    def per_request(self, column: int) -> Estimate:
        """A sum over requests divided by the requests (a ratio of two random sums) with its 99 % interval."""
        return ratio(self.sums[:, column], self.sums[:, col.N])

    def per_arrival(self, column: int) -> Estimate:
        """As `per_request`, over all that came, refused ones included."""
        return ratio(self.sums[:, column], self.sums[:, col.N] + self.sums[:, col.REJECTED])

    def per_second(self, *columns: int) -> Estimate:
        """A sum over the run divided by its time, with its 99 % interval."""
        values = sum(self.sums[:, c] for c in columns)
        return ratio(values, values * 0 + self.horizon_s / len(self.sums))


def ratio(top: Any, bottom: Any) -> Estimate:
    """Sum over sum of 32 slices; the interval is that of the ratio estimator."""
    n = len(top)
    if bottom.sum() <= 0:
        return Estimate(math.nan, math.inf)
    mean = float(top.sum() / bottom.sum())
    residual = top - mean * bottom
    variance = float((residual**2).sum() / (n - 1) / n) / float(bottom.mean()) ** 2
    return Estimate(mean, T_995 * math.sqrt(variance))


def _quantile(bins: NDArray[np.int64], quantile: float) -> float:
    """A quantile from the logarithmic histogram, within 1 %; 0 where it falls on requests that did not wait."""
    total = int(bins.sum())
    if total == 0:
        return math.nan
    rank = max(math.ceil(quantile * total), 1)
    k = int((bins.cumsum() >= rank).argmax())
    return col.bin_middle_s(k)
