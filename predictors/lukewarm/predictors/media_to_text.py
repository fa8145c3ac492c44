"""What image-to-text and speech-to-text mean on every backend: features of the media, a search, a text.

In the bundle: tokenizer.json, `model/`, options.search (see `text_to_text.Rules`), options.preprocessor (the model's
preprocessor_config.json), and for sound `mel_filters.npy` and options.whisper (`languages`, `prompt`, `language`).
"""

from __future__ import annotations

import abc
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from lukewarm.predictors.errors import BundleError, RequestError
from lukewarm.predictors.predictor import NEVER, Predictor
from lukewarm.predictors.spec import Task
from lukewarm.predictors.tasks import BinaryRequest, Request, Result, TextToTextResult
from lukewarm.predictors.text_to_text import Hypothesis, Rules, SearchSettings
from lukewarm.predictors.tokenization import Tokenizer

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float32]


class MediaToText(Predictor):
    """A backend gives `load` and `run`; the task gives `features`."""

    @abc.abstractmethod
    def load(self) -> None:
        """Load the model. Raises BundleError."""

    @abc.abstractmethod
    def features(self, data: bytes) -> FloatArray:
        """What the encoder reads of one request's bytes. Raises RequestError."""

    @abc.abstractmethod
    def run(self, features: FloatArray, settings: SearchSettings, cancel: threading.Event) -> list[Hypothesis]:
        """Search for all rows of the features with the same settings."""

    def setup(self) -> None:
        manifest = self.bundle.manifest
        self.tokenizer = Tokenizer(self.bundle.path("tokenizer.json"), vocab_size=manifest.vocab_size)
        self.rules = Rules.of(self.bundle)
        self.load()

    def predict_batch(self, requests: Sequence[Request], cancel: threading.Event = NEVER) -> list[Result]:
        import numpy as np

        results: dict[int, Result] = {}
        groups: dict[SearchSettings, list[int]] = {}
        read = []
        for index, request in enumerate(requests):
            assert isinstance(request, BinaryRequest)
            read.append(self.features(request.data))
            groups.setdefault(self._settings(request), []).append(index)
        for settings, indices in groups.items():
            found = self.run(np.stack([read[index] for index in indices]), settings, cancel)
            for index, hypothesis in zip(indices, found, strict=True):
                results[index] = TextToTextResult(
                    text=self.tokenizer.decode(hypothesis.tokens).strip(),
                    finish_reason=hypothesis.reason,
                    prompt_tokens=0,
                    completion_tokens=len(hypothesis.tokens),
                )
        return [results[index] for index in range(len(requests))]

    def check(self, request: Request) -> None:
        assert isinstance(request, BinaryRequest)
        self.features(request.data)
        self._settings(request)

    def _settings(self, request: BinaryRequest) -> SearchSettings:
        defaults = self.bundle.manifest.generation
        context = self.bundle.manifest.max_context_tokens
        room = (1 << 20) if context is None else max(1, context - self.prompt_tokens())
        limit = request.max_new_tokens or defaults.max_new_tokens or min(self.rules.max_new_tokens, room)
        if limit > room:
            raise RequestError(
                "too_many_tokens",
                f"max_new_tokens is {limit}; the model's decoder has room for {room}",
                "$.max_new_tokens",
                allowed=f"1 to {room}",
            )
        penalty = 1.0 if defaults.length_penalty is None else defaults.length_penalty
        return SearchSettings(limit, defaults.num_beams or 1, penalty)

    def prompt_tokens(self) -> int:
        return len(self.rules.start_ids)


class ImageToText(MediaToText):
    """One image, one text."""

    task: ClassVar[Task] = "image-to-text"

    def features(self, data: bytes) -> FloatArray:
        from lukewarm.predictors.picture import read_pixels

        return read_pixels(data, self.bundle.manifest.options.get("preprocessor", {}))


class SpeechToText(MediaToText):
    """One sound of at most the model's length (Whisper: 30 s), one text."""

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
        except ValueError as error:
            raise BundleError(f"{self.bundle.root / 'mel_filters.npy'} is damaged: {error}") from error
        whisper = self.bundle.manifest.options.get("whisper", {})
        self.languages = [int(token) for token in whisper.get("languages", [])]
        self.language: int | None = whisper.get("language")
        self.prompt = [int(token) for token in whisper.get("prompt", [])]  # behind the language
        super().setup()

    def features(self, data: bytes) -> FloatArray:
        from lukewarm.predictors.sound import log_mel, read_wav, resample

        samples, rate = read_wav(data)
        if len(samples) > self._frames.longest_s * rate:
            raise RequestError(
                "sound_too_long",
                f"the sound takes {len(samples) / rate:.1f} s; the model hears {self._frames.longest_s:g} s at once",
                "$.data",
                allowed=f"at most {self._frames.longest_s:g} s",
            )
        return log_mel(resample(samples, rate, self._frames.rate), self._filters, self._frames)

    def prompt_tokens(self) -> int:
        return len(self.rules.start_ids) + bool(self.languages) + len(self.prompt)
