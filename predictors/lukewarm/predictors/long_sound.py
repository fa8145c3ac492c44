"""Sounds longer than a model hears at once: windows that overlap, and one text from theirs.

The windows and the joins are those of transformers' pipeline with `chunk_length_s`: each window shares a sixth of its
length with its neighbours, and two token sequences are joined in the middle of what they share best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """Samples `start` to `end`; the first `left` and last `right` of them are its neighbours' business."""

    start: int
    end: int
    left: int
    right: int


def windows(length: int, longest: int, unit: int = 1) -> list[Window]:
    """One window for all if `length` samples fit into `longest`, else several; sizes are multiples of `unit`."""
    if length <= longest:
        return [Window(0, length, 0, 0)]
    longest = longest // unit * unit
    shared = round(longest / 6 / unit) * unit
    found = []
    for start in range(0, length, longest - 2 * shared):
        last = start + longest >= length
        found.append(Window(start, min(length, start + longest), shared if start else 0, 0 if last else shared))
        if last:
            break
    return found


def join(sequences: Sequence[Sequence[int]]) -> list[int]:
    """One token sequence from those of overlapping windows."""
    whole: list[int] = []
    left = list(sequences[0])
    for right in sequences[1:]:
        keep, begin = _seam(left, right)
        whole += left[:keep]
        left = list(right[begin:])
    return whole + left


def _seam(left: Sequence[int], right: Sequence[int]) -> tuple[int, int]:
    """How many tokens of `left` stay, and from where `right` goes on: the middle of the best overlap.

    Every way to lay the end of `left` over the beginning of `right` is scored by its share of equal tokens, a longer
    one a little better; fewer than two equal tokens are no overlap.
    """
    best, seam = 0.0, (len(left), 0)
    for shift in range(1, len(left) + len(right)):
        first, last = max(0, len(left) - shift), min(len(left), len(left) + len(right) - shift)
        begin, end = max(0, shift - len(left)), min(len(right), shift)
        equal = sum(a == b for a, b in zip(left[first:last], right[begin:end], strict=True))
        score = equal / shift + shift / 10_000
        if equal > 1 and score > best:
            best, seam = score, ((first + last) // 2, (begin + end) // 2)
    return seam
