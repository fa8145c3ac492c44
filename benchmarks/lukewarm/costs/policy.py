"""The scaling policy that is simulated: window, minimum and maximum, warm hours, concurrency and batching."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lukewarm.predictors.errors import PriceError

UNLIMITED = 4096  # instances at once; a service that needs more is refused rather than cut off silently
SLOTS = 1 << 20


@dataclass(frozen=True)
class WarmHours:
    """Keep `instances` up from `first` to `last` o'clock (24 hours, last excluded) on `days` (0 is Monday)."""

    first: int
    last: int
    days: tuple[int, ...] = (0, 1, 2, 3, 4)
    instances: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.first < self.last <= 24 or not set(self.days) <= set(range(7)) or self.instances < 1:
            raise PriceError(f"warm hours {self.first}-{self.last} on days {self.days}: hours 0 to 24, days 0 to 6")


@dataclass(frozen=True)
class Policy:
    """`window_s` is how long an idle instance stays. `routing` is `queue` (a waiting request takes whichever slot frees
    first) or `bound` (a request that finds no free instance waits for its own). `batch_marginal` is the extra time of
    each further item of a batch as a share of a lone one: 1 means batching gains nothing, 0 that it is free.
    """

    window_s: float
    min_instances: int = 0
    max_instances: int | None = None
    concurrency: int = 1
    warm: tuple[WarmHours, ...] = ()
    batch: int = 1
    batch_wait_s: float = 0.0
    batch_marginal: float = 1.0
    routing: str = "queue"
    reject: bool = False

    def __post_init__(self) -> None:
        if math.isnan(self.window_s) or self.window_s < 0:
            raise PriceError(f"an idle window of {self.window_s!r} s: a number that is not negative is needed")
        if self.min_instances < 0 or self.concurrency < 1 or self.batch < 1:
            raise PriceError("min_instances must be 0 or more, concurrency and batch 1 or more")
        if self.max_instances is not None and not max(self.min_instances, 1) <= self.max_instances <= UNLIMITED:
            raise PriceError(
                f"max_instances {self.max_instances} must be between {max(self.min_instances, 1)} and {UNLIMITED}"
            )
        if self.routing not in ("queue", "bound"):
            raise PriceError(f"routing {self.routing!r}: queue or bound")
        if self.routing == "bound" and (self.concurrency > 1 or self.batch > 1):
            raise PriceError("routing 'bound' gives every request its own instance: concurrency and batch must be 1")
        if self.batch_wait_s < 0 or not 0 <= self.batch_marginal <= 1:
            raise PriceError("batch_wait_s must not be negative and batch_marginal lie between 0 and 1")
        if self.concurrency > SLOTS or self.concurrency * self.maximum > SLOTS:
            raise PriceError(f"{self.maximum} instances of {self.concurrency} slots: at most {SLOTS} slots at once")

    @property
    def maximum(self) -> int:
        """The largest scale; where none is set, as many as the simulator has room for."""
        return min(UNLIMITED, SLOTS // self.concurrency) if self.max_instances is None else self.max_instances

    def hours(self) -> list[int]:
        """Instances to keep up, for each of the 168 hours of the week."""
        table = [self.min_instances] * 168
        for warm in self.warm:
            for day in warm.days:
                for hour in range(warm.first, warm.last):
                    table[day * 24 + hour] = max(table[day * 24 + hour], warm.instances)
        if max(table) > self.maximum:
            raise PriceError(f"warm hours keep {max(table)} instances, max_instances is {self.maximum}")
        return table
