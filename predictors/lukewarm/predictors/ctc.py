"""Models that write a letter for each place of a sound (CTC: wav2vec2, HuBERT, WavLM ...), on every backend.

In the bundle: `model/` and options.ctc: `letters` (by token id), `blank`, `space`, `lower`, `rate`, `normalize`,
`stride` (samples to a place) and `shortest` (samples of the first place).
"""

from __future__ import annotations

import abc
import threading
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, ClassVar

from lukewarm.predictors.long_sound import windows
from lukewarm.predictors.predictor import NEVER, Predictor
from lukewarm.predictors.spec import Task
from lukewarm.predictors.tasks import FinishReason, Request, Result, SpeechRequest, SpeechResult

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float32]

_LONGEST_S = 30  # attention over more takes the square of it; longer sounds are heard in windows that overlap


class CtcToText(Predictor):
    """One sound, one text. A backend gives `load` and `logits`."""

    task: ClassVar[Task] = "speech-to-text"

    @abc.abstractmethod
    def load(self) -> None:
        """Load the model. Raises BundleError."""

    @abc.abstractmethod
    def logits(self, samples: FloatArray) -> FloatArray:
        """float32 [places, letters] for the samples of one window."""

    def setup(self) -> None:
        given: dict[str, Any] = dict(self.bundle.manifest.options["ctc"])
        self._letters = [str(letter) for letter in given["letters"]]
        self._blank, self._space = int(given["blank"]), given.get("space")
        self._lower, self._normalize = bool(given.get("lower")), bool(given.get("normalize"))
        self._rate, self._stride, self._shortest = (int(given[name]) for name in ("rate", "stride", "shortest"))
        self.load()

    def predict_batch(self, requests: Sequence[Request], cancel: threading.Event = NEVER) -> list[Result]:
        return [self._answer(request, cancel) for request in requests]

    def check(self, request: Request) -> None:
        assert isinstance(request, SpeechRequest)
        from lukewarm.predictors.speech_to_text import refuse_whispers

        refuse_whispers(request)
        self.samples(request)

    def text(self, tokens: Sequence[int]) -> str:
        """Letters without repeats and blanks, as transformers' CTC tokenizers join them."""
        letters = (self._letters[token] for token, _ in groupby(tokens) if token != self._blank)
        text = "".join(" " if letter == self._space else letter for letter in letters).strip()
        return text.lower() if self._lower else text

    def samples(self, request: SpeechRequest) -> FloatArray:
        """A request's sound at the model's rate. Raises RequestError."""
        from lukewarm.predictors.speech_to_text import samples_of

        return samples_of(request, self._rate)

    def _answer(self, request: Request, cancel: threading.Event) -> Result:
        assert isinstance(request, SpeechRequest)
        self.check(request)
        samples = self.samples(request)
        tokens: list[int] = []
        for window in windows(len(samples), _LONGEST_S * self._rate, self._stride):
            if cancel.is_set():
                break
            places = self.logits(self.prepared(samples[window.start : window.end])).argmax(-1).tolist()
            left, right = (round(edge / self._stride) for edge in (window.left, window.right))
            tokens += places[left : len(places) - right]
        reason: FinishReason = "cancelled" if cancel.is_set() else "eos"
        text = self.text(tokens)
        if request.max_new_tokens is not None:  # a promise about the answer's length, kept in letters
            reason, text = ("length" if len(text) > request.max_new_tokens else reason), text[: request.max_new_tokens]
        return SpeechResult(text=text, finish_reason=reason, prompt_tokens=0, completion_tokens=len(text))

    def prepared(self, samples: FloatArray) -> FloatArray:
        """What the model reads of one window's samples."""
        import numpy as np

        if self._normalize:
            samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
        filled = np.zeros(max(len(samples), self._shortest), np.float32)
        filled[: len(samples)] = samples
        return filled

    def warm_up(self) -> None:
        import numpy as np

        self.logits(np.zeros(max(self._rate, self._shortest), np.float32))
