"""What encoders share on every backend: texts to ids, and batches of like length, so that little is padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lukewarm.predictors.bundle import Bundle
from lukewarm.predictors.errors import RequestError
from lukewarm.predictors.tokenization import Tokenizer

BATCH_TOKENS = 16_384  # with padding: bounds the memory of one run


class TextEncoder:
    """The bundle's tokenizer, held to the model's length or to `options.max_tokens` if that is less."""

    def __init__(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        limits = [n for n in (manifest.options.get("max_tokens"), manifest.max_context_tokens) if n]
        self.max_tokens: int | None = min(limits, default=None)
        self._prompt = str(manifest.options.get("prompt", ""))  # the model's own, before every text
        self._lowercase = bool(manifest.options.get("lowercase"))
        path = bundle.path("tokenizer.json")
        self._tokenizer = Tokenizer(path, context_tokens=self.max_tokens, vocab_size=manifest.vocab_size, answers=False)

    def ids(self, text: str) -> list[int]:
        """Token ids with the model's special tokens. Raises RequestError for a text too long or without tokens."""
        return self.pair(text, None)[0]

    def pair(self, text: str, other: str | None) -> tuple[list[int], list[int]]:
        """Token ids of one text, or of two joined as the tokenizer joins them, and which text each belongs to."""
        text = self._prompt + text
        found = self._tokenizer.encode_pair(text.lower() if self._lowercase else text, other)
        if not found[0]:
            raise RequestError("empty_text", "the text has no tokens", "$.text", allowed="at least one token")
        return found

    def rows(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts, those too long halved until they fit: for measurements, not for requests."""
        found = []
        for text in texts:
            words = text.split()
            while words:
                try:
                    found.append(self.ids(" ".join(words)))
                    break
                except RequestError:
                    words = words[: len(words) // 2]
        return found


def batches(rows: Sequence[Sequence[int]], *, equal: bool = False) -> Iterator[list[int]]:
    """Indices of rows for each run of the model: by length, at most BATCH_TOKENS with padding; `equal`: without any."""
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    current: list[int] = []
    for index in order:
        length = len(rows[index])
        other = equal and current and len(rows[current[0]]) != length
        if other or (current and length * (len(current) + 1) > BATCH_TOKENS):
            yield current
            current = []
        current.append(index)
    if current:
        yield current
