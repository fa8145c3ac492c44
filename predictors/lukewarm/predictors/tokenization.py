"""Text to token ids and back over the `tokenizers` library alone.

A bundle holds `tokenizer.json` at its root, and for chat models the template (`chat_template.py`). `compact()` is what
a converter passes the source's tokenizer.json through: the same tokenizer, loaded faster.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lukewarm.predictors.bundle import Bundle
from lukewarm.predictors.errors import BundleError, MissingExtra, RequestError

TOKENIZER_FILE = "tokenizer.json"
UNFINISHED = "\N{REPLACEMENT CHARACTER}"  # what half a UTF-8 character decodes to
_PIECE_CHARS = 32_768  # a long text is counted in pieces of this size, so that memory stays bounded
_PIECE_SLACK = 64  # tokens that a cut between two pieces may add
_UNLIMITED_TOKENS = 1 << 20  # for models that know no limit


class Tokenizer:
    """A `tokenizer.json` without padding and truncation. May be used from several threads at once."""

    def __init__(
        self, path: Path, *, context_tokens: int | None = None, vocab_size: int | None = None, answers: bool = True
    ) -> None:
        """`context_tokens` bounds prompt plus answer (the text alone if the model only reads: `answers` is False),
        `vocab_size` is the model's. Raises BundleError, MissingExtra.
        """
        try:
            import tokenizers
        except ImportError as error:
            raise MissingExtra("tokenizers", "ct2") from error
        try:
            self._core: Any = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises plain Exception
            raise BundleError(f"{path} cannot be read as a tokenizer: {error}; run: lukewarm convert") from error
        self._core.no_padding()
        self._core.no_truncation()
        self.context_tokens = context_tokens
        self._answers = answers
        self.vocab_size = vocab_size
        if vocab_size is not None and self._core.get_vocab_size(with_added_tokens=False) > vocab_size:
            raise BundleError(
                f"{path} has {self._core.get_vocab_size(with_added_tokens=False)} tokens, the model only {vocab_size}: "
                "this tokenizer belongs to another model; run: lukewarm convert --force"
            )
        self._byte_ids = self._byte_fallback_ids()
        self._longest_token_chars = 0

    @classmethod
    def load(cls, bundle: Bundle) -> Tokenizer:
        """The tokenizer of a bundle. Raises BundleError."""
        manifest = bundle.manifest
        path = bundle.path(TOKENIZER_FILE)
        return cls(path, context_tokens=manifest.max_context_tokens, vocab_size=manifest.vocab_size)

    @property
    def size(self) -> int:
        """Tokens in the vocabulary, added ones included."""
        return int(self._core.get_vocab_size())

    def encode(self, text: str, *, add_special_tokens: bool = True, path: str = "$.prompt") -> list[int]:
        """Token ids of a text. Raises RequestError (at `path`) for text that is too long or not valid Unicode."""
        if len(text) > _PIECE_CHARS:
            self._refuse_endless(text, path)
        ids: list[int] = self._encoding(text, add_special_tokens, path).ids
        self._check(ids, path)
        return ids

    def encode_pair(self, text: str, pair: str | None, path: str = "$.text") -> tuple[list[int], list[int]]:
        """Token ids of one text or two, special tokens between and around them, and which text each belongs to."""
        for part, place in ((text, path), (pair or "", f"{path}_pair")):
            if len(part) > _PIECE_CHARS:
                self._refuse_endless(part, place)
        found = self._encoding(text if pair is None else (text, pair), True, path)
        self._check(found.ids, path)
        return found.ids, found.type_ids

    def _check(self, ids: Sequence[int], path: str) -> None:
        """Raise RequestError for too many tokens, and for those that the model does not have."""
        if self.context_tokens is not None and len(ids) > self.context_tokens - self._answers:
            raise self._too_long(f"{len(ids)} tokens", path)
        if self.vocab_size is not None and ids and max(ids) >= self.vocab_size:
            token = self._core.id_to_token(max(ids))
            raise RequestError(
                "unknown_token", f"the tokenizer knows {token!r}, the model does not; leave it out of the text", path
            )

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens left out."""
        return str(self._core.decode(ids, skip_special_tokens=True))

    def token(self, token_id: int) -> str | None:
        """The vocabulary's own spelling of one token."""
        spelling: str | None = self._core.id_to_token(token_id)
        return spelling

    def token_id(self, spelling: str) -> int | None:
        """The id of the vocabulary's own spelling of one token."""
        token_id: int | None = self._core.token_to_id(spelling)
        return token_id

    def special_id(self, text: str) -> int | None:
        """The id of a special token of exactly this spelling: decoding leaves its text out."""
        return self._special_ids.get(text)

    def is_special(self, token_id: int) -> bool:
        """Whether a token is special: start, end, turn of a chat ..."""
        return token_id in self._special

    @functools.cached_property
    def _special(self) -> frozenset[int]:
        return frozenset(self._special_ids.values())

    @functools.cached_property
    def _special_ids(self) -> dict[str, int]:
        added = self._core.get_added_tokens_decoder().items()
        return {token.content: token_id for token_id, token in added if token.special}

    def stream(self, context: Sequence[int] = ()) -> TextStream:
        """Decode token by token. With `context` (the tokens before), the text is what follows theirs."""
        return TextStream(self, () if context and self.ends_open(context, "") else context)

    def ends_open(self, ids: Sequence[int], text: str) -> bool:
        """Whether the next token could still change the end of `text`, which these tokens end."""
        if text.endswith(UNFINISHED) or not self._byte_ids:
            return text.endswith(UNFINISHED)
        shown = (token_id for token_id in reversed(ids) if not self.is_special(token_id))
        return next(shown, None) in self._byte_ids

    def _encoding(self, text: str | tuple[str, str], add_special_tokens: bool, path: str) -> Any:
        try:
            parts = (text,) if isinstance(text, str) else text
            return self._core.encode(*parts, add_special_tokens=add_special_tokens)
        except (TypeError, UnicodeEncodeError) as error:  # lone surrogates; JSON decoding has refused them already
            raise RequestError("invalid_text", "the text is not valid Unicode (a lone surrogate)", path) from error

    def _refuse_endless(self, text: str, path: str) -> None:
        """Raise for a text that cannot fit, in bounded memory and in the time that a prompt of full length takes."""
        limit = self.context_tokens or _UNLIMITED_TOKENS
        if len(text) > limit * self._longest_token():
            raise self._too_long(f"{len(text):,} characters", path)
        count = 0
        for number, start in enumerate(range(0, len(text), _PIECE_CHARS), 1):
            count += len(self._encoding(text[start : start + _PIECE_CHARS], False, path).ids)
            if count > limit + number * _PIECE_SLACK:
                raise self._too_long(f"{len(text):,} characters, over {limit:,} tokens", path)

    def _too_long(self, length: str, path: str) -> RequestError:
        limit = self.context_tokens or _UNLIMITED_TOKENS
        return RequestError(
            "prompt_too_long",
            f"the text has {length}; {'prompt and answer together have' if self._answers else 'the model has'} "
            f"room for {limit:,} tokens",
            path,
            allowed=f"at most {limit - self._answers} tokens",
        )

    def _longest_token(self) -> int:
        if not self._longest_token_chars:
            self._longest_token_chars = max(map(len, self._core.get_vocab()), default=1)
        return self._longest_token_chars

    def _byte_fallback_ids(self) -> frozenset[int]:
        """Ids of sentencepiece's byte tokens. A run of them decodes as one: invalid anywhere, each is U+FFFD."""
        if self._core.token_to_id("<0x0A>") is None:
            return frozenset()
        ids = (self._core.token_to_id(f"<0x{byte:02X}>") for byte in range(256))
        return frozenset(token_id for token_id in ids if token_id is not None)


class TextStream:
    """Incremental decoding: never half a character, and all pieces joined are the decoding of all tokens.

    Decoders treat the first token apart (no leading space), so each piece is decoded behind the piece before.
    """

    def __init__(self, tokenizer: Tokenizer, context: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._before = list(context[-4:])
        self._before_chars = len(tokenizer.decode(self._before)) if context else 0
        self._fresh: list[int] = []

    def push(self, token_id: int) -> str:
        """Take one token; the text that is certain now, often none."""
        self._fresh.append(token_id)
        text = self._tokenizer.decode(self._before + self._fresh)
        return "" if self._tokenizer.ends_open(self._fresh, text) else self._advance(text)

    def finish(self) -> str:
        """The rest, held back until now: U+FFFD stands for half a character."""
        return self._advance(self._tokenizer.decode(self._before + self._fresh)) if self._fresh else ""

    def _advance(self, text: str) -> str:
        piece = text[self._before_chars :]
        if piece:
            self._before, self._fresh = self._fresh, []
            self._before_chars = len(self._tokenizer.decode(self._before))
        return piece


def compact(text: bytes) -> bytes:
    """The same `tokenizer.json` without padding, truncation and white space, and with merges in their short form.

    For converters. Merges as "a b" load a third faster than as ["a", "b"]; they stay pairs where a piece has a space.
    """
    data = json.loads(text)
    data["padding"] = data["truncation"] = None
    model = data.get("model") or {}
    merges = model.get("merges")
    if merges and not any(" " in piece for piece in _pieces(merges)):
        model["merges"] = [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()


def _pieces(merges: Sequence[str | Sequence[str]]) -> Iterable[str]:
    return (piece for merge in merges if not isinstance(merge, str) for piece in merge)
