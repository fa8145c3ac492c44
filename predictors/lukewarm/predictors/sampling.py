"""Choosing the next token from logits, in numpy: the steps, their order and their edges are those of transformers.

Repetition penalty over prompt and new tokens, temperature, top-k (ties with the k-th stay), top-p (the smallest set
that holds at least that much probability). Each request draws from its own generator, whoever its neighbours are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lukewarm.predictors.generation import Settings, require_number

if TYPE_CHECKING:
    import numpy.typing as npt

    from lukewarm.predictors.generation import FloatArray, IntArray


_BLOCK = 512  # tokens that a draw sums up at once


class Sampler:
    """The choices of one row, from its first token to its last."""

    def __init__(self, settings: Settings, prompt_ids: Sequence[int]) -> None:
        self.settings = settings
        self._seen = np.unique(np.array(prompt_ids, np.int64)) if settings.repetition_penalty != 1 else None
        self._end_ids = np.array(sorted(settings.end_ids), np.int64)
        self._random = None if settings.greedy else np.random.Generator(np.random.Philox(settings.seed))

    def pick(self, logits: FloatArray) -> int:
        """The next token for logits [vocab]. Raises UnsupportedError if they are not numbers."""
        if self._random is None and self._seen is None:  # mostly the best is no end token, and nothing is copied
            token = int(logits.argmax())
            if not (self.settings.ignore_eos and token in self.settings.end_ids):
                require_number(float(logits[token]))
                return token
        scores = self.adjust(logits)
        if self._random is None:
            token = int(scores.argmax())
            require_number(float(scores[token]))
        else:
            token = draw(*distribution(scores, self.settings), self._random.random())
        self.note(token)
        return token

    def adjust(self, logits: FloatArray) -> FloatArray:
        """Logits after the repetition penalty, and without end tokens where they are to be ignored."""
        if self._seen is None and not self.settings.ignore_eos:
            return logits
        scores = logits.copy()
        if self._seen is not None:
            penalty = np.float32(self.settings.repetition_penalty)
            seen = scores[self._seen]
            scores[self._seen] = np.where(seen < 0, seen * penalty, seen / penalty)
        if self.settings.ignore_eos:
            scores[self._end_ids[self._end_ids < scores.size]] = -np.inf
        return scores

    def note(self, token: int) -> None:
        """Count a token as seen, for the repetition penalty."""
        if self._seen is not None:
            place = int(np.searchsorted(self._seen, token))
            if place == len(self._seen) or self._seen[place] != token:
                self._seen = np.insert(self._seen, place, token)


def distribution(scores: FloatArray, settings: Settings) -> tuple[IntArray | None, FloatArray]:
    """The tokens left after temperature, top-k and top-p (None: all), and their weights, in the order of ids.

    Weights are probabilities up to a common factor: nothing is computed over the vocabulary that a draw does not need.
    """
    ids: IntArray | None = None
    top_k = settings.top_k
    if 0 < top_k < scores.size:
        last = scores.size - top_k
        ids = np.flatnonzero(scores >= np.partition(scores, last)[last])
        scores = scores[ids]
    best = scores.max()
    require_number(float(best))
    weights = scores - best
    weights /= np.float32(settings.temperature)
    np.exp(weights, out=weights)
    if settings.top_p < 1:
        kept = nucleus(weights, settings.top_p)
        ids = kept if ids is None else ids[kept]
        weights = weights[kept]
    return ids, weights


def nucleus(weights: FloatArray, top_p: float) -> IntArray:
    """Indices, ascending, of the smallest set of heaviest tokens that hold `top_p` of all weight; at least one.

    As in transformers, the lightest go while their sum stays within 1 - top_p; of equals, lower ids go first.
    """
    total = float(weights.sum(dtype=np.float64))
    spare = (1.0 - top_p) * total
    # all tokens at or below spare/n sum up to at most `spare`, so they go without being sorted
    likely = np.flatnonzero(weights > spare / weights.size)
    if likely.size == 0:
        return np.array([weights.size - 1 - weights[::-1].argmax()], np.int64)
    order = likely[np.argsort(weights[likely], kind="stable")]
    sums = np.cumsum(weights[order], dtype=np.float64)
    gone = max(0.0, total - float(sums[-1])) + sums <= spare
    gone[-1] = False
    return np.sort(order[~gone])


def draw(ids: IntArray | None, weights: FloatArray, uniform: float) -> int:
    """The token at `uniform` (in [0, 1)) of the cumulated weights, found by blocks: no other array of its size."""
    sums = np.cumsum(np.add.reduceat(weights, np.arange(0, weights.size, _BLOCK), dtype=np.float64))
    target = uniform * float(sums[-1])
    block = _place(sums, target)
    inside = np.cumsum(weights[block * _BLOCK : (block + 1) * _BLOCK], dtype=np.float64)
    place = block * _BLOCK + _place(inside, target - (float(sums[block - 1]) if block else 0.0))
    return place if ids is None else int(ids[place])


def _place(sums: npt.NDArray[np.float64], target: float) -> int:
    """The first place whose sum is over the target; rounding never leads past the last place with weight."""
    return int(min(np.searchsorted(sums, target, side="right"), np.searchsorted(sums, sums[-1], side="left")))
