"""What text-to-text means on every backend: settings, the model's rules, the predictor around a runtime's search.

No numpy here: the ct2 path starts without it. What a converter puts into the bundle:
  tokenizer.json, target_tokenizer.json   the second only where the target side has its own pieces (Marian)
  model/                                  the weights, as the backend's own module says
  options.search                          the fields of `Rules` that differ from their defaults
  options.source_prefix                   token ids that every source begins with, such as a language's
  options.languages                       `ids` by code and `source_id`, where the model has tokens for languages
"""

from __future__ import annotations

import abc
import dataclasses
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from lukewarm.predictors.bundle import Bundle
from lukewarm.predictors.errors import BundleError, RequestError
from lukewarm.predictors.languages import Languages
from lukewarm.predictors.predictor import NEVER, Predictor
from lukewarm.predictors.spec import Task
from lukewarm.predictors.tasks import FinishReason, Request, Result, TextToTextRequest, TextToTextResult
from lukewarm.predictors.tokenization import TOKENIZER_FILE, Tokenizer

if TYPE_CHECKING:
    from lukewarm.predictors.timestamps import Clock

TARGET_FILE = "target_tokenizer.json"
DEFAULT_MAX_NEW_TOKENS = 256


@dataclass(frozen=True)
class SearchSettings:
    """One request's search, every default filled in."""

    max_new_tokens: int
    num_beams: int = 1
    length_penalty: float = 1.0
    language_id: int | None = None  # the answer's first token, where the request chose it


@dataclass(frozen=True)
class Rules:
    """What the model's generation config fixes for every request; names and meaning are those of transformers."""

    start_ids: tuple[int, ...]  # the decoder's prompt
    eos_ids: tuple[int, ...]
    suppress_ids: tuple[int, ...] = ()
    begin_suppress_ids: tuple[int, ...] = ()
    forced_bos_id: int | None = None
    forced_eos_ids: tuple[int, ...] = ()  # the only choice in the last place
    min_new_tokens: int = 0
    no_repeat_ngram_size: int = 0
    repetition_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS
    clock: Clock | None = None  # Whisper, where times are wanted: never in a bundle's options

    @classmethod
    def of(cls, bundle: Bundle) -> Rules:
        """The rules in a bundle's options. Raises BundleError."""
        found = bundle.manifest.options.get("search")
        try:
            values: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value for key, value in dict(found or {}).items()
            }
            return cls(**values)
        except TypeError as error:
            raise BundleError(
                f"{bundle.root}: options.search is wrong: {error}; run: lukewarm convert --force"
            ) from error

    def for_request(self, settings: SearchSettings) -> Rules:
        """These rules with the first token that a request chose by its language."""
        if settings.language_id is None:
            return self
        return dataclasses.replace(self, forced_bos_id=settings.language_id)

    def options(self) -> dict[str, Any]:
        """As plain data for a manifest, without what has its default value."""
        default = Rules(start_ids=(), eos_ids=())
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        kept = {name: value for name, value in values.items() if value != getattr(default, name)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in kept.items()}


@dataclass(frozen=True)
class Hypothesis:
    """New tokens without the end token, and why they end."""

    tokens: list[int] = field(default_factory=list)
    reason: FinishReason = "eos"


class Codec:
    """Source text to ids, target ids to text."""

    def __init__(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        self.vocab_size = manifest.vocab_size
        self.unknown_id: int | None = manifest.options.get("unknown_id")
        # pieces without a number of their own lie beyond the vocabulary (see convert/marian_tokenizer.py)
        limit = None if self.unknown_id is not None else self.vocab_size
        # the encoder's limit: the answer has the decoder's own
        self.source = Tokenizer(
            bundle.path(TOKENIZER_FILE), context_tokens=manifest.max_context_tokens, vocab_size=limit, answers=False
        )
        self.target = Tokenizer(bundle.path(TARGET_FILE)) if bundle.has(TARGET_FILE) else self.source
        self.prefix = [int(token) for token in manifest.options.get("source_prefix", [])]

    def encode(self, text: str, path: str = "$.text") -> list[int]:
        """Token ids of a source text. Raises RequestError."""
        ids = self.prefix + self.source.encode(text, path=path)
        if self.unknown_id is None or self.vocab_size is None:
            return ids
        return [token if token < self.vocab_size else self.unknown_id for token in ids]

    def decode(self, tokens: Sequence[int]) -> str:
        return self.target.decode(tokens).strip()

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The vocabulary's spelling of source tokens, for runtimes that take no numbers."""
        return [self.source.token(token) or "" for token in ids]

    def target_piece(self, token: int) -> str:
        return self.target.token(token) or ""

    def numbers(self, pieces: Sequence[str]) -> list[int]:
        """Target ids of spellings; what the tokenizer does not know is left out."""
        return [token for piece in pieces if (token := self.target.token_id(piece)) is not None]


class TextToTextPredictor(Predictor):
    """Encode, search, decode. A backend gives `load` and `run`."""

    task: ClassVar[Task] = "text-to-text"

    @abc.abstractmethod
    def load(self) -> None:
        """Load the model. Raises BundleError."""

    @abc.abstractmethod
    def run(
        self, sources: Sequence[Sequence[int]], settings: SearchSettings, cancel: threading.Event
    ) -> list[Hypothesis]:
        """Search for all sources with the same settings, in one run of the model."""

    def setup(self) -> None:
        self.codec = Codec(self.bundle)
        self.rules = Rules.of(self.bundle)
        self.languages = Languages.of(self.bundle.manifest.options)
        self.load()

    def predict_batch(self, requests: Sequence[Request], cancel: threading.Event = NEVER) -> list[Result]:
        groups: dict[SearchSettings, list[int]] = defaultdict(list)
        sources: list[list[int]] = []
        for index, request in enumerate(requests):
            sources.append(self._ids(request))
            groups[self._settings(request)].append(index)
        results: dict[int, Result] = {}
        for settings, indices in groups.items():
            found = self.run([sources[index] for index in indices], settings, cancel)
            for index, hypothesis in zip(indices, found, strict=True):
                results[index] = TextToTextResult(
                    text=self.codec.decode(hypothesis.tokens),
                    finish_reason=self._reason(hypothesis, settings),
                    prompt_tokens=len(sources[index]),
                    completion_tokens=len(hypothesis.tokens),
                )
        return [results[index] for index in range(len(requests))]

    def check(self, request: Request) -> None:
        self._ids(request)
        self._settings(request)

    def warm_up(self) -> None:
        self.predict(TextToTextRequest(text="a", max_new_tokens=2))

    def _ids(self, request: Request) -> list[int]:
        assert isinstance(request, TextToTextRequest)
        ids = self.codec.encode(request.text)
        if not ids:
            raise RequestError("empty_text", "the text has no tokens", "$.text", allowed="at least one token")
        return self.languages.source(ids, request.src_lang)

    def _settings(self, request: Request) -> SearchSettings:
        assert isinstance(request, TextToTextRequest)
        defaults = self.bundle.manifest.generation
        room = self.room()
        limit = request.max_new_tokens or defaults.max_new_tokens or min(self.rules.max_new_tokens, room)
        if limit > room:
            raise RequestError(
                "too_many_tokens",
                f"max_new_tokens is {limit}; the model's decoder has room for {room}",
                "$.max_new_tokens",
                allowed=f"1 to {room}",
            )
        penalty = first(request.length_penalty, defaults.length_penalty, 1.0)
        beams = request.num_beams or defaults.num_beams or 1
        return SearchSettings(limit, beams, penalty, self.languages.target(request.tgt_lang))

    def _reason(self, hypothesis: Hypothesis, settings: SearchSettings) -> FinishReason:
        """An end token that was forced into the last place is the length's doing."""
        full = len(hypothesis.tokens) + 1 >= settings.max_new_tokens
        forced = hypothesis.reason == "eos" and bool(self.rules.forced_eos_ids)
        return "length" if forced and full else hypothesis.reason

    def room(self) -> int:
        """New tokens that fit into the decoder."""
        context = self.bundle.manifest.max_context_tokens
        return (1 << 20) if context is None else max(1, context - len(self.rules.start_ids))


def first(*values: float | None) -> float:
    """The first value that is given."""
    return next(value for value in values if value is not None)


def rules_from(generation: Mapping[str, Any], config: Mapping[str, Any]) -> Rules:
    """The rules in a source's generation_config.json; in its config.json where there is none, as transformers does it.

    Only single tokens of `bad_words_ids` are carried. Raises ValueError for a rule that would change texts and is not.
    """

    def value(name: str) -> Any:
        found = generation.get(name)
        return config.get(name) if found is None and (not generation or name in _TOKENS) else found

    refused = [name for name in _REFUSED if value(name)]
    if refused:
        raise ValueError(f"the generation config sets {', '.join(refused)}, which is not known here")
    bad = value("bad_words_ids") or []
    if any(len(words) != 1 for words in bad):
        raise ValueError("bad_words_ids has a word of several tokens, which is not known here")
    start = value("decoder_start_token_id")
    start = value("bos_token_id") if start is None else start
    if start is None:
        raise ValueError("there is no decoder_start_token_id")
    length = value("max_length")
    usual = length if isinstance(length, int) and length > 20 else DEFAULT_MAX_NEW_TOKENS  # 20: nobody's choice
    return Rules(
        start_ids=_ids(start),
        eos_ids=_ids(value("eos_token_id")),
        suppress_ids=tuple(sorted({*_ids(value("suppress_tokens")), *(words[0] for words in bad)})),
        begin_suppress_ids=_ids(value("begin_suppress_tokens")),
        forced_bos_id=value("forced_bos_token_id"),
        forced_eos_ids=_ids(value("forced_eos_token_id")),
        min_new_tokens=max((value("min_length") or 0) - len(_ids(start)), value("min_new_tokens") or 0, 0),
        no_repeat_ngram_size=value("no_repeat_ngram_size") or 0,
        repetition_penalty=value("repetition_penalty") or 1.0,
        early_stopping=value("early_stopping") or False,
        max_new_tokens=value("max_new_tokens") or usual,
    )


_TOKENS = ("decoder_start_token_id", "bos_token_id", "eos_token_id", "pad_token_id")
_REFUSED = ("encoder_no_repeat_ngram_size", "sequence_bias", "constraints", "force_words_ids", "guidance_scale")


def _ids(value: Any) -> tuple[int, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, (list, tuple)) else (int(value),)
