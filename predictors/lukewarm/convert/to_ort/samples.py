"""Text that a model says itself, drawn at temperature 1: what its weights are calibrated on.

It needs no text of anyone's and fits every language that a model speaks. Random numbers are seeded: one
machine makes the same rows again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

SEED = 0


def draw(graph: Path, layers: Sequence[Sequence[int]], first: Sequence[int], shape: tuple[int, int]) -> Array:
    """Token ids int64 [rows, length]. Rows begin with `first` and one token drawn evenly from the vocabulary."""
    import numpy as np

    from lukewarm.predictors.ort.decoder import OrtDecoder
    from lukewarm.predictors.ort.session import open_graph
    from lukewarm.predictors.predictor import NEVER, Runtime

    rows, length = shape
    session = open_graph(graph, Runtime(device="cpu"), prepack=True)
    decoder = OrtDecoder(session, [(int(heads), int(size)) for heads, size in layers], NEVER)
    random = np.random.default_rng(SEED)
    vocab = int(session.get_outputs()[0].shape[-1])
    found = np.empty((rows, length), np.int64)
    begun = len(first) + 1
    found[:, : len(first)] = first
    found[:, len(first)] = random.integers(0, vocab, rows)
    logits = decoder.prefill(found[:, :begun], np.full(rows, begun), length)
    for place in range(begun, length):
        found[:, place] = _pick(logits, random)
        if place + 1 < length:
            logits = decoder.step(found[:, place])
    return found


def _pick(logits: Array, random: Any) -> Array:
    """One token per row of logits [rows, vocab], by their probabilities."""
    import numpy as np

    total = np.exp(logits - logits.max(-1, keepdims=True)).cumsum(-1)
    picked: Array = (total < total[:, -1:] * random.random((len(logits), 1))).sum(-1)
    return picked
