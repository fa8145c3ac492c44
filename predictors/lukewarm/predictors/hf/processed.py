"""Models that transformers both prepares for and generates with in ways of their own: GIT, Pix2Struct, Moonshine ...

The bundle's `model/` holds the preprocessor's and the tokenizer's files beside the weights; options.way is "generate".
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from lukewarm.predictors.errors import BundleError, RequestError
from lukewarm.predictors.hf.loading import load_model, prepare_torch, torch_dtype
from lukewarm.predictors.hf.text_to_text import search_options
from lukewarm.predictors.media_to_text import ImageToText, MediaToText
from lukewarm.predictors.predictor import NEVER
from lukewarm.predictors.speech_to_text import refuse_whispers, samples_of
from lukewarm.predictors.tasks import BinaryRequest, Request, Result, SpeechRequest, SpeechResult, TextToTextResult
from lukewarm.predictors.text_to_text import Hypothesis, Rules, SearchSettings

_LONGEST_S = 30


class Processed(MediaToText):
    """One window at a time, by the model's own processor, `generate` and tokenizer."""

    def setup(self) -> None:
        self.rules = Rules.of(self.bundle)
        self.load()

    def load(self) -> None:
        device = prepare_torch(self.runtime)
        dtype = torch_dtype(self.bundle.manifest.precision)
        folder = self.bundle.root / "model"
        architecture = str(self.bundle.manifest.architecture)
        self.model: Any = load_model(architecture, folder, device, dtype=dtype, **dict(self.runtime.options))
        self._processor = self._own(self.processor_class)
        self._words = self._own("AutoTokenizer")

    processor_class = ""

    def _own(self, auto_class: str) -> Any:
        import transformers

        folder = self.bundle.root / "model"
        before = transformers.utils.logging.get_verbosity()
        transformers.utils.logging.set_verbosity_error()  # it advises to install torchvision
        try:
            return getattr(transformers, auto_class).from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        except Exception as error:  # transformers raises any class for files that do not fit
            reason = " ".join(str(error).split())[:200]
            raise BundleError(f"{folder} cannot be loaded: {reason}; run: lukewarm convert --force") from error
        finally:
            transformers.utils.logging.set_verbosity(before)

    def features(self, window: Any) -> Any:
        """The processor's tensors by name."""
        raise NotImplementedError

    def predict_batch(self, requests: Sequence[Request], cancel: threading.Event = NEVER) -> list[Result]:
        results = []
        for request in requests:
            assert isinstance(request, BinaryRequest)
            settings = self.settings(request)
            found = [self.generate(self.features(window), settings, cancel) for window in self.windows(request)]
            results.append(self.result(request, found))
        return results

    def run(self, features: Any, settings: SearchSettings, cancel: threading.Event) -> list[Hypothesis]:
        return [self.generate(features, settings, cancel)]

    def generate(self, features: Any, settings: SearchSettings, cancel: threading.Event) -> Hypothesis:
        """What transformers' `generate` gives for one window's tensors, in batch size one."""
        import torch

        def placed(value: Any) -> Any:
            return value.to(self.model.device, self.model.dtype if value.is_floating_point() else value.dtype)

        if cancel.is_set():
            return Hypothesis([], "cancelled")
        with torch.inference_mode():
            row = self.model.generate(
                **{name: placed(value) for name, value in features.items()},
                **search_options(settings, cancel),
            )[0].tolist()
        if row[: len(self.rules.start_ids)] == list(self.rules.start_ids):
            row = row[len(self.rules.start_ids) :]
        end = next((place for place, token in enumerate(row) if token in self.rules.eos_ids), None)
        if end is not None:
            return Hypothesis(row[:end], "eos")
        return Hypothesis(row, "cancelled" if cancel.is_set() else "length")

    def text(self, found: Sequence[Hypothesis]) -> str:
        texts = (self._words.decode(one.tokens, skip_special_tokens=True).strip() for one in found)
        return " ".join(text for text in texts if text)

    def close(self) -> None:
        self.model = None


class HfProcessedImage(Processed, ImageToText):
    """An image as the model's own image processor cuts it."""

    processor_class = "AutoImageProcessor"

    def windows(self, request: BinaryRequest) -> list[Any]:
        from lukewarm.predictors.picture import read_picture

        return [read_picture(request.data)]

    def features(self, window: Any) -> Any:
        return dict(self._processor(images=window, return_tensors="pt"))

    def result(self, request: BinaryRequest, found: Sequence[Hypothesis]) -> Result:
        return TextToTextResult(
            text=self.text(found),
            finish_reason=found[0].reason,
            prompt_tokens=0,
            completion_tokens=len(found[0].tokens),
        )


class HfProcessedSound(Processed):
    """A sound through the model's own feature extractor, at most 30 s."""

    task = "speech-to-text"
    processor_class = "AutoFeatureExtractor"

    def windows(self, request: BinaryRequest) -> list[Any]:
        rate = int(getattr(self._processor, "sampling_rate", 16_000))
        samples = samples_of(request, rate)
        if len(samples) > _LONGEST_S * rate:
            raise RequestError(
                "sound_too_long",
                f"the sound takes {len(samples) / rate:.1f} s; this model hears {_LONGEST_S} s at once",
                "$.data",
                allowed=f"at most {_LONGEST_S} s",
            )
        return [samples]

    def features(self, window: Any) -> Any:
        rate = int(getattr(self._processor, "sampling_rate", 16_000))
        return dict(self._processor(window, sampling_rate=rate, return_tensors="pt"))

    def settings(self, request: BinaryRequest) -> SearchSettings:
        if isinstance(request, SpeechRequest):
            refuse_whispers(request)
        return super().settings(request)

    def result(self, request: BinaryRequest, found: Sequence[Hypothesis]) -> Result:
        return SpeechResult(
            text=self.text(found),
            finish_reason=found[0].reason,
            prompt_tokens=0,
            completion_tokens=len(found[0].tokens),
        )
