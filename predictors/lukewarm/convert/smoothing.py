"""Moves outliers of activations into the weights that read them, before both are quantized (SmoothQuant, 2211.10438).

A channel is divided by s where it is written, and the weights that read it are multiplied by s: the same model in fp32.
s = max|X|^a / max|W|^(1-a), as a power of two, so that products in fp32 are the same to the last bit; a is chosen for
each pair by the error that rounding makes in its output, and no change is one of the choices. What writes and what
reads is the backend's to find, and how it rounds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lukewarm.convert import texts
from lukewarm.convert.job import Job

_EXPONENTS = (0.45, 0.6, 0.75, 0.9)
_ROWS_TRIED, _TOKENS_TRIED = 256, 256
_TINY = 1e-6
_WIDEST = 1024.0  # of a scale: a channel that the text never woke may be awake in another


@dataclass(frozen=True)
class Rounding:
    """What a backend's kernel makes of activations [tokens, inputs] and of weights [outputs, inputs], as fp32."""

    inputs: Callable[[Any], Any]
    weights: Callable[[Any], Any]


def job_rows(job: Job) -> list[list[int]]:
    """Token ids to run the source on, by the tokenizer that the converter wrote."""
    from lukewarm.convert.accuracy import _Encoder
    from lukewarm.predictors.tokenization import TOKENIZER_FILE, Tokenizer

    job.progress(f"{job.spec.name}: smoothing activations", None)
    encoder = _Encoder(Tokenizer(job.out / TOKENIZER_FILE))
    return calibration_rows(encoder, job.source.vocab_size or 1, job.source.max_context_tokens)


def calibration_rows(tokenizer: Any, vocab_size: int, context_tokens: int | None) -> list[list[int]]:
    """Token ids of the chapters that the accuracy check does not use."""
    from pydoc_data.topics import topics

    text = "\n".join(topics[name] for name in sorted(topics) if name not in texts._TOPICS)
    return texts.rows(text, tokenizer, vocab_size=vocab_size, context_tokens=context_tokens)


def stride(tokens: int) -> int:
    """Every which token of so many is looked at."""
    return max(1, tokens // _TOKENS_TRIED)


def some_rows(weight: Any) -> Any:
    """Enough rows of a weight to judge a rounding by."""
    import numpy as np

    return np.ascontiguousarray(weight[:: max(1, len(weight) // _ROWS_TRIED)])


def choose(
    inputs: Any, weight: Any, rounding: Rounding, heads: tuple[int, int] | None = None
) -> tuple[Any, Any] | None:
    """Scales (of the channels written, of the same where they are read), or None where none is better.

    `inputs` [tokens, channels], `weight` [outputs, channels] of all readers. `heads`: (number, size) of the heads
    written, where several heads read each.
    """
    import numpy as np

    active, heavy = np.maximum(np.abs(inputs).max(0), _TINY), np.maximum(np.abs(weight).max(0), _TINY)
    tried = some_rows(weight)
    exact = inputs @ tried.T
    best, chosen = error(inputs, tried, exact, rounding), None
    for exponent in _EXPONENTS:
        scale = active**exponent / heavy ** (1 - exponent)
        scale = np.clip(scale / np.exp(np.log(scale).mean()), 1 / _WIDEST, _WIDEST)
        scale = np.exp2(np.rint(np.log2(scale))).astype(np.float32)
        small, wide = (scale, scale) if heads is None else _shared(scale, *heads)
        found = error(inputs / wide, tried * wide, exact, rounding)
        if found < best:
            best, chosen = found, (small, wide)
    return chosen


def _shared(scale: Any, count: int, size: int) -> tuple[Any, Any]:
    """Heads that share one value head share its scales."""
    import numpy as np

    small = scale.reshape(count, -1, size).max(1)
    return small.reshape(-1), np.repeat(small, len(scale) // (count * size), axis=0).reshape(-1)


def error(inputs: Any, weight: Any, exact: Any, rounding: Rounding) -> float:
    """Mean over tokens of the share of the output that rounding loses."""
    import numpy as np

    lost = np.square(rounding.inputs(inputs) @ rounding.weights(weight).T - exact).sum(1)
    return float((lost / np.maximum(np.square(exact).sum(1), _TINY**2)).mean())
