"""Durations with a spread: service times and cold starts, as constants, laws, samples and mixtures of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lukewarm.costs.closed import Moments
from lukewarm.predictors.errors import PriceError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Reals = NDArray[np.float64]


class Distribution(Protocol):
    """Anything that can draw durations in seconds and knows its first two moments."""

    @property
    def moments(self) -> Moments: ...

    def draw(self, rng: np.random.Generator, count: int) -> Reals: ...


@dataclass(frozen=True)
class Constant:
    value_s: float

    def __post_init__(self) -> None:
        _not_negative("a duration", self.value_s)

    @property
    def moments(self) -> Moments:
        return Moments.constant(self.value_s)

    def draw(self, rng: np.random.Generator, count: int) -> Reals:
        import numpy as np

        return np.full(count, self.value_s)


@dataclass(frozen=True)
class Exponential:
    mean_s: float

    def __post_init__(self) -> None:
        _not_negative("a mean", self.mean_s)

    @property
    def moments(self) -> Moments:
        return Moments.exponential(self.mean_s)

    def draw(self, rng: np.random.Generator, count: int) -> Reals:
        return rng.standard_exponential(count) * self.mean_s


@dataclass(frozen=True)
class LogNormal:
    """Log-normal with the given mean and coefficient of variation (standard deviation over mean)."""

    mean_s: float
    cv: float

    def __post_init__(self) -> None:
        _not_negative("a mean", self.mean_s)
        _not_negative("a coefficient of variation", self.cv)

    @property
    def moments(self) -> Moments:
        return Moments(self.mean_s, self.mean_s**2 * (1 + self.cv**2))

    def draw(self, rng: np.random.Generator, count: int) -> Reals:
        import numpy as np

        if self.mean_s == 0:
            return np.zeros(count)
        sigma2 = math.log(1 + self.cv**2)
        return rng.lognormal(math.log(self.mean_s) - sigma2 / 2, math.sqrt(sigma2), count)


@dataclass(frozen=True)
class Empirical:
    """Draws one of the measured values, each as likely as the others."""

    values_s: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values_s:
            raise PriceError("an empirical distribution needs at least one value")
        for number, value in enumerate(self.values_s, 1):
            _not_negative(f"value {number} of the sample", value)

    @property
    def moments(self) -> Moments:
        n = len(self.values_s)
        return Moments(sum(self.values_s) / n, sum(v * v for v in self.values_s) / n)

    def draw(self, rng: np.random.Generator, count: int) -> Reals:
        import numpy as np

        return np.asarray(self.values_s, dtype=np.float64)[rng.integers(0, len(self.values_s), count)]


@dataclass(frozen=True)
class Mixture:
    """One of several distributions, chosen by share: measured cold starts have two peaks, a hit and a miss."""

    parts: tuple[tuple[float, Distribution], ...]

    def __post_init__(self) -> None:
        shares = [share for share, _ in self.parts]
        if not shares or min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
            raise PriceError(f"the shares of a mixture must not be negative and add up to 1, got {shares}")

    @property
    def moments(self) -> Moments:
        first = sum(share * part.moments.mean for share, part in self.parts)
        return Moments(first, sum(share * part.moments.second for share, part in self.parts))

    def draw(self, rng: np.random.Generator, count: int) -> Reals:
        import numpy as np

        edges = np.cumsum([share for share, _ in self.parts])[:-1]
        which = np.searchsorted(edges, rng.random(count), side="right")
        drawn = np.empty(count)
        for number, (_, part) in enumerate(self.parts):
            mask = which == number
            drawn[mask] = part.draw(rng, int(mask.sum()))
        return drawn


@dataclass(frozen=True)
class Scaled:
    """Another distribution, every duration times a factor."""

    part: Distribution
    factor: float

    @property
    def moments(self) -> Moments:
        own = self.part.moments
        return Moments(own.mean * self.factor, own.second * self.factor**2)

    def draw(self, rng: np.random.Generator, count: int) -> Reals:
        return self.part.draw(rng, count) * self.factor


def parse(text: str) -> Distribution:
    """A distribution from text: `2.5`, `exp:2.5`, `lognormal:2.5,0.8` (mean, cv), `file:PATH`, `0.7*6+0.3*exp:100`.

    A file holds one duration in seconds a line. Raises PriceError naming what was not understood.
    """
    text = text.strip()
    if "*" in text:
        parts = []
        for term in text.split("+"):
            share, star, rest = term.partition("*")
            if not star:
                raise PriceError(f"{text!r}: each term of a mixture is SHARE*DISTRIBUTION, got {term.strip()!r}")
            parts.append((_number(share, text), parse(rest)))
        return Mixture(tuple(parts))
    kind, colon, arguments = text.partition(":")
    if not colon:
        return Constant(_number(text, text))
    if kind == "file":
        return _from_file(Path(arguments))
    numbers = [_number(a, text) for a in arguments.split(",")]
    if kind in ("exp", "exponential") and len(numbers) == 1:
        return Exponential(numbers[0])
    if kind == "lognormal" and len(numbers) == 2:
        return LogNormal(*numbers)
    raise PriceError(f"{text!r} is no duration; write 2.5, exp:2.5, lognormal:2.5,0.8, file:PATH or 0.7*6+0.3*100")


def _from_file(path: Path) -> Empirical:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PriceError(f"{path}: cannot read the durations: {error}") from error
    values = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                values.append(float(line))
                _not_negative("a duration", values[-1])
            except (ValueError, PriceError) as error:
                raise PriceError(f"{path}:{number}: {line.strip()!r} is no duration in seconds") from error
    return Empirical(tuple(values))


def _number(text: str, whole: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise PriceError(f"{whole!r}: {text.strip()!r} is no number") from error


def _not_negative(what: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise PriceError(f"{what} of {value!r} s: a finite number that is not negative is needed")
