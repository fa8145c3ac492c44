"""One run of a decoder graph as a `Decoder`: every buffer is bound once, a step writes a few integers and runs.

No numpy before somebody asks for logits.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lukewarm.predictors.ort.buffers import Integers
from lukewarm.predictors.ort.cache import KeyValueCache
from lukewarm.predictors.ort.parts import BoundRun, Parts

if TYPE_CHECKING:
    from lukewarm.predictors.generation import FloatArray, Scores

# more tokens than this are read row by row, in chunks: attention holds heads * chunk * length scores at once
_CHUNK_TOKENS = 1024
_STEPS_SCORED = 64
_WATCHED_TOKENS = 128  # shorter runs end before a watching thread could matter


class OrtDecoder:
    """Rows of different lengths stand side by side without padding: the attention operator knows each row's length."""

    def __init__(self, parts: Parts, layers: Sequence[tuple[int, int]], cancel: threading.Event) -> None:
        """`layers`: (key/value heads, head size) of each."""
        self._parts = parts
        self._layers = layers
        self._cancel = cancel
        self._lengths: list[int] = []
        self._cache: KeyValueCache

    def prefill(self, prompts: Sequence[Sequence[int]], capacity: int) -> Scores:
        self._begin(len(prompts), capacity)
        self._lengths = [len(prompt) for prompt in prompts]
        longest = max(self._lengths)
        scores: Scores
        if len(prompts) * longest <= _CHUNK_TOKENS:
            last = [row * longest + length - 1 for row, length in enumerate(self._lengths)]
            scores = self._read(prompts, self._lengths, last, self._cache)
        else:
            scores = _Joined([self._read_row(prompt, row) for row, prompt in enumerate(prompts)])
        self._bind_step(len(prompts))
        return scores

    def step(self, tokens: Sequence[int]) -> Scores:
        inputs = self._inputs
        inputs["input_ids"].write(tokens)
        if self._parts.takes_positions:
            inputs["position_ids"].write(self._lengths)
        inputs["seqlens_k"].write(self._lengths)
        self._lengths = [length + 1 for length in self._lengths]
        inputs["total_len"].items[0] = max(self._lengths)
        if self._parts.device != "cpu":  # there a bound input is a copy, made when it is bound
            self._bound.bind_inputs()
        self._bound.run(self._cancel, watch=False)
        return self._bound

    def keep(self, rows: Sequence[int]) -> None:
        self._cache = self._cache.keep(rows, max(self._lengths))
        self._lengths = [self._lengths[row] for row in rows]
        self._bind_step(len(rows))

    def score(self, token_ids: Sequence[int]) -> FloatArray:
        """Logits [len(token_ids), vocab]: as in a real answer first read in chunks, the end of it step by step."""
        import numpy as np

        read = max((len(token_ids) + 1) // 2, len(token_ids) - _STEPS_SCORED)
        self._begin(1, len(token_ids))
        found: list[FloatArray] = []
        for start in range(0, read, _CHUNK_TOKENS):
            chunk = token_ids[start : min(start + _CHUNK_TOKENS, read)]
            self._lengths = [start + len(chunk)]
            found.append(self._read([chunk], self._lengths, range(len(chunk)), self._cache, start).logits())
        self._bind_step(1)
        found += [self.step([token]).logits().copy() for token in token_ids[read:]]
        return np.concatenate(found)

    def _begin(self, batch: int, capacity: int) -> None:
        self._cache = KeyValueCache.make(self._layers, batch, capacity, self._parts.device)

    def _read_row(self, prompt: Sequence[int], row: int) -> Scores:
        """Read one prompt in chunks into its part of the buffers."""
        scores: Scores | None = None
        for start in range(0, len(prompt), _CHUNK_TOKENS):
            chunk = prompt[start : start + _CHUNK_TOKENS]
            scores = self._read([chunk], [start + len(chunk)], [len(chunk) - 1], self._cache.row(row), start)
        assert scores is not None
        return scores

    def _read(
        self,
        prompts: Sequence[Sequence[int]],
        lengths: Sequence[int],
        last: Sequence[int],
        cache: KeyValueCache,
        start: int = 0,
    ) -> BoundRun:
        """Append the prompts behind `start` tokens, so that rows have `lengths`; scores of the positions `last`."""
        batch, longest = len(prompts), max(len(prompt) for prompt in prompts)
        inputs = {
            "input_ids": Integers(
                "int64", [batch, longest], [i for row in prompts for i in [*row, *[0] * (longest - len(row))]]
            ),
            "seqlens_k": Integers("int32", [batch], [length - 1 for length in lengths]),
            "total_len": Integers("int32", [], [max(lengths)]),
            "last": Integers("int64", [len(last)], last),
        }
        if self._parts.takes_positions:
            inputs["position_ids"] = Integers("int64", [batch, longest], [*range(start, start + longest)] * batch)
        bound = BoundRun(self._parts, inputs, cache)
        bound.run(self._cancel, watch=batch * longest >= _WATCHED_TOKENS)
        return bound

    def _bind_step(self, batch: int) -> None:
        self._inputs = {
            "input_ids": Integers("int64", [batch, 1]),
            "seqlens_k": Integers("int32", [batch]),
            "total_len": Integers("int32", []),
            "last": Integers("int64", [batch], range(batch)),
        }
        if self._parts.takes_positions:
            self._inputs["position_ids"] = Integers("int64", [batch, 1])
        self._bound = BoundRun(self._parts, self._inputs, self._cache)


class _Joined:
    """The scores of rows that were read one by one."""

    def __init__(self, rows: Sequence[Scores]) -> None:
        self._rows = rows
        self._logits: FloatArray | None = None

    def best(self) -> list[int]:
        return [token for row in self._rows for token in row.best()]

    def logits(self) -> FloatArray:
        if self._logits is None:
            import numpy as np

            self._logits = np.concatenate([row.logits() for row in self._rows])
        return self._logits
