"""The far part of a long text, where a conversion can go wrong that is right in short ones.

Scaled positions, sliding windows and the bounds of a key/value cache show only beyond the short rows. One long row is
read; of every place behind a short row's length two numbers are kept, not the logits: a few kilobytes for a source.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lukewarm.convert import texts

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Far = npt.NDArray[np.float64]

_MAX_EXPONENT = 700.0
_SLICE = 64  # places looked at together: the logits of a large vocabulary in fp64 are large


def row(text: str, tokenizer: Any, *, vocab_size: int, context_tokens: int | None) -> list[int] | None:
    """Token ids of one long row; None where text or context end before it says more than the short ones."""
    longest = min(texts.LONG_ROW_TOKENS, context_tokens or texts.LONG_ROW_TOKENS, _ROW_BYTES // (4 * vocab_size))
    if longest < 2 * texts.ROW_TOKENS:
        return None
    ids: list[int] = tokenizer.ids(text[: 16 * longest])[:longest]
    return ids if len(ids) >= 2 * texts.ROW_TOKENS else None


_ROW_BYTES = 1 << 30  # what the logits of the row may take while it is measured


def summary(ids: Sequence[int], logits: Any) -> Far:
    """float64 [2, places]: the negative log likelihood of the token that follows, and the best token.

    `logits` is [len(ids), vocab]; the places are those behind the first `texts.ROW_TOKENS`.
    """
    import numpy as np

    first, last = texts.ROW_TOKENS, len(ids) - 1
    found = np.empty((2, last - first), np.float64)
    for start in range(first, last, _SLICE):
        end = min(start + _SLICE, last)
        part = np.asarray(logits[start:end], np.float64)
        top = part.max(-1)
        total = np.log(np.exp(part - top[:, None]).sum(-1)) + top
        targets = np.array(ids[start + 1 : end + 1])
        found[0, start - first : end - first] = total - part[np.arange(end - start), targets]
        found[1, start - first : end - first] = part.argmax(-1)
    return found


def figures(found: Far, reference: Far) -> dict[str, float]:
    """`long_tokens`, `long_perplexity_ratio` and `long_top1_agreement` of a bundle against its source."""
    worse = float((found[0] - reference[0]).mean())
    return {
        "long_tokens": float(found.shape[1] + texts.ROW_TOKENS + 1),
        # a NaN (a broken model) becomes the largest that JSON can hold
        "long_perplexity_ratio": math.exp(min(worse, _MAX_EXPONENT)) if worse == worse else math.exp(_MAX_EXPONENT),
        "long_top1_agreement": float((found[1] == reference[1]).mean()),
    }
