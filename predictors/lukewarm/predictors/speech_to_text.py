"""Whisper on every backend: its features, languages, tasks and times, and sounds longer than it hears at once.

In the bundle beside what `media_to_text.py` names: `mel_filters.npy` and options.whisper: `languages` (token ids),
`language` (one that is set for all), `prompt` (behind the language), `transcribe`, `translate`, `silent`, `clock`.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from lukewarm.predictors.errors import BundleError, RequestError
from lukewarm.predictors.long_sound import join, windows
from lukewarm.predictors.media_to_text import MediaToText
from lukewarm.predictors.predictor import NEVER
from lukewarm.predictors.spec import Task
from lukewarm.predictors.tasks import BinaryRequest, Request, Result, Segment, SpeechRequest, SpeechResult
from lukewarm.predictors.text_to_text import Hypothesis, Rules, SearchSettings
from lukewarm.predictors.timestamps import Clock, finished, pieces

if TYPE_CHECKING:
    from lukewarm.predictors.media_to_text import FloatArray

_LEAST_STEP_S = 0.5  # a window that got no further is given up: a model that stutters would take for ever


@dataclasses.dataclass(frozen=True)
class SpeechSettings(SearchSettings):
    """One request's search and what Whisper is told before it."""

    language: int | None = None  # None: it is heard, if the model knows several
    translate: bool = False
    timestamps: bool = False


@dataclasses.dataclass(frozen=True)
class Heard(Hypothesis):
    """What was said, and in which language (its token)."""

    language: int | None = None


def samples_of(request: BinaryRequest, rate: int) -> FloatArray:
    """A request's sound, one channel at this rate. Raises RequestError."""
    from lukewarm.predictors.sound import read_sound, resample

    samples, given = read_sound(request.data)
    return resample(samples, given, rate)


def refuse_whispers(request: SpeechRequest) -> None:
    """Raise RequestError for fields that only Whisper understands."""
    for name in ("language", "task", "timestamps"):
        if getattr(request, name):
            raise RequestError("not_carried", f"this model takes no {name}", f"$.{name}", allowed="leave it out")


class SpeechToText(MediaToText):
    """One sound, one text. Longer ones are heard in windows that overlap; with times, one window after the other."""

    task: ClassVar[Task] = "speech-to-text"

    def setup(self) -> None:
        import numpy as np

        from lukewarm.predictors.sound import Frames

        given = self.bundle.manifest.options.get("preprocessor", {})
        self._frames = Frames(
            rate=given.get("sampling_rate", 16_000),
            window=given.get("n_fft", 400),
            hop=given.get("hop_length", 160),
            longest_s=given.get("chunk_length", 30),
        )
        try:
            self._filters = np.load(self.bundle.path("mel_filters.npy"), allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise BundleError(
                f"{self.bundle.root / 'mel_filters.npy'} is damaged: {error}; run: lukewarm convert --force"
            ) from error
        whisper = self.bundle.manifest.options.get("whisper", {})
        self.languages = [int(token) for token in whisper.get("languages", [])]
        self._set_language: int | None = whisper.get("language")
        self._prompt = [int(token) for token in whisper.get("prompt", [])]  # behind the language
        self._transcribe, self._translate = whisper.get("transcribe"), whisper.get("translate")
        self._clock = Clock(**whisper["clock"]) if "clock" in whisper else None
        super().setup()
        self._names = {self._language_name(token): token for token in self.languages}

    def windows(self, request: BinaryRequest) -> list[Any]:
        samples = samples_of(request, self._frames.rate)
        found = windows(len(samples), self._longest)
        return [samples[window.start : window.end] for window in found if window.end - window.start > window.left]

    def features(self, window: Any) -> FloatArray:
        from lukewarm.predictors.sound import log_mel

        return log_mel(window, self._filters, self._frames)

    def predict_batch(self, requests: Sequence[Request], cancel: threading.Event = NEVER) -> list[Result]:
        timed = [isinstance(request, SpeechRequest) and request.timestamps for request in requests]
        rest = [request for request, alone in zip(requests, timed, strict=True) if not alone]
        others = iter(super().predict_batch(rest, cancel))
        return [
            self._timed(request, cancel) if alone else next(others)
            for request, alone in zip(requests, timed, strict=True)
        ]

    def settings(self, request: BinaryRequest) -> SpeechSettings:
        base = super().settings(request)
        fields = {field.name: getattr(base, field.name) for field in dataclasses.fields(SearchSettings)}
        if not isinstance(request, SpeechRequest):
            return SpeechSettings(**fields, language=self._set_language)
        translate = request.task == "translate"
        if translate and self._translate is None:
            raise RequestError("not_carried", "this model only transcribes", "$.task", allowed="transcribe")
        if request.timestamps and self._clock is None:
            raise RequestError("not_carried", "this model knows no times", "$.timestamps", allowed="false")
        return SpeechSettings(**fields, language=self._language(request.language), translate=translate,
                              timestamps=request.timestamps)  # fmt: skip

    def prompt(self, settings: SearchSettings) -> list[int]:
        """The decoder's prompt behind the language."""
        assert isinstance(settings, SpeechSettings)
        swapped = {self._transcribe: self._translate} if settings.translate else {}
        tokens = [swapped.get(token, token) for token in self._prompt]
        return [t for t in tokens if not (settings.timestamps and self._clock and t == self._clock.silent)]

    def rules_for(self, settings: SearchSettings) -> Rules:
        """The model's rules, with those for times where they are wanted."""
        assert isinstance(settings, SpeechSettings)
        return dataclasses.replace(self.rules, clock=self._clock) if settings.timestamps else self.rules

    def result(self, request: BinaryRequest, found: Sequence[Hypothesis]) -> Result:
        words = [[token for token in one.tokens if not self._is_time(token)] for one in found]
        return self._answer(self.tokenizer.decode(join(words)).strip(), found, None)

    def prompt_tokens(self) -> int:
        return len(self.rules.start_ids) + bool(self.languages) + len(self._prompt)

    @property
    def latest_start(self) -> int:
        """Steps after which no window's first segment begins."""
        latest = self._clock.latest_start if self._clock else None
        return 1 << 20 if latest is None else latest

    @property
    def _longest(self) -> int:
        return int(self._frames.longest_s * self._frames.rate)

    def _timed(self, request: Request, cancel: threading.Event) -> Result:
        """One window after the other, each from where the last one's segments end."""
        import numpy as np

        assert isinstance(request, SpeechRequest)
        assert self._clock is not None
        settings = self.settings(request)
        samples = samples_of(request, self._frames.rate)
        segments: list[Segment] = []
        found: list[Hypothesis] = []
        start = 0
        while start < len(samples) and not cancel.is_set():
            window = samples[start : start + self._longest]
            heard = self.run(np.stack([self.features(window)]), settings, cancel)[0]
            tokens, reached_s = finished(heard.tokens, self._clock)
            if reached_s is None or reached_s < _LEAST_STEP_S:
                tokens, reached_s = heard.tokens, None
            found.append(dataclasses.replace(heard, tokens=tokens))
            last = reached_s is None and start + self._longest >= len(samples)
            segments += self._segments(tokens, start, None if last else reached_s or self._frames.longest_s)
            start += int(reached_s * self._frames.rate) if reached_s else self._longest
        text = self.tokenizer.decode([t for one in found for t in one.tokens if not self._is_time(t)]).strip()
        return self._answer(text, found or [Hypothesis([], "cancelled")], segments)

    def _segments(self, tokens: Sequence[int], start: int, until_s: float | None) -> Iterator[Segment]:
        """Those of a window that begins at sample `start`; of all but the last, what is open ends at `until_s`."""
        assert self._clock is not None
        offset_s = start / self._frames.rate
        for piece in pieces(tokens, self._clock):
            end_s = until_s if piece.end_s is None else piece.end_s
            end = None if end_s is None else round(offset_s + end_s, 3)
            yield Segment(round(offset_s + piece.start_s, 3), end, self.tokenizer.decode(piece.tokens).strip())

    def _answer(self, text: str, found: Sequence[Hypothesis], segments: list[Segment] | None) -> Result:
        reasons = {one.reason for one in found}
        token = next((one.language for one in found if isinstance(one, Heard)), None)
        return SpeechResult(
            text=text,
            finish_reason=next((reason for reason in ("cancelled", "length") if reason in reasons), "eos"),
            prompt_tokens=0,
            completion_tokens=sum(len(one.tokens) for one in found),
            language=None if token is None else self._language_name(token),
            segments=segments,
        )

    def _is_time(self, token: int) -> bool:
        return self._clock is not None and token >= self._clock.first

    def _language(self, name: str | None) -> int | None:
        if name is None:
            return self._set_language
        if not self.languages:
            raise RequestError("not_carried", "this model knows one language only", "$.language", allowed="null")
        if name not in self._names:
            allowed = ", ".join(sorted(self._names))
            raise RequestError("unknown_language", f"this model does not know {name!r}", "$.language", allowed=allowed)
        return self._names[name]

    def _language_name(self, token: int) -> str:
        return (self.tokenizer.token(token) or str(token)).strip("<|>")
