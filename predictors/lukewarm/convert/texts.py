"""The text on which a conversion's accuracy is measured: the user's own, or the language reference inside Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lukewarm.predictors.errors import SpecError

# chapters of running prose, in a fixed order
_TOPICS = ("assignment", "class", "exceptions", "execmodel", "function", "import", "naming", "objects", "try", "with")
ROW_TOKENS = 128
LONG_ROW_TOKENS = 1024
_MAX_ROWS, _MIN_ROWS = 8, 2
_REFERENCE_BYTES = 200_000_000  # what the cached logits of the source may take


def read(path: str | None) -> str:
    """The text to measure on. Raises SpecError."""
    if path is None:
        from pydoc_data.topics import topics

        return "\n".join(topics[name] for name in _TOPICS if name in topics)
    try:
        return Path(path).read_text("utf-8")
    except UnicodeDecodeError as error:
        raise SpecError(f"{path} is not UTF-8 (byte {error.start})", "accuracy.texts") from error
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}", "accuracy.texts") from error


def rows(text: str, tokenizer: Any, *, vocab_size: int, context_tokens: int | None) -> list[list[int]]:
    """Token ids of equal length, evenly spread over the text. `tokenizer` is our own. Raises SpecError if too short."""
    length = min(ROW_TOKENS, context_tokens or ROW_TOKENS)
    count = max(_MIN_ROWS, min(_MAX_ROWS, _REFERENCE_BYTES // (4 * vocab_size * length)))
    # characters per token differ; the beginning of each part is enough
    part = max(len(text) // count, 1)
    found: list[list[int]] = []
    for start in range(0, len(text) - 1, part):
        ids = tokenizer.ids(text[start : start + 16 * length])
        if len(ids) >= length and len(found) < count:
            found.append(ids[:length])
    if not found:
        raise SpecError(f"the text has fewer than {length} tokens; give a longer one", "accuracy.texts")
    return found
