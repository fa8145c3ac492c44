"""The generation loop over a `Decoder`, in numpy: ragged batches, finished rows dropped, cancel seen at every token."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lukewarm.predictors.errors import CancelledError
from lukewarm.predictors.generation import Decoder, Row
from lukewarm.predictors.sampling import Sampler

if TYPE_CHECKING:
    from lukewarm.predictors.generation import FloatArray, IntArray


def generate(decoder: Decoder, rows: Sequence[Row], cancel: threading.Event) -> Iterator[tuple[Row, str]]:
    """Run the rows to their ends. Yields a row with text that may go out, and each row at its end."""
    active = [(row, Sampler(row.settings, row.prompt_ids)) for row in rows]
    logits = _prefill(decoder, rows, cancel)
    while logits is not None and not cancel.is_set():
        tokens = choose(logits, [sampler for _, sampler in active])
        keep = []
        for index, ((row, _), token) in enumerate(zip(active, tokens.tolist(), strict=True)):
            text = row.push(token)
            if row.finish is None:
                keep.append(index)
            if text or row.finish is not None:
                yield row, text
        if len(keep) < len(active):
            if not keep:
                return
            kept = np.array(keep, np.int64)
            decoder.keep(kept)
            tokens = tokens[kept]
            active = [active[index] for index in keep]
        logits = None if cancel.is_set() else decoder.step(tokens)
    for row, _ in active:
        yield row, row.end("cancelled")


def choose(logits: FloatArray, samplers: Sequence[Sampler]) -> IntArray:
    """The next token of each row, from logits [batch, vocab]."""
    if all(sampler.plain for sampler in samplers):
        tokens: IntArray = logits.argmax(axis=-1)
        for row, token in enumerate(tokens):
            samplers[row].check(logits[row, token])
        return tokens
    return np.array([sampler.pick(logits[row]) for row, sampler in enumerate(samplers)], np.int64)


def pad(prompts: Sequence[Sequence[int]]) -> tuple[IntArray, IntArray]:
    """Token ids [batch, longest], padded on the right with zeros, and the real lengths [batch]."""
    lengths = np.array([len(prompt) for prompt in prompts], np.int64)
    ids = np.zeros((len(prompts), int(lengths.max())), np.int64)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = prompt
    return ids, lengths


def _prefill(decoder: Decoder, rows: Sequence[Row], cancel: threading.Event) -> FloatArray | None:
    if cancel.is_set():
        return None
    ids, lengths = pad([row.prompt_ids for row in rows])
    capacity = max(len(row.prompt_ids) + row.settings.max_new_tokens for row in rows)
    try:
        return decoder.prefill(ids, lengths, capacity)
    except CancelledError:
        return None
