"""Images and sounds to text with transformers: its encoder and decoder steps under our own search."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from lukewarm.predictors.ctc import CtcToText
from lukewarm.predictors.hf.loading import load_model, prepare_torch, torch_dtype
from lukewarm.predictors.hf.steps import TorchSteps
from lukewarm.predictors.media_to_text import ImageToText
from lukewarm.predictors.predictor import Predictor
from lukewarm.predictors.speech_to_text import SpeechToText
from lukewarm.predictors.text_to_text import Hypothesis, SearchSettings

if TYPE_CHECKING:
    from lukewarm.predictors.media_to_text import FloatArray


BLIP = "BlipForConditionalGeneration"


class HfImageToText(ImageToText):
    """VisionEncoderDecoder models, and BLIP as one."""

    def load(self) -> None:
        if self.bundle.manifest.architecture == BLIP:
            self._model: Any = as_encoder_decoder(_load(self, BLIP))
        else:
            self._model = _load(self, "VisionEncoderDecoderModel")

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


class HfCtcToText(CtcToText):
    """wav2vec2 and its kin."""

    def load(self) -> None:
        self._model: Any = _load(self, "AutoModelForCTC")

    def logits(self, samples: FloatArray) -> FloatArray:
        import torch

        with torch.inference_mode():
            given = torch.from_numpy(samples)[None].to(self._model.device, self._model.dtype)
            found: FloatArray = self._model(given).logits[0].float().cpu().numpy()
        return found

    def close(self) -> None:
        self._model = None


def as_encoder_decoder(model: Any) -> Any:
    """BLIP's two halves behind the interface of a VisionEncoderDecoderModel."""
    import torch

    class EncoderDecoder(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            self.config, self.dtype, self.device = model.config, model.dtype, model.device

        def get_encoder(self) -> Any:
            return self.model.vision_model

        def forward(
            self, encoder_outputs: Any, decoder_input_ids: Any, past_key_values: Any, use_cache: bool = True
        ) -> Any:  # fmt: skip
            return self.model.text_decoder(
                input_ids=decoder_input_ids, encoder_hidden_states=encoder_outputs.last_hidden_state,
                past_key_values=past_key_values, use_cache=use_cache,
            )  # fmt: skip

    return EncoderDecoder().eval()


def _load(predictor: Predictor, auto_class: str) -> Any:
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
