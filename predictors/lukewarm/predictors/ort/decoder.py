"""One run of a decoder graph as a `Decoder`: every buffer is bound once, a step writes a few integers and runs."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lukewarm.predictors.ort.cache import KeyValueCache
from lukewarm.predictors.ort.parts import BoundRun, Parts

if TYPE_CHECKING:
    from lukewarm.predictors.generation import FloatArray, IntArray

    Array = np.ndarray[Any, np.dtype[Any]]

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
        self._cache: KeyValueCache = KeyValueCache.make(layers, 0, 0, "cpu")

    def prefill(self, ids: IntArray, lengths: IntArray, capacity: int) -> FloatArray:
        batch, longest = ids.shape
        self._begin(batch, capacity)
        self._lengths = lengths.astype(np.int32)
        if batch * longest <= _CHUNK_TOKENS:
            last = np.arange(batch) * longest + lengths - 1
            logits = self._read(ids, self._lengths, last, self._cache)
        else:
            logits = np.concatenate([self._read_row(ids[row, : lengths[row]], row) for row in range(batch)])
        self._bind_step(batch)
        return logits

    def step(self, tokens: IntArray) -> FloatArray:
        inputs = self._inputs
        inputs["input_ids"][:, 0] = tokens
        if self._parts.takes_positions:
            inputs["position_ids"][:, 0] = self._lengths
        inputs["seqlens_k"][:] = self._lengths
        self._lengths += 1
        inputs["total_len"][...] = self._lengths.max()
        if self._parts.device != "cpu":  # there a bound input is a copy, made when it is bound
            self._bound.bind_inputs(inputs)
        self._bound.run(self._cancel, watch=False)
        return self._bound.logits

    def keep(self, rows: IntArray) -> None:
        self._cache = self._cache.keep(rows, int(self._lengths.max()))
        self._lengths = self._lengths[rows]
        self._bind_step(len(rows))

    def score(self, token_ids: Sequence[int]) -> FloatArray:
        """Logits [len(token_ids), vocab]: as in a real answer first read in chunks, the end of it step by step."""
        ids = np.array(token_ids, np.int64)
        read = max((len(ids) + 1) // 2, len(ids) - _STEPS_SCORED)
        self._begin(1, len(ids))
        found = []
        for start in range(0, read, _CHUNK_TOKENS):
            chunk = ids[None, start : min(start + _CHUNK_TOKENS, read)]
            self._lengths = np.array([start + chunk.shape[1]], np.int32)
            found.append(self._read(chunk, self._lengths, np.arange(chunk.shape[1]), self._cache, start).copy())
        self._bind_step(1)
        return np.concatenate([*found, *(self.step(ids[place : place + 1]).copy() for place in range(read, len(ids)))])

    def _begin(self, batch: int, capacity: int) -> None:
        self._cache = KeyValueCache.make(self._layers, batch, capacity, self._parts.device)

    def _read_row(self, ids: IntArray, row: int) -> FloatArray:
        """Read one prompt in chunks into its part of the buffers; logits [1, vocab]."""
        logits: FloatArray | None = None
        for start in range(0, len(ids), _CHUNK_TOKENS):
            chunk = ids[None, start : start + _CHUNK_TOKENS]
            lengths = np.array([start + chunk.shape[1]], np.int32)
            logits = self._read(chunk, lengths, np.array([chunk.shape[1] - 1]), self._cache.row(row), start)
        assert logits is not None
        return logits

    def _read(self, ids: IntArray, lengths: Array, last: IntArray, cache: KeyValueCache, start: int = 0) -> FloatArray:
        """Append ids [batch, length] behind `start` tokens, so that rows have `lengths`; logits of positions `last`."""
        inputs: dict[str, Array] = {
            "input_ids": np.ascontiguousarray(ids),
            "seqlens_k": lengths - np.int32(1),
            "total_len": np.array(lengths.max(), np.int32),
            "last": last.astype(np.int64),
        }
        if self._parts.takes_positions:
            columns = np.arange(start, start + ids.shape[1])
            inputs["position_ids"] = np.ascontiguousarray(np.broadcast_to(columns, ids.shape))
        bound = BoundRun(self._parts, inputs, cache)
        bound.run(self._cancel, watch=ids.size >= _WATCHED_TOKENS)
        return bound.logits

    def _bind_step(self, batch: int) -> None:
        self._inputs: dict[str, Array] = {
            "input_ids": np.zeros((batch, 1), np.int64),
            "seqlens_k": np.zeros(batch, np.int32),
            "total_len": np.zeros((), np.int32),
            "last": np.arange(batch, dtype=np.int64),
        }
        if self._parts.takes_positions:
            self._inputs["position_ids"] = np.zeros((batch, 1), np.int64)
        self._bound = BoundRun(self._parts, self._inputs, self._cache)
