"""A low and a high: the arithmetic of figures that are not known exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Band:
    """`low <= high`; equal where the figure is known. Only sums and products of what is not negative are needed."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.high or math.isnan(self.high):
            raise ValueError(f"a band needs low <= high, got {self.low} and {self.high}")

    @classmethod
    def exact(cls, value: float) -> Band:
        return cls(value, value)

    @property
    def known(self) -> bool:
        return self.low == self.high

    def __add__(self, other: Band) -> Band:
        return Band(self.low + other.low, self.high + other.high)

    def __mul__(self, other: Band | float) -> Band:
        """The product with a band or a number, neither of them negative."""
        by = other if isinstance(other, Band) else Band(other, other)
        return Band(self.low * by.low, self.high * by.high)

    def less(self, usd: float) -> Band:
        """What is left when `usd` is taken off, never below zero."""
        return Band(max(self.low - usd, 0.0), max(self.high - usd, 0.0))

    def text(self, digits: int = 2) -> str:
        """`1.20` or `1.20-1.85`."""
        low, high = f"{self.low:,.{digits}f}", f"{self.high:,.{digits}f}"
        return low if low == high else f"{low}-{high}"


ZERO = Band(0.0, 0.0)
