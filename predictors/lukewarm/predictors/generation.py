"""What text generation means on every backend: settings, where a text ends, and the predictor around a runtime's loop.

No numpy here, so that the ct2 path starts without it; the loop over a `Decoder` is in `decoding.py`.

What a converter puts into a text-generation bundle, for every backend:
  tokenizer.json         through `tokenization.compact`; its post-processor adds the start token if the model wants one
  chat_template.jinja    if the model has one
  model/                 the weights, as the backend's own module says
  manifest               eos_token_ids, bos_token_id, pad_token_id, max_context_tokens, vocab_size (rows of the output
                         layer), generation, options.special_tokens (the token spellings that chat templates name)
"""

from __future__ import annotations

import abc
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

import msgspec

from lukewarm.predictors.bundle import Manifest
from lukewarm.predictors.chat_template import ChatTemplate
from lukewarm.predictors.errors import RequestError, UnsupportedError
from lukewarm.predictors.predictor import NEVER, Predictor
from lukewarm.predictors.spec import Generation, Task
from lukewarm.predictors.tasks import Delta, FinishReason, Request, Result, TextGenerationRequest, TextGenerationResult
from lukewarm.predictors.tokenization import Tokenizer

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    IntArray = npt.NDArray[np.int64]
    FloatArray = npt.NDArray[np.float32]

DEFAULT_MAX_NEW_TOKENS = 128


class Scores(Protocol):
    """What a decoder's run says of the next tokens, good until its next call."""

    def best(self) -> list[int]:
        """The token of the largest logit of each row, the first of equals. Raises UnsupportedError: no numbers."""

    def logits(self) -> FloatArray:
        """Logits [batch, vocab]."""


class Decoder(Protocol):
    """One run of a causal language model over a batch, with its own key/value cache. Made anew for each run."""

    def prefill(self, prompts: Sequence[Sequence[int]], capacity: int) -> Scores:
        """Read the prompts, none empty. Returns the scores behind each row's last token.

        No row will grow over `capacity` tokens. May raise CancelledError if the run's cancel signal was set meanwhile.
        """

    def step(self, tokens: Sequence[int]) -> Scores:
        """Append one token to each row. Returns the scores behind it."""

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows (indices into the current batch, ascending) and drop the finished ones."""


def require_number(score: float) -> None:
    """Raise UnsupportedError unless the best score is a number."""
    if not math.isfinite(score):
        raise UnsupportedError(
            f"the model's outputs are not numbers ({score}): its precision overflows; convert it at fp32 or bf16"
        )


class Scorer(Protocol):
    """A predictor that gives the model's raw outputs, for perplexity and for the accuracy check of a conversion."""

    def score(self, token_ids: Sequence[int]) -> FloatArray:
        """Logits [len(token_ids), vocab] in fp32: row i is the model's view of what follows token i."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """A request's settings with every default filled in. Steps in order: penalty, temperature, top-k, top-p."""

    max_new_tokens: int
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    end_ids: frozenset[int] = frozenset()  # the model's own end tokens
    stop_ids: frozenset[int] = frozenset()  # special tokens that the request names as stop strings
    seed: int | None = None
    ignore_eos: bool = False  # end tokens are never chosen

    @property
    def greedy(self) -> bool:
        return self.temperature == 0 or self.top_k == 1

    @property
    def takes_best(self) -> bool:
        """The best token is the choice, unless it is an end token to be ignored."""
        return self.greedy and self.repetition_penalty == 1


def settle(request: TextGenerationRequest, manifest: Manifest, room_tokens: int | None = None) -> Settings:
    """Fill in what a request leaves open: from the bundle, then from the task. `room_tokens` caps the answer."""
    base: Generation = manifest.generation
    limit = _first(request.max_new_tokens, base.max_new_tokens, DEFAULT_MAX_NEW_TOKENS)
    return Settings(
        max_new_tokens=limit if room_tokens is None else min(limit, room_tokens),
        temperature=_first(request.temperature, base.temperature, 0.0),
        top_k=_first(request.top_k, base.top_k, 0),
        top_p=_first(request.top_p, base.top_p, 1.0),
        repetition_penalty=_first(request.repetition_penalty, base.repetition_penalty, 1.0),
        stop=tuple(request.stop if request.stop is not None else base.stop or ()),
        end_ids=frozenset(manifest.eos_token_ids),
        seed=request.seed,
        ignore_eos=request.ignore_eos,
    )


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)


class Row:
    """One text in the making: takes tokens, gives out text, knows when it has ended.

    The text is cut before the first stop string; what may be the beginning of one is held back until it is certain.
    """

    def __init__(
        self, prompt_ids: Sequence[int], settings: Settings, tokenizer: Tokenizer, *, chat: bool = False
    ) -> None:
        self.prompt_ids = list(prompt_ids)
        self.settings = settings
        self.tokens: list[int] = []  # chosen so far, the end token included
        self.finish: FinishReason | None = None
        # a completion goes on where the prompt ends, with its space; an answer in a chat begins anew
        self._stream = tokenizer.stream(() if chat else self.prompt_ids)
        self._sent: list[str] = []
        self._held = ""

    def push(self, token: int) -> str:
        """Take the next token; the text that may go out now. `finish` is set when this was the last."""
        self.tokens.append(token)
        if token in self.settings.end_ids:
            return self.end("eos")
        if token in self.settings.stop_ids:
            return self.end("stop")
        text = self._release(self._stream.push(token), last=False)
        if self.finish is None and len(self.tokens) >= self.settings.max_new_tokens:
            text += self.end("length")
        return text

    def end(self, reason: FinishReason) -> str:
        """Give out what was held back; a stop string in it still counts."""
        if self.finish is not None:
            return ""
        text = self._release(self._stream.finish(), last=True)
        self.finish = self.finish or reason
        return text

    def result(self) -> TextGenerationResult:
        return TextGenerationResult(
            text="".join(self._sent),
            finish_reason=self.finish or "cancelled",
            prompt_tokens=len(self.prompt_ids),
            completion_tokens=len(self.tokens),
        )

    def _release(self, piece: str, *, last: bool) -> str:
        text, self._held = self._held + piece, ""
        found = [place for stop in self.settings.stop if (place := text.find(stop)) >= 0]
        if found:
            text = text[: min(found)]
            self.finish = "stop"
        elif not last and (held := _possible_stop_chars(text, self.settings.stop)):
            text, self._held = text[:-held], text[-held:]
        if text:
            self._sent.append(text)
        return text


def _possible_stop_chars(text: str, stops: Iterable[str]) -> int:
    """Length of the longest end of `text` that a stop string begins with."""
    longest = 0
    for stop in stops:
        for size in range(min(len(stop) - 1, len(text)), longest, -1):
            if text.endswith(stop[:size]):
                longest = size
                break
    return longest


class TextGenerator(Predictor):
    """The text-generation predictor of every backend; a backend adds `load` and `run`."""

    task: ClassVar[Task] = "text-generation"
    tokenizer: Tokenizer

    def setup(self) -> None:
        opened = self.load()
        try:
            self.tokenizer = Tokenizer.load(self.bundle)
        finally:  # a thread must not outlive a failed setup
            if opened is not None:
                opened()
        self._chat_template = ChatTemplate(self.bundle)

    @abc.abstractmethod
    def load(self) -> Callable[[], object] | None:
        """Load the model, or start to and return what waits for it: the tokenizer is read meanwhile (`startup.beside`).

        Raises BundleError, UnsupportedError, MissingExtra, at once or when waited for.
        """

    @abc.abstractmethod
    def run(self, rows: Sequence[Row], cancel: threading.Event) -> Iterator[tuple[Row, str]]:
        """Generate until every row has its `finish`; yields each row with text that may go out, and at its end."""

    def complete(self, rows: Sequence[Row], cancel: threading.Event) -> None:
        """`run` to the end, where nobody waits for pieces."""
        for _ in self.run(rows, cancel):
            pass

    def predict_batch(self, requests: Sequence[Request], cancel: threading.Event = NEVER) -> list[Result]:
        rows = [self.row(request) for request in requests]
        if rows:
            self.complete(rows, cancel)
        return [row.result() for row in rows]

    def stream(self, request: Request, cancel: threading.Event = NEVER) -> Iterator[Delta]:
        row = self.row(request)
        for _, text in self.run([row], cancel):
            if text:
                yield Delta(text=text)
        yield Delta(result=row.result())

    def check(self, request: Request) -> None:
        self.row(request)

    def warm_up(self) -> None:
        prompt = [self.bundle.manifest.bos_token_id or 0] * 2
        self.complete([Row(prompt, Settings(max_new_tokens=2), self.tokenizer)], NEVER)

    def row(self, request: Request) -> Row:
        """Tokens and settings of a request. Raises RequestError."""
        request = cast(TextGenerationRequest, request)
        chat = request.messages is not None
        if chat == (request.prompt is not None):
            raise RequestError("one_of", "give exactly one of 'prompt' and 'messages'", allowed="prompt | messages")
        if request.messages is not None:
            text = self._chat_template.render(request.messages)
            ids = self.tokenizer.encode(text, add_special_tokens=False, path="$.messages")
        else:
            ids = self.tokenizer.encode(cast(str, request.prompt))
        ids = ids or self._empty_prompt("$.messages" if chat else "$.prompt")
        context = self.bundle.manifest.max_context_tokens
        settings = settle(request, self.bundle.manifest, None if context is None else context - len(ids))
        return Row(ids, self._with_stop_ids(settings), self.tokenizer, chat=chat)

    def _empty_prompt(self, path: str) -> list[int]:
        start = self.bundle.manifest.bos_token_id
        if start is None:
            raise RequestError("empty_prompt", "the prompt is empty, and this model has no start token", path)
        return [start]

    def _with_stop_ids(self, settings: Settings) -> Settings:
        ids = {stop: self.tokenizer.special_id(stop) for stop in settings.stop}
        special = frozenset(token_id for token_id in ids.values() if token_id is not None)
        if not special:
            return settings
        return msgspec.structs.replace(settings, stop_ids=special)
