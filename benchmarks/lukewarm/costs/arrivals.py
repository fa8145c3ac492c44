"""When requests come: synthetic processes that yield times in chunks, so that memory does not grow with requests."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from lukewarm.costs.catalog import SECONDS_PER_MONTH
from lukewarm.costs.closed import check_rate
from lukewarm.predictors.errors import PriceError, unknown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Reals = NDArray[np.float64]

WEEK_S = 7 * 86400.0
CHUNK = 1 << 16


class Arrivals(Protocol):
    """A stream of arrival times in seconds from the start (Monday 00:00), ascending, below the horizon."""

    @property
    def rate(self) -> float:
        """Mean requests a second."""
        ...

    @property
    def period_s(self) -> float:
        """After how long the pattern repeats; 0 where there is none."""
        ...

    def chunks(self, rng: np.random.Generator, horizon_s: float) -> Iterator[Reals]: ...


@dataclass(frozen=True)
class Poisson:
    """Independent requests at a constant rate."""

    rate: float
    period_s: float = 0.0

    def __post_init__(self) -> None:
        check_rate(self.rate)

    def chunks(self, rng: np.random.Generator, horizon_s: float) -> Iterator[Reals]:
        yield from _renewal(lambda n: rng.standard_exponential(n) / self.rate, horizon_s)


@dataclass(frozen=True)
class Gamma:
    """Renewal arrivals with gamma gaps; `cv` above 1 is bursty (3 to 5 in published traces), below 1 regular."""

    rate: float
    cv: float
    period_s: float = 0.0

    def __post_init__(self) -> None:
        check_rate(self.rate)
        if not (self.cv > 0 and math.isfinite(self.cv)):
            raise PriceError(f"a coefficient of variation of {self.cv!r}: a positive number is needed")

    def chunks(self, rng: np.random.Generator, horizon_s: float) -> Iterator[Reals]:
        shape = 1 / self.cv**2
        yield from _renewal(lambda n: rng.gamma(shape, 1 / (shape * self.rate), n), horizon_s)


@dataclass(frozen=True)
class Varying:
    """Poisson arrivals whose rate follows a repeating table of equal steps, exact by inversion of its integral."""

    weights: tuple[float, ...] = field(repr=False)
    rate: float
    period_s: float = WEEK_S

    def __post_init__(self) -> None:
        check_rate(self.rate)
        if not self.weights or min(self.weights) < 0 or not sum(self.weights) > 0:
            raise PriceError("a traffic profile needs weights that are not negative and not all zero")

    def chunks(self, rng: np.random.Generator, horizon_s: float) -> Iterator[Reals]:
        import numpy as np

        weights = np.asarray(self.weights, dtype=np.float64)
        edges_s = np.linspace(0.0, self.period_s, weights.size + 1)
        integral = np.concatenate([[0.0], np.cumsum(weights)]) / weights.sum()  # share of a period's requests
        per_period = self.rate * self.period_s
        for mass in _renewal(lambda n: rng.standard_exponential(n) / per_period, math.inf):
            whole = np.floor(mass)
            times = whole * self.period_s + np.interp(mass - whole, integral, edges_s)
            if times[-1] >= horizon_s:
                yield times[times < horizon_s]
                return
            yield times


def _renewal(gaps: Callable[[int], Reals], horizon_s: float) -> Iterator[Reals]:
    """Cumulated gaps in chunks, up to the horizon."""
    import numpy as np

    last = 0.0
    while True:
        times = np.cumsum(gaps(CHUNK))
        times += last
        last = float(times[-1])
        if last >= horizon_s:
            yield times[: np.searchsorted(times, horizon_s)]
            return
        yield times


def _diurnal() -> tuple[float, ...]:
    """A day that peaks at 15:00 with a night at a tenth of it, hour by hour through the week."""
    return tuple(0.55 + 0.45 * math.cos(2 * math.pi * (hour % 24 - 15) / 24) for hour in range(168))


def _working_hours() -> tuple[float, ...]:
    """Monday to Friday, 09:00 to 17:00, and nothing else."""
    return tuple(float(hour < 120 and 9 <= hour % 24 < 17) for hour in range(168))


def _few_a_day() -> tuple[float, ...]:
    """A person's hours, 08:00 to 23:00 every day, and nobody at night."""
    return tuple(float(8 <= hour % 24 < 23) for hour in range(168))


def _front_page() -> tuple[float, ...]:
    """A quiet month with a day on a front page: minutes of rise, then a decay with a mean of 4 hours (5-minute steps).

    Half of the month's requests come with the spike, on the second Wednesday at 14:00.
    """
    steps, start = round(SECONDS_PER_MONTH / 300), ((9 * 24 + 14) * 12)
    spike = [0.0] * steps
    for k in range(start, min(start + 24 * 12, steps)):
        spike[k] = min((k - start + 1) / 2, 1.0) * math.exp(-(k - start) / 48)
    total = sum(spike)
    return tuple(0.5 / steps + 0.5 * s / total for s in spike)


PROFILES = ("steady", "bursty", "diurnal", "working-hours", "few-a-day", "front-page")


def profile(name: str, requests_per_month: float) -> Arrivals:
    """A named traffic profile with a mean of `requests_per_month` (a month is 730 hours)."""
    rate = requests_per_month / SECONDS_PER_MONTH
    if name == "steady":
        return Poisson(rate)
    if name == "bursty":
        return Gamma(rate, 4.0)
    if name == "diurnal":
        return Varying(_diurnal(), rate)
    if name == "working-hours":
        return Varying(_working_hours(), rate)
    if name == "few-a-day":
        return Varying(_few_a_day(), rate)
    if name == "front-page":
        return Varying(_front_page(), rate, SECONDS_PER_MONTH)
    raise PriceError(unknown("traffic profile", name, PROFILES))
