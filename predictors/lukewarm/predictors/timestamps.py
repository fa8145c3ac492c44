"""Whisper's timestamps: which of them may come next, and from tokens to segments with times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Clock:
    """The tokens that are times: `first` is 0.00, each one after it `step_s` later."""

    first: int
    silent: int  # the token that says: no times
    ends: int  # the first special token: below it are words
    step_s: float = 0.02
    latest_start: int | None = None  # steps; where a window's first segment may begin at the latest


def restrict(scores: Any, new: Sequence[int], clock: Clock) -> None:
    """Forbid what may not follow `new`, in place: times stand in pairs, never run back, and open every window.

    If all times together are likelier than any word, a time comes.
    """
    minus, first = -np.inf, clock.first
    scores[clock.silent] = minus
    after_time = bool(new) and new[-1] >= first
    if after_time:
        if len(new) < 2 or new[-2] >= first:
            scores[first:] = minus
        else:
            scores[: clock.ends] = minus
    times = [token for token in new if token >= first]
    if times:
        # the end of one segment may be the beginning of the next
        open_end = after_time and not (len(new) < 2 or new[-2] >= first)
        scores[first : times[-1] + (0 if open_end else 1)] = minus
    if not new:
        scores[:first] = minus
        if clock.latest_start is not None:
            scores[first + clock.latest_start + 1 :] = minus
    words = scores[:first].max()
    top = scores.max()
    if np.isfinite(top):
        together = np.log(np.exp(scores[first:] - top, dtype=np.float64).sum() or 1e-300) + top
        if together > words:
            scores[:first] = minus


@dataclass(frozen=True)
class Piece:
    """Tokens between two times, in seconds from the window's beginning."""

    start_s: float
    end_s: float | None
    tokens: tuple[int, ...]


def pieces(tokens: Sequence[int], clock: Clock) -> list[Piece]:
    """The segments of one window's tokens; what stands behind the last time has no end."""
    found: list[Piece] = []
    start = 0.0
    words: list[int] = []
    for token in tokens:
        if token < clock.first:
            words.append(token)
            continue
        time = (token - clock.first) * clock.step_s
        if words:
            found.append(Piece(start, time, tuple(words)))
            words = []
        start = time
    if words:
        found.append(Piece(start, None, tuple(words)))
    return found


def finished(tokens: Sequence[int], clock: Clock) -> tuple[list[int], float | None]:
    """The tokens of a window's closed segments and how far they reach; all tokens and None where the window is done.

    A window is done that ends in a single time, since nothing was said behind it, or that has no pair of times.
    """
    pairs = [at for at in range(len(tokens) - 1) if min(tokens[at : at + 2]) >= clock.first]
    single = len(tokens) > 1 and tokens[-1] >= clock.first > tokens[-2]
    if single or not pairs:
        return list(tokens), None
    return list(tokens[: pairs[-1] + 1]), (tokens[pairs[-1]] - clock.first) * clock.step_s
