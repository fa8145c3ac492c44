"""Images and sounds to text with transformers: its encoder and decoder steps under our own search."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from lukewarm.predictors.hf.loading import load_model, prepare_torch, torch_dtype
from lukewarm.predictors.hf.steps import TorchSteps
from lukewarm.predictors.media_to_text import ImageToText, MediaToText, SpeechToText
from lukewarm.predictors.text_to_text import Hypothesis, SearchSettings

if TYPE_CHECKING:
    from lukewarm.predictors.media_to_text import FloatArray


class HfImageToText(ImageToText):
    """VisionEncoderDecoder models."""

    def load(self) -> None:
        self._model: Any = _load(self, "VisionEncoderDecoderModel")

    def run(self, features: FloatArray, settings: SearchSettings, cancel: threading.Event) -> list[Hypothesis]:
        from lukewarm.predictors.search import search

        return search(_steps(self._model, features), len(features), settings, self.rules, cancel)

    def close(self) -> None:
        self._model = None


class HfSpeechToText(SpeechToText):
    """Whisper."""

    def load(self) -> None:
        self._model: Any = _load(self, "AutoModelForSpeechSeq2Seq")

    def run(self, features: FloatArray, settings: SearchSettings, cancel: threading.Event) -> list[Hypothesis]:
        from lukewarm.predictors.listening import transcribe

        return transcribe(self, _steps(self._model, features), len(features), settings, cancel)

    def close(self) -> None:
        self._model = None


def _load(predictor: MediaToText, auto_class: str) -> Any:
    device = prepare_torch(predictor.runtime)
    dtype = torch_dtype(predictor.bundle.manifest.precision)
    folder = predictor.bundle.root / "model"
    return load_model(auto_class, folder, device, dtype=dtype, **dict(predictor.runtime.options))


def _steps(model: Any, features: FloatArray) -> TorchSteps:
    import torch
    from transformers.modeling_outputs import BaseModelOutput

    with torch.inference_mode():
        given = torch.from_numpy(features).to(model.device, model.dtype)
        states = model.get_encoder()(given).last_hidden_state
    return TorchSteps(model, BaseModelOutput(last_hidden_state=states), None)
