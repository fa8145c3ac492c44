"""Tries a transformers model in our loop at conversion: some have no cache, or one that batches or chunks upset.

Each way is held against one pass over the whole text without a cache. What a model cannot do goes into the bundle's
options: `chunks: false` (long prompts in one piece) and `batches: false` (rows one after another).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from lukewarm.convert.source import Source
from lukewarm.predictors.errors import LukewarmError, UnsupportedError
from lukewarm.predictors.hf.decoder import TorchDecoder, score

_LENGTHS = (5, 9)
_NEW = 3
# of the logits' spread, their largest difference; what goes wrong here goes wrong by all of it
_TOLERANCE = 0.05
# their mean difference: 8-bit products with outliers look at the whole batch, so single logits of a sound model are off
# by 0.8 (SmolLM2-135M, mean 0.18; logits of another position: mean 1.0 to 1.2)
_TOLERANCE_QUANTIZED = 0.45


def run(model: Any, source: Source, *, quantized: bool = False) -> dict[str, bool]:
    """Options for the bundle, empty for a model that can all. Raises UnsupportedError if it cannot run at all."""
    rows = _rows(source)
    near = _near_quantized if quantized else _near
    try:
        wanted = [score(model, row)[-_NEW - 1 :] for row in rows]
        alone = [_decoded(model, [row], 1 << 20) for row in rows]
    except LukewarmError:
        raise
    except Exception as error:  # the model's own code, on inputs that transformers gives it too
        raise _refused(
            source, f"it does not run: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        ) from error
    if not all(near(found[0], row) for found, row in zip(alone, wanted, strict=True)):
        raise _refused(source, "with its cache it gives other outputs than without")
    return {
        name: False
        for name, works in (
            ("chunks", lambda: near(_decoded(model, rows[1:], 4)[0], wanted[1])),
            ("batches", lambda: all(map(near, _decoded(model, rows, 1 << 20), wanted))),
        )
        if not _holds(works)
    }


def _rows(source: Source) -> list[list[int]]:
    """Two texts of different lengths, from the middle of the vocabulary: special tokens stand at its ends."""
    size = source.vocab_size or 100
    draw = np.random.default_rng(0).integers(size // 4, max(size // 4 + 1, size - size // 4), sum(_LENGTHS) + 2 * _NEW)
    cut = _LENGTHS[0] + _NEW
    return [draw[:cut].tolist(), draw[cut:].tolist()]


def _decoded(model: Any, rows: Sequence[Sequence[int]], chunk_tokens: int) -> list[Any]:
    """Logits [_NEW + 1, vocab] of each row: behind its prompt and behind each further token."""
    decoder = TorchDecoder(model, threading.Event(), chunk_tokens)
    prompts = [row[:-_NEW] for row in rows]
    steps = [decoder.prefill(prompts, max(map(len, rows))).logits().copy()]
    for place in range(_NEW):
        steps.append(decoder.step([row[len(row) - _NEW + place] for row in rows]).logits().copy())
    if len(rows) > 1:  # finished rows are dropped from a batch
        decoder.keep([len(rows) - 1])
    return [np.stack([step[row] for step in steps]) for row in range(len(rows))]


def _near(found: Any, wanted: Any) -> bool:
    return bool(np.abs(found - wanted).max() <= _TOLERANCE * max(float(wanted.std()), 1e-6))


def _near_quantized(found: Any, wanted: Any) -> bool:
    return bool(np.abs(found - wanted).mean() <= _TOLERANCE_QUANTIZED * max(float(wanted.std()), 1e-6))


def _holds(works: Any) -> bool:
    try:
        return bool(works())
    except Exception:  # noqa: BLE001 - the model's own code again: what raises does not work
        return False


def _refused(source: Source, reason: str) -> UnsupportedError:
    from lukewarm.convert.architectures import others

    return UnsupportedError(
        f"transformers runs {source.architecture} not as a text generator: {reason}{others(source, 'hf')}"
    )
