"""The generation loop over a `Decoder`: ragged batches, finished rows dropped, cancel seen at every token.

No numpy where every row takes its best token.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lukewarm.predictors.errors import CancelledError
from lukewarm.predictors.generation import Decoder, Row, Scores, Settings, require_number
from lukewarm.predictors.startup import light_numpy

if TYPE_CHECKING:
    from lukewarm.predictors.generation import FloatArray
    from lukewarm.predictors.sampling import Sampler


class ArrayScores:
    """`Scores` of logits [batch, vocab] in a numpy array."""

    def __init__(self, logits: FloatArray) -> None:
        self._logits = logits

    def best(self) -> list[int]:
        tokens: list[int] = self._logits.argmax(axis=-1).tolist()
        for row, token in enumerate(tokens):
            require_number(float(self._logits[row, token]))
        return tokens

    def logits(self) -> FloatArray:
        return self._logits


class Chooser:
    """The choices of one row, from its first token to its last."""

    def __init__(self, settings: Settings, prompt_ids: Sequence[int]) -> None:
        self._settings = settings
        self._prompt_ids = prompt_ids
        self.takes_best = settings.takes_best
        self._made = None if self.takes_best else self._sampler()

    def choose(self, best: int | None, scores: Scores, row: int) -> int:
        """The next token. `best` is the best of the row, where `takes_best`. Raises UnsupportedError."""
        if best is not None and not (self._settings.ignore_eos and best in self._settings.end_ids):
            return best
        self._made = self._made or self._sampler()
        return self._made.pick(scores.logits()[row])

    def _sampler(self) -> Sampler:
        return import_sampler()(self._settings, self._prompt_ids)


def import_sampler() -> type[Sampler]:
    """The class, and numpy with it."""
    with light_numpy():
        from lukewarm.predictors.sampling import Sampler

    return Sampler


def generate(decoder: Decoder, rows: Sequence[Row], cancel: threading.Event) -> Iterator[tuple[Row, str]]:
    """Run the rows to their ends. Yields a row with text that may go out, and each row at its end."""
    active = [(row, Chooser(row.settings, row.prompt_ids)) for row in rows]
    scores = _prefill(decoder, rows, cancel)
    while scores is not None and not cancel.is_set():
        tokens = choose(scores, [chooser for _, chooser in active])
        keep = []
        for index, ((row, _), token) in enumerate(zip(active, tokens, strict=True)):
            text = row.push(token)
            if row.finish is None:
                keep.append(index)
            if text or row.finish is not None:
                yield row, text
        if len(keep) < len(active):
            if not keep:
                return
            decoder.keep(keep)
            tokens = [tokens[index] for index in keep]
            active = [active[index] for index in keep]
        scores = None if cancel.is_set() else decoder.step(tokens)
    for row, _ in active:
        yield row, row.end("cancelled")


def choose(scores: Scores, choosers: Sequence[Chooser]) -> list[int]:
    """The next token of each row. Raises UnsupportedError if the scores are not numbers."""
    best = scores.best() if any(chooser.takes_best for chooser in choosers) else []
    return [
        chooser.choose(best[row] if chooser.takes_best else None, scores, row) for row, chooser in enumerate(choosers)
    ]


def _prefill(decoder: Decoder, rows: Sequence[Row], cancel: threading.Event) -> Scores | None:
    if cancel.is_set():
        return None
    capacity = max(len(row.prompt_ids) + row.settings.max_new_tokens for row in rows)
    try:
        return decoder.prefill([row.prompt_ids for row in rows], capacity)
    except CancelledError:
        return None
